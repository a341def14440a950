"""Scanning with the compiled loops: two passes over nibbles, then the few rows that are left in full. Extra `fast`."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from mien.gallery.search.codebook import Codebook, Codes, ProbeCode
from mien.gallery.search.compiled import compiled_scan
from mien.gallery.search.kernels import GROUP
from mien.gallery.search.ranking import Ranking, exact_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.gallery.records import Ids
    from mien.types import Floats

    Bytes = NDArray[np.uint8]
    Doubles = NDArray[np.float64]

__all__ = ["NibbleScanner"]

_ALONE = 65_536  # fewer rows than this are not worth a second thread
_PROBES = 64  # probes a pass; bounds what a batch keeps
_NEAR = 64  # groups between two that are encoded anew, from which on they are left out


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

    def copied(self, room: int, coded: int) -> NibbleScanner:
        """The same codebook with room for so many rows, the first of them coded as they are here."""
        codes = Codes.room_for(-(-room // GROUP) * GROUP, self.book.slots)
        for mine, its in zip(codes.arrays, self.codes.arrays, strict=True):
            mine[: len(mine) * coded // len(codes.shifts)] = its[: len(its) * coded // len(self.codes.shifts)]
        return NibbleScanner(self.book, codes)

    def rewrite(self, rows: Floats, changed: Ids) -> None:
        """Encode those of the coded rows (N, D) anew that have changed, and the groups that they are in."""
        groups = np.unique(changed // GROUP)
        for run in np.split(groups, np.flatnonzero(np.diff(groups) > _NEAR) + 1) if len(groups) else ():
            first = int(run[0]) * GROUP
            self.book.encode(rows[first : (int(run[-1]) + 1) * GROUP], first, self.codes)

    @staticmethod
    def searched(count: int, coded: int) -> int:
        """How many rows `search` covers: all, for it reads those without a code in full."""
        return count

    def nbytes(self, coded: int) -> int:
        """Bytes that the codes of so many rows take."""
        return coded * self.codes.nbytes // max(1, len(self.codes.shifts))

    def search(
        self,
        probes: Floats,
        rankings: list[Ranking],
        *,
        rows: Floats,
        owners: Ids,
        coded: int,
        allowed: NDArray[np.bool_] | None,
        k: int,
        by_owner: bool,
        threads: int,
    ) -> None:
        """Offer each probe's best rows (N, D) to its ranking."""
        mask = np.zeros(0, np.uint8) if allowed is None else allowed.view(np.uint8)
        tasks = 1 if coded < _ALONE else min(threads, coded // _ALONE + 1)
        cuts = [coded * i // tasks // GROUP * GROUP for i in range(tasks)] + [coded]
        ends = [*cuts[1:-1], len(rows)]  # the last part reads the rows without a code as well
        for start in range(0, len(probes), _PROBES):
            some = probes[start : start + _PROBES]
            ready = self.book.prepare(some)
            ready.terms[:, 7] = [ranking.bar for ranking in rankings[start : start + len(some)]]
            bars = np.full((len(some), tasks), -np.inf)
            part = partial(self._part, ready, bars, rows, owners, mask, by_owner=by_owner, k=k)
            others = [_pool(os.getpid(), threads).submit(part, i, cuts[i : i + 2], ends[i]) for i in range(1, tasks)]
            best = [part(0, cuts[:2], ends[0]), *(other.result() for other in others)]
            for q, probe in enumerate(some):
                row = np.concatenate([found[q, : filled[q]] for found, filled in best])
                rankings[start + q].offer(exact_scores(rows[row], probe), row, owners[row])

    def _part(  # noqa: PLR0917
        self, ready: ProbeCode, bars: Doubles, rows: Floats, owners: Ids, mask: Bytes, task: int, cuts: list[int],
        end: int, *, by_owner: bool, k: int,
    ) -> tuple[Ids, Ids]:  # fmt: skip
        """The k best rows of a stretch for each probe, (Q, k), and how many there are, (Q,)."""
        shape, codes = (len(ready.probes), k), self.codes
        found, filled = np.empty(shape, np.int64), np.zeros(len(ready.probes), np.int64)
        compiled_scan()(
            codes.coarse, codes.fine, codes.shifts, codes.bounds, rows, owners, mask, by_owner, *cuts, end,
            ready.probes, ready.weights, ready.fine_weights, ready.terms, task, bars,
            np.empty(shape), found, np.empty(shape, np.int64), filled,
        )  # fmt: skip
        return found, filled


@cache
def _pool(_process: int, threads: int) -> ThreadPoolExecutor:
    """Threads that wait for work; a forked child makes its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="mien-search")
