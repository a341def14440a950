"""A stretch of rows with their owners and, if it is long, their codes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mien.gallery.search.nibbles import NibbleScanner
from mien.gallery.search.octets import OctetScanner
from mien.gallery.search.sifting import float_margin, sift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.gallery.records import Ids
    from mien.gallery.search.ranking import Ranking
    from mien.types import Floats

__all__ = ["Scanner", "Segment"]

Scanner: TypeAlias = NibbleScanner | OctetScanner

_CHUNK = 65_536  # rows a float32 product
_PROBES = 64  # probes a float32 product


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Rows at one moment; `ExactIndex` says who may append to it and when.

    Attributes:
        count: rows in use.
        coded: how many of them, from the first, have codes.
        buffer: float32 (room, D).
        owner_buffer: int64 (room,).
        scanner: their codes, or None.
    """

    count: int = 0
    coded: int = 0
    buffer: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    owner_buffer: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    scanner: Scanner | None = None

    @property
    def rows(self) -> Floats:
        """float32 (count, D)."""
        return self.buffer[: self.count]

    @property
    def owners(self) -> Ids:
        """int64 (count,)."""
        return self.owner_buffer[: self.count]

    @property
    def resident_bytes(self) -> int:
        """Bytes of the codes and owners."""
        return self.owners.nbytes + (self.scanner.nbytes(self.coded) if self.scanner else 0)

    @property
    def mapped(self) -> bool:
        """Whether it is a file's, so that nothing can be appended."""
        return bool(self.count) and not self.buffer.flags.writeable

    def append(self, rows: Floats, owners: Ids, *, coded_from: int, compiled: bool) -> Segment:
        """This segment with more rows behind its own; see `ExactIndex.append`."""
        count = self.count + len(rows)
        buffer, whose, scanner, coded = self.buffer, self.owner_buffer, self.scanner, self.coded
        if count > len(buffer):
            # Doubling keeps the cost of n additions proportional to n; a first load takes what it needs.
            room = max(count, 2 * self.count)
            buffer, whose = np.empty((room, rows.shape[1]), np.float32), np.empty(room, np.int64)
            if self.count:
                buffer[: self.count], whose[: self.count] = self.rows, self.owners
            scanner, coded = None, 0  # made anew below, for the rows as they are now
        buffer[self.count : count], whose[self.count : count] = rows, owners
        longer = replace(self, count=count, coded=coded, buffer=buffer, owner_buffer=whose, scanner=scanner)
        return longer.encoded(coded_from=coded_from, compiled=compiled)

    def encoded(self, *, coded_from: int, compiled: bool) -> Segment:
        """This segment with codes for its newest rows, if it is long enough to have any."""
        scanner = self.scanner
        if scanner is None and self.count >= coded_from:
            scanner = (NibbleScanner if compiled else OctetScanner).trained(self.rows, len(self.buffer))
        return self if scanner is None else replace(self, scanner=scanner, coded=scanner.write(self.rows, self.coded))

    def coded_by(self, other: Segment, changed: Ids) -> Segment:
        """This segment with the codes of another, whose rows are its first, save for `changed` ones; in own memory."""
        if other.scanner is None:
            return self
        scanner = other.scanner.copied(len(self.buffer), other.coded)
        scanner.rewrite(self.rows, changed[changed < other.coded])
        return replace(self, scanner=scanner, coded=scanner.write(self.rows, other.coded))

    def search(
        self,
        probes: Floats,
        rankings: list[Ranking],
        mask: NDArray[np.bool_] | None,
        *,
        k: int,
        by_owner: bool,
        threads: int,
    ) -> None:
        """Offer the best rows to each probe's ranking, whose offset is this segment's first row."""
        start = 0
        if self.scanner is not None:
            self.scanner.search(
                probes, rankings, rows=self.rows, owners=self.owners, coded=self.coded, allowed=mask,
                k=min(k, self.count), by_owner=by_owner, threads=threads,
            )  # fmt: skip
            start = self.scanner.searched(self.count, self.coded)
        margin = float_margin(self.buffer.shape[1])
        for first in range(start, self.count, _CHUNK):
            part = self.buffer[first : min(first + _CHUNK, self.count)]
            for begin in range(0, len(probes), _PROBES):
                for q, estimates in enumerate(probes[begin : begin + _PROBES] @ part.T, begin):
                    sift(
                        rankings[q], estimates, margin,
                        first=first, rows=self.buffer, owners=self.owner_buffer, probe=probes[q], allowed=mask,
                    )  # fmt: skip
