import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import InputError
from mien.evaluate.metrics.scores import ScoreSet, histogram, score_set, split_scores

NUMBERS = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50)


@given(NUMBERS, NUMBERS)
def test_scores_are_sorted_copies(genuine, impostor):
    given_g = np.array(genuine, np.float32)
    before = given_g.copy()
    scores = score_set(given_g, np.array(impostor).reshape(1, -1))
    np.testing.assert_array_equal(given_g, before)
    np.testing.assert_array_equal(scores.genuine, np.sort(given_g))
    assert scores.impostor.tolist() == sorted(impostor)
    again = pickle.loads(pickle.dumps(scores))
    np.testing.assert_array_equal(again.impostor, scores.impostor)


def test_in_place_sorts_what_was_given():
    values = np.float32([3, 1, 2])
    assert np.shares_memory(score_set(values, [0], in_place=True).genuine, values)
    assert values.tolist() == [1, 2, 3]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_is_refused_or_left_out_and_counted(bad):
    with pytest.raises(InputError, match="genuine scores: 1 of 2 are NaN or infinite"):
        score_set([0.5, bad], [0.1])
    with pytest.raises(InputError, match="impostor scores: 2 of 2"):
        score_set([0.5], [bad, bad])
    scores = score_set([0.5, bad], [bad, 0.1, bad], invalid="exclude")
    assert (scores.excluded_genuine, scores.excluded_impostor) == (1, 2)
    assert (scores.genuine.tolist(), len(scores.impostor)) == ([0.5], 1)


@pytest.mark.parametrize(("genuine", "impostor"), [([], [1]), ([1], []), ([], []), ([np.nan], [1])])
def test_one_class_is_refused(genuine, impostor):
    with pytest.raises(InputError, match="error rates need both"):
        score_set(genuine, impostor, invalid="exclude")


def test_refuses_what_are_no_numbers_and_what_is_not_sorted():
    with pytest.raises(InputError, match="expected numbers, got list"):
        score_set(["a"], [1])
    one = np.float32([1])
    for wrong in (np.float32([2, 1]), np.float32([1, np.nan, 2]), np.float32([1, np.inf])):
        with pytest.raises(InputError, match="ascending"):
            ScoreSet(wrong, one)
    with pytest.raises(InputError, match="float32"):
        ScoreSet(np.array([1.0]), one)


def test_split_by_label():
    scores = split_scores([0.1, 0.9, 0.2], [0, 1, 0])
    assert scores.genuine.tolist() == [np.float32(0.9)]
    assert len(scores.impostor) == 2
    for labels in ([0, 1], [0, 1, 2], [0.0, 1.0, 0.0], ["a", "b", "c"]):
        with pytest.raises(InputError, match="same:"):
            split_scores([0.1, 0.9, 0.2], labels)


@given(NUMBERS, NUMBERS, st.integers(1, 20))
def test_histograms_equal_numpys(genuine, impostor, bins):
    scores = score_set(genuine, impostor)
    if len({*scores.genuine.tolist(), *scores.impostor.tolist()}) > 1 and np.ptp(genuine + impostor) < 1e-3:
        return  # edges that float32 cannot tell apart are refused
    found = histogram(scores, bins)
    for counts, values in ((found.genuine, scores.genuine), (found.impostor, scores.impostor)):
        np.testing.assert_array_equal(counts, np.histogram(values, found.edges)[0])
        assert counts.sum() == len(values)


def test_histogram_over_given_edges_leaves_out_what_lies_outside():
    found = histogram(score_set([0.0, 0.5, 1.0, 2.0], [-1.0]), [0, 0.5, 1])
    assert (found.genuine.tolist(), found.impostor.tolist()) == ([1, 2], [0, 0])
    for edges in (0, [1], [1, 0], [[0, 1]], [0, np.nan]):
        with pytest.raises(InputError, match="histogram"):
            histogram(score_set([0.5], [0.1]), edges)
