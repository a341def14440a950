"""Intervals by resampling subjects, because pairs that share a face do not vary on their own.

A replicate draws as many subjects as there are, with replacement. Drawn c times, a subject counts c times: a genuine
pair weighs c, and an impostor pair of two subjects the product of their counts. Pairs between two copies of one subject
are left out: they would be neither genuine pairs nor pairs of strangers. Weights are whole numbers, so every replicate
is as exact as the metric itself; intervals are percentiles of the replicates.

Source:
    B. Efron, 1979; R. M. Bolle, N. K. Ratha and S. Pankanti, "Error analysis of pattern recognition systems - the
    subsets bootstrap", 2004.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.pairs import BLOCK_BYTES, subject_numbers, triangle_blocks
from mien.evaluate.metrics.scores import flat_float32
from mien.evaluate.metrics.tail import TailCollector
from mien.evaluate.metrics.thresholds import allowed_errors
from mien.evaluate.metrics.verification import crossing_rate
from mien.match.calibration import check_rate
from mien.match.scores import unit_embeddings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from mien.evaluate.metrics.identification import Search
    from mien.types import Floats

__all__ = [
    "Interval",
    "SubjectPairs",
    "all_subject_pairs",
    "bootstrap_dir",
    "bootstrap_eer",
    "bootstrap_tar",
    "bootstrap_tar_difference",
    "drawn_counts",
    "listed_subject_pairs",
]


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured rate and how far it may be off.

    Attributes:
        value: the rate of the data as they are.
        low, high: percentiles of the replicates.
        replicates: how many of them there were; those that drew no genuine or no impostor pair do not count.
    """

    value: float
    low: float
    high: float
    replicates: int


@dataclass(frozen=True, slots=True, eq=False)
class SubjectPairs:
    """Scores of pairs and whose they are. Immutable, so safe to share between threads.

    Attributes:
        genuine: (G,) float32, ascending.
        genuine_subject: (G,) int32.
        impostor: (I,) float32, ascending: all impostor scores, or the highest only.
        impostor_first, impostor_second: (I,) int32, the two subjects of each.
        subjects: how many there are.
        pictures: (S,) pictures of each subject where `impostor` holds only the highest of all pairs of pictures; None
            where it holds all.
    """

    genuine: Floats
    genuine_subject: NDArray[np.int32]
    impostor: Floats
    impostor_first: NDArray[np.int32]
    impostor_second: NDArray[np.int32]
    subjects: int
    pictures: NDArray[np.int64] | None = None


def listed_subject_pairs(scores: ArrayLike, first: ArrayLike, second: ArrayLike) -> SubjectPairs:
    """Pairs of a list: genuine where both subjects are the same.

    Args:
        scores: (P,) finite.
        first: (P,) the subject of each pair's first picture, names or whole numbers.
        second: (P,) the subject of its second picture.

    Raises:
        InputError: shapes differ, a score is not finite, or one-class data.
    """
    values = flat_float32("pair", scores)
    if not np.isfinite(values).all():
        raise InputError("pair scores: expected finite numbers, got NaN or infinity")
    who = subject_numbers(np.concatenate([np.ravel(first), np.ravel(second)]), 2 * len(values)).astype(np.int32)
    a, b = who[: len(values)], who[len(values) :]
    order = np.argsort(values, kind="stable")
    values, a, b = values[order], a[order], b[order]
    same = a == b
    if same.all() or not same.any():
        raise InputError(f"pairs: expected genuine and impostor ones, got {int(same.sum())} genuine of {len(same)}")
    return SubjectPairs(values[same], a[same], values[~same], a[~same], b[~same], int(who.max()) + 1)


