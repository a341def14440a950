"""In which order pictures are shown: the whole order of an epoch at once, decided by (seed, epoch) alone.

All are vectorised (ten million pictures take seconds), immutable, and safe to use from several threads at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Indices = NDArray[np.int64]

__all__ = ["PK", "Balanced", "Labelled", "Mixed", "Sampler", "Shuffle"]


class Labelled(Protocol):
    """What samplers look at; a `TrainingSet` is one."""

    @property
    def labels(self) -> Indices:
        """int64 (N,)."""

    @property
    def origins(self) -> NDArray[np.int16]:
        """(N,): the number of each picture's source."""

    @property
    def proportions(self) -> tuple[float | None, ...]:
        """By source."""

    def __len__(self) -> int: ...


class Sampler(Protocol):
    """Any object with these methods can be given to `Batches`."""

    def __len__(self) -> int:
        """Indices of an epoch."""

    @property
    def group(self) -> int:
        """Batches are expected to be a multiple of so many."""

    def order(self, epoch: int, seed: int) -> Indices:
        """int64 (len(self),): the pictures of an epoch in order."""


class Shuffle:
    """Every picture once, in a new order each epoch."""

    group = 1

    def __init__(self, data: Labelled) -> None:
        self._count = len(data)

    def __len__(self) -> int:
        return self._count

    def order(self, epoch: int, seed: int) -> Indices:
        """int64 (N,)."""
        return _generator(seed, epoch).permutation(self._count)


class Balanced:
    """People equally often, whether they have few pictures or many; as many pictures an epoch as there are.

    People follow each other in random permutations, and each goes through its pictures, shuffled anew every epoch,
    before one comes again.
    """

    group = 1

    def __init__(self, data: Labelled) -> None:
        self._deck = _Deck(data.labels)
        self._count = len(data)

    def __len__(self) -> int:
        return self._count

    def order(self, epoch: int, seed: int) -> Indices:
        """int64 (N,)."""
        rng = _generator(seed, epoch)
        people = _permutations(rng, self._deck.people, self._count)
        return self._deck.deal(rng, people, 1)


