"""Verification of every picture against every other, in bounded memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.experiment import FAILED_SCORE, shot
from mien.evaluate.metrics.bootstrap import SubjectPairs, all_subject_pairs
from mien.evaluate.metrics.pairs import all_pair_scores
from mien.evaluate.metrics.scores import ScoreSet, score_set
from mien.evaluate.people_table import people_table
from mien.evaluate.rates import FARS, summary
from mien.evaluate.results import Accuracy, PairOfShots
from mien.evaluate.twins import TooAlike, point_for, too_alike
from mien.match import VERIFY_FMR
from mien.match.rates import check_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.evaluate.embeddings import Embedded
    from mien.evaluate.experiment import Setup
    from mien.evaluate.people_table import Pair
    from mien.evaluate.protocols.sets import SubjectSet
    from mien.evaluate.results import VerificationResult

__all__ = ["verify_all_pairs"]

TAIL: Final = 500_000  # of the highest impostor scores, kept with their people
_RULE: Final = "none: with every picture against every other the two kinds are too unequal for accuracy to mean much"


def verify_all_pairs(
    data: SubjectSet,
    embedded: Embedded,
    setup: Setup,
    *,
    fars: Sequence[float] = FARS,
    top: int = 12,
    alike_fmr: float = VERIFY_FMR,
) -> VerificationResult:
    """Measure every pair of pictures of a set.

    Args:
        data: pictures and whose they are.
        embedded: their embeddings.
        setup: what is measured, and how.
        fars: false acceptance rates to report TAR at.
        top: how many of the worst pairs of each kind to show.
        alike_fmr: two people with a pair above the threshold of this false match rate are listed as too alike, or of
            the nearest stricter one of `fars`.

    Raises:
        InputError: there is no genuine or no impostor pair with two embeddings.
    """
    check_rate("alike_fmr", alike_fmr)
    found, subject = embedded.found, data.subject
    people, rows = np.unique(subject[found]), embedded.vectors[found]
    if not len(rows):
        raise InputError(f"{data.name}: no face was found in any of {len(found)} pictures")
    scores = all_pair_scores(rows, subject[found])
    pairs = all_subject_pairs(rows, subject[found], tail=TAIL)
    total = len(found) * (len(found) - 1) // 2
    lost = total - len(scores.genuine) - len(scores.impostor)
    if lost and setup.failures == "error":
        scores = _with_failed(scores, data.genuine, data.impostor)
        pairs = _with_failed_people(pairs, people, subject, found)
    experiment = setup.experiment(data, embedded, setup.failure_rule(lost))
    result = summary(experiment, scores, pairs, fars=fars, accuracy=Accuracy(None, None, _RULE), worst=((), ()))
    numbered = np.searchsorted(people, subject[found])
    point = point_for(result.tar_at_far, alike_fmr)
    threshold = result.eer.threshold if point is None or point.threshold is None else point.threshold
    table = people_table(rows, numbered, threshold=threshold, top=top)
    at = np.flatnonzero(found)

    def shown(a: int, b: int, score: float) -> PairOfShots:
        one, other = (shot(data.pictures[int(at[row])], embedded, int(at[row])) for row in (a, b))
        return PairOfShots(one, other, score)

    def listed(pairs: Sequence[Pair]) -> tuple[PairOfShots, ...]:
        return tuple(shown(pair.a, pair.b, pair.score) for pair in pairs)

    if point is None:
        alike = TooAlike(alike_fmr, None, len(people), 0, (), "insufficient data: no false acceptance rate can be told")
    else:
        pictures = np.array([row.pictures for row in table.people], np.int64)
        alike = too_alike(table.alike, pictures, point, name=lambda i: data.people[int(people[i])], shown=shown)
    return replace(
        result,
        false_matches=listed(table.most_alike),
        false_non_matches=listed(table.least_alike),
        too_alike=alike,
    )


def _with_failed(scores: ScoreSet, genuine: int, impostor: int) -> ScoreSet:
    """The scores of all pairs, those of failed pictures included."""
    return score_set(
        np.concatenate([np.full(genuine - len(scores.genuine), FAILED_SCORE), scores.genuine]),
        np.concatenate([np.full(impostor - len(scores.impostor), FAILED_SCORE), scores.impostor]),
        in_place=True,
    )


def _with_failed_people(
    pairs: SubjectPairs, people: NDArray[np.intp], subject: NDArray[np.intp], found: NDArray[np.bool_]
) -> SubjectPairs:
    """The pairs of all pictures: genuine ones of a failed picture score -1, and all pictures count as impostors."""
    everyone = np.concatenate([people, np.setdiff1d(subject, people)])  # the numbers given already stay
    all_pictures = np.bincount(subject, minlength=int(subject.max()) + 1)[everyone]
    good = np.bincount(subject[found], minlength=int(subject.max()) + 1)[everyone]
    failed = (all_pictures * (all_pictures - 1) - good * (good - 1)) // 2
    owners = np.repeat(np.arange(len(everyone), dtype=np.int32), failed)
    return SubjectPairs(
        np.concatenate([np.full(len(owners), FAILED_SCORE), pairs.genuine]),
        np.concatenate([owners, pairs.genuine_subject]),
        pairs.impostor,
        pairs.impostor_first,
        pairs.impostor_second,
        len(everyone),
        all_pictures.astype(np.int64),
    )
