"""How far an average precision may be off: pictures are resampled, for the faces of one do not vary alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.bootstrap import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["bootstrap_average_precision"]

_CELLS = 1 << 21  # weights at a time


def bootstrap_average_precision(
    scores: NDArray[np.float64],
    outcomes: NDArray[np.int8],
    owners: NDArray[np.intp],
    faces: NDArray[np.int64],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentiles of AP over replicates that draw as many pictures as there are, with replacement.

    Args:
        scores: (M,) confidences of all detections.
        outcomes: (M,) 1 right, 0 counts for nothing, -1 wrong.
        owners: (M,) the picture of each detection.
        faces: (P,) faces that count in each picture.
        replicates: how many; those that draw no face do not count.
        seed: of the draws.

    Returns:
        The interval; its value is the AP of the pictures as they are.

    Raises:
        InputError: there is no face that counts.
    """
    if not faces.sum():
        raise InputError("detection: no annotated face counts, so there is no recall")
    order = np.argsort(-scores, kind="stable")
    order = order[outcomes[order] != 0]
    at, right = owners[order], outcomes[order] == 1
    ranked = scores[order]
    last = np.concatenate([ranked[1:] != ranked[:-1], [True]]) if len(ranked) else np.zeros(0, np.bool_)
    pictures, random = len(faces), np.random.default_rng(seed)
    even = np.full(pictures, 1 / pictures)
    step = max(1, _CELLS // max(len(order), pictures))
    value = float(_areas(np.ones((1, pictures), np.int64), at, right, last, faces)[0])
    found = [
        _areas(random.multinomial(pictures, even, min(step, replicates - start)), at, right, last, faces)
        for start in range(0, replicates, step)
    ]
    areas = np.concatenate(found)
    areas = areas[~np.isnan(areas)]
    low, high = np.percentile(areas, [2.5, 97.5]).tolist() if len(areas) else (value, value)
    return Interval(value, low, high, len(areas))


def _areas(
    weights: NDArray[np.int64],
    at: NDArray[np.intp],
    right: NDArray[np.bool_],
    last: NDArray[np.bool_],
    faces: NDArray[np.int64],
) -> NDArray[np.float64]:
    """AP of each row of picture weights (R, P); NaN where no face was drawn."""
    drawn = weights[:, at]
    true, all_ = np.cumsum(drawn * right, axis=1)[:, last], np.cumsum(drawn, axis=1)[:, last]
    total = (weights @ faces).astype(np.float64)
    total[total == 0] = np.nan
    precision = np.divide(true, all_, out=np.ones(true.shape), where=all_ > 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = np.concatenate([np.zeros((len(true), 1)), true / total[:, None]], axis=1)
    areas = (np.diff(recall, axis=1) * envelope).sum(axis=1) + 0 * total
    return np.asarray(np.round(areas, 12))  # sums of many steps end a hair beside 1
