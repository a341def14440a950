"""ROC and DET curves: exact at any number of scores, and thinned for plotting within a stated distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.evaluate.metrics.scores import ScoreSet
    from mien.types import Floats

__all__ = ["Curve", "curve_points", "roc_points", "thinned"]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Counts at falling thresholds: from nothing accepted to everything. ROC and DET read the same points.

    Attributes:
        thresholds: (K,) float32, falling; the first is +inf, the others are measured scores.
        false_accepts: (K,) int64 impostors at or above the threshold.
        true_accepts: (K,) int64 genuine ones at or above it.
        impostors, genuine: how many there are of each.
    """

    thresholds: Floats
    false_accepts: NDArray[np.int64]
    true_accepts: NDArray[np.int64]
    impostors: int
    genuine: int

    @property
    def fmr(self) -> NDArray[np.float64]:
        """(K,) false match rate (FAR): x of the ROC and of the DET curve."""
        return self.false_accepts / self.impostors

    @property
    def tar(self) -> NDArray[np.float64]:
        """(K,) true acceptance rate: y of the ROC."""
        return self.true_accepts / self.genuine

    @property
    def fnmr(self) -> NDArray[np.float64]:
        """(K,) false non-match rate: y of the DET curve."""
        return (self.genuine - self.true_accepts) / self.genuine


def roc_points(scores: ScoreSet, *, every: bool = False) -> Curve:
    """The exact ROC (and DET) over all distinct scores.

    Args:
        scores: the scores.
        every: False for the vertices only: points on a straight line between two others are left out, which loses
            nothing and leaves at most about twice as many points as the smaller class has scores. True for one point
            at every distinct score.
    """
    return curve_points(scores.genuine, scores.impostor, every=every)


def curve_points(
    genuine: Floats, impostor: Floats, *, unmatched: int = 0, passed: int = 0, every: bool = False
) -> Curve:
    """`roc_points` of ascending scores, where some of each class have no score because no threshold accepts them.

    Args:
        genuine: (G,) float32, ascending.
        impostor: (I,) float32, ascending.
        unmatched: further genuine ones that are never accepted.
        passed: further impostors that are never accepted.
        every: see `roc_points`.
    """
    few, many = sorted((genuine, impostor), key=len)
    if every:
        falling = np.unique(np.concatenate([_distinct(few), _distinct(many)]))[::-1]
    else:
        values = _distinct(few)
        after = np.searchsorted(many, values, side="right")
        ends = [many[after[after < len(many)]], many[:1], many[-1:]]  # where a straight run between two of `few` ends
        falling = np.unique(np.concatenate([values, *ends]))[::-1]
    rejected = [np.searchsorted(side, falling, side="left") for side in (genuine, impostor)]
    true = np.concatenate([[0], len(genuine) - rejected[0]]).astype(np.int64)
    false = np.concatenate([[0], len(impostor) - rejected[1]]).astype(np.int64)
    thresholds = np.concatenate([np.full(1, np.inf, np.float32), falling])
    keep = slice(None) if every else _corners(false, true)
    return Curve(thresholds[keep], false[keep], true[keep], len(impostor) + passed, len(genuine) + unmatched)


def thinned(curve: Curve, points: int = 2000) -> Curve:
    """A curve of at most `points` points for plotting; all are points of the exact curve, its ends included.

    Nowhere does it leave the exact curve by more than a step, and both ends of every jump larger than that are kept.
    A step is measured along the curve on the linear axes and, at an eighth, in decades of FMR and FNMR, so that ROC
    and DET look the same with linear and with logarithmic axes.

    Raises:
        InputError: fewer than 4 points.
    """
    if points < 4:
        raise InputError(f"thinned: expected at least 4 points, got {points}")
    n = len(curve.thresholds)
    if n <= points:
        return curve
    wrong = curve.genuine - curve.true_accepts
    log_fmr = np.log10(np.maximum(curve.false_accepts, 0.5))
    log_fnmr = np.log10(np.maximum(wrong, 0.5))
    steps = sum(np.abs(np.diff(axis)) * weight for axis, weight in _axes(curve, log_fmr, log_fnmr))
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    cells = points // 2
    cell = np.minimum((travelled * (cells / travelled[-1])).astype(np.int64), cells - 1)
    first = np.concatenate([[True], cell[1:] != cell[:-1]])
    last = np.concatenate([first[1:], [True]])
    keep = first | last
    return Curve(
        curve.thresholds[keep], curve.false_accepts[keep], curve.true_accepts[keep], curve.impostors, curve.genuine
    )


def _axes(
    curve: Curve, log_fmr: NDArray[np.float64], log_fnmr: NDArray[np.float64]
) -> list[tuple[NDArray[np.float64], float]]:
    return [(curve.fmr, 1.0), (curve.tar, 1.0), (log_fmr, 0.125), (log_fnmr, 0.125)]


def _distinct(ascending: Floats) -> Floats:
    keep = np.ones(len(ascending), np.bool_)
    np.not_equal(ascending[1:], ascending[:-1], out=keep[1:])
    return ascending[keep]


def _corners(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which points do not lie on the straight line between their neighbours; both ends stay."""
    dx, dy = np.diff(x), np.diff(y)
    keep = np.ones(len(x), np.bool_)
    keep[1:-1] = dx[:-1] * dy[1:] != dx[1:] * dy[:-1]
    return keep
