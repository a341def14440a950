"""The pairs of each group: scores, and whose they are. Never the whole n x n matrix at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.evaluate.experiment import FAILED_SCORE
from mien.evaluate.metrics.fixed_threshold import ListedTrials, MatchedPeople, PairTrials
from mien.evaluate.metrics.pairs import BLOCK_BYTES, triangle_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.evaluate.groups_values import Attribute
    from mien.evaluate.metrics.fixed_threshold import Trials
    from mien.types import Floats

__all__ = ["GroupPairs", "all_group_pairs", "listed_group_pairs"]

MAX_MATCHED: Final = 20_000_000
"""Impostor pairs whose people are remembered, at most; beyond it intervals come from Wilson's formula."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupPairs:
    """The pairs of one group. Immutable by agreement.

    Attributes:
        genuine: (G,) float32, ascending.
        owner: (G,) int32 the subject of each; None where nobody knows the people.
        impostor: (I,) float32, ascending.
        matched: (K,) float32, the impostor scores at or above a floor, in any order; None where nobody knows their
            people, or there are too many.
        first, second: (K,) int32 their subjects.
        trials: all impostor pairs by people; None as `matched`.
        subjects: S.
    """

    genuine: Floats
    owner: NDArray[np.int32] | None
    impostor: Floats
    matched: Floats | None
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    trials: Trials | None
    subjects: int

    def present(self) -> NDArray[np.bool_] | None:
        """(S,) which subjects a pair of this group is of; None where nobody knows."""
        if self.owner is None or self.trials is None:
            return None
        there = np.zeros(self.subjects, np.bool_)
        there[self.owner] = True
        return there | self.trials.present(self.subjects)

    def matched_people(self, thresholds: NDArray[np.float32]) -> MatchedPeople:
        """The couples of people whose pairs reach the thresholds, none of which lies below the floor."""
        assert self.matched is not None
        low, high = np.minimum(self.first, self.second), np.maximum(self.first, self.second)
        couples, at = np.unique(low.astype(np.int64) * self.subjects + high, return_inverse=True)
        counts = [np.bincount(at[self.matched >= t], minlength=len(couples)) for t in thresholds]
        first, second = (part.astype(np.int32) for part in np.divmod(couples, max(self.subjects, 1)))
        return MatchedPeople(first, second, np.array(counts, np.int64).reshape(len(thresholds), len(couples)))


def all_group_pairs(
    rows: Floats,
    subject: NDArray[np.intp],
    attribute: Attribute,
    found: NDArray[np.bool_],
    *,
    floor: np.float32,
    failed: bool,
    block_bytes: int = BLOCK_BYTES,
) -> list[GroupPairs]:
    """All pairs of N pictures, by group.

    Args:
        rows: (N, D) unit rows; those that are not `found` are ignored.
        subject: (N,) whom each picture shows, from 0.
        attribute: of the N pictures.
        found: (N,) whether a picture has an embedding.
        floor: the lowest threshold at which the people of matching pairs have to be known.
        failed: whether pairs of a picture without an embedding count, and score -1.
        block_bytes: about how large a block of scores may be; the answer does not depend on it.
    """
    subjects, groups = int(subject.max(initial=-1)) + 1, len(attribute.groups)
    counted = np.ones_like(found) if failed else found
    expected = _trials(subject[counted], attribute, attribute.codes[counted], subjects)
    within = [trials.genuine() for trials in expected]
    take = np.flatnonzero(found)
    take = take[np.argsort(subject[take], kind="stable")]  # as every other metric does, so that scores are the same
    who, codes = subject[take], attribute.codes[take]
    sizes = [trials.total() for trials in _trials(who, attribute, codes, subjects)]
    part = _Parts(groups, sizes, who, floor)
    ends = np.searchsorted(who, who, side="right")
    reach = [np.unique(row) for row in attribute.between]
    for first, scores in triangle_blocks(rows[take], block_bytes=block_bytes):
        for r, row in enumerate(scores):
            i = first + r
            own, kinds = int(ends[i]) - first, attribute.between[codes[i]].take(codes[first:])
            part.genuine(i, row[r + 1 : own], kinds[r + 1 : own])
            part.impostor(row[own:], kinds[own:], reach[codes[i]])
            row[:own] = -np.inf
        at, column = np.nonzero(scores >= floor)
        part.match(
            scores[at, column], first + at, first + column, attribute.between[codes[first + at], codes[first + column]]
        )
    return part.all(expected, within)


