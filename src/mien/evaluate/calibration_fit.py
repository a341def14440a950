"""Making a calibration from embeddings: thresholds for pairs and for galleries, each with an interval over people."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.bootstrap import SubjectPairs, all_subject_pairs
from mien.evaluate.metrics.pairs import subject_numbers, triangle_blocks
from mien.evaluate.metrics.thresholds import float32_at_least, smallest_threshold
from mien.gallery.sources import content_sha256
from mien.match import Calibration, FpirPoint, FpirTable, GalleryRow, OperatingPoint, ScoreSpread
from mien.match.calibrate import RATES
from mien.match.ladder import rate_on
from mien.match.maxima import Maxima, ScoreCounts, largest_gallery, sample_maxima
from mien.match.rates import MIN_FALSE_MATCHES
from mien.match.scores import unit_embeddings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from mien.evaluate.protocols.pictures import Picture
    from mien.types import Floats, ModelIdentity

__all__ = ["FPIRS", "GALLERY_SIZES", "Faces", "faces_of", "fingerprint", "fit_calibration", "fpir_rows"]

FPIRS: Final = tuple(rate for rate in RATES if rate > 5e-5)
GALLERY_SIZES: Final = tuple(m * 10**e for e in range(5) for m in (1, 2, 5))
_TAIL: Final = 1_000_000  # of the highest impostor scores, kept with their people
_FEWEST_FOR_HALVES: Final = 8  # people


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Embedded pictures and whose they are. Immutable by agreement.

    Attributes:
        vectors: float32 (N, D), unit rows.
        subject: (N,) numbers of people from 0 without gaps.
    """

    vectors: Floats
    subject: NDArray[np.int64]

    @property
    def people(self) -> int:
        """How many people there are."""
        return int(self.subject.max()) + 1 if len(self.subject) else 0

    def of(self, people: NDArray[np.intp]) -> Faces:
        """The pictures of some of the people, numbered anew."""
        keep = np.isin(self.subject, people)
        return faces_of(self.vectors[keep], self.subject[keep])


def faces_of(embeddings: ArrayLike, subjects: ArrayLike) -> Faces:
    """Check embeddings and number their people.

    Raises:
        InputError: shapes do not fit, or rows are not unit vectors (NaN is none).
    """
    rows = unit_embeddings(embeddings)
    return Faces(rows, subject_numbers(subjects, len(rows)))


