"""One calibration from several sets of data: each rate's threshold is the one of the set that needs the highest."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

from mien.errors import InputError
from mien.evaluate.calibration_fit import FPIRS, GALLERY_SIZES, fpir_rows
from mien.evaluate.metrics.bootstrap import all_subject_pairs
from mien.evaluate.metrics.thresholds import float32_at_least
from mien.match import Calibration, FpirPoint, FpirTable, GalleryRow, OperatingPoint, ScoreSpread
from mien.match.calibrate import RATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mien.evaluate.calibration_fit import Faces

__all__ = ["worst_of"]

_Point = TypeVar("_Point", OperatingPoint, FpirPoint)


def worst_of(sets: Sequence[tuple[Calibration, Faces]], *, made_on: str, date: str) -> Calibration:
    """Keep every rate on each of several sets: a rate's threshold is the highest that any of them needs.

    A rate counts where all sets support it; in galleries of a size, all sets that fill one. Larger galleries follow
    from the larger sets alone, and never get less than the smaller ones. Pooling the sets would let the larger one
    decide; the mean of their rates would break the promise on one of them.
    A threshold's interval is that of the set it comes from; its TAR that of the set where it is lowest.

    Args:
        sets: a calibration of each set, and the faces it was made from; all of one model.
        made_on: the data, in words.
        date: YYYY-MM-DD.

    Raises:
        InputError: no sets, or of different models.
    """
    models = {(c.model, c.preset, c.sha256) for c, _ in sets}
    if len(models) != 1:
        raise InputError(f"worst_of: expected calibrations of one model, got {len(models)} models")
    made = [c for c, _ in sets]
    genuine = [all_subject_pairs(faces.vectors, faces.subject, tail=1).genuine for _, faces in sets]
    table: list[OperatingPoint] = []
    for rate in RATES:
        points = [p for c in made for p in c.table if p.fmr == rate and p.supported]
        if len(points) < len(made):
            break
        worst = _highest(points)
        threshold = max(worst.threshold, table[-1].threshold if table else -1.0)
        tar = min(float((scores >= float32_at_least(threshold)).mean()) for scores in genuine)
        table.append(OperatingPoint(rate, threshold, tar, True, worst.low, worst.high))
    model, preset, sha256 = models.pop()
    fingerprints = "\n".join(sorted(c.fingerprint for c in made))
    return Calibration(
        model=model,
        preset=preset,
        sha256=sha256,
        provisional=False,
        made_on=made_on,
        date=date,
        genuine=_mixture([c.genuine for c in made]),
        impostor=_mixture([c.impostor for c in made]),
        table=tuple(table),
        fingerprint=hashlib.sha256(fingerprints.encode()).hexdigest(),
        subjects=sum(c.subjects for c in made),
        pictures=sum(c.pictures for c in made),
        fpir=_open_set([c.fpir for c in made if c.fpir is not None]),
    )


def _open_set(tables: Sequence[FpirTable]) -> FpirTable | None:
    """The highest thresholds of the usual sizes, and of the largest size that any set carries."""
    if not tables:
        return None
    sizes = {row.gallery_size for table in tables for row in table.rows}
    sizes = {size for size in sizes if size in GALLERY_SIZES or size == max(sizes)}
    worst: dict[tuple[int, float], FpirPoint] = {}
    for size in sizes:
        carried = [row.table for table in tables for row in table.rows if row.gallery_size == size]
        for rate in FPIRS:
            points = [p for table in carried for p in table if p.fpir == rate]
            if len(points) == len(carried):
                worst[size, rate] = _highest(points)
    measured = {n: [(p, worst[n, p].threshold) for p in FPIRS if (n, p) in worst] for n in sizes}
    rows = fpir_rows(measured, 1.0)
    with_intervals = tuple(
        GalleryRow(
            row.gallery_size,
            row.comparisons,
            tuple(
                FpirPoint(
                    p.fpir, p.threshold, worst[row.gallery_size, p.fpir].low, worst[row.gallery_size, p.fpir].high
                )
                for p in row.table
            ),
        )
        for row in rows
    )
    return FpirTable(tables[0].faces_per_person, min(table.draws for table in tables), with_intervals)


def _highest(points: Iterable[_Point]) -> _Point:
    return max(points, key=lambda p: p.threshold)


def _mixture(spreads: Sequence[ScoreSpread]) -> ScoreSpread:
    """The spread of a mixture in which each set weighs the same, however many pairs it has."""
    mean = sum(s.mean for s in spreads) / len(spreads)
    square = sum(s.sd**2 + s.mean**2 for s in spreads) / len(spreads)
    return ScoreSpread(sum(s.n for s in spreads), mean, max(0.0, square - mean**2) ** 0.5)
