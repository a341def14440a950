"""Who is in an index: subjects by number, without their names, so that a million of them are few bytes each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mien.gallery.records import Ids, Known

__all__ = ["Column", "People"]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Ascending numbers that grow at the end. Immutable to its readers.

    Columns share their buffers, as `ExactIndex` does: call `append` on the newest only, from one thread at a time.
    """

    buffer: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    count: int = 0

    @classmethod
    def of(cls, values: Ids) -> Column:
        """A column of these values."""
        return cls(values, len(values))

    @property
    def values(self) -> Ids:
        """int64 (count,). Do not write to it."""
        return self.buffer[: self.count]

    def append(self, values: Ids) -> Column:
        """This column with more behind its own; the cost of n additions is proportional to n."""
        if not len(values):
            return self
        count, buffer = self.count + len(values), self.buffer
        if count > len(buffer) or not buffer.flags.writeable:
            buffer = np.empty(max(count, 2 * self.count), np.int64)
            buffer[: self.count] = self.values
        buffer[self.count : count] = values
        return Column(buffer, count)

    def places(self, values: Ids) -> Ids:
        """Places of those of some values that are here."""
        if not self.count or not len(values):
            return np.zeros(0, np.int64)
        at = np.minimum(np.searchsorted(self.values, values), self.count - 1)
        return np.asarray(at[self.values[at] == values], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """The subjects at one moment. Immutable to its readers; `follow` is for the newest, from one thread at a time.

    Attributes:
        column: their ids.
        ignored: ids of known strangers.
        groups: id -> groups, of those who are in one.
    """

    column: Column = field(default_factory=Column)
    ignored: frozenset[int] = frozenset()
    groups: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of subjects."""
        return self.column.count

    @property
    def ids(self) -> Ids:
        """int64, ascending. Do not write to it."""
        return self.column.values

    def follow(self, told: Mapping[int, Known], removed: Collection[int]) -> People:
        """The subjects after some were added, changed or removed."""
        if not told and not removed:
            return self
        column = self.column
        if removed:
            column = Column.of(column.values[~np.isin(column.values, list(removed))])
        new = np.setdiff1d(np.fromiter(told, np.int64, len(told)), column.values) if told else np.zeros(0, np.int64)
        if len(new) and column.count and new[0] < column.values[-1]:
            column = Column.of(np.union1d(column.values, new))
        else:
            column = column.append(new)
        ignored, groups = self.ignored, self.groups
        touched = {*told, *removed}
        strangers = {i for i, known in told.items() if known.told == "ignored"}
        if strangers or not ignored.isdisjoint(touched):
            ignored = (ignored - touched) | strangers
        grouped = {i: known.groups for i, known in told.items() if known.groups}
        if grouped or not touched.isdisjoint(groups):
            groups = {i: which for i, which in groups.items() if i not in touched} | grouped
        return People(column, ignored, groups)

    def holds(self, ids: Ids) -> bool:
        """Whether all of some ids are here."""
        return len(self.column.places(ids)) == len(ids)

    def of_group(self, group: str) -> list[int]:
        """Ids of a group's members."""
        return [i for i, groups in self.groups.items() if group in groups]
