import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.cluster import pair_confusion_matrix

from mien.errors import InputError
from mien.evaluate.metrics.clustering import cluster_agreement

LABELS = st.integers(1, 30).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(low, 5), min_size=n, max_size=n) for low in (0, -1)))
)


@given(LABELS)
def test_equals_plain_loops_and_scikit_learn(labels):
    truth, predicted = labels
    alone = [p if p >= 0 else 100 + i for i, p in enumerate(predicted)]
    found = cluster_agreement(truth, predicted)
    n = len(truth)
    couples = list(itertools.combinations(range(n), 2))
    same = {c for c in couples if truth[c[0]] == truth[c[1]]}
    put = {c for c in couples if alone[c[0]] == alone[c[1]]}
    assert found.pairwise.precision == (len(same & put) / len(put) if put else 1)
    assert found.pairwise.recall == (len(same & put) / len(same) if same else 1)
    (_, fp), (fn, tp) = pair_confusion_matrix(truth, alone)
    assert tp == 2 * len(same & put)
    if tp:
        assert found.pairwise.f == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=1e-12)

    def bcubed(a, b):
        return np.mean([sum(a[i] == a[j] and b[i] == b[j] for j in range(n)) / b.count(b[i]) for i in range(n)])

    assert abs(found.bcubed.precision - bcubed(truth, alone)) < 1e-12
    assert abs(found.bcubed.recall - bcubed(alone, truth)) < 1e-12
    assert (found.faces, found.subjects, found.clusters) == (n, len(set(truth)), len(set(alone)))


@given(LABELS, st.randoms(use_true_random=False))
def test_names_and_order_do_not_matter(labels, random):
    truth, predicted = ([max(v, 0) for v in side] for side in labels)
    order = random.sample(range(len(truth)), len(truth))
    names = [f"n{9 - truth[i]}" for i in order], [f"c{predicted[i]}" for i in order]
    found, again = cluster_agreement(truth, predicted), cluster_agreement(*names)
    assert again.pairwise == found.pairwise
    assert again.bcubed.f == pytest.approx(found.bcubed.f, abs=1e-12)


def test_ends_of_the_range():
    truth = [0, 0, 1, 1, 1]
    assert cluster_agreement(truth, truth).pairwise.f == cluster_agreement(truth, truth).bcubed.f == 1
    alone = cluster_agreement(truth, [-1] * 5)
    assert (alone.pairwise.precision, alone.pairwise.recall, alone.pairwise.f) == (1, 0, 0)
    assert alone.bcubed.recall == pytest.approx(2 / 5)


def test_many_faces_need_no_matrix():
    n = 200_000
    found = cluster_agreement(np.arange(n) // 4, np.arange(n) // 2)
    assert (found.pairwise.precision, found.pairwise.recall) == (1, 1 / 3)


@pytest.mark.parametrize(("truth", "predicted"), [([], []), ([0], [0, 1]), ([0.5], [0]), ([[0]], [0]), ([None], [0])])
def test_refuses(truth, predicted):
    with pytest.raises(InputError, match="expected"):
        cluster_agreement(truth, predicted)