class PK:
    """Groups of `people` x `each` pictures: P different people, K pictures of each, next to each other.

    A batch is one group or several. An epoch shows about as many pictures as there are; people come equally often.
    K different pictures are taken of a person that has as many; otherwise its pictures repeat, evenly.

    Args:
        data: the set.
        people: P, 2 or more.
        each: K, 2 or more.
        least: leave out people with fewer pictures.

    Raises:
        InputError: there are fewer than P people.

    Source:
        A. Hermans, L. Beyer, B. Leibe, "In defense of the triplet loss for person re-identification", 2017.
    """

    def __init__(self, data: Labelled, *, people: int, each: int, least: int = 1) -> None:
        if people < 2 or each < 1:
            raise InputError(f"PK: expected 2 people or more and 1 picture of each or more, got {people} x {each}")
        self._deck = _Deck(data.labels, least)
        if self._deck.people < people:
            raise InputError(
                f"PK: {people} people a group, but the set has {self._deck.people} with {least} pictures or more"
            )
        self._people, self._each, self.group = people, each, people * each
        self._groups = max(1, self._deck.pictures // self.group)

    def __len__(self) -> int:
        return self._groups * self.group

    def order(self, epoch: int, seed: int) -> Indices:
        """int64, of groups * P * K."""
        rng = _generator(seed, epoch)
        # A permutation's rest that fills no group is dropped, so that no group holds a person twice.
        whole = self._deck.people // self._people * self._people
        people = _permutations(rng, self._deck.people, self._groups * self._people, cut=whole)
        return self._deck.deal(rng, people, self._each)


class Mixed:
    """Sources by proportions, evenly interleaved: any stretch of the order holds each source's share, within one.

    Within a source pictures are shuffled, or its people balanced; a source that is used up begins anew.

    Args:
        data: the set.
        proportions: a positive number a source, of any sum; None for each source's own (where one has none: its share
            of the pictures, as if nothing were mixed).
        balanced: show the people of a source equally often.

    Raises:
        InputError: the proportions do not fit the sources.
    """

    group = 1

    def __init__(self, data: Labelled, proportions: Sequence[float] | None = None, *, balanced: bool = False) -> None:
        self._members = [np.flatnonzero(data.origins == i) for i in range(len(data.proportions))]
        if proportions is None:
            given = [p for p in data.proportions if p is not None]
            if given and len(given) < len(data.proportions):
                raise InputError("Mixed: expected a proportion for every source or for none")
            proportions = given or [float(len(m)) for m in self._members]
        if len(proportions) != len(self._members) or not all(0 < p < np.inf for p in proportions):
            raise InputError(f"Mixed: expected {len(self._members)} positive proportions, got {list(proportions)}")
        if any(not len(m) for m in self._members):
            raise InputError("Mixed: a source holds no pictures")
        self._shares = np.array(proportions, np.float64) / sum(proportions)
        self._decks = [_Deck(data.labels[m]) for m in self._members] if balanced else None
        self._count = len(data)

    def __len__(self) -> int:
        return self._count

    def order(self, epoch: int, seed: int) -> Indices:
        """int64 (N,)."""
        rng = _generator(seed, epoch)
        # The j-th picture of a source with share p is due at (j + phase) / p: the order by due times.
        counts = np.ceil(self._count * self._shares).astype(np.int64) + 1
        phases = rng.random(len(counts))
        due = np.concatenate([(np.arange(n) + u) / p for n, u, p in zip(counts, phases, self._shares, strict=True)])
        shown = np.concatenate([self._stream(rng, i, int(n)) for i, n in enumerate(counts)])
        return shown[np.argsort(due, kind="stable")[: self._count]]

    def _stream(self, rng: np.random.Generator, source: int, count: int) -> Indices:
        members = self._members[source]
        if self._decks is None:
            return members[_permutations(rng, len(members), count)]
        deck = self._decks[source]
        return members[deck.deal(rng, _permutations(rng, deck.people, count), 1)]


class _Deck:
    """The pictures of each person as a deck of cards."""

    def __init__(self, labels: Indices, least: int = 1) -> None:
        counts = np.bincount(labels) if len(labels) else np.zeros(0, np.int64)
        chosen = np.flatnonzero(counts >= max(least, 1))
        self.people = len(chosen)
        self._labels = labels
        self._starts = (np.cumsum(counts) - counts)[chosen]  # within the pictures sorted by label
        self._counts = counts[chosen]
        self.pictures = int(self._counts.sum())

    def deal(self, rng: np.random.Generator, people: Indices, each: int) -> Indices:
        """`each` pictures for every entry of `people`, from decks shuffled once.

        A person's turns go on where the last one ended, and begin anew at the end of the deck.
        """
        mixed = rng.permutation(len(self._labels))
        cards = mixed[np.argsort(self._labels[mixed], kind="stable")]
        turn = occurrences(people)
        card = (turn * each)[:, None] + np.arange(each)
        card %= self._counts[people][:, None]
        return cards[self._starts[people][:, None] + card].ravel()


def occurrences(values: Indices) -> Indices:
    """How often each value came before.

    >>> occurrences(np.array([7, 3, 7, 7, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    by_value = np.argsort(values, kind="stable")
    ordered = values[by_value]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(values) else np.zeros(0, np.int64)
    lengths = np.diff(np.r_[first, len(values)])
    found = np.empty(len(values), np.int64)
    found[by_value] = np.arange(len(values)) - np.repeat(first, lengths)
    return found


def _permutations(rng: np.random.Generator, count: int, total: int, cut: int | None = None) -> Indices:
    """Permutations of 0 ... count - 1 one after the other, each cut to `cut`, up to `total` numbers."""
    cut = count if cut is None else cut
    parts = [rng.permutation(count)[:cut] for _ in range(-(-total // cut))]
    return np.concatenate(parts)[:total]


def _generator(seed: int, epoch: int) -> np.random.Generator:
    words: Any = [seed, epoch, 0x5A3]  # apart from those of the pictures' changes
    return np.random.Generator(np.random.SFC64(words))
