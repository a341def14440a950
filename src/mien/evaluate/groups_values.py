"""Which group a picture, and which group a pair, is in."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.groups_csv import folded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mien.evaluate.groups_csv import AttributeTable
    from mien.evaluate.groups_ranges import Ranges

__all__ = ["MAX_VALUES", "NOT_KNOWN", "OUTSIDE", "Attribute", "Coverage", "Group", "column_attributes", "valued"]

MAX_VALUES: Final = 20
"""Different values of an attribute, at most; more need ranges."""

MAX_NUMBERS: Final = 1000
"""Different numbers of a column whose gaps are measured, at most."""

NOT_KNOWN: Final = "(none)"
OUTSIDE: Final = "(outside)"
MIXED: Final = "(mixed)"
"""What is no group of people: unknown values, numbers in no range, and templates of several values."""

_SPECIAL: Final = (NOT_KNOWN, OUTSIDE, MIXED)


@dataclass(frozen=True, slots=True)
class Group:
    """A group of pairs, or of pictures.

    Attributes:
        name: as it is printed.
        values: what the sides have: one value, or two that differ.
        counts: whether it has a say in the worst group's threshold; "(none)" has not.
    """

    name: str
    values: tuple[str, ...]
    counts: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """An attribute of N pictures, and the groups that it makes of their pairs.

    Immutable by agreement, so safe to share between threads.

    Attributes:
        name: its name.
        kind: "value", or "gap" for differences of numbers.
        values: (V,) names of the values that occur.
        codes: (N,) the value of each picture.
        groups: the G groups of pairs.
        between: (V, V), symmetric: the group of a pair with these two values.
    """

    name: str
    kind: str
    values: tuple[str, ...]
    codes: NDArray[np.intp]
    groups: tuple[Group, ...]
    between: NDArray[np.int16]

    @property
    def unknown(self) -> int:
        """How many pictures have no value."""
        missing = [i for i, value in enumerate(self.values) if value == NOT_KNOWN]
        return int(np.isin(self.codes, missing).sum())

    def of_templates(self, members: NDArray[np.intp], offsets: NDArray[np.intp]) -> Attribute:
        """The same of T templates: the value that all pictures of one have, or "(mixed)", which is no group.

        Args:
            members: positions of pictures, template by template.
            offsets: (T + 1,) where each template begins in them.
        """
        codes, starts = self.codes[members], offsets[:-1]
        low, high = np.minimum.reduceat(codes, starts), np.maximum.reduceat(codes, starts)
        if (low == high).all():
            return Attribute(self.name, self.kind, self.values, low, self.groups, self.between)
        v, g = len(self.values), len(self.groups)
        between = np.full((v + 1, v + 1), g, np.int16)
        between[:v, :v] = self.between
        mixed = Group(MIXED, (MIXED,), counts=False)
        joined = np.where(low == high, low, v)
        return Attribute(self.name, self.kind, (*self.values, MIXED), joined, (*self.groups, mixed), between)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How a file and a protocol fit together.

    Attributes:
        matched, unmatched: pictures that the file speaks of, and others.
        unknown_keys: how many keys of the file no picture has.
        examples: some of them.
    """

    matched: int
    unmatched: int
    unknown_keys: int
    examples: tuple[str, ...]


def valued(name: str, labels: Sequence[str], *, order: Sequence[str] = ()) -> Attribute:
    """An attribute of categories: a group for each value, and one for each two values.

    Args:
        name: its name.
        labels: (N,) the value of each picture; "" where it is not known.
        order: values in the order in which they are listed; others follow by name.

    Raises:
        InputError: there are more than `MAX_VALUES` different values.
    """
    known = {label or NOT_KNOWN for label in labels}
    values = [value for value in order if value in known]
    plain = sorted(known - set(values) - set(_SPECIAL))
    values = [*values, *plain, *(value for value in _SPECIAL if value in known)]
    if sum(value not in _SPECIAL for value in values) > MAX_VALUES:
        raise InputError(
            f"attribute {name}: {len(values)} different values make too many groups; give ranges of a number "
            f"(--bin {name}:0-17,18-39,40+), or leave the column out"
        )
    number = {value: i for i, value in enumerate(values)}
    groups: list[Group] = []
    between = np.zeros((len(values), len(values)), np.int16)
    special: dict[str, int] = {}
    for (i, a), (j, b) in itertools.combinations_with_replacement(enumerate(values), 2):
        odd = next((s for s in _SPECIAL if s in (a, b)), None)
        if odd is not None and odd in special:
            group = special[odd]
        else:
            group = len(groups)
            if odd is not None:
                special[odd] = group
                groups.append(Group(odd, (odd,), counts=False))
            else:
                groups.append(Group(a if a == b else f"{a} / {b}", (a,) if a == b else (a, b)))
        between[i, j] = between[j, i] = group
    codes = np.array([number[label or NOT_KNOWN] for label in labels], np.intp)
    return Attribute(name, "value", tuple(values), codes, tuple(groups), between)


