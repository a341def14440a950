"""Open-set identification: from a protocol's gallery and probes to DIR at FPIR, and ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.experiment import FAILED_SCORE, shot
from mien.evaluate.metrics.bootstrap import bootstrap_dir
from mien.evaluate.metrics.curves import thinned
from mien.evaluate.metrics.fixed_threshold import MIN_PEOPLE
from mien.evaluate.metrics.identification import Search, cmc, dir_at_fpir, open_set_curve, search_gallery
from mien.evaluate.metrics.scores import histogram, score_set
from mien.evaluate.people_table import people_table
from mien.evaluate.protocols.pooling import pool_templates
from mien.evaluate.rates import WILSON, insufficient
from mien.evaluate.results import IdentificationResult, PairOfShots, RateAt
from mien.evaluate.twins import TooAlike, point_for, too_alike

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.evaluate.embeddings import Embedded
    from mien.evaluate.experiment import Setup
    from mien.evaluate.metrics.scores import ScoreHistogram
    from mien.evaluate.protocols.pictures import Picture
    from mien.evaluate.protocols.sets import IdentificationSet
    from mien.evaluate.results import Shot
    from mien.types import Floats

__all__ = ["FPIRS", "all_pictures", "identify_set"]

FPIRS: Final = (1e-1, 1e-2, 1e-3)
"""False-positive identification rates that are reported."""

ALIKE_FPIR: Final = 0.01
"""Enrolled people are too alike when a pair of theirs reaches the threshold of this rate."""

WORST: Final = 12
MAX_RANK: Final = 20
REPLICATES: Final = 1000

_RULES: Final = {
    "error": "A probe in which no face is found, or that cannot be read, is never found: a miss where its person is "
    "enrolled. A person of the gallery without a single face cannot be enrolled, and their probes are misses.",
    "exclude": "Probes in which no face is found, or that cannot be read, and probes whose person could not be "
    "enrolled, are left out: these are the rates of the embedder alone, not of the system.",
}


def all_pictures(data: IdentificationSet) -> list[Picture]:
    """The pictures that have to be embedded: the set's own, then its distractors."""
    return [*data.pictures, *data.distractors]


