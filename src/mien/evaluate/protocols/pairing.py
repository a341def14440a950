"""From the pairs that a list names to the pairs that are measured: what is left out, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, Literal, TypeAlias, TypeVar

import numpy as np

from mien.errors import InputError, NotFoundError
from mien.evaluate.protocols.sets import Exclusion, Indices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["FOLD_RULE", "Missing", "Pairing", "kfold", "missing_files", "numbered"]

Missing: TypeAlias = Literal["error", "exclude"]
"""What to do about a picture that a list names and that is not there: refuse, or leave it out and say so."""

FOLD_RULE: Final = (
    "The threshold for a fold is the one that is most accurate on the other folds; accuracy is the mean over folds, "
    "with its standard error."
)
"""How accuracy over folds is measured, in the words that reports print."""

_SHOWN: Final = 10

T = TypeVar("T")


def missing_files(name: str, missing: Iterable[str], policy: Missing) -> list[Exclusion]:
    """The exclusions of files that are not there; raises NotFoundError that names up to ten where policy is "error"."""
    gone = list(missing)
    if gone and policy == "error":
        more = f" and {len(gone) - _SHOWN} more" if len(gone) > _SHOWN else ""
        raise NotFoundError(
            f"{name}: {len(gone)} listed files are not there: {', '.join(gone[:_SHOWN])}{more}; "
            "--skip-missing leaves them out (in Python: missing='exclude')"
        )
    return [Exclusion(what, "the file is not there") for what in gone]


class Pairing(Generic[T]):
    """Collects listed pairs of keys (names of pictures or templates) and settles which are measured.

    One pairing belongs to one thread.

    Args:
        name: the protocol's name, for messages.
        missing: what to do about keys that nothing is found for.
    """

    def __init__(self, name: str, missing: Missing) -> None:
        self._name, self._missing = name, missing
        self._keys: dict[str, int] = {}
        self._first: list[str] = []  # where each key is named first
        self._rows: dict[tuple[int, int], tuple[int, int, bool, int]] = {}
        self._contradicted: set[tuple[int, int]] = set()
        self._exclusions: list[Exclusion] = []
        self.keys: list[str] = []
        self.items: list[T] = []

    def add(self, a: str, b: str, *, same: bool, fold: int, where: str) -> None:
        """Take a pair; one that repeats an earlier one (in either order), or a key with itself, is left out.

        Where the repetition says the opposite, both are left out.
        """
        i, j = self._number(a, where), self._number(b, where)
        if i == j:
            self._exclusions.append(Exclusion(f"{a}, {b} ({where})", "the pair compares a picture with itself"))
            return
        key = (min(i, j), max(i, j))
        if (earlier := self._rows.get(key)) is not None:
            if earlier[2] != same:  # nobody can tell which of the two is right
                self._contradicted.add(key)
            self._exclusions.append(Exclusion(f"{a}, {b} ({where})", "the pair repeats an earlier one"))
            return
        self._rows[key] = (i, j, same, fold)

    def _number(self, key: str, where: str) -> int:
        if key not in self._keys:
            self._keys[key] = len(self._keys)
            self._first.append(where)
        return self._keys[key]

    def settle(
        self, find: Callable[[str, str], T | None]
    ) -> tuple[Indices, NDArray[np.bool_], Indices, tuple[Exclusion, ...]]:
        """Find every key's picture or template, leave out the pairs of those that are missing, and number the rest.

        Args:
            find: takes a key and where it was named first; returns what it stands for, or None.

        Returns:
            pairs (P, 2), same (P,), folds (P,) and the exclusions; `keys` and `items` then hold what is numbered.

        Raises:
            NotFoundError: something is missing, and that is an error.
            InputError: no pair is left.
        """
        for i, j in self._contradicted:
            del self._rows[i, j]
        rows = np.array(list(self._rows.values()), np.intp).reshape(-1, 4)
        found = [find(key, where) for key, where in zip(self._keys, self._first, strict=True)]
        there = np.array([item is not None for item in found], np.bool_)
        names = list(self._keys)
        said = "the pair is given both as of one person and as of two"
        self._exclusions += [Exclusion(f"{names[i]}, {names[j]}", said) for i, j in sorted(self._contradicted)]
        self._exclusions += missing_files(
            self._name, (n for n, t in zip(names, there, strict=True) if not t), self._missing
        )
        whole = there[rows[:, 0]] & there[rows[:, 1]] if len(rows) else np.zeros(0, np.bool_)
        self._exclusions += [
            Exclusion(f"{names[i]}, {names[j]}", "a picture of the pair is missing")
            for i, j, *_ in rows[~whole].tolist()
        ]
        rows = rows[whole]
        if not len(rows):
            raise InputError(f"{self._name}: no pair is left to measure")
        used = np.unique(rows[:, :2])
        numbers = np.zeros(len(names), np.intp)
        numbers[used] = np.arange(len(used))
        self.keys = [names[i] for i in used]
        self.items = [item for i in used if (item := found[i]) is not None]
        return numbers[rows[:, :2]], rows[:, 2].astype(np.bool_), rows[:, 3], tuple(self._exclusions)


def numbered(owners: Sequence[str]) -> tuple[tuple[str, ...], Indices]:
    """The people that own some things, sorted, and the number of each thing's owner among them.

    >>> numbered(["b", "a", "b"])
    (('a', 'b'), array([1, 0, 1]))
    """
    people = tuple(sorted(set(owners)))
    position = {person: i for i, person in enumerate(people)}
    return people, np.array([position[owner] for owner in owners], np.intp)


def kfold(count: int, folds: int = 10) -> Indices:
    """The fold of each of `count` pairs in order: contiguous blocks, the first ones larger by one where needed.

    >>> kfold(7, 3).tolist()
    [0, 0, 0, 1, 1, 2, 2]
    """
    sizes = [count // folds + (i < count % folds) for i in range(folds)]
    return np.repeat(np.arange(folds), sizes)
