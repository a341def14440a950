"""Axis-aligned boxes: overlap, non-maximum suppression, squares. Pure numpy, vectorised over boxes and pictures.

Boxes are xyxy; widths and heights are plain differences (no "+ 1"). A box without area overlaps nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mien.types import Floats

__all__ = ["Overlap", "areas", "nms", "overlaps", "squares"]

Overlap: TypeAlias = Literal["union", "min"]
"""What the intersection is divided by: the area of the union (IoU), or the smaller of the two areas."""

_SMALL_GROUP = 192  # groups up to this size are compared all at once, each with a full matrix
_MATRIX = 1 << 19  # pairs held in memory at a time
_BLOCK = 512  # boxes of a large group that are decided at a time


def areas(boxes: Floats) -> Floats:
    """Areas of boxes; 0 where a side is negative.

    Args:
        boxes: (..., 4) xyxy.

    Returns:
        (...) areas.
    """
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def _parts(a: Floats, b: Floats, mode: Overlap) -> tuple[Floats, Floats]:
    """Intersections and what they are to be divided by, for a (..., N, 4) against b (..., M, 4)."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    w = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    h = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    shared = np.maximum(w, 0) * np.maximum(h, 0)
    area_a, area_b = areas(a), areas(b)
    whole = np.minimum(area_a, area_b) if mode == "min" else area_a + area_b - shared
    return shared, whole


def overlaps(a: Floats, b: Floats, mode: Overlap = "union") -> Floats:
    """Overlap of every box of `a` with every box of `b`.

    Args:
        a: (N, 4) xyxy.
        b: (M, 4) xyxy.
        mode: "union" for intersection over union, "min" for intersection over the smaller area.

    Returns:
        (N, M) numbers from 0 to 1; 0 where either box has no area.
    """
    shared, whole = _parts(_checked(a), _checked(b), mode)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0)


def squares(boxes: Floats) -> Floats:
    """The squares around the same centres whose side is the longer side of each box.

    Args:
        boxes: (N, 4) xyxy.

    Returns:
        (N, 4) xyxy.
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def nms(
    boxes: Floats,
    scores: Floats,
    threshold: float,
    *,
    groups: NDArray[np.intp] | None = None,
    mode: Overlap = "union",
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression, within each group separately.

    The best box of a group is kept and drops every box that overlaps it by more than `threshold`; then the best of
    those that remain, and so on. Equal scores are taken in the order given.

    Args:
        boxes: (N, 4) xyxy, finite.
        scores: (N,), finite.
        threshold: the largest overlap that two kept boxes may have.
        groups: (N,) integers; boxes of different groups (pictures) never meet. None: all in one group.
        mode: see `overlaps`.

    Returns:
        Indices of the kept boxes, ordered by group, then by falling score.

    Raises:
        ValueError: shapes do not fit, or a number is NaN or infinite.
    """
    boxes, scores = _checked(boxes), np.asarray(scores)
    n = len(boxes)
    groups = np.zeros(n, np.intp) if groups is None else np.asarray(groups)
    if scores.shape != (n,) or groups.shape != (n,):
        raise ValueError(f"nms: expected {n} scores and groups, got {scores.shape} and {groups.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("nms: expected finite scores, got NaN or infinity")
    if n == 0:
        return np.zeros(0, np.intp)
    order = np.lexsort((-scores, groups))
    ranked = boxes[order]
    _, starts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    small = counts <= _SMALL_GROUP
    keep = _decide_small(ranked, np.stack([starts, counts], axis=1)[small], threshold, mode)
    for start, count in zip(starts[~small].tolist(), counts[~small].tolist(), strict=True):
        keep[start : start + count] = _decide_large(ranked[start : start + count], threshold, mode)
    return order[keep]


def _decide_small(ranked: Floats, groups: NDArray[np.intp], threshold: float, mode: Overlap) -> NDArray[np.bool_]:
    """Decide small groups (start, count) together, each padded with empty boxes to the size of the largest."""
    keep = np.zeros(len(ranked), np.bool_)
    size = int(groups[:, 1].max(initial=1))
    column = np.arange(size)
    at_once = max(1, _MATRIX // (size * size))
    for first in range(0, len(groups), at_once):
        start, count = np.split(groups[first : first + at_once], 2, axis=1)
        real = column < count
        rows = np.minimum(start + column, len(ranked) - 1)
        padded = np.where(real[..., None], ranked[rows], 0)
        keep[rows[real]] = _survivors(padded, threshold, mode)[real]
    return keep


def _decide_large(ranked: Floats, threshold: float, mode: Overlap) -> NDArray[np.bool_]:
    """Decide one group of any size block by block, so that memory grows with N, not with its square."""
    keep = np.zeros(len(ranked), np.bool_)
    kept = np.empty_like(ranked)
    total = 0
    for start in range(0, len(ranked), _BLOCK):
        block = ranked[start : start + _BLOCK]
        alive = np.ones(len(block), np.bool_)
        for first in range(0, total, _BLOCK * 2):
            shared, whole = _parts(kept[first : min(total, first + _BLOCK * 2)], block[alive], mode)
            alive[alive] = ~(shared > threshold * whole).any(axis=0)
        index = np.flatnonzero(alive)
        index = index[_survivors(block[index], threshold, mode)]
        keep[start + index] = True
        kept[total : total + len(index)] = block[index]
        total += len(index)
    return keep


def _survivors(ranked: Floats, threshold: float, mode: Overlap) -> NDArray[np.bool_]:
    """Greedy suppression of (..., N, 4) boxes, best first, by iteration to its fixed point.

    A box stays when no box that stays and ranks above it overlaps it. After round k every box whose fate hangs on a
    chain of k others is settled; real chains are short, and the loop ends as soon as a round changes nothing.
    """
    shared, whole = _parts(ranked, ranked, mode)
    n = ranked.shape[-2]
    drops = (shared > threshold * whole) & np.tri(n, k=-1, dtype=np.bool_).T
    keep = np.ones(ranked.shape[:-1], np.bool_)
    while True:
        settled = np.asarray(~(drops & keep[..., :, None]).any(axis=-2))
        if np.array_equal(settled, keep):
            return keep
        keep = settled


def _checked(boxes: Floats) -> Floats:
    boxes = np.asarray(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes: expected shape (N, 4), got {boxes.shape}")
    if not np.isfinite(boxes).all():
        raise ValueError("boxes: expected finite numbers, got NaN or infinity")
    return boxes
