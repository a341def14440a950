"""Scanning with the compiled loops: two passes over nibbles, then the few rows that are left in full. Extra `fast`."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mien.gallery.search.codebook import Codebook, Codes
from mien.gallery.search.compiled import compiled_scan
from mien.gallery.search.kernels import GROUP
from mien.gallery.search.ranking import Ranking, exact_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.gallery.records import Ids
    from mien.types import Floats

__all__ = ["NibbleScanner"]

_ALONE = 65_536  # fewer rows than this are not worth a second thread
_PROBES = 64  # probes a pass; bounds what a batch keeps


@dataclass(frozen=True, slots=True, eq=False)
class NibbleScanner:
    """Codes of the first rows of a segment. Rows are written once, by one thread, before anybody scans them."""

    book: Codebook
    codes: Codes

    @classmethod
    def trained(cls, rows: Floats, room: int) -> NibbleScanner:
        """A scanner for rows like these (N, D), with room for so many; it holds none yet."""
        book = Codebook.trained(rows)
        return cls(book, Codes.room_for(-(-room // GROUP) * GROUP, book.slots))

    def write(self, rows: Floats, coded: int) -> int:
        """Encode rows (N, D) from `coded` on, in whole groups; returns how many are coded now."""
        whole = len(rows) // GROUP * GROUP
        if whole > coded:
            self.book.encode(rows[coded:whole], coded, self.codes)
        return max(whole, coded)

    def nbytes(self, coded: int) -> int:
        """Bytes that the codes of so many rows take."""
        return coded * self.codes.nbytes // max(1, len(self.codes.shifts))

    def search(
        self,
        rows: Floats,
        owners: Ids,
        coded: int,
        allowed: NDArray[np.bool_] | None,
        probes: Floats,
        rankings: list[Ranking],
        *,
        k: int,
        by_owner: bool,
        threads: int,
    ) -> None:
        """Offer each probe's best rows (N, D) to its ranking."""
        mask = np.zeros(0, np.uint8) if allowed is None else allowed.view(np.uint8)
        count, codes = len(rows), self.codes
        tasks = 1 if coded < _ALONE else min(threads, coded // _ALONE + 1)
        cuts = [coded * i // tasks // GROUP * GROUP for i in range(tasks)] + [coded]
        scan = compiled_scan()
        for start in range(0, len(probes), _PROBES):
            ready = self.book.prepare(probes[start : start + _PROBES])
            some = len(ready.probes)
            ready.terms[:, 7] = [ranking.bar for ranking in rankings[start : start + some]]
            bars = np.full((some, tasks), -np.inf)
            scores, found = np.empty((tasks, some, k)), np.empty((tasks, some, k), np.int64)
            whose, filled = np.empty((tasks, some, k), np.int64), np.zeros((tasks, some), np.int64)

            def part(i: int) -> None:
                scan(
                    codes.coarse, codes.fine, codes.shifts, codes.bounds, rows, owners, mask, by_owner,
                    cuts[i], cuts[i + 1], count if i == tasks - 1 else cuts[i + 1],
                    ready.probes, ready.weights, ready.high_weights, ready.low_weights, ready.terms,
                    i, bars, scores[i], found[i], whose[i], filled[i],
                )  # fmt: skip  # noqa: B023

            others = [_pool(os.getpid(), threads).submit(part, i) for i in range(1, tasks)]
            part(0)
            for other in others:
                other.result()
            for q in range(some):
                row = np.concatenate([found[i, q, : filled[i, q]] for i in range(tasks)])
                rankings[start + q].offer(exact_scores(rows[row], probes[start + q]), row, owners[row])


@cache
def _pool(_process: int, threads: int) -> ThreadPoolExecutor:
    """Threads that wait for work; a forked child makes its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="mien-search")
