"""The highest of more scores than memory holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.types import Floats

__all__ = ["ScoreTail", "TailCollector"]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTail:
    """The highest impostor scores.

    Attributes:
        scores: (K,) float32, ascending.
        total: how many scores there were, those that were not kept included.
    """

    scores: Floats
    total: int


class TailCollector:
    """Keeps the `size` highest of the scores that pass by, each with a code, in memory proportional to `size`.

    Not thread-safe.

    Attributes:
        floor: scores at or below it need not be offered any more; it only rises.
    """

    def __init__(self, size: int) -> None:
        if size < 0:
            raise InputError(f"tail: expected a size of 0 or more, got {size}")
        self.size = size
        self.floor = np.float32(-np.inf if size else np.inf)
        self._parts: list[tuple[Floats, NDArray[np.int64]]] = []
        self._held = 0

    def offer(self, scores: Floats, codes: NDArray[np.int64] | None = None) -> None:
        """Take in the scores above `floor`: (N,) float32, with (N,) codes that say whose they are (zeros if None)."""
        keep = scores > self.floor
        kept = scores[keep]
        if len(kept):
            self._parts.append((kept, np.zeros(len(kept), np.int64) if codes is None else codes[keep]))
            self._held += len(kept)
        if self._held > 2 * self.size + 1024:
            self._shrink()

    def sorted(self) -> tuple[Floats, NDArray[np.int64]]:
        """The kept scores, ascending, and their codes."""
        self._shrink()
        if not self._parts:
            return np.zeros(0, np.float32), np.zeros(0, np.int64)
        scores, codes = self._parts[0]
        order = np.argsort(scores, kind="stable")
        return scores[order], codes[order]

    def _shrink(self) -> None:
        if not self._parts:
            return
        scores = np.concatenate([s for s, _ in self._parts])
        codes = np.concatenate([c for _, c in self._parts])
        if len(scores) > self.size:
            best = np.argpartition(scores, len(scores) - self.size)[len(scores) - self.size :]
            scores, codes = scores[best], codes[best]
            self.floor = scores.min()
        self._parts, self._held = [(scores, codes)], len(scores)
