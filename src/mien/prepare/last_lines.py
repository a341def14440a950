"""What the last of many lines says about each of many things, in sixteen bytes a thing."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LastLines"]

_RECENT: Final = 1 << 16  # kept as they come; before they are put in order with the others


class LastLines:
    """Whole numbers below 2**64 by keys of the same kind; what is put later takes the place of what was before.

    For millions of keys: a dict takes ten times the memory. Looking one up takes about a microsecond. Belongs to one
    thread.

    >>> last = LastLines()
    >>> last.put(7, 1)
    >>> last.put(7, 2)
    >>> last.get(7), last.get(8), len(last)
    (2, None, 1)
    """

    def __init__(self) -> None:
        self._keys, self._values = array("Q"), array("Q")  # by key, ascending
        self._recent: dict[int, int] = {}

    def put(self, key: int, value: int) -> None:
        """Note what the latest line says."""
        self._recent[key] = value
        if len(self._recent) >= max(_RECENT, len(self._keys) // 4):  # so that all is put in order few times
            self._fold()

    def get(self, key: int) -> int | None:
        """What the last line says; None where there is none."""
        found = self._recent.get(key)
        if found is None:
            at = bisect_left(self._keys, key)
            if at < len(self._keys) and self._keys[at] == key:
                return self._values[at]
        return found

    def __len__(self) -> int:
        self._fold()
        return len(self._keys)

    def values(self) -> NDArray[np.uint64]:
        """uint64 (N,): of each key; a copy."""
        self._fold()
        return np.array(self._values, np.uint64)

    def _fold(self) -> None:
        if not self._recent:
            return
        count, given = len(self._recent), self._recent
        keys = np.concatenate([np.fromiter(given, np.uint64, count)[::-1], np.frombuffer(self._keys, np.uint64)])
        values = np.concatenate(
            [np.fromiter(given.values(), np.uint64, count)[::-1], np.frombuffer(self._values, np.uint64)]
        )
        keys, first = np.unique(keys, return_index=True)  # of several the first, which is the latest
        self._keys, self._values = array("Q", keys.tobytes()), array("Q", values[first].tobytes())
        self._recent = {}
