import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve

from mien.errors import InputError
from mien.evaluate.metrics.scores import ScoreSet, score_set
from mien.evaluate.metrics.tail import ScoreTail
from mien.evaluate.metrics.verification import auc, d_prime, eer, fmr_at, fnmr_at, tar_at_far, tar_at_far_of_tail

# Few distinct values, so that ties are everywhere, and many, so that they are not.
TIED = st.integers(-3, 3).map(lambda v: v / 4)
SCORES = st.one_of(
    st.lists(TIED, min_size=1, max_size=30), st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30)
)


def labelled(scores):
    values = np.concatenate([scores.genuine, scores.impostor])
    return np.repeat([1, 0], [len(scores.genuine), len(scores.impostor)]), values


def normal(seed, genuine=300, impostor=4000, decimals=None):
    rng = np.random.default_rng(seed)
    g, i = rng.normal(0.4, 0.15, genuine), rng.normal(0, 0.15, impostor)
    return score_set(g, i) if decimals is None else score_set(g.round(decimals), i.round(decimals))


def nearest_tar_at_far(scores, far):
    """What common scripts print: the ROC point whose FAR lies nearest, even if it is higher."""
    fpr, tpr, _ = roc_curve(*labelled(scores), drop_intermediate=False)
    at = np.argmin(np.abs(fpr - far))
    return tpr[at], fpr[at]


@given(SCORES, SCORES, st.floats(-1.1, 1.1))
def test_rates_at_a_threshold_equal_a_plain_count(genuine, impostor, threshold):
    scores = score_set(genuine, impostor)
    fmr, fnmr = fmr_at(scores, threshold), fnmr_at(scores, threshold)
    assert (fmr.count, fmr.trials) == (sum(s >= threshold for s in impostor), len(impostor))
    assert (fnmr.count, fnmr.trials) == (sum(s < threshold for s in genuine), len(genuine))


@given(SCORES, SCORES)
def test_auc_equals_a_loop_over_couples_and_scikit_learn(genuine, impostor):
    scores = score_set(genuine, impostor)
    wins = sum((g > i) + (g == i) / 2 for g in genuine for i in impostor)
    assert auc(scores) == pytest.approx(wins / (len(genuine) * len(impostor)), abs=1e-15)
    assert auc(scores) == pytest.approx(roc_auc_score(*labelled(scores)), abs=1e-12)


@pytest.mark.parametrize("decimals", [None, 2, 1])
@pytest.mark.parametrize("seed", range(5))
def test_auc_and_eer_equal_scikit_learn(seed, decimals):
    scores = normal(seed, decimals=decimals)
    assert abs(auc(scores) - roc_auc_score(*labelled(scores))) < 1e-12
    fpr, tpr, _ = roc_curve(*labelled(scores), drop_intermediate=False)
    crossing = brentq(lambda x: 1 - x - interp1d(fpr, tpr)(x), 0, 1, xtol=1e-15)
    # Where the ROC stands upright its interpolation over FAR is not defined; elsewhere both rules are the same.
    found = eer(scores)
    if np.count_nonzero(np.isclose(fpr, found.rate, atol=1e-12)) < 2:
        assert abs(found.rate - crossing) < 1e-12


@given(SCORES, SCORES)
def test_eer_equals_a_walk_along_the_vertices(genuine, impostor):
    found = eer(score_set(genuine, impostor))
    vertices = [
        (np.mean(np.array(impostor) >= t), np.mean(np.array(genuine) < t))
        for t in [*sorted({*genuine, *impostor}), math.inf]
    ]
    for (x0, y0), (x1, y1) in itertools.pairwise(vertices):
        if x0 >= y0 and x1 < y1:
            share = (x0 - y0) / ((x0 - y0) - (x1 - y1))
            assert found.rate == pytest.approx(x0 + share * (x1 - x0), abs=1e-12)
            assert found.rate == pytest.approx(y0 + share * (y1 - y0), abs=1e-12)
            assert (found.fmr, found.fnmr) == pytest.approx((x0, y0), abs=1e-15)
            assert found.threshold in {*genuine, *impostor}
            return
    pytest.fail("the rates never cross")


@given(SCORES, SCORES, st.floats(0.001, 0.999))
def test_tar_at_far_equals_a_search_through_all_thresholds(genuine, impostor, far):
    found = tar_at_far(score_set(genuine, impostor), far)
    g, i = np.array(genuine, np.float32), np.array(impostor, np.float32)
    candidates = np.nextafter(np.array([-2, *g, *i], np.float32), np.float32(9))
    allowed = [t for t in candidates if np.mean(i >= t) <= far]
    assert found.tar == max(np.mean(g >= t) for t in allowed)
    assert found.far == np.mean(i >= np.float32(found.threshold)) <= far
    assert found.tar == np.mean(g >= np.float32(found.threshold))
    assert found.low <= found.tar <= found.high
    assert found.sufficient == (len(impostor) * far >= 1)


