"""Ranges of numbers as people write them: ``age:0-17,18-39,40+``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Ranges", "parse_ranges"]

_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_CLOSED: Final = re.compile(rf"{_NUMBER}\s*[-–]\s*{_NUMBER}\Z")
_OPEN: Final = re.compile(rf"{_NUMBER}\s*\+\Z")
MAX_RANGES: Final = 20


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges that follow one another.

    Attributes:
        column: what they are of.
        labels: how each was written.
        lows: where each begins, rising; it ends where the next one begins.
        high: the last number of the last one; infinite where it is open.
    """

    column: str
    labels: tuple[str, ...]
    lows: tuple[float, ...]
    high: float = math.inf

    def place(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        """The range of each value; -1 where it lies in none."""
        at = np.searchsorted(np.array(self.lows), values, side="right") - 1
        return np.asarray(np.where(values > self.high, -1, at), np.intp)


def parse_ranges(option: str, text: str) -> Ranges:
    """Read ``COLUMN:A-B,C-D,E+``. Raises InputError, naming the option.

    >>> parse_ranges("--bin", "age:0-17,18-39,40+").lows
    (0.0, 18.0, 40.0)
    """
    column, colon, listed = text.rpartition(":")
    column, parts = column.strip(), [part.strip() for part in listed.split(",")]
    example = f"{option}: expected COLUMN:RANGES such as age:0-17,18-39,40+, got {text[:120]!r}"
    if not colon or not column or not 1 <= len(parts) <= MAX_RANGES:
        raise InputError(example)
    lows: list[float] = []
    high = -math.inf
    for i, part in enumerate(parts):
        closed, opened = _CLOSED.match(part), _OPEN.match(part)
        if opened and i + 1 < len(parts):
            raise InputError(f"{option}: only the last range may be open, got {part!r} before others")
        if not closed and not opened:
            raise InputError(example)
        low = float((closed or opened)[1])  # type: ignore[index]  # one of the two matched
        if i and not (high <= low <= high + 1 and low > lows[-1]):
            raise InputError(f"{option}: expected ranges that follow one another, got {parts[i - 1]} and then {part}")
        high = float(closed[2]) if closed else math.inf
        if high < low:
            raise InputError(f"{option}: expected a range that rises, got {part}")
        lows.append(low)
    return Ranges(column, tuple(parts), tuple(lows), high)
