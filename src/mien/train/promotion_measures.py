"""Two models on the same pairs: what changed, with an interval that resamples people; and what a fine-tuning forgot.

A pair list is judged as LFW is: each pair at the threshold that is best on the other folds, or, in a list of one fold,
at the threshold that is best on it, which flatters both models alike. Differences are paired: a replicate draws the
same people for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.bootstrap import (
    Interval,
    bootstrap_tar_difference,
    drawn_counts,
    listed_subject_pairs,
)
from mien.evaluate.metrics.folds import best_threshold, fold_accuracy
from mien.evaluate.metrics.scores import split_scores
from mien.evaluate.metrics.thresholds import float32_at_least
from mien.evaluate.metrics.verification import tar_at_far

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.evaluate.protocols.sets import PairSet
    from mien.types import Floats

__all__ = [
    "Change",
    "ForgettingReport",
    "PairScores",
    "accuracy_of",
    "compare_pairs",
    "forgetting_report",
    "pair_scores",
]

FALSE_MATCHES: Final = 10
"""Pairs of strangers that a false accept rate needs to be told (see docs/calibration.md)."""

FARS: Final = (1e-4, 1e-3, 1e-2)


@dataclass(frozen=True, slots=True, eq=False)
class PairScores:
    """The scores of P pairs, and whose they are.

    Attributes:
        scores: float32 (P,).
        same: bool (P,).
        folds: (P,) fold of each pair.
        subjects: (P, 2) whose the two pictures are; where the list does not tell, every pair is of its own people.
    """

    scores: Floats
    same: NDArray[np.bool_]
    folds: NDArray[np.intp]
    subjects: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Change:
    """One rate of two models.

    Attributes:
        rate: "accuracy", or "TAR at FAR 0.001".
        before, after: the rate of either.
        low, high: 95 % interval of after - before.
    """

    rate: str
    before: float
    after: float
    low: float
    high: float

    def __str__(self) -> str:
        points = (100 * (self.after - self.before), 100 * self.low, 100 * self.high)
        told = "{:+.2f} points ({:+.2f} to {:+.2f})".format(*points)
        return f"{self.rate} {self.before:.4f} to {self.after:.4f}, {told}"


@dataclass(frozen=True, slots=True)
class ForgettingReport:
    """What a model lost, or won, on pairs that it was not trained on.

    Attributes:
        pairs: how many.
        changes: accuracy, and TAR at the rates that so many pairs support.
        allowed: the loss that counts as none.
        worse: the rates whose loss is beyond doubt: the whole interval lies below -`allowed`.
        doubtful: the rates whose measured loss is above `allowed`, but that may be chance.
    """

    pairs: int
    changes: tuple[Change, ...]
    allowed: float
    worse: tuple[str, ...]
    doubtful: tuple[str, ...]

    @property
    def forgot(self) -> bool:
        """Whether a loss is beyond doubt."""
        return bool(self.worse)

    @property
    def warning(self) -> str:
        """What to say to the user; empty where nothing was lost."""
        lost = [str(c) for c in self.changes if c.rate in self.worse or c.rate in self.doubtful]
        if not lost:
            return ""
        sure = "the model forgets" if self.worse else "the model may have forgotten (the interval holds no change, too)"
        return (
            f"{sure}: {'; '.join(lost)} on {self.pairs:,} pairs; lower the rate, freeze stages or distil the old model"
        )


def pair_scores(found: Floats, pairs: PairSet) -> PairScores:
    """Scores of a list's pairs.

    Args:
        found: float32 (N, D), unit rows in the order of the list's pictures; a row of zeros is a picture without a
            face: its pairs score -1. Or (P,): the scores themselves, in the order of the pairs.
        pairs: the list.

    Raises:
        InputError: shapes do not fit, or a number is not finite.
    """
    rows = np.asarray(found, np.float32)
    wanted = len(pairs.pairs) if rows.ndim == 1 else len(pairs.pictures)
    if rows.ndim not in (1, 2) or len(rows) != wanted or not np.isfinite(rows).all():
        raise InputError(
            f"{pairs.name}: expected finite embeddings of {len(pairs.pictures)} pictures, or scores of "
            f"{len(pairs.pairs)} pairs; got {rows.shape}"
        )
    scores: Floats = rows
    if rows.ndim == 2:
        a, b = rows[pairs.pairs[:, 0]], rows[pairs.pairs[:, 1]]
        scores = np.einsum("pd,pd->p", a, b).astype(np.float32)
        scores[~(a.any(axis=1) & b.any(axis=1))] = -1
    if pairs.subject is None:  # a genuine pair is of one unknown person, an impostor pair of two
        own = np.arange(len(scores), dtype=np.intp)
        subjects = np.stack([2 * own, 2 * own + ~pairs.same], axis=1)
    else:
        subjects = pairs.subject[pairs.pairs]
    return PairScores(scores, pairs.same, pairs.folds, subjects)


def accuracy_of(found: PairScores) -> tuple[float, NDArray[np.bool_]]:
    """Accuracy, and bool (P,): which pairs are decided rightly."""
    thresholds = np.empty(len(found.scores), np.float32)
    if len(np.unique(found.folds)) > 1:
        result = fold_accuracy(found.scores, found.same, found.folds)
        for fold in result.folds:
            thresholds[found.folds == fold.fold] = np.float32(fold.threshold)
        return result.mean, (found.scores >= thresholds) == found.same
    threshold = float32_at_least(best_threshold(found.scores, found.same))
    right = (found.scores >= threshold) == found.same
    return float(right.mean()), right


def compare_pairs(
    before: PairScores,
    after: PairScores,
    *,
    fars: Sequence[float] = FARS,
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[Change, ...]:
    """Accuracy and TAR of two models on the same pairs.

    Args:
        before: scores of the one model.
        after: scores of the other one, on the same list.
        fars: false accept rates; those are told that the list supports with ten false matches.
        replicates: of the bootstrap.
        seed: of its draws.

    Raises:
        InputError: they are not of the same list, or hold pairs of one kind only.
    """
    if not (np.array_equal(before.same, after.same) and np.array_equal(before.subjects, after.subjects)):
        raise InputError("comparing models: expected the scores of the same pairs")
    (first, right), (second, now_right) = accuracy_of(before), accuracy_of(after)
    gain = _weighted_mean(now_right.astype(np.float64) - right, before, replicates, seed)
    changes = [Change("accuracy", first, second, gain.low, gain.high)]
    impostors = int((~before.same).sum())
    for far in fars:
        if impostors * far < FALSE_MATCHES:
            continue
        old, new = (listed_subject_pairs(one.scores, *one.subjects.T) for one in (before, after))
        tar = bootstrap_tar_difference(old, new, far, replicates=replicates, seed=seed)
        base, other = (tar_at_far(split_scores(one.scores, one.same), far).tar for one in (before, after))
        changes.append(Change(f"TAR at FAR {far:g}", base, other, tar.low, tar.high))
    return tuple(changes)


def forgetting_report(
    before: Floats,
    after: Floats,
    pairs: PairSet,
    *,
    allowed: float = 0.002,
    replicates: int = 1000,
    seed: int = 0,
) -> ForgettingReport:
    """Compare a model before and after fine-tuning, on pairs it was not trained on (such as LFW View 1).

    Args:
        before: of the old model: float32 (N, D) unit embeddings of the list's N pictures (zeros without a face), or
            (P,) scores of its pairs.
        after: of the new model; the number of columns may differ.
        pairs: the list.
        allowed: a loss of so much is taken for none (0.002 is 0.2 points).
        replicates: of the bootstrap over people.
        seed: of its draws.

    Raises:
        InputError: they are not of the list's pictures or pairs.
    """
    if not 0 <= allowed < 1:
        raise InputError(f"allowed: expected a share from 0 to 1, got {allowed}")
    changes = compare_pairs(pair_scores(before, pairs), pair_scores(after, pairs), replicates=replicates, seed=seed)
    worse = tuple(c.rate for c in changes if c.high < -allowed)
    doubtful = tuple(c.rate for c in changes if c.rate not in worse and c.after - c.before < -allowed)
    return ForgettingReport(len(pairs.pairs), changes, allowed, worse, doubtful)


def _weighted_mean(values: NDArray[np.float64], pairs: PairScores, replicates: int, seed: int) -> Interval:
    """The mean over pairs, resampling people: a pair of one person weighs its count, one of two the product."""
    _, who = np.unique(pairs.subjects, return_inverse=True)
    a, b = who.reshape(-1, 2).T
    means = []
    for counts in drawn_counts(int(who.max()) + 1, replicates, seed):
        weight = np.where(a == b, counts[a], counts[a] * counts[b])
        if total := weight.sum():
            means.append(float((values * weight).sum() / total))
    low, high = np.quantile(means[1:], [0.025, 0.975]) if len(means) > 1 else (means[0], means[0])
    return Interval(means[0], float(low), float(high), len(means) - 1)