def listed_group_pairs(
    scores: Floats,
    same: NDArray[np.bool_],
    sides: NDArray[np.intp],
    subjects: NDArray[np.intp] | None,
    attribute: Attribute,
    *,
    floor: np.float32,
) -> list[GroupPairs]:
    """The pairs of a list, by group.

    Args:
        scores: (P,) of the pairs that count.
        same: (P,) whether each is genuine.
        sides: (P, 2) positions of the two sides among what `attribute` speaks of.
        subjects: (P, 2) whose they are, from 0; None where nobody knows.
        attribute: of the pictures, or of the templates.
        floor: as in `all_group_pairs`.
    """
    kinds = attribute.between[attribute.codes[sides[:, 0]], attribute.codes[sides[:, 1]]]
    total = 0 if subjects is None else int(subjects.max(initial=-1)) + 1
    found = []
    for g in range(len(attribute.groups)):
        genuine, impostor = np.flatnonzero((kinds == g) & same), np.flatnonzero((kinds == g) & ~same)
        genuine = genuine[np.argsort(scores[genuine], kind="stable")]
        impostor = impostor[np.argsort(scores[impostor], kind="stable")]
        if subjects is None:
            none = np.zeros(0, np.int32)
            found.append(GroupPairs(scores[genuine], None, scores[impostor], None, none, none, None, 0))
            continue
        who = subjects.astype(np.int32)
        passed = impostor[scores[impostor] >= floor]
        found.append(
            GroupPairs(
                genuine=scores[genuine],
                owner=who[genuine, 0],
                impostor=scores[impostor],
                matched=scores[passed],
                first=who[passed, 0],
                second=who[passed, 1],
                trials=ListedTrials(who[impostor, 0], who[impostor, 1]),
                subjects=total,
            )
        )
    return found


def _trials(
    subject: NDArray[np.intp], attribute: Attribute, codes: NDArray[np.intp], subjects: int
) -> list[PairTrials]:
    values = len(attribute.values)
    pictures = np.bincount(subject * values + codes, minlength=subjects * values).reshape(subjects, values)
    return [PairTrials(pictures, attribute.between == g) for g in range(len(attribute.groups))]


class _Parts:
    """What has been seen of each group so far. Used by one thread."""

    def __init__(self, groups: int, sizes: list[int], who: NDArray[np.intp], floor: np.float32) -> None:
        self._who, self._floor = who.astype(np.int32), floor
        self._scores = [np.empty(size, np.float32) for size in sizes]
        self._filled = [0] * groups
        self._own: list[tuple[Floats, NDArray[np.int16], NDArray[np.int32]]] = []
        self._matched: list[tuple[Floats, NDArray[np.int32], NDArray[np.int32], NDArray[np.int16]]] = []
        self._count = 0

    def genuine(self, row: int, scores: Floats, kinds: NDArray[np.int16]) -> None:
        if len(scores):
            self._own.append((scores.copy(), kinds, np.full(len(scores), self._who[row], np.int32)))

    def impostor(self, scores: Floats, kinds: NDArray[np.int16], reach: NDArray[np.int16]) -> None:
        for g in reach.tolist():
            part = scores if len(reach) == 1 else scores[kinds == g]
            at = self._filled[g]
            self._scores[g][at : at + len(part)] = part
            self._filled[g] = at + len(part)

    def match(
        self, scores: Floats, first: NDArray[np.intp], second: NDArray[np.intp], kinds: NDArray[np.int16]
    ) -> None:
        self._count += len(scores)
        if self._count <= MAX_MATCHED:
            self._matched.append((scores, self._who[first], self._who[second], kinds))
        else:
            self._matched.clear()

    def all(self, expected: list[PairTrials], within: list[NDArray[np.int64]]) -> list[GroupPairs]:
        """The groups, when all pairs have been seen."""
        none = np.zeros(0, np.float32), np.zeros(0, np.int16), np.zeros(0, np.int32)
        scores, kinds, owner = _joined(self._own) if self._own else none
        empty = none[0], none[2], none[2], none[1]
        matched, first, second, places = _joined(self._matched) if self._matched else empty
        few = self._count <= MAX_MATCHED
        found = []
        for g, trials in enumerate(expected):
            own, whose = _with_failed(scores[kinds == g], owner[kinds == g], within[g])
            mine = places == g
            found.append(
                GroupPairs(
                    genuine=own,
                    owner=whose,
                    impostor=_ascending(self._scores[g], trials.total()),
                    matched=matched[mine] if few else None,
                    first=first[mine],
                    second=second[mine],
                    trials=trials if few else None,
                    subjects=len(within[g]),
                )
            )
        return found


def _with_failed(
    scores: Floats, owner: NDArray[np.int32], within: NDArray[np.int64]
) -> tuple[Floats, NDArray[np.int32]]:
    """Genuine scores ascending, and whose: a picture without an embedding makes pairs too, where they count."""
    lost = within - np.bincount(owner, minlength=len(within))
    owner = np.concatenate([np.repeat(np.arange(len(lost), dtype=np.int32), lost), owner])
    scores = np.concatenate([np.full(int(lost.sum()), FAILED_SCORE), scores])
    order = np.argsort(scores, kind="stable")
    return scores[order], owner[order]


def _ascending(scores: Floats, total: int) -> Floats:
    """Impostor scores ascending, those of failed pictures included."""
    failed = np.full(total - len(scores), FAILED_SCORE)
    found = np.concatenate([failed, scores]) if len(failed) else scores
    found.sort()
    return found


def _joined(parts: Sequence[tuple[NDArray[Any], ...]]) -> tuple[NDArray[Any], ...]:
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))
