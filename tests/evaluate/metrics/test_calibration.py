import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mien.errors import InputError
from mien.evaluate.metrics.calibration import IsotonicLlr, cllr, isotonic_llr, logistic_llr, min_cllr
from mien.evaluate.metrics.scores import score_set

SCORES = st.one_of(
    st.lists(st.integers(-3, 3), min_size=1, max_size=40),
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40),
)


def pav(scores, extra=()):
    """Log-likelihood ratios by scikit-learn's isotonic regression of the labels."""
    values = np.concatenate([scores.genuine, scores.impostor, [s for s, _ in extra]]).astype(float)
    labels = np.concatenate([np.ones(len(scores.genuine)), np.zeros(len(scores.impostor)), [y for _, y in extra]])
    fit = IsotonicRegression(y_min=0, y_max=1).fit(values, labels)
    n, i = labels.sum(), (1 - labels).sum()

    def llr(given):
        p = np.clip(fit.predict(given), 0, 1)
        p[np.abs(p) < 1e-12], p[np.abs(1 - p) < 1e-12] = 0, 1
        with np.errstate(divide="ignore"):
            return np.log(p) - np.log1p(-p) - math.log(n / i)

    return llr


@given(SCORES, SCORES, st.booleans())
def test_isotonic_fit_equals_scikit_learn(genuine, impostor, bounded):
    scores = score_set(genuine, impostor)
    found = isotonic_llr(scores, bounded=bounded)
    extra = [(-9, 1), (999, 0)] if bounded else []
    given_scores = np.unique(np.concatenate([scores.genuine, scores.impostor]))
    # scikit-learn takes scores that lie very near to each other for one, so it is given their ranks instead.
    ranked = score_set(*(np.searchsorted(given_scores, side) for side in (scores.genuine, scores.impostor)))
    want = pav(ranked, extra)(np.arange(len(given_scores), dtype=float))
    np.testing.assert_allclose(found(given_scores), want, atol=1e-12)
    assert np.all(np.diff(found.values) > 0)
    assert np.isfinite(found.values).all() or not bounded


@given(SCORES, SCORES)
def test_min_cllr_is_the_cost_of_the_isotonic_fit_and_nothing_costs_less(genuine, impostor):
    scores = score_set(genuine, impostor)
    least = min_cllr(scores)
    assert cllr(scores, isotonic_llr(scores, bounded=False)) == pytest.approx(least, abs=1e-12)
    assert -1e-15 <= least <= 1 + 1e-12  # saying nothing costs 1
    for slope in (0.1, 1, 10):
        assert least <= cllr(scores, lambda s, k=slope: k * s.astype(float)) + 1e-12
    ranks = {v: n**2 for n, v in enumerate(sorted({*scores.genuine.tolist(), *scores.impostor.tolist()}))}
    changed = score_set(*([ranks[v] for v in side.tolist()] for side in (scores.genuine, scores.impostor)))
    assert min_cllr(changed) == least


@given(SCORES, SCORES)
def test_cllr_follows_its_formula(genuine, impostor):
    scores = score_set(genuine, impostor)
    want = (
        np.mean([math.log2(1 + math.exp(-float(s))) for s in scores.genuine])
        + np.mean([math.log2(1 + math.exp(float(s))) for s in scores.impostor])
    ) / 2
    assert abs(cllr(scores) - want) < 1e-12


def test_cllr_of_nothing_of_lies_and_of_nonsense():
    scores = score_set([0.5, 0.7], [0.1, 0.6])
    assert cllr(scores, np.zeros_like) == 1
    assert cllr(scores, lambda s: np.where(s > 0.55, np.inf, -np.inf)) == math.inf
    assert cllr(score_set([1], [0]), lambda s: np.where(s > 0.5, np.inf, -np.inf)) == 0
    with pytest.raises(InputError, match="NaN"):
        cllr(scores, lambda s: s * np.nan)


@pytest.mark.parametrize("seed", range(4))
def test_logistic_fit_equals_scikit_learn_and_its_gradient_vanishes(seed):
    rng = np.random.default_rng(seed)
    scores = score_set(rng.normal(0.5, 0.1, 400), rng.normal(0.1 * seed, 0.15, 3000))
    found = logistic_llr(scores)
    x = np.concatenate([scores.genuine, scores.impostor]).astype(float)
    y = np.repeat([1, 0], [400, 3000])
    weights = np.where(y == 1, 0.5 / 400, 0.5 / 3000)
    peer = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    peer.fit(x[:, None], y, sample_weight=weights * len(x))
    assert found.slope == pytest.approx(peer.coef_[0, 0], rel=1e-5)
    assert found.offset == pytest.approx(peer.intercept_[0], rel=1e-5, abs=1e-5)
    residual = weights * (y - 1 / (1 + np.exp(-found(x))))
    assert abs(residual.sum()) < 1e-11
    assert abs((residual * x).sum()) < 1e-11
    assert min_cllr(scores) <= cllr(scores, found) <= 1


def test_logistic_fit_recovers_gaussian_ratios():
    rng = np.random.default_rng(0)
    found = logistic_llr(score_set(rng.normal(1, 1, 200_000), rng.normal(-1, 1, 100_000)))
    assert found.slope == pytest.approx(2, abs=0.03)  # log of N(1, 1) over N(-1, 1) is 2 x
    assert found.offset == pytest.approx(0, abs=0.03)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(-50, 50))
def test_logistic_fit_follows_scale_and_shift(seed, scale, shift):
    rng = np.random.default_rng(seed)
    g, i = rng.normal(0.3, 1, 50).round(1), rng.normal(0, 1, 60).round(1)
    base, moved = logistic_llr(score_set(g, i)), logistic_llr(score_set(g * scale + shift, i * scale + shift))
    np.testing.assert_allclose(moved(g * scale + shift), base(g), atol=2e-2)


def test_logistic_fit_of_scores_that_fall_has_a_negative_slope():
    assert logistic_llr(score_set([0, 1, 2, 0], [2, 3, 1, 3])).slope < 0


@pytest.mark.parametrize(("g", "i"), [([2, 3], [0, 1]), ([0, 1], [2, 3]), ([1, 2], [0, 1]), ([1], [1])])
def test_logistic_fit_refuses_classes_that_do_not_overlap(g, i):
    with pytest.raises(InputError, match="do not overlap"):
        logistic_llr(score_set(g, i))


def test_a_staircase_keeps_its_ends_and_nan():
    stairs = IsotonicLlr(np.float32([0, 1]), np.array([-1.0, 1.0]))
    np.testing.assert_array_equal(stairs([[-5, 0, 0.5], [1, 9, np.nan]]), [[-1, -1, -1], [1, 1, np.nan]])
