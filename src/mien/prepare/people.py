"""Who goes where: choosing people and pictures of a folder, splitting people into sets, and placing the result."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar, get_args

import numpy as np

from mien.errors import InputError
from mien.images import people_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Advance: TypeAlias = Callable[[int], None]

__all__ = ["PLACINGS", "People", "Placed", "Placing", "place", "put_picture", "read_people", "select", "split"]

T = TypeVar("T")

People: TypeAlias = "list[tuple[str, list[Path]]]"
"""(name, pictures) of each person, sorted by name."""

Placing: TypeAlias = Literal["copy", "link", "list"]
PLACINGS: Final[tuple[Placing, ...]] = get_args(Placing)
"""Copies of the pictures, hard links to them (no space, same disk), or only a list of their paths."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What `place` did: pictures placed now, and those that were there already."""

    placed: int
    there: int


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
        InputError: a number is below 1, or fewer people than `count` have so many pictures.

    >>> people = [("Ada", [Path("1"), Path("2")]), ("Grace", [Path("3")])]
    >>> [name for name, _ in select(people, least=2)]
    ['Ada']
    """
    for name, value in (("people", count), ("least", least), ("most", most)):
        if value is not None and value < 1:
            raise InputError(f"{name}: expected at least 1, got {value}")
    enough = [(name, pictures) for name, pictures in people if len(pictures) >= least]
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


def place(people: People, root: Path, target: Path, how: Placing, *, advance: Advance | None = None) -> Placed:
    """Put the pictures of a set into a folder, or their paths into a list.

    Args:
        people: the set.
        root: the folder that its pictures lie in; their place below it is kept.
        target: the folder, or for "list" the text file: one path a line, relative to `root`.
        how: see `PLACINGS`.
        advance: called with 1 after each picture.

    Raises:
        InputError: something cannot be written, or another file is in the way.
    """
    pictures = [path for _, paths in people for path in paths]
    try:
        if how == "list":
            lines = "".join(f"{path.relative_to(root).as_posix()}\n" for path in pictures)
            draft = target.with_name(f".mien-{secrets.token_hex(8)}.part")
            try:
                draft.write_bytes(lines.encode("utf-8", "surrogateescape"))
                draft.replace(target)
            finally:
                draft.unlink(missing_ok=True)
            return Placed(len(pictures), 0)
        there = 0
        for path in pictures:
            there += put_picture(path, target / path.relative_to(root), how)
            if advance:
                advance(1)
    except OSError as error:
        raise InputError(f"{error.filename or target}: cannot be written ({error.strerror or error})") from error
    return Placed(len(pictures) - there, there)


def put_picture(source: Path, place_at: Path, how: Placing) -> bool:
    """Copy or link one picture to its place; returns whether it was there already.

    Raises:
        InputError: another file is there, or no hard link can be made.
        OSError: it cannot be written.
    """
    place_at.parent.mkdir(parents=True, exist_ok=True)
    if place_at.exists() or place_at.is_symlink():
        if place_at.is_symlink() or not (place_at.samefile(source) or _alike(place_at, source)):
            raise InputError(f"{place_at}: another file is there already; choose an empty folder")
        return True
    if how == "link":
        try:
            os.link(source, place_at)
        except OSError as error:
            raise InputError(f"{place_at}: no hard link can be made ({error.strerror}); copy instead") from error
        return False
    draft = place_at.with_name(f".mien-{secrets.token_hex(8)}.part")
    try:
        shutil.copy2(source, draft)
        draft.replace(place_at)
    finally:
        draft.unlink(missing_ok=True)
    return False


def _alike(a: Path, b: Path) -> bool:
    return a.stat().st_size == b.stat().st_size and a.read_bytes() == b.read_bytes()


def _cut(items: Sequence[T], shares: Mapping[str, float]) -> dict[str, list[T]]:
    edges = np.rint(np.cumsum([0.0, *shares.values()]) * len(items)).astype(int).tolist()
    return {name: list(items[a:b]) for name, a, b in zip(shares, edges, edges[1:], strict=False)}


def _some(pictures: list[Path], most: int, seed: int, person: str) -> list[Path]:
    return sorted(sorted(pictures, key=lambda path: _hash(seed, f"{person}/{path.name}"))[:most])


def _hash(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "surrogatepass")).digest()
