"""Accuracy over folds, as LFW View 2 and the benchmarks after it report it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.scores import flat_float32, labels
from mien.evaluate.metrics.thresholds import just_above

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mien.types import Floats

__all__ = ["Fold", "FoldAccuracy", "best_threshold", "fold_accuracy"]


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold.

    Attributes:
        fold: its id, as given.
        accuracy: share of its pairs that are decided rightly.
        threshold: chosen on the other folds.
        pairs: how many pairs it has.
    """

    fold: int
    accuracy: float
    threshold: float
    pairs: int


@dataclass(frozen=True, slots=True)
class FoldAccuracy:
    """Accuracy over folds.

    Attributes:
        mean: mean of the folds' accuracies.
        standard_error: their standard deviation (n - 1) over the square root of their number.
        folds: one each, by rising id.
    """

    mean: float
    standard_error: float
    folds: tuple[Fold, ...]


def fold_accuracy(scores: ArrayLike, same: ArrayLike, folds: ArrayLike) -> FoldAccuracy:
    """Accuracy of each fold at the threshold that is best on the other folds.

    Args:
        scores: (N,) scores, higher is closer.
        same: (N,) whether each is of a genuine pair.
        folds: (N,) whole numbers: the fold each pair belongs to.

    Returns:
        Accuracies; the threshold of a fold follows the rule of `best_threshold`.

    Raises:
        InputError: shapes differ, fewer than two folds, a score that is not finite, or one-class data outside a fold.

    Source:
        G. B. Huang et al., "Labeled Faces in the Wild", 2007, View 2.
    """
    values, is_same, ids = _checked(scores, same, folds)
    order = np.argsort(values, kind="stable")
    values, is_same, ids = values[order], is_same[order], ids[order]
    found = []
    for fold in np.unique(ids).tolist():
        inside = ids == fold
        threshold = _best(values[~inside], is_same[~inside])
        right = int(np.count_nonzero((values[inside] >= np.float32(threshold)) == is_same[inside]))
        pairs = int(np.count_nonzero(inside))
        found.append(Fold(int(fold), right / pairs, threshold, pairs))
    accuracies = [fold.accuracy for fold in found]
    mean = math.fsum(accuracies) / len(found)
    variance = math.fsum((a - mean) ** 2 for a in accuracies) / (len(found) - 1)
    return FoldAccuracy(mean, math.sqrt(variance / len(found)), tuple(found))


def best_threshold(scores: ArrayLike, same: ArrayLike) -> float:
    """The threshold that decides the most pairs rightly.

    Only the scores themselves, and the next number above the highest, are candidates. Of several equally good ones it
    is the middle one (the lower of two middles): the edge of a plateau generalises worse. The choice depends on the
    order of the scores alone, not on their scale.

    Args:
        scores: (N,) scores.
        same: (N,) whether each is of a genuine pair.

    Raises:
        InputError: shapes differ, a score that is not finite, or one-class data.

    >>> round(best_threshold([0.1, 0.2, 0.7, 0.8, 0.9], [0, 0, 1, 1, 1]), 3)
    0.7
    """
    values, is_same, _ = _checked(scores, same, np.arange(np.size(scores)), folds_needed=0)
    order = np.argsort(values, kind="stable")
    return _best(values[order], is_same[order])


def _best(ascending: Floats, same: NDArray[np.bool_]) -> float:
    genuine = int(np.count_nonzero(same))
    if genuine in (0, len(same)):
        raise InputError(
            f"threshold: expected genuine and impostor pairs to choose it on, got {genuine} of {len(same)}"
        )
    # Right answers when the scores from i on are accepted: the genuine ones from i on, the impostors before i.
    below = np.concatenate([[0], np.cumsum(np.where(same, -1, 1))])
    starts = np.concatenate([[True], ascending[1:] != ascending[:-1], [True]])  # equal scores are decided alike
    candidates = np.flatnonzero(starts)
    gain = below[candidates]
    best = candidates[gain == gain.max()]
    at = int(best[(len(best) - 1) // 2])
    if at == len(ascending):
        return float(just_above(ascending[-1]))
    return float(ascending[at])


def _checked(
    scores: ArrayLike, same: ArrayLike, folds: ArrayLike, *, folds_needed: int = 2
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
    values = flat_float32("fold", scores)
    is_same = labels("same", same, values.shape)
    ids = np.asarray(folds)
    if ids.shape != values.shape or ids.dtype.kind not in "iu":
        raise InputError(f"folds: expected {len(values)} whole numbers, got {ids.dtype} {ids.shape}")
    if len(np.unique(ids)) < folds_needed:
        raise InputError(
            f"folds: expected at least {folds_needed}, because each is measured with the others' threshold"
        )
    if not np.isfinite(values).all():
        raise InputError("fold scores: expected finite numbers, got NaN or infinity")
    return values, is_same, ids.astype(np.int64)