def test_the_nearest_point_exceeds_the_stated_rate_where_the_conservative_one_does_not():
    # Of 1000 impostors two tie at 0.9: the FAR jumps from 0 to 0.002, and 0.002 is as near to 0.0011 as can be.
    scores = score_set([0.95, 0.92, 0.9, 0.9, 0.5], [0.9, 0.9, *np.linspace(-1, 0.4, 998)])
    tar, far = nearest_tar_at_far(scores, 0.0011)
    assert (tar, far) == (0.8, 0.002)
    found = tar_at_far(scores, 0.0011)
    assert (found.tar, found.far, found.sufficient) == (0.4, 0.0, True)
    assert found.far <= 0.0011 < far


def test_too_few_impostors_are_said_to_be_too_few():
    scores = normal(0, impostor=999)
    assert not tar_at_far(scores, 1e-3).sufficient
    assert tar_at_far(scores, 1e-3).far == 0
    assert tar_at_far(normal(0, impostor=1000), 1e-3).sufficient


@given(SCORES, SCORES)
def test_tar_rises_with_far_and_rates_are_monotone_in_the_threshold(genuine, impostor):
    scores = score_set(genuine, impostor)
    tars = [tar_at_far(scores, far) for far in (0.001, 0.01, 0.1, 0.3, 0.9)]
    assert all(a.tar <= b.tar and a.threshold >= b.threshold for a, b in itertools.pairwise(tars))
    points = np.linspace(-1.1, 1.1, 12)
    assert np.all(np.diff([fmr_at(scores, t).value for t in points]) <= 0)
    assert np.all(np.diff([fnmr_at(scores, t).value for t in points]) >= 0)


@given(SCORES, SCORES, st.randoms(use_true_random=False))
def test_order_does_not_matter_nor_does_a_rising_change_of_the_scores(genuine, impostor, random):
    scores = score_set(genuine, impostor)
    # Ranks: a strictly rising change of any scores whatever, exact in float32.
    ranks = {v: n**2 for n, v in enumerate(sorted({np.float32(v) for v in genuine + impostor}))}
    mixed = [random.sample(side, len(side)) for side in (genuine, impostor)]
    changed = score_set(*([ranks[np.float32(v)] for v in side] for side in mixed))
    assert auc(changed) == auc(scores)
    assert eer(changed).rate == eer(scores).rate
    for far in (0.05, 0.5):
        before, after = tar_at_far(scores, far), tar_at_far(changed, far)
        assert (before.tar, before.far) == (after.tar, after.far)


@pytest.mark.parametrize("seed", range(3))
def test_d_prime_follows_its_formula_and_ignores_scale_and_shift(seed):
    scores = normal(seed)
    g, i = scores.genuine.astype(np.float64), scores.impostor.astype(np.float64)
    want = (g.mean() - i.mean()) / np.sqrt((g.var(ddof=1) + i.var(ddof=1)) / 2)
    assert abs(d_prime(scores) - want) < 1e-12
    assert d_prime(score_set(4 * g, 4 * i)) == pytest.approx(want, abs=1e-12)


def test_ends_of_the_range():
    equal = score_set([0.5] * 3, [0.5] * 4)
    assert (auc(equal), eer(equal).rate, tar_at_far(equal, 0.1).tar) == (0.5, 0.5, 0.0)
    perfect, wrong = score_set([1, 0.9], [0, 0.1]), score_set([0, 0.1], [1, 0.9])
    assert (auc(perfect), eer(perfect).rate, tar_at_far(perfect, 0.1).tar) == (1, 0, 1)
    assert (auc(wrong), eer(wrong).rate, tar_at_far(wrong, 0.1).tar) == (0, 1, 0)
    assert d_prime(score_set([1, 1], [0, 0])) == math.inf
    with pytest.raises(InputError, match="all scores are equal"):
        d_prime(equal)
    with pytest.raises(InputError, match="at least two"):
        d_prime(score_set([1], [0, 0]))


def test_negative_zero_is_zero():
    assert eer(score_set([-0.0, 1], [0.0, -1])) == eer(score_set([0.0, 1], [-0.0, -1]))


@pytest.mark.parametrize("far", [0.0, 1.0, -0.1, math.nan, "0.1"])
def test_refuses_what_is_no_rate(far):
    with pytest.raises(InputError, match="far: expected a rate"):
        tar_at_far(normal(0), far)


def test_a_tail_of_the_impostors_gives_the_same_answer():
    scores = normal(1)
    tail = ScoreTail(scores.impostor[-50:], len(scores.impostor))
    assert tar_at_far_of_tail(scores.genuine[::-1], tail, 0.01) == tar_at_far(scores, 0.01)
    with pytest.raises(InputError, match="highest are needed"):
        tar_at_far_of_tail(scores.genuine, tail, 0.1)


def test_scores_may_be_shared_but_not_changed():
    scores = normal(2)
    assert isinstance(scores, ScoreSet)
    with pytest.raises(ValueError, match="read-only"):
        scores.genuine[0] = 1
