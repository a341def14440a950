"""Which people of two sets are one: proposed by their names, and by their faces; decided by their faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np

from mien.prepare.linkage import average_linkage
from mien.prepare.naming import name_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.match import Calibration
    from mien.prepare.embedding import PeopleFolder
    from mien.types import Floats

__all__ = ["By", "PeoplePair", "Person", "PersonRules", "faces_of", "match_people"]

By: TypeAlias = Literal["name and face", "face", "name", "name, not face"]
"""What says that two people are one: both; the face alone; the name alone, for want of a face to look at; or only the
name, for the faces say that they are two."""

BYS: Final[tuple[By, ...]] = get_args(By)
_AT_ONCE: Final = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRules:
    """Least mean cosine of the faces of one person.

    Attributes:
        link: faces of a folder are one person while they score this on average.
        named: of two that are called the same.
        steps: (pictures, cosine), rising: of two under any names, of whom the one with fewer pictures has at least so
            many. A mean over few pictures strays further, and everybody is compared with everybody.
    """

    link: float
    named: float
    steps: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, calibration: Calibration) -> PersonRules:
        """The rules for a model: its cosines by what they mean."""
        rates = ((1, 2e-5), (2, 2e-4), (3, 1e-3), (10, 2e-3))
        return cls(
            link=calibration.threshold(fmr=0.02),
            named=calibration.threshold(fmr=0.03),
            steps=tuple((count, calibration.threshold(fmr=fmr)) for count, fmr in rates),
        )

    def least(self, pictures: NDArray[np.intp]) -> NDArray[np.float64]:
        """The least mean cosine of two people, of whom the one with fewer pictures has so many."""
        counts = np.array([count for count, _ in self.steps])
        limits = np.array([limit for _, limit in self.steps])
        at = np.searchsorted(counts, pictures, side="right") - 1
        return np.where(at >= 0, limits[np.maximum(at, 0)], np.inf)


@dataclass(frozen=True, slots=True)
class Person:
    """The faces of K people. Immutable by agreement.

    Attributes:
        means: float32 (K, D): the mean of each one's faces, not of unit length: products of two are mean cosines.
        count: (K,) how many faces that is.
    """

    means: Floats
    count: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class PeoplePair:
    """Two people by position in their sets, what speaks for it, and their faces' mean cosine; None without faces."""

    a: int
    b: int
    by: By
    score: float | None

    def record(self, a: Sequence[str], b: Sequence[str]) -> dict[str, Any]:
        """The pair in JSON, with names from two lists."""
        score = None if self.score is None else round(self.score, 4)
        return {"a": a[self.a], "b": b[self.b], "by": self.by, "score": score}


def faces_of(folder: PeopleFolder, rules: PersonRules) -> Person:
    """The faces of a folder's people, without those that do not fit: of each the largest group that is one person."""
    k = len(folder.people)
    means = np.zeros((k, folder.vectors.shape[1]), np.float32)
    count = np.zeros(k, np.intp)
    rows = np.flatnonzero(folder.found)
    for i, part in enumerate(np.split(rows, np.searchsorted(folder.person[rows], np.arange(1, k)))):
        if len(part):
            core = part[average_linkage(folder.vectors[part], rules.link) == 0]
            means[i], count[i] = folder.vectors[core].mean(axis=0), len(core)
    return Person(means, count)


def match_people(
    a: Person, names_a: Sequence[str], b: Person, names_b: Sequence[str], rules: PersonRules
) -> list[PeoplePair]:
    """Pairs of people of two sets that are called the same, or look it; the surest first.

    Args:
        a: faces of the one set.
        names_a: its people's names.
        b: of the other.
        names_b: its people's names.
        rules: the limits.
    """
    found = {(p.a, p.b): p for p in _by_name(a, names_a, b, names_b, rules)}
    for i, j, score in _by_face(a, b, rules):
        known = found.get((i, j))
        if known is None:
            found[i, j] = PeoplePair(i, j, "face", score)
    return sorted(found.values(), key=lambda p: (BYS.index(p.by), -(p.score or 0), p.a, p.b))


def _by_name(
    a: Person, names_a: Sequence[str], b: Person, names_b: Sequence[str], rules: PersonRules
) -> list[PeoplePair]:
    called: dict[str, list[int]] = {}
    for j, name in enumerate(names_b):
        called.setdefault(name_key(name) or name, []).append(j)
    pairs = []
    for i, name in enumerate(names_a):
        for j in called.get(name_key(name) or name, []):
            if not (a.count[i] and b.count[j]):
                pairs.append(PeoplePair(i, j, "name", None))
                continue
            score = float(a.means[i] @ b.means[j])
            pairs.append(PeoplePair(i, j, "name and face" if score >= rules.named else "name, not face", score))
    return pairs


def _by_face(a: Person, b: Person, rules: PersonRules) -> list[tuple[int, int, float]]:
    """Pairs above the limit for their number of pictures, where the one fits the other best, or the other the one."""
    k = len(b.means)
    if not len(a.means) or not k:
        return []
    lowest = min(limit for _, limit in rules.steps)
    best_of_b = np.full(k, -np.inf)
    best_of_a = np.full(len(a.means), -np.inf)
    kept: list[tuple[int, int, float]] = []
    step = max(1, _AT_ONCE // k)
    for start in range(0, len(a.means), step):
        scores = a.means[start : start + step] @ b.means.T
        best_of_a[start : start + step] = scores.max(axis=1)
        best_of_b = np.maximum(best_of_b, scores.max(axis=0))
        i, j = np.nonzero(scores >= lowest)
        enough = scores[i, j] >= rules.least(np.minimum(a.count[i + start], b.count[j]))
        kept += [(int(x) + start, int(y), float(scores[x, y])) for x, y in zip(i[enough], j[enough], strict=True)]
    return [(i, j, s) for i, j, s in kept if s >= best_of_a[i] or s >= best_of_b[j]]