def gapped(ranges: Ranges, numbers: NDArray[np.float64]) -> Attribute:
    """Groups of pairs by the difference of two numbers.

    Args:
        ranges: of the difference.
        numbers: (N,) of each picture; NaN where it is not known.

    Raises:
        InputError: there are more than `MAX_NUMBERS` different numbers.
    """
    known = np.unique(numbers[~np.isnan(numbers)])
    if len(known) > MAX_NUMBERS:
        raise InputError(f"--gap {ranges.column}: {len(known)} different numbers, more than {MAX_NUMBERS}; round them")
    groups = [Group(label, (label,)) for label in ranges.labels]
    extra = [Group(name, (name,), counts=False) for name in (OUTSIDE, NOT_KNOWN)]
    v = len(known)
    between = np.full((v + 1, v + 1), len(groups) + 1, np.int16)
    place = ranges.place(np.abs(known[:, None] - known[None, :]))
    between[:v, :v] = np.where(place < 0, len(groups), place)
    codes = np.where(np.isnan(numbers), v, np.searchsorted(known, numbers))
    names = (*(f"{n:g}" for n in known), NOT_KNOWN)
    return Attribute(f"{ranges.column} gap", "gap", names, codes, (*groups, *extra), between)


def column_attributes(
    table: AttributeTable,
    pictures: Sequence[str],
    people: Sequence[str] | None,
    *,
    bins: Sequence[Ranges] = (),
    gaps: Sequence[Ranges] = (),
) -> tuple[list[Attribute], Coverage]:
    """The attributes of a protocol's pictures that a file tells.

    Args:
        table: the file.
        pictures: (N,) names of the pictures.
        people: (N,) the person of each; None where the protocol does not tell.
        bins: ranges of columns that are numbers.
        gaps: ranges of differences between the two sides of a pair.

    Raises:
        InputError: no key fits, the protocol does not tell people, a column is missing, or is not numbers.
    """
    names = pictures if table.key == "image" else people
    if names is None:
        raise InputError(f"{table.source}: this protocol does not tell whose its pictures are; use a column image")
    keys = [folded(name) for name in names]
    there, present = set(keys), set(table.rows)
    strange = sorted(present - there, key=lambda key: table.lines[key])
    if len(strange) == len(present):
        raise InputError(
            f"{table.source}: no {table.key} of the protocol is named, such as {keys[0][:120]!r}; "
            f"line {table.lines[strange[0]]} has {strange[0][:120]!r}"
        )
    of_name = {ranges.column: ranges for ranges in bins}
    found = []
    for name in table.columns:
        column = table.column(name)
        if name in of_name:
            found.append(_binned(of_name.pop(name), table, column, keys))
        elif all(name != gap.column for gap in gaps):
            found.append(valued(name, [column.get(key, "") for key in keys]))
    for ranges in of_name.values():
        table.column(ranges.column)  # raises: there is none of that name
    found += [gapped(r, _numbers(table, table.column(r.column), r.column, keys)) for r in gaps]
    matched = sum(key in present for key in keys)
    return found, Coverage(matched, len(keys) - matched, len(strange), tuple(strange[:5]))


def _binned(ranges: Ranges, table: AttributeTable, column: Mapping[str, str], keys: Sequence[str]) -> Attribute:
    numbers = _numbers(table, column, ranges.column, keys)
    known = ~np.isnan(numbers)
    place = np.full(len(keys), -1)
    place[known] = ranges.place(numbers[known])
    labels = [ranges.labels[p] if p >= 0 else OUTSIDE if k else "" for p, k in zip(place, known, strict=True)]
    return valued(ranges.column, labels, order=ranges.labels)


def _numbers(table: AttributeTable, column: Mapping[str, str], name: str, keys: Sequence[str]) -> NDArray[np.float64]:
    numbers: dict[str, float] = {}
    for key, value in column.items():
        try:
            numbers[key] = float(value)
        except ValueError:
            numbers[key] = math.inf
        if not math.isfinite(numbers[key]):
            raise InputError(
                f"{table.source}, line {table.lines[key]}, column {name}: expected a number, got {value!r}"
            )
    return np.array([numbers.get(key, math.nan) for key in keys])
