"""How far classes spread and how far they lie apart, in angles: the numbers under the figures of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Rows = NDArray[np.float64]

__all__ = ["Spread", "angles_between", "class_directions", "spread_of", "unit_directions"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Angles in degrees. Immutable.

    Attributes:
        mean_intra: mean angle between a sample and its class's direction.
        smallest_inter: smallest angle between two classes' directions.
        ratio: `mean_intra` over `smallest_inter`; smaller is better. None where two classes share a direction.
    """

    mean_intra: float
    smallest_inter: float
    ratio: float | None


def unit_directions(features: ArrayLike) -> Rows:
    """Rows (N, D) at unit length, in float64.

    Raises:
        InputError: no rows, numbers that are not finite, or a row of length 0, which has no direction.
    """
    rows = np.asarray(features, np.float64)
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        raise InputError(f"features: expected finite numbers (N, D), got shape {rows.shape}")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise InputError(f"features: row {int(np.flatnonzero(lengths == 0)[0])} has length 0, which has no direction")
    return np.asarray(rows / lengths)


def class_directions(features: ArrayLike, labels: ArrayLike) -> Rows:
    """The direction (C, D) of each class: the mean of its unit rows, at unit length.

    Raises:
        InputError: labels are not 0 to C - 1 with every class there, or a class's rows cancel out.
    """
    rows, who = unit_directions(features), np.asarray(labels)
    if who.shape != (len(rows),) or not np.issubdtype(who.dtype, np.integer) or who.min() < 0:
        raise InputError(f"labels: expected one number from 0 for each of {len(rows)} rows, got {who.dtype}")
    counts = np.bincount(who)
    if not counts.all():
        raise InputError(f"labels: class {int(np.flatnonzero(counts == 0)[0])} has no row")
    sums = np.zeros((len(counts), rows.shape[1]))
    np.add.at(sums, who, rows)
    return unit_directions(sums)


def angles_between(a: Rows, b: Rows) -> NDArray[np.float64]:
    """Degrees (N,) between unit rows (N, D), exact also where they are nearly equal or opposite."""
    # acos loses half the digits near 0: two arctangents of half the angle do not.
    halves = np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))
    return np.asarray(np.degrees(2.0 * halves))


def spread_of(features: ArrayLike, labels: ArrayLike) -> Spread:
    """Intra-class and inter-class angles of features (N, D) with labels 0 to C - 1.

    Raises:
        InputError: see [class_directions][]; or there is one class only.
    """
    rows, who = unit_directions(features), np.asarray(labels)
    centres = class_directions(features, labels)
    if len(centres) < 2:
        raise InputError("labels: expected at least two classes")
    intra = float(angles_between(rows, centres[who]).mean())
    first, second = np.triu_indices(len(centres), 1)
    inter = float(angles_between(centres[first], centres[second]).min())
    return Spread(intra, inter, intra / inter if inter > 0 else None)