def all_subject_pairs(
    embeddings: ArrayLike, subjects: ArrayLike, *, tail: int = 1_000_000, block_bytes: int = BLOCK_BYTES
) -> SubjectPairs:
    """All pairs of a set of pictures, of which only the `tail` highest impostor scores are kept.

    TAR at FAR x needs about x times the number of impostor pairs, and room for replicates in which look-alikes are
    drawn often: take four times as many.

    Args:
        embeddings: (N, D) unit rows, one a picture.
        subjects: (N,) names or whole numbers.
        tail: how many impostor scores to keep.
        block_bytes: about how large a block of scores may be.

    Raises:
        InputError: shapes do not fit, rows are not unit vectors, or one-class data.
    """
    rows = unit_embeddings(embeddings)
    who = subject_numbers(subjects, len(rows))
    order = np.argsort(who, kind="stable")
    who, pictures = who[order], np.bincount(who)
    ends = np.searchsorted(who, who, side="right")
    highest, count = TailCollector(tail), len(pictures)
    genuine, owners = [np.zeros(0, np.float32)], [np.zeros(0, np.int32)]
    for first, scores in triangle_blocks(rows[order], block_bytes=block_bytes):
        for r, row in enumerate(scores):
            own = int(ends[first + r]) - first
            genuine.append(row[r + 1 : own].copy())
            owners.append(np.full(own - r - 1, who[first + r], np.int32))
            row[:own] = -np.inf
        at, column = np.nonzero(scores > highest.floor)
        highest.offer(scores[at, column], who[first + at] * count + who[first + column])
    impostor, codes = highest.sorted()
    same, owner = np.concatenate(genuine), np.concatenate(owners)
    if not len(same) or not len(impostor):
        raise InputError(f"pairs: expected genuine and impostor ones, got {len(same)} and {len(impostor)}")
    ascending = np.argsort(same, kind="stable")
    a, b = (part.astype(np.int32) for part in np.divmod(codes, count))
    complete = len(impostor) == (len(rows) ** 2 - int((pictures**2).sum())) // 2
    return SubjectPairs(same[ascending], owner[ascending], impostor, a, b, count, None if complete else pictures)


def bootstrap_tar(
    pairs: SubjectPairs, far: float, *, replicates: int = 1000, seed: int = 0, confidence: float = 0.95
) -> Interval:
    """Interval of TAR at the smallest threshold whose FAR does not exceed `far`; the threshold is found anew each time.

    Raises:
        InputError: `far` or `confidence` is no rate, or `pairs` keeps too few impostor scores for `far`.
    """
    check_rate("far", far)
    return _interval(_draws(pairs, replicates, seed), lambda w: _tar(pairs, far, w), confidence)


def bootstrap_tar_difference(
    a: SubjectPairs, b: SubjectPairs, far: float, *, replicates: int = 1000, seed: int = 0, confidence: float = 0.95
) -> Interval:
    """Interval of how much higher TAR at a FAR is for `b` than for `a`: two models on the same pictures.

    Paired: each replicate draws the same subjects for both.

    Raises:
        InputError: as `bootstrap_tar`, or the two are not of the same subjects.
    """
    check_rate("far", far)
    if a.subjects != b.subjects:
        raise InputError(f"bootstrap: expected pairs of the same subjects, got {a.subjects} and {b.subjects} of them")
    draws = zip(_draws(a, replicates, seed), _draws(b, replicates, seed), strict=True)
    both = (None if x is None or y is None else (x, y) for x, y in draws)
    return _interval(both, lambda w: _tar(b, far, w[1]) - _tar(a, far, w[0]), confidence)


def bootstrap_eer(pairs: SubjectPairs, *, replicates: int = 1000, seed: int = 0, confidence: float = 0.95) -> Interval:
    """Interval of the equal error rate.

    Raises:
        InputError: `confidence` is no rate, or `pairs` keeps too few impostor scores to reach the EER.
    """
    lowest = pairs.impostor[0]

    def rate(w: _Weighted) -> float:
        def false_accepts(t: np.float32) -> int:
            if pairs.pictures is not None and t <= lowest:  # all of the tail and more; at least this many, for sure
                return w.impostors
            return int(w.false[-1] - w.false[np.searchsorted(pairs.impostor, t, side="left")])

        def false_rejects(t: np.float32) -> int:
            return int(w.true[np.searchsorted(pairs.genuine, t, side="left")])

        found = crossing_rate(false_accepts, false_rejects, impostors=w.impostors, genuine=int(w.true[-1]))
        if pairs.pictures is not None and found.threshold <= lowest:
            raise InputError(
                f"bootstrap: {len(pairs.impostor)} impostor scores do not reach down to the EER; keep more"
            )
        return found.rate

    return _interval(_draws(pairs, replicates, seed), rate, confidence)