def identify_set(
    data: IdentificationSet, embedded: Embedded, setup: Setup, *, fpirs: Sequence[float] = FPIRS
) -> IdentificationResult:
    """Measure a protocol.

    Args:
        data: the protocol's set.
        embedded: the embeddings of `all_pictures` of it.
        setup: what is measured, and how.
        fpirs: false-positive identification rates to report DIR at.

    Raises:
        InputError: nobody could be enrolled, no probe is left, or the scheme is one that is searched otherwise.
    """
    if data.scheme == "each-mate":
        raise InputError(f"{data.name}: probes that are searched for one mate at a time are not measured here")
    sides = _Sides.of(data, embedded)
    search, subjects, probes = _searched(data, sides, setup)
    known = int(np.count_nonzero(search.known))
    unknown = len(search.known) - known
    rates = tuple(_dir(search, subjects, fpir, setup.seed) for fpir in sorted(set(fpirs), reverse=True))
    both = bool(known and unknown)
    wanted = len(np.unique(data.templates.subject[data.gallery]))
    enrolled = len(np.unique(data.templates.subject[sides.gallery]))
    failed = int(np.count_nonzero(~sides.has[np.concatenate([data.known, data.unknown])]))
    rule = f"{_RULES[setup.failures]} That concerns {failed} probes and {wanted - enrolled} people of the gallery."
    worst = _worst(data, embedded, sides, search, probes)
    alike = _too_alike(data, embedded, sides, rates)
    return IdentificationResult(
        experiment=setup.experiment(data, embedded, rule),
        search=search,
        gallery_size=search.subjects,
        not_enrolled=wanted - enrolled,
        known=known,
        unknown=unknown,
        dir_at_fpir=rates,
        cmc=cmc(search, MAX_RANK) if known else None,
        curve=thinned(open_set_curve(search)) if both else None,
        histogram=_histogram(search) if both else None,
        false_matches=worst[0],
        false_non_matches=worst[1],
        too_alike=alike,
        probes=probes,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Sides:
    """The two sides of the search.

    Attributes:
        vectors, has: of every template.
        gallery: enrolled templates that have an embedding; rows of `enrolled` before the distractors.
        enrolled: (G + M, D) their embeddings, then those of the distractors.
        owner: (G + M,) whose they are; distractors have numbers of their own.
        distractors: (M,) positions in the embedded pictures of the distractors that have an embedding.
    """

    vectors: Floats
    has: NDArray[np.bool_]
    gallery: NDArray[np.intp]
    enrolled: Floats
    owner: NDArray[np.intp]
    distractors: NDArray[np.intp]

    @classmethod
    def of(cls, data: IdentificationSet, embedded: Embedded) -> _Sides:
        own = len(data.pictures)
        vectors, has = pool_templates(embedded.vectors[:own], data.templates, found=embedded.found[:own])
        gallery = data.gallery[has[data.gallery]]
        others = own + np.flatnonzero(embedded.found[own:])
        if not len(gallery):
            raise InputError(
                f"{data.name}: nobody can be enrolled, because no face was found in the gallery's pictures"
            )
        enrolled = np.concatenate([vectors[gallery], embedded.vectors[others]])
        strangers = len(data.templates.people) + np.arange(len(others))
        return cls(
            vectors, has, gallery, enrolled, np.concatenate([data.templates.subject[gallery], strangers]), others
        )

    def row_of(self, template: int) -> int:
        """The row of an enrolled template, or -1."""
        at = np.flatnonzero(self.gallery == template)
        return int(at[0]) if len(at) else -1


def _searched(
    data: IdentificationSet, sides: _Sides, setup: Setup
) -> tuple[Search, NDArray[np.intp], NDArray[np.intp]]:
    """What was found for each probe that counts, whose probes they are, and which templates."""
    probes = np.concatenate([data.known, data.unknown])
    subject = data.templates.subject[probes]
    known = np.arange(len(probes)) < len(data.known)
    can = sides.has[probes]
    if not can.any():
        raise InputError(f"{data.name}: no probe can be searched, because no face was found in the probes")
    skip = np.full(int(can.sum()), -1)
    if data.scheme == "leave-one-out":
        place = np.full(len(data.templates), -1)
        place[sides.gallery] = np.arange(len(sides.gallery))
        skip = place[probes[can]]
    found = search_gallery(sides.vectors[probes[can]], subject[can], sides.enrolled, sides.owner, skip=skip)
    # A probe without a face is found nowhere; one whose person could not be enrolled can only be missed.
    mate, top = np.full((2, len(probes)), -np.inf, np.float32)
    rank = np.where(known, found.subjects + 1, 0)
    mate[can], top[can] = found.mate_score, found.top_score
    rank[can] = np.where(found.known, found.mate_rank, rank[can])
    counts = np.ones(len(probes), np.bool_)
    if setup.failures == "exclude":
        counts = can & ~(known & (mate == -np.inf))
    if not counts.any():
        raise InputError(f"{data.name}: no probe is left to measure")
    search = Search(known[counts], mate[counts], rank[counts], top[counts], found.subjects, found.templates)
    return search, subject[counts], probes[counts]


def _dir(search: Search, subjects: NDArray[np.intp], fpir: float, seed: int) -> RateAt:
    unknown = int(np.count_nonzero(~search.known))
    if unknown in (0, len(search.known)):
        kind = "unknown" if not unknown else "known"
        return RateAt(fpir, None, None, None, None, None, reason=f"a closed set: there is no {kind} probe")
    found = dir_at_fpir(search, fpir)
    if not found.sufficient:
        return insufficient(fpir, unknown, "unknown probes")
    low, high, how = found.low, found.high, WILSON
    people = len(np.unique(subjects))
    if 0 < found.dir < 1 and people >= MIN_PEOPLE:  # where nothing went wrong, nothing does in a replicate
        interval = bootstrap_dir(search, subjects, fpir, replicates=REPLICATES, seed=seed)
        low, high = interval.low, interval.high
        how = f"bootstrap over the probes' people, {interval.replicates} replicates"
    return RateAt(fpir, found.dir, low, high, found.threshold, found.fpir, how)


def _histogram(search: Search) -> ScoreHistogram:
    """Of the probes that have a score; where a kind has none, its probes are shown as what they count as."""
    kinds = search.mate_score[search.known], search.top_score[~search.known]
    scored = [scores[scores > -np.inf] for scores in kinds]
    return histogram(score_set(*(part if len(part) else np.array([FAILED_SCORE]) for part in scored)))


def _worst(
    data: IdentificationSet, embedded: Embedded, sides: _Sides, search: Search, probes: NDArray[np.intp]
) -> tuple[tuple[PairOfShots, ...], tuple[PairOfShots, ...]]:
    """Strangers with the highest scores, known probes with the lowest of their mates; each with the best picture."""
    strangers = np.flatnonzero(~search.known & (search.top_score > -np.inf))
    strangers = strangers[np.argsort(-search.top_score[strangers], kind="stable")[:WORST]]
    missed = np.flatnonzero(search.known & (search.mate_score > -np.inf))
    missed = missed[np.argsort(search.mate_score[missed], kind="stable")[:WORST]]

    def pair(probe: int, *, of_mate: bool) -> PairOfShots:
        template = int(probes[probe])
        scores = sides.enrolled @ sides.vectors[template]
        if data.scheme == "leave-one-out" and (own := sides.row_of(template)) >= 0:
            scores[own] = -np.inf
        if of_mate:
            scores[sides.owner != data.templates.subject[template]] = -np.inf
        best = int(scores.argmax())
        score = search.mate_score[probe] if of_mate else search.top_score[probe]
        return PairOfShots(_template(data, embedded, template), _enrolled(data, embedded, sides, best), float(score))

    return tuple(pair(i, of_mate=False) for i in strangers.tolist()), tuple(
        pair(i, of_mate=True) for i in missed.tolist()
    )


def _too_alike(data: IdentificationSet, embedded: Embedded, sides: _Sides, rates: Sequence[RateAt]) -> TooAlike:
    """Enrolled people who will be taken for each other at the threshold of `ALIKE_FPIR`."""
    people, who = np.unique(data.templates.subject[sides.gallery], return_inverse=True)
    point = point_for(rates, ALIKE_FPIR)
    if point is None or point.threshold is None:
        reason = "insufficient data: no false-positive identification rate can be told"
        return TooAlike(ALIKE_FPIR, None, len(people), 0, (), reason)
    table = people_table(sides.enrolled[: len(sides.gallery)], who, threshold=point.threshold)

    def shown(a: int, b: int, score: float) -> PairOfShots:
        return PairOfShots(_enrolled(data, embedded, sides, a), _enrolled(data, embedded, sides, b), score)

    pictures = np.array([row.pictures for row in table.people], np.int64)
    names = data.templates.people
    return too_alike(table.alike, pictures, point, name=lambda i: names[int(people[i])], shown=shown)


def _template(data: IdentificationSet, embedded: Embedded, template: int) -> Shot:
    """The first picture of a template that has a face stands for it."""
    members = data.templates.members[data.templates.offsets[template] : data.templates.offsets[template + 1]]
    first = int(members[int(embedded.found[members].argmax())])
    return shot(data.pictures[first], embedded, first)


def _enrolled(data: IdentificationSet, embedded: Embedded, sides: _Sides, row: int) -> Shot:
    if row < len(sides.gallery):
        return _template(data, embedded, int(sides.gallery[row]))
    position = int(sides.distractors[row - len(sides.gallery)])
    return shot(data.distractors[position - len(data.pictures)], embedded, position)