def fingerprint(pictures: Iterable[Picture]) -> str:
    """SHA-256 over the sorted content hashes of pictures: of the data, whatever they are called and in any order."""
    found = sorted({content_sha256(picture.source) or "" for picture in pictures})
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def fit_calibration(
    faces: Faces,
    identity: ModelIdentity,
    *,
    made_on: str,
    date: str,
    data: str = "",
    draws: int = 100,
    seed: int = 0,
    halves: int = 40,
    faces_per_person: int = 1,
    gallery_sizes: Sequence[int] = (),
    advance: Callable[[int], None] = lambda _n: None,
) -> Calibration:
    """Fit every threshold that the data support.

    A threshold is supported when at least ten different pairs of people reach it: however many pictures two look-alikes
    have, they are one finding. An interval is that of the threshold over random halves of the people, which spread
    about the whole set's value as the whole set's does about the truth.

    Args:
        faces: the data.
        identity: the model that made the embeddings.
        made_on: the data, in words.
        date: YYYY-MM-DD.
        data: its `fingerprint`.
        draws: how many times to draw galleries.
        seed: of every draw.
        halves: how many halves the intervals come from; 0 for none.
        faces_per_person: see `sample_maxima`.
        gallery_sizes: further sizes to measure, where the data fill them.
        advance: is told how many of 1 + `halves` steps are done.

    Raises:
        InputError: one-class data, or too few people for even the loosest rate; the message says what they support.

    Source:
        Intervals: D. N. Politis and J. P. Romano, "Large sample confidence regions based on subsamples", 1994; a half
        of the people, drawn without replacement, varies about all of them as these do about the population.
    """
    pairs = all_subject_pairs(faces.vectors, faces.subject, tail=_TAIL)
    all_counts, genuine, impostor = _counts_and_spreads(faces, pairs)
    limit = _tenth_pair(pairs)
    kept = largest_gallery(np.bincount(faces.subject), faces_per_person)
    sizes = sorted({size for size in (*GALLERY_SIZES, *gallery_sizes, kept) if 1 <= size <= kept})
    rng = np.random.default_rng(seed)

    def sampled(some: Faces, wanted: Sequence[int], times: int) -> Maxima:
        random = int(rng.integers(1 << 62))
        return sample_maxima(
            some.vectors, some.subject, wanted, draws=times, seed=random, faces_per_person=faces_per_person
        )

    maxima = sampled(faces, sizes, draws)
    rows = fpir_rows({n: [(p, counts.threshold(p)) for p in FPIRS] for n, counts in maxima.counts.items()}, limit)
    thresholds = {rate: _pair_threshold(pairs, all_counts, impostor.n, rate) for rate in RATES}
    advance(1)
    spread: dict[tuple[float, int], list[float]] = {}
    if faces.people >= _FEWEST_FOR_HALVES:
        for _ in range(halves):
            chosen = np.sort(rng.permutation(faces.people)[: faces.people // 2])
            half = faces.of(chosen)
            for rate, threshold in _half_thresholds(pairs, faces, chosen):
                spread.setdefault((rate, 0), []).append(threshold)
            few = largest_gallery(np.bincount(half.subject), faces_per_person)
            if wanted := [size for size in sizes if size <= few]:
                found = sampled(half, wanted, max(5, draws // 10))
                for size, counts in found.counts.items():
                    for rate in FPIRS:
                        spread.setdefault((rate, size), []).append(counts.threshold(rate))
            advance(1)
    table = []
    for rate, threshold in thresholds.items():
        if int(rate * impostor.n * (1 + 1e-12)) >= 1 and threshold <= 1:
            tar = 1 - int(np.searchsorted(pairs.genuine, float32_at_least(threshold), side="left")) / len(pairs.genuine)
            point = OperatingPoint(rate, threshold, tar, threshold <= limit, *_interval(threshold, spread, rate, 0))
            table.append(point)
    if not table or not table[0].supported:
        raise InputError(
            f"insufficient data: {faces.people} people with {len(faces.vectors)} pictures make "
            f"{impostor.n} impostor pairs, which support no false match rate at all, not even {RATES[0]:g}; a rate is "
            f"supported by {MIN_FALSE_MATCHES} or more different pairs of people who reach its threshold"
        )
    return Calibration(
        model=identity.name,
        preset=identity.preset,
        sha256=identity.sha256,
        provisional=False,
        made_on=made_on,
        date=date,
        genuine=genuine,
        impostor=impostor,
        table=tuple(table),
        fingerprint=data,
        subjects=faces.people,
        pictures=len(faces.vectors),
        fpir=None if not rows else FpirTable(faces_per_person, draws, _with_intervals(rows, spread)),
    )


def fpir_rows(measured: dict[int, list[tuple[float, float]]], limit: float) -> tuple[GalleryRow, ...]:
    """Rows of a table from measured thresholds.

    Args:
        measured: (fpir, threshold) by falling rates, for each gallery size.
        limit: thresholds above it are not supported.

    Returns:
        By rising size; none where not even a gallery of one face has a supported rate. Thresholds and numbers of
        comparisons that noise made fall are raised to their predecessors'.
    """
    rows: list[GalleryRow] = []
    base: list[tuple[float, float]] = []
    floor: dict[float, float] = {}
    comparisons = 0.0
    for size in sorted(measured):
        steps, highest = [], -1.0
        for rate, threshold in measured[size]:
            highest = max(highest, threshold, floor.get(rate, -1.0))
            if highest > limit or highest > 1:
                break
            steps.append((rate, highest))
        if not steps or (not base and size != 1):
            break
        base = base or steps
        floor |= dict(steps)
        equal = [_comparisons(base, rate, threshold) for rate, threshold in steps]
        known = [n for n in equal if n is not None]
        comparisons = min(max(known, default=float(size)), float(size)) if size > 1 else 1.0
        comparisons = max(comparisons, rows[-1].comparisons if rows else 0.0)
        rows.append(GalleryRow(size, comparisons, tuple(FpirPoint(*step) for step in steps)))
    return tuple(rows)


def _comparisons(base: Sequence[tuple[float, float]], fpir: float, threshold: float) -> float | None:
    """How many independent comparisons have the rate `fpir` at a threshold; None where one comparison's is unknown."""
    one = rate_on(base, threshold)
    return None if one is None else math.log1p(-fpir) / math.log1p(-one)


def _counts_and_spreads(faces: Faces, pairs: SubjectPairs) -> tuple[ScoreCounts, ScoreSpread, ScoreSpread]:
    """Counts of all impostor scores, and both spreads, in memory that does not grow with the number of pairs."""
    counts = ScoreCounts()
    total = squares = 0.0
    for _, block in triangle_blocks(faces.vectors):
        below = np.tri(*block.shape, dtype=np.bool_)  # each picture with itself and with earlier ones
        block[below] = 0
        counts.add(block)
        counts.add(np.zeros(int(np.count_nonzero(below)), np.float32), times=-1)
        total += float(block.sum(dtype=np.float64))
        squares += float(np.einsum("ij,ij->", block, block, dtype=np.float64))
    same = pairs.genuine.astype(np.float64)
    counts.add(pairs.genuine, times=-1)
    n, total, squares = counts.total, total - float(same.sum()), squares - float(same @ same)
    mean = total / n
    sd = math.sqrt(max(0.0, (squares - n * mean * mean) / max(n - 1, 1)))
    own = ScoreSpread(len(same), float(same.mean()), float(same.std(ddof=1)) if len(same) > 1 else 0.0)
    return counts, own, ScoreSpread(n, mean, sd)


def _tenth_pair(pairs: SubjectPairs) -> float:
    """The score that ten different pairs of people reach; -1 where there are not as many pairs."""
    low = np.minimum(pairs.impostor_first, pairs.impostor_second).astype(np.int64)
    high = np.maximum(pairs.impostor_first, pairs.impostor_second)
    codes = (low * pairs.subjects + high)[::-1]
    first = np.sort(np.unique(codes, return_index=True)[1])
    if len(first) < MIN_FALSE_MATCHES:
        return -1.0
    return float(pairs.impostor[::-1][first[MIN_FALSE_MATCHES - 1]])


def _pair_threshold(pairs: SubjectPairs, counts: ScoreCounts, total: int, rate: float) -> float:
    """The smallest threshold at which no more than a share `rate` of all impostor pairs passes."""
    if int(rate * total * (1 + 1e-12)) < len(pairs.impostor):
        return smallest_threshold(pairs.impostor, rate, total=total)
    return counts.threshold(rate)


def _half_thresholds(pairs: SubjectPairs, faces: Faces, chosen: NDArray[np.intp]) -> list[tuple[float, float]]:
    """The thresholds of a half of the people, as far as the tail of the highest scores reaches."""
    inside = np.zeros(pairs.subjects, np.bool_)
    inside[chosen] = True
    pictures = np.bincount(faces.subject)[chosen]
    total = (int(pictures.sum()) ** 2 - int((pictures**2).sum())) // 2
    scores = pairs.impostor[inside[pairs.impostor_first] & inside[pairs.impostor_second]]
    allowed = {rate: int(rate * total * (1 + 1e-12)) for rate in RATES}
    return [(rate, smallest_threshold(scores, rate, total=total)) for rate, n in allowed.items() if n < len(scores)]


def _interval(
    value: float, spread: dict[tuple[float, int], list[float]], rate: float, size: int
) -> tuple[float | None, float | None]:
    found = spread.get((rate, size), [])
    if len(found) < 20:
        return None, None
    low, high = np.quantile(found, [0.025, 0.975])
    return max(-1.0, min(float(low), value)), min(1.0, max(float(high), value))


def _with_intervals(
    rows: tuple[GalleryRow, ...], spread: dict[tuple[float, int], list[float]]
) -> tuple[GalleryRow, ...]:
    return tuple(
        GalleryRow(
            row.gallery_size,
            row.comparisons,
            tuple(
                FpirPoint(p.fpir, p.threshold, *_interval(p.threshold, spread, p.fpir, row.gallery_size))
                for p in row.table
            ),
        )
        for row in rows
    )