def bootstrap_dir(
    search: Search,
    probe_subjects: ArrayLike,
    fpir: float,
    *,
    rank: int = 1,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Interval of DIR at the smallest threshold whose FPIR does not exceed `fpir`, resampling the probes' subjects.

    The gallery stays as it is: the interval is about other probes, not about another gallery.

    Args:
        search: what `search_gallery` found.
        probe_subjects: (P,) names or whole numbers, as given to it.
        fpir: between 0 and 1.
        rank: see `dir_at_fpir`.
        replicates: how many times to resample.
        seed: of the random draws.
        confidence: of the interval, between 0 and 1.

    Raises:
        InputError: `fpir` or `confidence` is no rate, shapes differ, or there is no known or no unknown probe.
    """
    check_rate("fpir", fpir)
    who = subject_numbers(probe_subjects, len(search.known), what="probe subjects")
    unknown = np.flatnonzero(~search.known)
    unknown = unknown[np.argsort(search.top_score[unknown], kind="stable")]
    known = np.flatnonzero(search.known)
    if not len(unknown) or not len(known):
        raise InputError(f"identification: expected known and unknown probes, got {len(known)} and {len(unknown)}")
    top, own, near = search.top_score[unknown], search.mate_score[known], search.mate_rank[known] <= rank

    def found(counts: NDArray[np.int64]) -> float:
        false, weight = _sums(counts[who[unknown]]), counts[who[known]]
        if not false[-1] or not weight.sum():
            return math.nan
        last = int(np.searchsorted(false, false[-1] - allowed_errors(fpir, int(false[-1])), side="left")) - 1
        return float(weight[(own > top[last]) & near].sum()) / float(weight.sum())

    return _interval(drawn_counts(int(who.max()) + 1, replicates, seed), found, confidence)


@dataclass(frozen=True, slots=True, eq=False)
class _Weighted:
    """One replicate: running sums of the weights of the ascending scores (each from 0), and all impostors' weight."""

    true: NDArray[np.int64]
    false: NDArray[np.int64]
    impostors: int


def _tar(pairs: SubjectPairs, far: float, w: _Weighted) -> float:
    last = int(np.searchsorted(w.false, w.false[-1] - allowed_errors(far, w.impostors), side="left")) - 1
    if last < 0:
        raise InputError(f"bootstrap: {len(pairs.impostor)} impostor scores are too few for FAR {far:g}; keep more")
    rejected = np.searchsorted(pairs.genuine, pairs.impostor[last], side="right")
    return 1 - float(w.true[rejected]) / float(w.true[-1])


def _draws(pairs: SubjectPairs, replicates: int, seed: int) -> Iterator[_Weighted | None]:
    for counts in drawn_counts(pairs.subjects, replicates, seed):
        true = _sums(counts[pairs.genuine_subject])
        false = _sums(counts[pairs.impostor_first] * counts[pairs.impostor_second])
        total = int(false[-1])
        if pairs.pictures is not None:
            drawn = counts * pairs.pictures
            total = (int(drawn.sum()) ** 2 - int((drawn**2).sum())) // 2
        yield _Weighted(true, false, total) if true[-1] and total else None


def drawn_counts(subjects: int, replicates: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each subject counts: once for the data as they are, then at random."""
    if replicates < 1:
        raise InputError(f"bootstrap: expected at least 1 replicate, got {replicates}")
    rng = np.random.default_rng(seed)
    yield np.ones(subjects, np.int64)
    for _ in range(replicates):
        yield np.bincount(rng.integers(0, subjects, subjects), minlength=subjects)


def _sums(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    sums = np.zeros(len(weights) + 1, np.int64)
    np.cumsum(weights, out=sums[1:])
    return sums


def _interval(draws: Iterable[T | None], rate: Callable[[T], float], confidence: float) -> Interval:
    half = (1 - check_rate("confidence", confidence)) / 2
    rates = [math.nan if draw is None else rate(draw) for draw in draws]
    value, drawn = rates[0], np.array([r for r in rates[1:] if not math.isnan(r)])
    if not len(drawn):
        raise InputError("bootstrap: no replicate drew both classes; there are too few subjects")
    low, high = np.quantile(drawn, [half, 1 - half])
    return Interval(value, float(low), float(high), len(drawn))
