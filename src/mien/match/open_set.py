"""Thresholds for identification: measured on sampled galleries, read between the measured sizes and rates.

The rate of a threshold in a gallery of N faces is the share of strangers whose *highest* score with any of them reaches
it. It was measured by sampling galleries, so that nothing is assumed of how comparisons depend on each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from mien.errors import CardError, InputError
from mien.match.ladder import threshold_on
from mien.match.rates import check_rate, comparison_fmr

__all__ = ["FpirPoint", "FpirTable", "GalleryRow"]

_MOST_ROWS = 100


@dataclass(frozen=True, slots=True)
class FpirPoint:
    """One measured rate at one gallery size.

    Attributes:
        fpir: the share of strangers that `threshold` lets be named does not exceed it.
        threshold: the smallest such cosine.
        low, high: 95 % interval of the threshold over people; None where it was not measured.
    """

    fpir: float
    threshold: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class GalleryRow:
    """The thresholds of one gallery size.

    Attributes:
        gallery_size: enrolled faces N.
        comparisons: as many independent comparisons would be as strict; at most N. It carries the row to stricter
            rates and larger galleries than were measured.
        table: from the loosest rate to the strictest; only rates that the data support.
    """

    gallery_size: int
    comparisons: float
    table: tuple[FpirPoint, ...]

    @property
    def steps(self) -> list[tuple[float, float]]:
        """(fpir, threshold) of each point."""
        return [(point.fpir, point.threshold) for point in self.table]


@dataclass(frozen=True, slots=True)
class FpirTable:
    """Thresholds by gallery size and FPIR. Immutable, so safe to share between threads.

    Attributes:
        faces_per_person: how many faces of a person the sampled galleries held at most; 1 is the hardest gallery of
            its size, for no two of its faces are alike.
        draws: how many times who is enrolled and who is a stranger was drawn.
        rows: by rising gallery size, the first of a gallery of one face.

    Raises:
        CardError: at construction, when the numbers contradict each other.
    """

    faces_per_person: int
    draws: int
    rows: tuple[GalleryRow, ...]

    def __post_init__(self) -> None:
        def need(fact: bool, message: str) -> None:
            if not fact:
                raise CardError(f"fpir: {message}")

        need(self.faces_per_person >= 1 and self.draws >= 1, "expected faces_per_person and draws of at least 1")
        need(0 < len(self.rows) <= _MOST_ROWS, f"expected 1 to {_MOST_ROWS} gallery sizes, got {len(self.rows)}")
        need(self.rows[0].gallery_size == 1, "expected the first gallery size to be 1")
        for small, large in pairwise(self.rows):
            need(small.gallery_size < large.gallery_size, "expected rising gallery sizes")
            need(small.comparisons <= large.comparisons, f"comparisons fall at gallery size {large.gallery_size}")
        for row in self.rows:
            size, table = row.gallery_size, row.table
            need(0 < row.comparisons <= size * (1 + 1e-9), f"expected comparisons of at most {size} at {size}")
            need(0 < len(table) <= _MOST_ROWS, f"expected 1 to {_MOST_ROWS} rates at gallery size {size}")
            for p in table:  # NaN fails every comparison
                sane = 0 < p.fpir < 1 and -1 <= p.threshold <= 1.000001
                sane = sane and all(end is None or -1 <= end <= 1.000001 for end in (p.low, p.high))
                need(sane, f"expected fpir in (0, 1) and cosines at gallery size {size}, got {p}")
            for loose, strict in pairwise(table):
                need(loose.fpir > strict.fpir, f"expected falling rates at gallery size {size}")
                need(loose.threshold <= strict.threshold, f"thresholds fall with the rate at gallery size {size}")
        for small, large in pairwise(self.rows):
            known = dict(small.steps)
            for point in large.table:
                need(
                    known.get(point.fpir, -1.0) <= point.threshold,
                    f"thresholds fall between gallery sizes {small.gallery_size} and {large.gallery_size}",
                )

    @property
    def largest(self) -> int:
        """The largest gallery that was measured."""
        return self.rows[-1].gallery_size

    def supports(self, *, fpir: float, gallery_size: int) -> bool:
        """Whether the threshold lies within what was measured; elsewhere it is extrapolated."""
        check_rate("fpir", fpir)
        row = next((row for row in self.rows if row.gallery_size >= gallery_size), None)
        return row is not None and row.table[-1].fpir <= fpir

    def threshold(self, *, fpir: float, gallery_size: int) -> float:
        """The threshold at which at most a share `fpir` of strangers is named in a gallery of so many faces.

        At a measured size it is read from that size's rates. Between two sizes the smaller one's number of independent
        comparisons grows in proportion, never past the larger size's threshold; beyond the largest size, and at rates
        stricter than measured, that number goes on growing in proportion. As the number of comparisons that count
        grows more slowly than the gallery, that is conservative.

        Returns:
            A cosine, never above 1; it never falls as the gallery grows or as `fpir` falls.

        Raises:
            InputError: `fpir` is not a rate, or `gallery_size` is negative.
        """
        check_rate("fpir", fpir)
        if gallery_size < 0:
            raise InputError(f"gallery_size: expected 0 or more, got {gallery_size}")
        at, floor = 0, -1.0
        for i, row in enumerate(self.rows):
            if row.gallery_size > max(1, gallery_size):
                break
            at, floor = i, max(floor, self._at(row, fpir))
        row = self.rows[at]
        if gallery_size <= row.gallery_size:
            return floor
        grown = self._independent(row.comparisons * (gallery_size / row.gallery_size), fpir)
        if at + 1 < len(self.rows):
            grown = min(grown, max(floor, self._at(self.rows[at + 1], fpir)))
        return max(floor, grown)

    def _at(self, row: GalleryRow, fpir: float) -> float:
        """The threshold at a measured size."""
        last = row.table[-1]
        if fpir >= last.fpir or row.gallery_size == 1:
            return threshold_on(row.steps, fpir)
        return max(last.threshold, self._independent(row.comparisons, fpir))

    def _independent(self, comparisons: float, fpir: float) -> float:
        return threshold_on(self.rows[0].steps, comparison_fmr(fpir, comparisons))
