"""Verification: from a protocol's pairs and the embeddings of its pictures to error rates with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from mien.errors import InputError
from mien.evaluate.all_pairs import verify_all_pairs
from mien.evaluate.experiment import FAILED_SCORE, FailurePolicy, shot
from mien.evaluate.metrics.bootstrap import listed_subject_pairs
from mien.evaluate.metrics.folds import Fold, FoldAccuracy, best_threshold, fold_accuracy
from mien.evaluate.metrics.intervals import wilson
from mien.evaluate.metrics.pairs import listed_pair_scores
from mien.evaluate.metrics.scores import split_scores
from mien.evaluate.metrics.thresholds import float32_at_least
from mien.evaluate.protocols.pooling import pool_templates
from mien.evaluate.protocols.sets import PairSet, SubjectSet, TemplateSet
from mien.evaluate.rates import FARS, Worst, summary
from mien.evaluate.results import Accuracy, PairOfShots
from mien.match import VERIFY_FMR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.evaluate.embeddings import Embedded
    from mien.evaluate.experiment import Setup
    from mien.evaluate.results import VerificationResult
    from mien.types import Floats

__all__ = ["ListedScores", "VerificationSet", "listed_scores", "verify_set"]

WORST: Final = 12
"""How many of the worst pairs of each kind a result shows."""

VerificationSet: TypeAlias = PairSet | TemplateSet | SubjectSet
"""What can be verified: listed pairs of pictures or of templates, or every picture with every other."""


@dataclass(frozen=True, slots=True, eq=False)
class ListedScores:
    """The scores of a list's P pairs.

    Attributes:
        scores: float32 (P,); -1 where a side has no embedding.
        both: bool (P,): whether both sides have one.
        same: bool (P,).
        folds: (P,).
        pictures: (P, 2) positions of the pictures that stand for the two sides.
        subjects: (P, 2) whose they are; None where the protocol does not tell.
    """

    scores: Floats
    both: NDArray[np.bool_]
    same: NDArray[np.bool_]
    folds: NDArray[np.intp]
    pictures: NDArray[np.intp]
    subjects: NDArray[np.intp] | None

    def counted(self, policy: FailurePolicy) -> ListedScores:
        """The pairs that count: all, or those with two embeddings."""
        if policy == "error":
            return self
        k = self.both
        whose = None if self.subjects is None else self.subjects[k]
        return ListedScores(self.scores[k], self.both[k], self.same[k], self.folds[k], self.pictures[k], whose)


def listed_scores(data: PairSet | TemplateSet, embedded: Embedded) -> ListedScores:
    """The score of every listed pair.

    Raises:
        InputError: no pair has two embeddings.
    """
    vectors, found = embedded.vectors, embedded.found
    if isinstance(data, TemplateSet):
        vectors, found = pool_templates(vectors, data.templates, found=found)
        owners = data.templates.subject[data.pairs]
        # A layout that does not tell people numbers every template for itself.
        subject = data.templates.subject if np.array_equal(owners[:, 0] == owners[:, 1], data.same) else None
        standing = data.templates.members[data.templates.offsets[:-1]]  # its first picture stands for a template
    else:
        subject, standing = data.subject, np.arange(len(vectors))
    both: NDArray[np.bool_] = found[data.pairs[:, 0]] & found[data.pairs[:, 1]]
    if not both.any():
        raise InputError(f"{data.name}: no pair can be measured, because no face was found in its pictures")
    scores = np.full(len(data.pairs), FAILED_SCORE, np.float32)
    row = np.cumsum(found) - 1  # rows without an embedding are no unit vectors
    scores[both] = listed_pair_scores(vectors[found], row[data.pairs[both]])
    whose = None if subject is None else subject[data.pairs]
    return ListedScores(scores, both, data.same, data.folds, standing[data.pairs], whose)


def verify_set(
    data: VerificationSet,
    embedded: Embedded,
    setup: Setup,
    *,
    fars: Sequence[float] = FARS,
    chosen_on: tuple[str, ListedScores] | None = None,
    alike_fmr: float = VERIFY_FMR,
) -> VerificationResult:
    """Measure a protocol.

    Args:
        data: the protocol's set.
        embedded: the embeddings of its pictures.
        setup: what is measured, and how.
        fars: false acceptance rates to report TAR at.
        chosen_on: name and scores of another list, on which the threshold for accuracy is chosen where `data` has one
            fold only.
        alike_fmr: as `verify_all_pairs`.

    Raises:
        InputError: no pair of one of the two kinds is left, or a rate is none.
    """
    if isinstance(data, SubjectSet):
        return verify_all_pairs(data, embedded, setup, fars=fars, top=WORST, alike_fmr=alike_fmr)
    pairs = listed_scores(data, embedded)
    kept = pairs.counted(setup.failures)
    scores = split_scores(kept.scores, kept.same)
    resampled = None
    if kept.subjects is not None:
        resampled = listed_subject_pairs(kept.scores, kept.subjects[:, 0], kept.subjects[:, 1])
    accuracy = _accuracy(kept, chosen_on, setup.failures)
    rule = setup.failure_rule(int((~pairs.both).sum()))
    experiment = setup.experiment(data, embedded, rule)
    return summary(experiment, scores, resampled, fars=fars, accuracy=accuracy, worst=_worst(data, embedded, pairs))


def _accuracy(pairs: ListedScores, chosen_on: tuple[str, ListedScores] | None, policy: FailurePolicy) -> Accuracy:
    folds = np.unique(pairs.folds)
    if len(folds) > 1:
        found = fold_accuracy(pairs.scores, pairs.same, pairs.folds)
        rule = f"each of {len(folds)} folds at the threshold that is most accurate on the others"
        return Accuracy(found, found.standard_error, rule)
    if chosen_on is not None:
        name, other = chosen_on
        other = other.counted(policy)
        threshold = best_threshold(other.scores, other.same)
        rule = f"one fold, at the threshold that is most accurate on {name} ({len(other.scores)} pairs)"
    else:
        threshold = best_threshold(pairs.scores, pairs.same)
        rule = "one fold, at the threshold that is most accurate on these very pairs: optimistic"
    right = int(np.count_nonzero((pairs.scores >= float32_at_least(threshold)) == pairs.same))
    share, n = right / len(pairs.scores), len(pairs.scores)
    low, high = wilson(right, n)
    one = FoldAccuracy(share, math.nan, (Fold(int(folds[0]), share, threshold, n),))
    return Accuracy(one, None, rule, low, high)


def _worst(data: PairSet | TemplateSet, embedded: Embedded, pairs: ListedScores) -> Worst:
    def pick(kind: NDArray[np.bool_], sign: int) -> tuple[PairOfShots, ...]:
        at = np.flatnonzero(kind & pairs.both)
        at = at[np.argsort(sign * pairs.scores[at], kind="stable")[:WORST]]
        shots = [[shot(data.pictures[i], embedded, i) for i in pairs.pictures[p].tolist()] for p in at]
        return tuple(PairOfShots(a, b, float(pairs.scores[p])) for (a, b), p in zip(shots, at, strict=True))

    return pick(~pairs.same, -1), pick(pairs.same, 1)
