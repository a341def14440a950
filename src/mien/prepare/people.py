"""Who goes where: choosing people and pictures of a folder, and splitting people into sets."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import numpy as np

from mien.errors import InputError
from mien.images import people_of

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

__all__ = ["People", "read_people", "select", "split"]

T = TypeVar("T")

People: TypeAlias = "list[tuple[str, list[Path]]]"
"""(name, pictures) of each person, sorted by name."""


def read_people(folder: str | os.PathLike[str]) -> People:
    """The people of a folder who have pictures.

    Raises:
        InputError: there is none.
    """
    people = [(name, pictures) for name, pictures in people_of(folder) if pictures]
    if not people:
        raise InputError(f"{folder}: no pictures of people in it; expected a sub-folder a person")
    return people


def select(
    people: People, *, count: int | None = None, least: int = 1, most: int | None = None, seed: int = 0
) -> People:
    """The `count` people with most pictures, of those with at least `least`; at most `most` pictures each.

    Of people with equally many, the first by name are taken; pictures over `most` are left out at random.

    Raises:
        InputError: a number is below 1, or fewer people than `count`, or nobody at all, have so many pictures.

    >>> people = [("Ada", [Path("1"), Path("2")]), ("Grace", [Path("3")])]
    >>> [name for name, _ in select(people, least=2)]
    ['Ada']
    """
    for name, value in (("people", count), ("least", least), ("most", most)):
        if value is not None and value < 1:
            raise InputError(f"{name}: expected at least 1, got {value}")
    enough = [(name, pictures) for name, pictures in people if len(pictures) >= least]
    if not enough:
        largest = max((len(pictures) for _, pictures in people), default=0)
        raise InputError(f"people: nobody has at least {least} pictures; {largest} are the most that anybody has")
    if count is not None:
        if len(enough) < count:
            raise InputError(f"people: asked for {count}, but only {len(enough)} have at least {least} pictures")
        enough = sorted(sorted(enough, key=lambda person: (-len(person[1]), person[0]))[:count])
    if most is None:
        return enough
    return [(name, _some(pictures, most, seed, name)) for name, pictures in enough]


def split(
    people: People, shares: Mapping[str, float], *, seed: int = 0, by: Literal["people", "pictures"] = "people"
) -> dict[str, People]:
    """Split into sets, so that nobody is in two of them (or, by pictures, everybody is in all of them).

    Args:
        people: see `read_people`.
        shares: name of each set -> its share; they add up to 1, or less to leave some out.
        seed: of the draw. People are drawn by name, so that adding somebody moves few others.
        by: "people" for disjoint people, which is what an evaluation of strangers needs; "pictures" to divide each
            person's pictures.

    Raises:
        InputError: the shares make no sense, or a set would be empty.
    """
    values = list(shares.values())
    if not values or any(not 0 < v <= 1 for v in values) or sum(values) > 1 + 1e-9:
        raise InputError(f"shares: expected positive shares that add up to at most 1, got {dict(shares)}")
    sets: dict[str, People] = {name: [] for name in shares}
    if by == "people":
        order = sorted(people, key=lambda person: _hash(seed, person[0]))
        for name, part in _cut(order, shares).items():
            sets[name] = sorted(part)
    else:
        for person, pictures in people:
            order_of = sorted(pictures, key=lambda path: _hash(seed, f"{person}/{path.name}"))
            for name, some in _cut(order_of, shares).items():
                if some:
                    sets[name].append((person, sorted(some)))
    empty = [name for name, part in sets.items() if not part]
    if empty:
        raise InputError(f"{len(people)} people are too few: nobody is left for {', '.join(empty)}")
    return sets


def _cut(items: Sequence[T], shares: Mapping[str, float]) -> dict[str, list[T]]:
    edges = np.rint(np.cumsum([0.0, *shares.values()]) * len(items)).astype(int).tolist()
    return {name: list(items[a:b]) for name, a, b in zip(shares, edges, edges[1:], strict=False)}


def _some(pictures: list[Path], most: int, seed: int, person: str) -> list[Path]:
    return sorted(sorted(pictures, key=lambda path: _hash(seed, f"{person}/{path.name}"))[:most])


def _hash(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "surrogatepass")).digest()
