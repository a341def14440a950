"""Two people who are too alike to tell apart: by how many pairs of their pictures match, and how closely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.evaluate.metrics.intervals import Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mien.evaluate.results import PairOfShots, RateAt
    from mien.types import Floats

__all__ = ["MOST_LISTED", "AlikePeople", "CoupleCollector", "Couples", "TooAlike", "point_for", "too_alike"]

MOST_LISTED: Final = 100
"""Couples that a result lists."""

_HELD: Final = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Couples:
    """Couples of people of whom pairs of pictures match; U of them, by number. Immutable by agreement.

    Attributes:
        first, second: (U,) int64 the two people, ``first < second``.
        matches: (U,) int64 how many of their pairs of pictures match.
        score: (U,) float32 of the best pair.
        a, b: (U,) the rows of its pictures.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    matches: NDArray[np.int64]
    score: Floats
    a: NDArray[np.int64]
    b: NDArray[np.int64]


class CoupleCollector:
    """Gathers matching pairs by the two people they are of, in memory for the couples, not for the pairs.

    Not thread-safe.

    Args:
        who: (N,) the person of each row, rising.
        people: how many there are.
    """

    def __init__(self, who: NDArray[np.int64], people: int) -> None:
        self._who, self._people = who, people
        self._parts: list[tuple[NDArray[Any], ...]] = []  # couple, matches, score, a, b
        self._held = 0

    def offer(self, scores: Floats, a: NDArray[np.int64], b: NDArray[np.int64]) -> None:
        """Take in matching pairs of rows, ``a < b``, of two people each."""
        couple = self._who[a] * self._people + self._who[b]
        self._parts.append(_merged(couple, np.ones(len(couple), np.int64), scores, a, b))
        self._held += len(self._parts[-1][0])
        if self._held > 2 * _HELD:
            self._shrink()

    def couples(self) -> Couples:
        """What was gathered."""
        if not self._parts:
            none = np.zeros(0, np.int64)
            return Couples(none, none, none, np.zeros(0, np.float32), none, none)
        self._shrink()
        couple, matches, score, a, b = self._parts[0]
        return Couples(*np.divmod(couple, self._people), matches, score, a, b)

    def _shrink(self) -> None:
        self._parts = [_merged(*(np.concatenate(column) for column in zip(*self._parts, strict=True)))]
        self._held = len(self._parts[0][0]) if len(self._parts[0][0]) < _HELD else 0


def _merged(
    couple: NDArray[np.int64],
    matches: NDArray[np.int64],
    score: Floats,
    a: NDArray[np.int64],
    b: NDArray[np.int64],
) -> tuple[NDArray[Any], ...]:
    """One entry a couple: matches added up, the best pair kept; of equal ones that of the first rows."""
    order = np.lexsort((b, a, -score, couple))
    couple = couple[order]
    starts = np.flatnonzero(np.diff(couple, prepend=-1))
    best = order[starts]
    summed = np.add.reduceat(matches[order], starts) if len(starts) else matches[:0]
    return couple[starts], summed, score[best], a[best], b[best]


@dataclass(frozen=True, slots=True)
class AlikePeople:
    """Two people who are alike.

    Attributes:
        a, b: their names.
        matches: how many pairs of their pictures reach the threshold.
        pairs: how many pairs there are.
        best: the most alike pair.
    """

    a: str
    b: str
    matches: int
    pairs: int
    best: PairOfShots

    def record(self) -> dict[str, Any]:
        """In JSON."""
        best = self.best.record()
        sides = {side: {"name": name, "picture": best[side]} for side, name in (("a", self.a), ("b", self.b))}
        return {
            **sides,
            "matches": self.matches,
            "pairs": self.pairs,
            "share": self.matches / self.pairs,
            "score": best["score"],
        }


@dataclass(frozen=True, slots=True)
class TooAlike:
    """The couples of a set that a threshold does not tell apart.

    Attributes:
        target: the rate of false alarms that the threshold stands for.
        threshold: the score at and above which two pictures match; None where it could not be told.
        people: how many people were compared.
        found: how many couples have a matching pair.
        couples: the first `MOST_LISTED` of them.
        reason: why there is no threshold.
    """

    target: float
    threshold: float | None
    people: int
    found: int
    couples: tuple[AlikePeople, ...]
    reason: str = ""

    def record(self, rate: str) -> dict[str, Any]:
        """In JSON, with the name that the rate of false alarms has there."""
        return {
            rate: self.target,
            "threshold": self.threshold,
            "people": self.people,
            "found": self.found,
            "couples": [couple.record() for couple in self.couples],
            "reason": self.reason or None,
        }


def point_for(rows: Sequence[RateAt], target: float) -> RateAt | None:
    """Of the rates that could be told, the loosest that is no looser than `target`, or else the strictest."""
    told = [row for row in rows if row.threshold is not None]
    strict = [row for row in told if row.target <= target * (1 + 1e-12)]
    if strict:
        return max(strict, key=lambda row: row.target)
    return min(told, key=lambda row: row.target, default=None)


def too_alike(
    couples: Couples,
    pictures: NDArray[np.int64],
    point: RateAt,
    *,
    name: Callable[[int], str],
    shown: Callable[[int, int, float], PairOfShots],
) -> TooAlike:
    """Put couples in order and name them: first those of whom most pairs match, and of whom there are many.

    The order is by the lower end of Wilson's interval of the share of matching pairs, so that one pair of one does not
    come before 30 of 31; then by the highest score.

    Args:
        couples: those with a matching pair at `point`.
        pictures: (S,) how many pictures each person has.
        point: the threshold.
        name: of a person.
        shown: the pair of two rows, with its score.
    """
    pairs = pictures[couples.first] * pictures[couples.second]
    kinds, at = np.unique(np.stack([couples.matches, pairs], axis=1), axis=0, return_inverse=True)
    low = np.array([Rate(int(k), int(n)).interval()[0] for k, n in kinds])[at.reshape(-1)] if len(kinds) else pairs
    order = np.lexsort((couples.second, couples.first, -couples.score, -low))[:MOST_LISTED]
    listed = tuple(
        AlikePeople(
            name(int(couples.first[i])),
            name(int(couples.second[i])),
            int(couples.matches[i]),
            int(pairs[i]),
            shown(int(couples.a[i]), int(couples.b[i]), float(couples.score[i])),
        )
        for i in order
    )
    return TooAlike(point.target, point.threshold, len(pictures), len(couples.first), listed)
