import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc as area
from sklearn.metrics import det_curve, roc_curve

from mien.errors import InputError
from mien.evaluate.metrics.curves import roc_points, thinned
from mien.evaluate.metrics.scores import score_set
from mien.evaluate.metrics.verification import auc

SCORES = st.one_of(
    st.lists(st.integers(-3, 3), min_size=1, max_size=40),
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40),
)


def labelled(scores):
    return np.repeat([1, 0], [len(scores.genuine), len(scores.impostor)]), np.concatenate(
        [scores.genuine, scores.impostor]
    )


@given(SCORES, SCORES)
def test_every_point_equals_scikit_learn(genuine, impostor):
    scores = score_set(genuine, impostor)
    curve = roc_points(scores, every=True)
    fpr, tpr, thresholds = roc_curve(*labelled(scores), drop_intermediate=False)
    np.testing.assert_allclose(curve.fmr, fpr, atol=1e-15)
    np.testing.assert_allclose(curve.tar, tpr, atol=1e-15)
    np.testing.assert_array_equal(curve.thresholds, thresholds.astype(np.float32))
    np.testing.assert_allclose(curve.fnmr, 1 - tpr, atol=1e-15)


@given(SCORES, SCORES)
def test_vertices_describe_the_same_line(genuine, impostor):
    scores = score_set(genuine, impostor)
    every, corners = roc_points(scores, every=True), roc_points(scores)
    kept = set(zip(corners.false_accepts.tolist(), corners.true_accepts.tolist(), strict=True))
    x, y = every.false_accepts.astype(float), every.true_accepts.astype(float)
    want = {(0, 0), (len(impostor), len(genuine))} | {
        (int(x[k]), int(y[k]))
        for k in range(1, len(x) - 1)
        if (x[k] - x[k - 1]) * (y[k + 1] - y[k]) != (x[k + 1] - x[k]) * (y[k] - y[k - 1])
    }
    assert kept == want
    for t, fa, ta in zip(corners.thresholds, corners.false_accepts, corners.true_accepts, strict=True):
        assert fa == sum(np.float32(s) >= t for s in impostor)
        assert ta == sum(np.float32(s) >= t for s in genuine)
    assert area(corners.fmr, corners.tar) == pytest.approx(auc(scores), abs=1e-12)


def test_det_points_equal_scikit_learn():
    rng = np.random.default_rng(0)
    scores = score_set(rng.normal(1, 1, 200).round(1), rng.normal(0, 1, 300).round(1))
    fpr, fnr, thresholds = det_curve(*labelled(scores), drop_intermediate=False)
    curve = roc_points(scores, every=True)
    at = np.searchsorted(-curve.thresholds, -thresholds.astype(np.float32))
    np.testing.assert_allclose(curve.fmr[at], fpr, atol=1e-12)
    np.testing.assert_allclose(curve.fnmr[at], fnr, atol=1e-12)


@pytest.mark.parametrize("points", [4, 5, 64, 500])
def test_a_thinned_curve_is_short_and_stays_near(points):
    rng = np.random.default_rng(1)
    curve = roc_points(score_set(rng.normal(1, 1, 20_000), rng.normal(0, 1, 50_000)))
    thin = thinned(curve, points)
    assert points / 2 <= len(thin.thresholds) <= points < len(curve.thresholds)
    assert (thin.fmr[0], thin.tar[0], thin.fmr[-1], thin.tar[-1]) == (0, 0, 1, 1)
    full = set(zip(curve.false_accepts.tolist(), curve.true_accepts.tolist(), strict=True))
    assert full >= set(zip(thin.false_accepts.tolist(), thin.true_accepts.tolist(), strict=True))

    length = 2 + (np.log10(100_000) + np.log10(40_000)) / 8
    step = length / (points // 2)
    at = np.searchsorted(-thin.thresholds, -curve.thresholds)  # the kept point at or after each point of the curve
    for axis, kept, weight in (
        (curve.fmr, thin.fmr, 1),
        (curve.tar, thin.tar, 1),
        (np.log10(np.maximum(curve.false_accepts, 0.5)), np.log10(np.maximum(thin.false_accepts, 0.5)), 1 / 8),
    ):
        assert np.abs(axis - kept[at]).max() * weight <= step * 1.0001
    assert np.all(np.diff(thin.false_accepts) >= 0)


def test_a_short_curve_is_left_alone():
    curve = roc_points(score_set([1, 2], [0]))
    assert thinned(curve) is curve
    with pytest.raises(InputError, match="at least 4"):
        thinned(curve, 3)
