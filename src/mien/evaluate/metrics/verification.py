"""Verification: are these two pictures of one person? Error rates at a threshold, and thresholds at an error rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.intervals import Rate, wilson
from mien.evaluate.metrics.scores import chunks, score_set
from mien.evaluate.metrics.thresholds import crossing, float32_at_least, smallest_threshold
from mien.match.calibration import check_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from mien.evaluate.metrics.scores import ScoreSet
    from mien.evaluate.metrics.tail import ScoreTail
    from mien.types import Floats

__all__ = ["Eer", "TarAtFar", "auc", "d_prime", "eer", "fmr_at", "fnmr_at", "tar_at_far", "tar_at_far_of_tail"]


@dataclass(frozen=True, slots=True)
class TarAtFar:
    """The true acceptance rate (1 - FNMR) at a stated false acceptance rate (FMR).

    Attributes:
        target: the stated rate.
        tar: share of genuine pairs at or above `threshold`; `low` and `high` are its 95 % Wilson interval.
        low, high: see `tar`.
        threshold: the smallest one whose measured FAR does not exceed `target`.
        far: the measured FAR there, at most `target`.
        genuine, impostors: how many pairs of each kind were measured.
        sufficient: False where there are fewer than 1 / `target` impostor pairs: then not even one of them may pass,
            and the threshold says where these impostors end, not where the stated rate lies.
    """

    target: float
    tar: float
    low: float
    high: float
    threshold: float
    far: float
    genuine: int
    impostors: int
    sufficient: bool


@dataclass(frozen=True, slots=True)
class Eer:
    """The equal error rate.

    Attributes:
        rate: where FMR = FNMR on the line through the two neighbouring vertices of the ROC between which they cross.
        threshold: of those two vertices the lower one's, a measured score: the last at which FMR >= FNMR.
        fmr, fnmr: the rates measured at `threshold`; equal to `rate` only where a vertex lies on the diagonal.
    """

    rate: float
    threshold: float
    fmr: float
    fnmr: float


def fmr_at(scores: ScoreSet, threshold: float) -> Rate:
    """False match rate: impostor pairs at or above `threshold`.

    Raises:
        InputError: `threshold` is NaN.
    """
    return Rate(_at_or_above(scores.impostor, float32_at_least(threshold)), len(scores.impostor))


def fnmr_at(scores: ScoreSet, threshold: float) -> Rate:
    """False non-match rate: genuine pairs below `threshold`.

    Raises:
        InputError: `threshold` is NaN.
    """
    n = len(scores.genuine)
    return Rate(n - _at_or_above(scores.genuine, float32_at_least(threshold)), n)


def tar_at_far(scores: ScoreSet, far: float) -> TarAtFar:
    """TAR at the smallest threshold whose FAR does not exceed `far`.

    The common pick of the ROC point nearest to `far` may exceed it; this one never does.

    Raises:
        InputError: `far` does not lie between 0 and 1.
    """
    return _tar_at_far(scores.genuine, scores.impostor, len(scores.impostor), far)


def tar_at_far_of_tail(genuine: ArrayLike, tail: ScoreTail, far: float) -> TarAtFar:
    """`tar_at_far` where only the highest impostor scores were kept, as among a million distractors.

    Args:
        genuine: scores of genuine pairs.
        tail: the highest impostor scores, and how many there were in all.
        far: between 0 and 1.

    Raises:
        InputError: `far` is no rate, no scores, a score that is not finite, or a tail too short for `far`.
    """
    pairs = score_set(genuine, tail.scores)
    return _tar_at_far(pairs.genuine, pairs.impostor, tail.total, far)


def _tar_at_far(genuine: Floats, impostor: Floats, total: int, far: float) -> TarAtFar:
    far = check_rate("far", far)
    threshold = smallest_threshold(impostor, far, total=total)
    accepted = _at_or_above(genuine, np.float32(threshold))
    low, high = wilson(accepted, len(genuine))
    return TarAtFar(
        target=far,
        tar=accepted / len(genuine),
        low=low,
        high=high,
        threshold=threshold,
        far=_at_or_above(impostor, np.float32(threshold)) / total,
        genuine=len(genuine),
        impostors=total,
        sufficient=far * total * (1 + 1e-12) >= 1,
    )


def eer(scores: ScoreSet) -> Eer:
    """Equal error rate, interpolated between the two neighbouring vertices of the ROC where FMR and FNMR cross."""
    genuine, impostor = scores.genuine, scores.impostor
    return crossing_rate(
        lambda t: _at_or_above(impostor, t),
        lambda t: len(genuine) - _at_or_above(genuine, t),
        impostors=len(impostor),
        genuine=len(genuine),
    )


def crossing_rate(
    false_accepts: Callable[[np.float32], int],
    false_rejects: Callable[[np.float32], int],
    *,
    impostors: int,
    genuine: int,
) -> Eer:
    """`eer` from the (weighted) error counts at a threshold and the totals, which are not 0."""
    low, high = crossing(lambda t: false_accepts(t) * genuine >= false_rejects(t) * impostors)
    fmr, fnmr = false_accepts(low) / impostors, false_rejects(low) / genuine
    before, after = fmr - fnmr, false_accepts(high) / impostors - false_rejects(high) / genuine
    share = before / (before - after)
    return Eer(fmr + share * (false_accepts(high) / impostors - fmr), float(low), fmr, fnmr)


def auc(scores: ScoreSet) -> float:
    """Area under the ROC: the share of (genuine, impostor) couples in the right order, ties counted half.

    Exact: an integer count (Mann and Whitney's U), divided once.

    Source:
        H. B. Mann and D. R. Whitney, 1947; J. A. Hanley and B. J. McNeil, 1982.
    """
    few, many = sorted((scores.genuine, scores.impostor), key=len)
    twice_below = sum(
        int(np.searchsorted(many, part, side="left").sum(dtype=np.int64))
        + int(np.searchsorted(many, part, side="right").sum(dtype=np.int64))
        for part in chunks(few)
    )
    area = twice_below / (2 * len(few) * len(many))
    return area if few is scores.genuine else (2 * len(few) * len(many) - twice_below) / (2 * len(few) * len(many))


def d_prime(scores: ScoreSet) -> float:
    """Distance of the two means in units of the pooled standard deviation: |m1 - m2| / sqrt((s1^2 + s2^2) / 2).

    Returns:
        d'; variances use n - 1. Infinite where neither class spreads but the means differ.

    Raises:
        InputError: fewer than two scores in a class, or all scores are equal.

    Source:
        J. Daugman, "Biometric decision landscapes", 2000.
    """
    if min(len(scores.genuine), len(scores.impostor)) < 2:
        raise InputError("d_prime: expected at least two scores of each kind")
    (mean_g, var_g), (mean_i, var_i) = _moments(scores.genuine), _moments(scores.impostor)
    spread, gap = math.sqrt((var_g + var_i) / 2), abs(mean_g - mean_i)
    if not spread:
        if not gap:
            raise InputError("d_prime: all scores are equal")
        return math.inf
    return gap / spread


def _at_or_above(ascending: Floats, threshold: np.float32) -> int:
    return len(ascending) - int(np.searchsorted(ascending, threshold, side="left"))


def _moments(values: Floats) -> tuple[float, float]:
    """Mean and variance in float64, a chunk at a time."""
    if values[0] == values[-1]:  # sorted: no rounding error may look like a spread
        return float(values[0]), 0.0
    mean = math.fsum(float(part.sum(dtype=np.float64)) for part in chunks(values)) / len(values)
    squares = math.fsum(float(np.square(part.astype(np.float64) - mean).sum()) for part in chunks(values))
    return mean, squares / (len(values) - 1)
