"""The exact index: rows and their owners in, the best rows out, the same as comparing with every row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.gallery.search.compiled import available
from mien.gallery.search.ranking import Hits, Ranking
from mien.gallery.search.segment import Segment
from mien.gallery.search.threads import default_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.gallery.records import Ids
    from mien.types import Floats

__all__ = ["CODED_FROM", "ExactIndex"]

CODED_FROM = 16_384  # rows; below, plain products of float32 are as fast as codes
_UNIT = 0.01  # how far from 1 the square of a norm may be


@dataclass(frozen=True, slots=True, eq=False)
class ExactIndex:
    """Rows and their owners at one moment. Immutable to its readers, so any number of threads may search it.

    Indexes share their buffers: `append` writes only behind the rows that older ones can see, and into a buffer that
    still has room there only once. Call `append` on the newest index only, from one thread at a time. What was opened
    from a file stays there; new rows go to memory.

    Attributes:
        gone: how many rows are removed.
        coded_from: number of rows from which on codes are kept.
        compiled: scan with numba; None where it is installed.
        segments: the rows, in order.
        live: bool, False for removed rows; rows behind its end are live. None while nothing was removed.
    """

    gone: int = 0
    coded_from: int = CODED_FROM
    compiled: bool | None = None
    segments: tuple[Segment, ...] = ()
    live: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """Number of rows that are not removed."""
        return self.count - self.gone

    @property
    def count(self) -> int:
        """Rows in use, removed ones included."""
        return sum(segment.count for segment in self.segments)

    @property
    def dimension(self) -> int | None:
        """Length of a row; None while there is none."""
        return self.segments[0].buffer.shape[1] if self.segments else None

    @property
    def mapped(self) -> bool:
        """Whether some of it is in a file."""
        return any(segment.mapped for segment in self.segments)

    @property
    def owners(self) -> Ids:
        """int64 (count,). Do not write to it."""
        parts = [segment.owners for segment in self.segments]
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.int64), *parts])

    @property
    def resident_bytes(self) -> int:
        """What a search keeps in memory beside the float32 rows: codes, owners, the removed rows' marks."""
        return sum(s.resident_bytes for s in self.segments) + (0 if self.live is None else self.live.nbytes)

    def append(self, rows: Floats, owners: Ids) -> ExactIndex:
        """This index with more rows behind its own.

        Args:
            rows: float32 (N, D), unit norm.
            owners: int64 (N,), whose they are; not negative.

        Raises:
            InputError: rows and owners cannot be used.
        """
        _check_unit(rows, "rows", self.dimension)
        if owners.shape != (len(rows),) or owners.dtype != np.int64 or owners.min(initial=0) < 0:
            raise InputError(f"owners: expected {len(rows)} int64 from 0 on, got {owners.dtype}{owners.shape}")
        if not len(rows):
            return self
        kept = self.segments
        last = Segment()
        if kept and not kept[-1].mapped:
            kept, last = kept[:-1], kept[-1]
        last = last.append(rows, owners, coded_from=self.coded_from, compiled=self._compiled)
        return replace(self, segments=(*kept, last))

    def remove(self, rows: Ids) -> ExactIndex:
        """This index without some rows, given by their places; the others keep theirs. Searches pass over the gap.

        Raises:
            InputError: there is no such row.
        """
        if not len(rows):
            return self
        if rows.min() < 0 or rows.max() >= self.count:
            raise InputError(f"rows: expected 0 to {self.count - 1}, got {rows.min()} to {rows.max()}")
        live = np.ones(self.count, bool)
        if self.live is not None:
            live[: len(self.live)] = self.live
        live[rows] = False
        return replace(self, gone=self.count - int(np.count_nonzero(live)), live=live)

    def reassign(self, rows: Ids, owners: Ids) -> ExactIndex:
        """This index with other owners of some rows, given by their places; costs a copy of the owners."""
        if not len(rows):
            return self
        changed, first = [], 0
        for segment in self.segments:
            whose = segment.owner_buffer.copy()
            here = (rows >= first) & (rows < first + segment.count)
            whose[rows[here] - first] = owners[here]
            changed.append(replace(segment, owner_buffer=whose))
            first += segment.count
        return replace(self, segments=tuple(changed))

    def read(self, rows: Ids) -> Floats:
        """Rows at some places, ascending: float32 (n, D)."""
        parts, first = [np.zeros((0, self.dimension or 0), np.float32)], 0
        for segment in self.segments:
            at = rows[(rows >= first) & (rows < first + segment.count)] - first
            parts.append(segment.buffer[at])
            first += segment.count
        return np.concatenate(parts)

    def owners_at(self, rows: Ids) -> Ids:
        """Owners of the rows at some places, ascending: int64 (n,)."""
        parts, first = [np.zeros(0, np.int64)], 0
        for segment in self.segments:
            parts.append(segment.owner_buffer[rows[(rows >= first) & (rows < first + segment.count)] - first])
            first += segment.count
        return np.concatenate(parts)

    def is_live(self, rows: Ids) -> NDArray[np.bool_]:
        """Of rows at some places, which are not removed: bool (n,)."""
        if self.live is None or not len(rows):
            return np.ones(len(rows), bool)
        return (rows >= len(self.live)) | self.live[np.minimum(rows, len(self.live) - 1)]

    def kept(self) -> Ids:
        """Places of the rows that are not removed, ascending."""
        if self.live is None:
            return np.arange(self.count)
        return np.concatenate([np.flatnonzero(self.live), np.arange(len(self.live), self.count)])

    def compacted(self) -> tuple[ExactIndex, Ids]:
        """An index of the remaining rows alone, in memory, and where each of them stood."""
        kept = self.kept()
        index, first = replace(self, gone=0, segments=(), live=None), 0
        for segment in self.segments:
            at = kept[np.searchsorted(kept, first) : np.searchsorted(kept, first + segment.count)] - first
            index = index.append(segment.buffer[at], segment.owner_buffer[at])
            first += segment.count
        return index, kept

    def purged(self) -> ExactIndex:
        """The same index in one segment of its own memory, where nothing is left of removed rows but their places.

        They hold what a row holds that is not removed, and stay removed.
        """
        if not len(self):
            return replace(self, gone=0, segments=(), live=None)
        rows = np.concatenate([segment.rows for segment in self.segments])
        owners = np.concatenate([segment.owners for segment in self.segments])
        dead = np.zeros(0, np.int64) if self.live is None else np.flatnonzero(~self.live)
        if len(dead):
            example = self.kept()[:1]
            rows[dead], owners[dead] = rows[example], owners[example]
        whole = Segment(self.count, 0, rows, owners)
        first = self.segments[0]
        if first.scanner is not None and 2 * first.coded >= self.count:  # its codebook still fits
            return replace(self, segments=(whole.coded_by(first, dead),))
        return replace(self, segments=(whole.encoded(coded_from=self.coded_from, compiled=self._compiled),))

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
        _check_unit(probes, "probes", self.dimension)
        if allowed is not None and (allowed.shape != (self.count,) or allowed.dtype != np.bool_):
            raise InputError(f"allowed: expected bool ({self.count},), got {allowed.dtype}{allowed.shape}")
        rankings = [Ranking(k, by_owner=by_owner) for _ in range(len(probes))]
        mask, first, probes = self.allowed(allowed), 0, np.ascontiguousarray(probes)
        for segment in self.segments if len(self) and len(probes) else ():
            for ranking in rankings:
                ranking.offset = first
            part = None if mask is None else mask[first : first + segment.count]
            segment.search(probes, rankings, part, k=k, by_owner=by_owner, threads=threads or default_threads())
            first += segment.count
        return Ranking.table(rankings, k)

    @property
    def _compiled(self) -> bool:
        return available() if self.compiled is None else self.compiled

    def allowed(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Rows of `allowed` that are not removed, as `live` says it."""
        if allowed is None or self.live is None:
            return self.live if allowed is None else allowed
        both = allowed.copy()
        both[: len(self.live)] &= self.live
        return both


def _check_unit(rows: Floats, what: str, dimension: int | None) -> None:
    """Refuse what the error bounds do not hold for."""
    if rows.ndim != 2 or rows.dtype != np.float32 or dimension not in (None, rows.shape[1]) or not rows.shape[1]:
        wanted = "D" if dimension is None else dimension
        raise InputError(f"{what}: expected float32 (N, {wanted}), got {rows.dtype}{rows.shape}")
    norms = np.einsum("ij,ij->i", rows, rows)
    if not (np.abs(norms - 1) <= _UNIT).all():  # NaN fails too
        at = int(np.argmin(np.abs(norms - 1) <= _UNIT))
        raise InputError(f"{what}: expected unit norm, got {float(norms[at]) ** 0.5:.4g} in row {at}")
