"""The exact index: rows and their owners in, the best rows out, the same as comparing with every row."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mien.errors import InputError
from mien.gallery.search.compiled import available
from mien.gallery.search.nibbles import NibbleScanner
from mien.gallery.search.octets import OctetScanner
from mien.gallery.search.ranking import Hits, Ranking
from mien.gallery.search.sifting import float_margin, sift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.gallery.records import Ids
    from mien.types import Floats

__all__ = ["CODED_FROM", "ExactIndex", "Scanner", "default_threads"]

Scanner: TypeAlias = NibbleScanner | OctetScanner

CODED_FROM = 16_384  # rows; below, plain products of float32 are as fast as codes
_CHUNK = 65_536  # rows a float32 product
_PROBES = 64  # probes a float32 product
_UNIT = 0.01  # how far from unit norm a row or probe may be


@dataclass(frozen=True, slots=True, eq=False)
class ExactIndex:
    """Rows and their owners at one moment. Immutable to its readers, so any number of threads may search it.

    Indexes share their buffers: `append` writes only behind the rows that older ones can see, and into a buffer that
    still has room there only once. Call `append` on the newest index only, from one thread at a time.

    Attributes:
        count: rows in use, removed ones included.
        gone: how many of them are removed.
        coded_from: number of rows from which on codes are kept.
        compiled: scan with numba; None where it is installed.
    """

    count: int = 0
    gone: int = 0
    coded_from: int = CODED_FROM
    compiled: bool | None = None
    _rows: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    _owners: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    _allowed: NDArray[np.bool_] | None = None
    _scanner: Scanner | None = None
    _coded: int = 0

    def __len__(self) -> int:
        """Number of rows that are not removed."""
        return self.count - self.gone

    @property
    def rows(self) -> Floats:
        """float32 (count, D), removed ones included. Do not write to it."""
        return self._rows[: self.count]

    @property
    def owners(self) -> Ids:
        """int64 (count,). Do not write to it."""
        return self._owners[: self.count]

    @property
    def resident_bytes(self) -> int:
        """What a search keeps in memory beside the float32 rows: codes, owners, the removed rows' marks."""
        codes = self._scanner.nbytes(self._coded) if self._scanner else 0
        return codes + self.owners.nbytes + (0 if self._allowed is None else self._allowed.nbytes)

    def append(self, rows: Floats, owners: Ids) -> ExactIndex:
        """This index with more rows behind its own.

        Args:
            rows: float32 (N, D), unit norm.
            owners: int64 (N,), whose they are; not negative.

        Raises:
            InputError: rows and owners cannot be used.
        """
        _check_unit(rows, "rows", self._rows.shape[1] if self.count else None)
        if owners.shape != (len(rows),) or owners.dtype != np.int64 or (len(owners) and owners.min() < 0):
            raise InputError(f"owners: expected {len(rows)} int64 that are not negative, got {owners.dtype}{owners.shape}")
        if not len(rows):
            return self
        count = self.count + len(rows)
        buffer, whose, scanner, coded = self._rows, self._owners, self._scanner, self._coded
        if count > len(buffer) or buffer.shape[1] != rows.shape[1] or not buffer.flags.writeable:
            # Doubling keeps the cost of n additions proportional to n; a first load takes what it needs.
            room = max(count, 2 * self.count)
            buffer, whose = np.empty((room, rows.shape[1]), np.float32), np.empty(room, np.int64)
            if self.count:
                buffer[: self.count], whose[: self.count] = self.rows, self.owners
            scanner, coded = None, 0  # made anew below, for the rows as they are now
        buffer[self.count : count], whose[self.count : count] = rows, owners
        if scanner is None and count >= self.coded_from:
            compiled = available() if self.compiled is None else self.compiled
            scanner = (NibbleScanner if compiled else OctetScanner).trained(buffer[:count], len(buffer))
        if scanner is not None:
            coded = scanner.write(buffer[:count], coded)
        return replace(self, count=count, _rows=buffer, _owners=whose, _scanner=scanner, _coded=coded)

    def remove(self, rows: Ids) -> ExactIndex:
        """This index without some rows, given by their places; the others keep theirs. Searches pass over the gap."""
        if not len(rows):
            return self
        if rows.min() < 0 or rows.max() >= self.count:
            raise InputError(f"rows: expected 0 to {self.count - 1}, got {rows.min()} to {rows.max()}")
        allowed = np.ones(self.count, bool)
        if self._allowed is not None:
            allowed[: len(self._allowed)] = self._allowed
        allowed[rows] = False
        return replace(self, gone=self.count - int(np.count_nonzero(allowed)), _allowed=allowed)

    def compacted(self) -> tuple[ExactIndex, Ids]:
        """An index of the remaining rows alone, and where each of them stood."""
        kept = self.kept()
        fresh = ExactIndex(coded_from=self.coded_from, compiled=self.compiled)
        return (fresh.append(self.rows[kept], self.owners[kept]) if len(kept) else fresh), kept

    def kept(self) -> Ids:
        """Places of the rows that are not removed, ascending."""
        if self._allowed is None:
            return np.arange(self.count)
        return np.concatenate([np.flatnonzero(self._allowed), np.arange(len(self._allowed), self.count)])

    def search(
        self,
        probes: Floats,
        *,
        k: int,
        by_owner: bool = True,
        allowed: NDArray[np.bool_] | None = None,
        threads: int | None = None,
    ) -> Hits:
        """The k best rows of each probe, exactly.

        Args:
            probes: float32 (Q, D), unit norm.
            k: rows wanted.
            by_owner: keep each owner's best row only, so that k owners are found.
            allowed: bool (count,), rows to look at; None for all. Removed rows are never looked at.
            threads: how many to use; None for one a processor.

        Raises:
            InputError: the probes or the mask do not fit, or k is below 1.
        """
        if k < 1:
            raise InputError(f"k: expected at least 1, got {k}")
        _check_unit(probes, "probes", self._rows.shape[1] if self.count else None)
        if allowed is not None and (allowed.shape != (self.count,) or allowed.dtype != np.bool_):
            raise InputError(f"allowed: expected bool ({self.count},), got {allowed.dtype}{allowed.shape}")
        threads = threads or default_threads()
        rankings = [Ranking(k, by_owner=by_owner) for _ in range(len(probes))]
        if len(self) and len(probes):
            mask = self._mask(allowed)
            start = 0
            if self._scanner is not None:
                start = self.count if isinstance(self._scanner, NibbleScanner) else self._coded
                self._scanner.search(
                    self.rows, self.owners, self._coded, mask, np.ascontiguousarray(probes), rankings,
                    k=min(k, self.count), by_owner=by_owner, threads=threads,
                )  # fmt: skip
            self._search_floats(probes, rankings, mask, start)
        return Ranking.table(rankings, k)

    def _mask(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        if allowed is None or self._allowed is None:
            return self._allowed if allowed is None else allowed
        both = allowed.copy()
        both[: len(self._allowed)] &= self._allowed
        return both

    def _search_floats(
        self, probes: Floats, rankings: list[Ranking], mask: NDArray[np.bool_] | None, first: int
    ) -> None:
        margin = float_margin(self._rows.shape[1])
        for start in range(first, self.count, _CHUNK):
            part = self._rows[start : min(start + _CHUNK, self.count)]
            for begin in range(0, len(probes), _PROBES):
                products = probes[begin : begin + _PROBES] @ part.T
                for q, estimates in enumerate(products, begin):
                    sift(
                        rankings[q], estimates, margin,
                        first=start, rows=self._rows, owners=self._owners, probe=probes[q], allowed=mask,
                    )  # fmt: skip


def default_threads() -> int:
    """One a processor that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return max(1, len(usable(0)) if usable else os.cpu_count() or 1)


def _check_unit(rows: Floats, what: str, dimension: int | None) -> None:
    """Refuse what the error bounds do not hold for."""
    if rows.ndim != 2 or rows.dtype != np.float32 or dimension not in (None, rows.shape[1]) or not rows.shape[1]:
        wanted = "D" if dimension is None else dimension
        raise InputError(f"{what}: expected float32 (N, {wanted}), got {rows.dtype}{rows.shape}")
    norms = np.einsum("ij,ij->i", rows, rows)
    if not (np.abs(norms - 1) <= _UNIT).all():  # NaN fails too
        at = int(np.argmin(np.abs(norms - 1) <= _UNIT))
        raise InputError(f"{what}: expected unit norm, got {float(norms[at]) ** 0.5:.4g} in row {at}")
