"""From owners to their rows, at any size: sorted once, and a short tail of what came since."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mien.gallery.records import Ids
    from mien.gallery.search import ExactIndex

__all__ = ["OwnerRows"]

_TAIL = 16_384  # rows that are looked through one by one before everything is sorted again


@dataclass(frozen=True, slots=True, eq=False)
class _Sorted:
    """The rows of an index in order of owner; `order` is None where they are so already."""

    owners: Ids
    order: Ids | None

    @classmethod
    def of(cls, owners: Ids) -> _Sorted:
        return cls(owners, None if (owners[1:] >= owners[:-1]).all() else np.argsort(owners, kind="stable"))

    def rows(self, wanted: Ids) -> Ids:
        begins = np.searchsorted(self.owners, wanted, "left", sorter=self.order)
        ends = np.searchsorted(self.owners, wanted, "right", sorter=self.order)
        lengths = ends - begins
        places = np.repeat(begins - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        return places if self.order is None else self.order[places]


class OwnerRows:
    """Rows by owner of an index and of those that `append` and `remove` make of it. Thread-safe.

    Made on first use: at most 8 bytes a row, none where the rows stand in order of owner.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sorted: _Sorted | None = None

    def rows(self, index: ExactIndex, owners: Ids) -> Ids:
        """Places of all rows of some owners that are not removed, ascending."""
        wanted, count = np.unique(owners), index.count
        if not count or not len(wanted):
            return np.zeros(0, np.int64)
        with self._lock:  # an older index may ask, too
            known = self._sorted
            if known is None or len(known.owners) + max(_TAIL, len(known.owners) // 8) < count:
                known = self._sorted = _Sorted.of(index.owners)
        rows = known.rows(wanted)
        rows = rows[rows < count]
        tail = np.arange(len(known.owners), count)
        rows = np.sort(np.concatenate([rows, tail[np.isin(index.owners_at(tail), wanted)]]))
        return rows[index.is_live(rows)]
