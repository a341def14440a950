"""Identification: whose picture is this? Closed-set ranks, and the open set where most faces belong to nobody enrolled.

A subject scores as its best template does. A tie counts against the system: the mate's rank is one more than the number
of other subjects that score at least as high.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.curves import curve_points
from mien.evaluate.metrics.intervals import Rate, wilson
from mien.evaluate.metrics.thresholds import float32_at_least, smallest_threshold
from mien.match.calibration import check_rate
from mien.match.scores import similarity_blocks, unit_embeddings

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mien.evaluate.metrics.curves import Curve
    from mien.types import Floats

__all__ = [
    "Cmc",
    "DirAtFpir",
    "Search",
    "cmc",
    "dir_at_fpir",
    "fnir_at",
    "fpir_at",
    "open_set_curve",
    "search_gallery",
]

BLOCK_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What a search of a gallery found for each of P probes.

    Attributes:
        known: (P,) whether the probe's subject is enrolled.
        mate_score: (P,) float32 score of the probe's own subject; -inf for unknown probes.
        mate_rank: (P,) int64 rank of that subject from 1; 0 for unknown probes.
        top_score: (P,) float32 score of the best subject, right or wrong.
        subjects, templates: the gallery's size.
    """

    known: NDArray[np.bool_]
    mate_score: Floats
    mate_rank: NDArray[np.int64]
    top_score: Floats
    subjects: int
    templates: int


@dataclass(frozen=True, slots=True, eq=False)
class Cmc:
    """Cumulative match characteristic.

    Attributes:
        hits: (K,) int64, how many probes have their mate at rank k = 1..K or better.
        probes: how many have a mate.
        gallery_size: enrolled subjects.
    """

    hits: NDArray[np.int64]
    probes: int
    gallery_size: int

    def rate(self, k: int) -> Rate:
        """Share of probes with their mate among the best `k`.

        Raises:
            InputError: `k` is below 1 or above the K that was counted.
        """
        if not 1 <= k <= len(self.hits):
            raise InputError(f"rank: expected 1 to {len(self.hits)}, got {k}")
        return Rate(int(self.hits[k - 1]), self.probes)


@dataclass(frozen=True, slots=True)
class DirAtFpir:
    """The detection and identification rate (1 - FNIR) at a stated false-positive identification rate.

    Attributes:
        target: the stated FPIR.
        rank: the mate must be among the best `rank` subjects.
        dir: share of known probes whose mate is, at or above `threshold`.
        low, high: its 95 % Wilson interval.
        threshold: the smallest one whose measured FPIR does not exceed `target`.
        fpir: the measured FPIR there.
        known, unknown: how many probes of each kind.
        gallery_size: enrolled subjects; FPIR holds for this size only.
        sufficient: False where there are fewer than 1 / `target` unknown probes.
    """

    target: float
    rank: int
    dir: float
    low: float
    high: float
    threshold: float
    fpir: float
    known: int
    unknown: int
    gallery_size: int
    sufficient: bool


def search_gallery(
    probes: ArrayLike,
    probe_subjects: ArrayLike,
    gallery: ArrayLike,
    gallery_subjects: ArrayLike,
    *,
    skip: ArrayLike | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Search:
    """Search a gallery of templates with every probe, a block of probes at a time.

    Args:
        probes: (P, D) unit rows.
        probe_subjects: (P,) names or whole numbers.
        gallery: (G, D) unit rows.
        gallery_subjects: (G,) whose template each is.
        skip: (P,) the gallery row that is the probe itself, to be left out of its search; -1 for none. A probe whose
            subject has no other template is unknown.
        block_bytes: about how large a block of scores may be.

    Raises:
        InputError: shapes do not fit, rows are not unit vectors, or the gallery is empty.
    """
    templates = unit_embeddings(gallery, what="gallery")
    rows = unit_embeddings(probes, dimension=templates.shape[1], what="probes")
    owner, mate, size = _numbered(probe_subjects, gallery_subjects, len(rows), len(templates))
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(size))
    place = np.argsort(order)  # where each template went
    own = np.full(len(rows), -1) if skip is None else np.asarray(skip)
    if (
        own.shape != (len(rows),)
        or own.dtype.kind not in "iu"
        or (len(own) and not -1 <= own.min() <= own.max() < len(owner))
    ):
        raise InputError(f"skip: expected {len(rows)} gallery rows, or -1, got {own.dtype} {own.shape}")
    mate_score, top_score = np.empty(len(rows), np.float32), np.empty(len(rows), np.float32)
    rank = np.empty(len(rows), np.int64)
    for first, block in similarity_blocks(rows, templates[order], block_bytes=block_bytes):
        scores, part = np.clip(block, -1, 1, out=block), slice(first, first + len(block))
        hidden = np.flatnonzero(own[part] >= 0)
        scores[hidden, place[own[part][hidden]]] = -np.inf
        if size < len(templates):
            scores = np.maximum.reduceat(scores, starts, axis=1)
        top_score[part] = scores.max(axis=1)
        mates = np.where(mate[part] >= 0, scores[np.arange(len(scores)), mate[part]], -np.inf)
        mate_score[part] = mates
        rank[part] = np.count_nonzero(scores >= mates[:, None].astype(np.float32), axis=1)
    known = mate_score > -np.inf
    return Search(known, mate_score, np.where(known, rank, 0), top_score, size, len(templates))


