"""Overlap and suppression against plain loops written from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.detect import boxes as module
from mien.detect.boxes import areas, nms, overlaps, squares


def loop_overlap(a, b, mode):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    area_a = (a[2] - a[0]) * (a[3] - a[1])
    area_b = (b[2] - b[0]) * (b[3] - b[1])
    return w * h / (min(area_a, area_b) if mode == "min" else area_a + area_b - w * h)


def loop_nms(boxes, scores, threshold, groups, mode):
    kept = []
    for group in sorted(set(groups)):
        rest = [i for i in range(len(boxes)) if groups[i] == group]
        rest.sort(key=lambda i: -scores[i])
        while rest:
            best = rest.pop(0)
            kept.append(best)
            rest = [i for i in rest if not loop_overlap(boxes[best], boxes[i], mode) > threshold]
    return kept


# Whole coordinates keep both computations exact, so that a tie with the threshold is the same tie in both.
corner = st.integers(0, 24)
box = st.tuples(corner, corner, st.integers(0, 16), st.integers(0, 16)).map(
    lambda t: (t[0], t[1], t[0] + t[2], t[1] + t[3])
)
scene = st.lists(st.tuples(box, st.integers(0, 20), st.integers(0, 3)), max_size=40)
mode = st.sampled_from(["union", "min"])


@settings(max_examples=150, deadline=None)
@given(scene, mode, st.sampled_from([0.25, 0.5, 0.75]), st.booleans())
def test_nms_is_the_greedy_loop(scene, mode, threshold, in_blocks):
    b = np.array([s[0] for s in scene], np.float64).reshape(-1, 4)
    s = np.array([s[1] for s in scene], np.float64)
    g = np.array([s[2] for s in scene], np.intp)
    with pytest.MonkeyPatch.context() as patch:
        if in_blocks:  # drive the way of large groups with small ones
            patch.setattr(module, "_SMALL_GROUP", 4)
            patch.setattr(module, "_BLOCK", 3)
        else:
            patch.setattr(module, "_MATRIX", 300)
        got = nms(b, s, threshold, groups=g, mode=mode)
    assert got.tolist() == loop_nms(b.tolist(), s.tolist(), threshold, g.tolist(), mode)


@settings(max_examples=100, deadline=None)
@given(st.lists(box, max_size=12), st.lists(box, max_size=12), mode)
def test_overlaps_are_the_loop(a, b, mode):
    got = overlaps(np.array(a, np.float64).reshape(-1, 4), np.array(b, np.float64).reshape(-1, 4), mode)
    assert got.shape == (len(a), len(b))
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            assert got[i, j] == pytest.approx(loop_overlap(one, other, mode))


@settings(max_examples=100, deadline=None)
@given(scene, mode)
def test_kept_boxes_do_not_overlap_and_dropped_ones_do(scene, mode):
    b = np.array([s[0] for s in scene], np.float64).reshape(-1, 4)
    s = np.array([s[1] for s in scene], np.float64)
    kept = nms(b, s, 0.4, mode=mode)
    among = overlaps(b[kept], b[kept], mode)
    np.fill_diagonal(among, 0)
    assert (among <= 0.4 + 1e-9).all()
    dropped = np.setdiff1d(np.arange(len(b)), kept)
    assert (overlaps(b[dropped], b[kept], mode).max(axis=1, initial=0) > 0.4 - 1e-9).all()


@pytest.mark.parametrize("n", [1, 150, 1500])
def test_identical_boxes_leave_the_best(n):
    b = np.tile(np.array([[3, 4, 9, 8]], np.float32), (n, 1))
    s = np.linspace(0, 1, n, dtype=np.float32)
    assert nms(b, s, 0.5).tolist() == [n - 1]


def test_many_boxes_match_the_loop():
    rng = np.random.default_rng(0)
    xy = rng.integers(0, 400, (1200, 2))
    b = np.concatenate([xy, xy + rng.integers(5, 60, (1200, 2))], axis=1).astype(np.float64)
    s = rng.random(1200)
    assert nms(b, s, 0.3).tolist() == loop_nms(b.tolist(), s.tolist(), 0.3, [0] * 1200, "union")


def test_a_long_chain_is_decided_one_by_one():
    x = np.arange(100, dtype=np.float64)[:, None] * 4
    b = np.concatenate([x, x * 0, x + 10, x * 0 + 10], axis=1)  # each overlaps only its neighbours by more than 0.3
    s = -np.arange(100, dtype=np.float64)
    assert nms(b, s, 0.3).tolist() == list(range(0, 100, 2))


def test_nothing_in_nothing_out():
    none = np.zeros((0, 4), np.float32)
    assert nms(none, np.zeros(0, np.float32), 0.5).tolist() == []
    assert overlaps(none, np.ones((3, 4), np.float32)).shape == (0, 3)
    assert squares(none).shape == (0, 4)


def test_boxes_without_area_overlap_nothing():
    b = np.array([[5, 5, 5, 9], [5, 5, 5, 9], [0, 0, 10, 10], [8, 8, 2, 2]], np.float32)
    assert areas(b).tolist() == [0, 0, 100, 0]
    assert sorted(nms(b, np.ones(4, np.float32), 0.1).tolist()) == [0, 1, 2, 3]
    assert not overlaps(b, b)[[0, 1, 3]].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(bad):
    b = np.array([[0, 0, bad, 1]], np.float32)
    with pytest.raises(ValueError, match="finite"):
        nms(b, np.ones(1, np.float32), 0.5)
    with pytest.raises(ValueError, match="finite"):
        overlaps(b, b)
    with pytest.raises(ValueError, match="finite scores"):
        nms(np.ones((1, 4), np.float32), np.full(1, bad, np.float32), 0.5)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected 2 scores"):
        nms(np.ones((2, 4), np.float32), np.ones(3, np.float32), 0.5)
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        overlaps(np.ones(4, np.float32), np.ones((1, 4), np.float32))


def test_squares_keep_the_centre_and_the_longer_side():
    got = squares(np.array([[0, 10, 20, 50]], np.float32))
    assert got.tolist() == [[-10, 10, 30, 50]]
