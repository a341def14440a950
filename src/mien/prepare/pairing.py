"""Lists of pairs for verification, in LFW's format: drawn at random, balanced, without repeats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from mien.prepare.people import People

__all__ = ["DrawnPair", "PairList", "draw_pairs"]


@dataclass(frozen=True, slots=True)
class DrawnPair:
    """Two pictures; `person_b` is None for two of one person."""

    person_a: str
    picture_a: str
    picture_b: str
    person_b: str | None = None

    @property
    def same(self) -> bool:
        """Whether they show one person."""
        return self.person_b is None


@dataclass(frozen=True, slots=True)
class PairList:
    """Folds of pairs, each with equally many of either kind, those of one person first.

    Attributes:
        folds: the pairs of each fold; nobody is in two folds.
        numbered: whether pictures are named as in LFW (Name_0001.jpg), so that the list can hold numbers.
    """

    folds: tuple[tuple[DrawnPair, ...], ...]
    numbered: bool

    def text(self) -> str:
        """The list in LFW's format: a header, then `name n m` or `name n other m`, between tabs.

        One fold has the number of pairs of each kind as its header (View 1), several have `folds pairs` (View 2).
        Where the pictures are not numbered as LFW's are, their file names stand in place of the numbers.
        """
        each = len(self.folds[0]) // 2
        lines = [str(each) if len(self.folds) == 1 else f"{len(self.folds)}\t{each}"]
        for pair in (pair for fold in self.folds for pair in fold):
            a, b = (self._named(p) for p in (pair.picture_a, pair.picture_b))
            lines.append(
                "\t".join((pair.person_a, a, b) if pair.person_b is None else (pair.person_a, a, pair.person_b, b))
            )
        return "\n".join(lines) + "\n"

    def _named(self, picture: str) -> str:
        return str(int(picture.rpartition("_")[2].partition(".")[0])) if self.numbered else picture


def draw_pairs(people: People, *, pairs: int, folds: int = 1, seed: int = 0) -> PairList:
    """Draw `pairs` pairs of one person and as many of two people for each of `folds` folds.

    The people are dealt to the folds first, so that no person, and hence no picture, is in two folds. A person, and
    then a pair of the person's pictures, is drawn, so that people with very many pictures do not fill the list.

    Raises:
        InputError: the numbers make no sense, the people have too few pictures, or a name holds a tab.
    """
    if pairs < 1 or folds < 1:
        raise InputError(f"pairs: expected at least 1 pair in at least 1 fold, got {pairs} in {folds}")
    for name, paths in people:
        for text in (name, *(path.name for path in paths)):
            if any(c in text for c in "\t\r\n"):
                raise InputError(f"{text!r}: a name in a list of pairs is expected to hold no tab or line end")
        if len({path.name for path in paths}) != len(paths):
            raise InputError(f"{name}: two pictures have one file name in different sub-folders; rename one")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(people)).tolist()
    drawn = []
    for fold in range(folds):
        members = [people[i] for i in sorted(order[fold::folds])]
        drawn.append((*_same(members, pairs, rng, fold), *_different(members, pairs, rng, fold)))
    numbered = all(_is_numbered(name, path) for name, paths in people for path in paths)
    return PairList(tuple(drawn), numbered)


def _same(people: People, wanted: int, rng: np.random.Generator, fold: int) -> list[DrawnPair]:
    left = {i: _pairs_within(len(paths)) for i, (_, paths) in enumerate(people) if len(paths) > 1}
    possible = sum(left.values())
    if possible < wanted:
        raise InputError(f"fold {fold + 1}: its people have {possible} pairs of pictures, and {wanted} are asked for")
    taken: set[tuple[int, int, int]] = set()
    while len(taken) < wanted:
        able = [i for i, n in left.items() if n]
        for i in rng.choice(able, min(wanted - len(taken), len(able)), replace=False).tolist():
            paths = people[i][1]
            while True:
                a, b = sorted(rng.choice(len(paths), 2, replace=False).tolist())
                if (i, a, b) not in taken:
                    break
            taken.add((i, a, b))
            left[i] -= 1
    return [DrawnPair(people[i][0], people[i][1][a].name, people[i][1][b].name) for i, a, b in sorted(taken)]


def _different(people: People, wanted: int, rng: np.random.Generator, fold: int) -> list[DrawnPair]:
    sizes = np.array([len(paths) for _, paths in people])
    possible = (int(sizes.sum()) ** 2 - int((sizes**2).sum())) // 2
    if possible < wanted:
        raise InputError(f"fold {fold + 1}: {len(people)} people make {possible} pairs, and {wanted} are asked for")
    taken: set[tuple[tuple[int, int], tuple[int, int]]] = set()
    if possible < 4 * wanted:  # nearly all: draw from the whole list
        every = [
            ((i, a), (j, b))
            for i in range(len(people)) for j in range(i + 1, len(people))
            for a in range(int(sizes[i])) for b in range(int(sizes[j]))
        ]  # fmt: skip
        taken = {every[k] for k in rng.choice(len(every), wanted, replace=False).tolist()}
    while len(taken) < wanted:
        i, j = sorted(rng.choice(len(people), 2, replace=False).tolist())
        taken.add(((i, int(rng.integers(sizes[i]))), (j, int(rng.integers(sizes[j])))))
    return [
        DrawnPair(people[i][0], people[i][1][a].name, people[j][1][b].name, people[j][0])
        for (i, a), (j, b) in sorted(taken)
    ]


def _pairs_within(n: int) -> int:
    return n * (n - 1) // 2


def _is_numbered(name: str, path: Path) -> bool:
    stem, _, number = path.stem.rpartition("_")
    return stem == name and len(number) == 4 and number.isdecimal() and int(number) > 0