def cmc(search: Search, max_rank: int = 20) -> Cmc:
    """Closed-set identification: how often the mate is among the best k, for k = 1 to `max_rank`.

    Unknown probes do not count. There are at most as many ranks as enrolled subjects.

    Raises:
        InputError: no probe is known, or `max_rank` is below 1.
    """
    ranks = search.mate_rank[search.known]
    if not len(ranks) or max_rank < 1:
        raise InputError(f"cmc: expected a known probe and a rank of at least 1, got {len(ranks)} and {max_rank}")
    counts = np.bincount(ranks, minlength=max_rank + 1)[1 : min(max_rank, search.subjects) + 1]
    return Cmc(np.cumsum(counts).astype(np.int64), len(ranks), search.subjects)


def fpir_at(search: Search, threshold: float) -> Rate:
    """False-positive identification rate: unknown probes for which any subject scores at or above `threshold`."""
    strangers = search.top_score[~search.known]
    return Rate(int(np.count_nonzero(strangers >= float32_at_least(threshold))), len(strangers))


def fnir_at(search: Search, threshold: float, *, rank: int = 1) -> Rate:
    """False-negative identification rate: known probes whose mate is below `threshold` or not among the best `rank`."""
    scores, ranks = search.mate_score[search.known], search.mate_rank[search.known]
    found = np.count_nonzero((scores >= float32_at_least(threshold)) & (ranks <= rank))
    return Rate(len(scores) - int(found), len(scores))


def dir_at_fpir(search: Search, fpir: float, *, rank: int = 1) -> DirAtFpir:
    """DIR at the smallest threshold whose FPIR does not exceed `fpir`.

    Raises:
        InputError: `fpir` does not lie between 0 and 1, or there is no known or no unknown probe.

    Source:
        ISO/IEC 19795-1; P. Grother and M. Ngan, NIST IR 8009, 2014.
    """
    fpir = check_rate("fpir", fpir)
    _need_both(search)
    unknown = np.sort(search.top_score[~search.known])
    threshold = smallest_threshold(unknown, fpir)
    misses = fnir_at(search, threshold, rank=rank)
    hits = misses.trials - misses.count
    low, high = wilson(hits, misses.trials)
    return DirAtFpir(
        target=fpir,
        rank=rank,
        dir=hits / misses.trials,
        low=low,
        high=high,
        threshold=threshold,
        fpir=fpir_at(search, threshold).count / len(unknown),
        known=misses.trials,
        unknown=len(unknown),
        gallery_size=search.subjects,
        sufficient=fpir * len(unknown) * (1 + 1e-12) >= 1,
    )


def open_set_curve(search: Search, *, rank: int = 1) -> Curve:
    """DIR against FPIR at every threshold: `fmr` of the curve is FPIR, `tar` DIR, and `fnmr` FNIR.

    Raises:
        InputError: there is no known or no unknown probe.
    """
    _need_both(search)
    found = search.known & (search.mate_rank <= rank)
    unknown = search.top_score[~search.known]
    seen = unknown[unknown > -np.inf]
    return curve_points(
        np.sort(search.mate_score[found]),
        np.sort(seen),
        unmatched=int(np.count_nonzero(search.known & ~found)),
        passed=len(unknown) - len(seen),
    )


def _need_both(search: Search) -> None:
    known = int(np.count_nonzero(search.known))
    if known in (0, len(search.known)):
        raise InputError(
            f"identification: expected known and unknown probes, got {known} known and {len(search.known) - known} "
            "unknown; an open set needs both"
        )


def _numbered(
    probe_subjects: ArrayLike, gallery_subjects: ArrayLike, probes: int, templates: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Number of the owner of each template, number of the mate of each probe (-1: not enrolled), number of subjects."""
    wanted, enrolled = np.asarray(probe_subjects), np.asarray(gallery_subjects)
    kinds = {"U" if a.dtype.kind in "US" else a.dtype.kind.replace("u", "i") for a in (wanted, enrolled)}
    if wanted.shape != (probes,) or enrolled.shape != (templates,) or not templates or not kinds <= {"i", "U"}:
        raise InputError(
            f"identification: expected {probes} probe and {templates} gallery subjects, at least 1 of the latter, as "
            f"names or whole numbers, got {wanted.dtype} {wanted.shape} and {enrolled.dtype} {enrolled.shape}"
        )
    if len(kinds) > 1:
        raise InputError(f"identification: probes are named by {wanted.dtype} but the gallery by {enrolled.dtype}")
    names, owner = np.unique(enrolled, return_inverse=True)
    at = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    return owner.reshape(-1), np.where(names[at] == wanted, at, -1), len(names)
