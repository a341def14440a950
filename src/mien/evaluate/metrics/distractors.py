"""Identification among up to millions of strangers, in the manner of MegaFace.

The distractors may lie in a memory-mapped file: they are read once, a block at a time, and only the best scores stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.identification import Cmc
from mien.evaluate.metrics.pairs import subject_numbers
from mien.evaluate.metrics.tail import ScoreTail, TailCollector
from mien.match.scores import similarity_matrix, unit_embeddings

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mien.types import Floats

__all__ = ["DistractorScores", "ProbePairs", "distractor_cmc", "probe_pairs", "scan_distractors"]

BLOCK_BYTES = 32 << 20
"""Size of one block of scores."""


@dataclass(frozen=True, slots=True, eq=False)
class DistractorScores:
    """The best scores of P probes among M distractors.

    Attributes:
        best: (P, R) float32, each probe's R best distractors, falling; -inf where there are fewer than R.
        tail: the highest of all P x M impostor scores.
        distractors: M, those left out by `keep` not counted.
    """

    best: Floats
    tail: ScoreTail
    distractors: int


@dataclass(frozen=True, slots=True, eq=False)
class ProbePairs:
    """Every ordered pair of two pictures of one person in a probe set: a probe, and its mate in the gallery.

    Attributes:
        probe, mate: (K,) int64 rows.
        scores: (K,) float32 cosines. Each pair of pictures appears twice, once in either role.
    """

    probe: NDArray[np.int64]
    mate: NDArray[np.int64]
    scores: Floats


def scan_distractors(
    probes: ArrayLike,
    distractors: NDArray[np.float32] | NDArray[np.float16],
    *,
    keep: ArrayLike | None = None,
    ranks: int = 1,
    tail: int = 0,
    block_bytes: int = BLOCK_BYTES,
) -> DistractorScores:
    """Compare every probe with every distractor.

    Args:
        probes: (P, D) unit rows.
        distractors: (M, D) float32 or float16 unit rows; may be memory-mapped.
        keep: (M,) booleans, False for distractors to leave out (a noise list), or None.
        ranks: R, how many of each probe's best distractors to keep.
        tail: how many of the highest scores of all to keep, for TAR at FAR: at least FAR x P x M + 1 of them.
        block_bytes: about how large a block of scores may be; the answer does not depend on it.

    Raises:
        InputError: shapes or types do not fit, no distractor is left, or rows are not unit vectors.
    """
    rows = unit_embeddings(probes, what="probes")
    if (
        distractors.ndim != 2
        or distractors.shape[1] != rows.shape[1]
        or distractors.dtype not in (np.float32, np.float16)
    ):
        raise InputError(
            f"distractors: expected float32 or float16 (M, {rows.shape[1]}), "
            f"got {distractors.dtype} {distractors.shape}"
        )
    wanted = None if keep is None else np.asarray(keep)
    if wanted is not None and (wanted.shape != (len(distractors),) or wanted.dtype != np.bool_):
        raise InputError(f"keep: expected {len(distractors)} booleans, got {wanted.dtype} {wanted.shape}")
    if ranks < 1 or not len(rows):
        raise InputError(f"distractors: expected at least one probe and one rank, got {len(rows)} and {ranks}")
    best = np.full((len(rows), ranks), -np.inf, np.float32)
    highest, total = TailCollector(tail), 0
    step = max(1, block_bytes // (4 * len(rows)))
    buffer = np.empty((len(rows), step), np.float32)
    for first in range(0, len(distractors), step):
        block = distractors[first : first + step]
        if wanted is not None:
            block = block[wanted[first : first + step]]
        if not len(block):
            continue
        checked = unit_embeddings(block, what=f"distractors from row {first}")
        scores = buffer.reshape(-1)[: len(rows) * len(block)].reshape(len(rows), len(block))
        np.matmul(rows, checked.T, out=scores)
        top = scores.max(axis=1)
        _keep_best(best, scores, top)
        for row in np.flatnonzero(top > highest.floor):
            highest.offer(scores[row])
        total += len(block)
    if not total:
        raise InputError("distractors: none are left")
    tail_scores, _ = highest.sorted()
    np.clip(best, -np.inf, 1, out=best)
    return DistractorScores(best, ScoreTail(np.clip(tail_scores, -1, 1), total * len(rows)), total)


def probe_pairs(probes: ArrayLike, subjects: ArrayLike) -> ProbePairs:
    """All ordered pairs of two pictures of one person.

    Args:
        probes: (P, D) unit rows.
        subjects: (P,) names or whole numbers.

    Raises:
        InputError: shapes do not fit, rows are not unit vectors, or nobody has two pictures.
    """
    rows = unit_embeddings(probes, what="probes")
    who = subject_numbers(subjects, len(rows))
    order = np.argsort(who, kind="stable").astype(np.int64)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats]] = []
    for group in np.split(order, np.flatnonzero(np.diff(who[order])) + 1):
        a, b = np.nonzero(~np.eye(len(group), dtype=np.bool_))
        scores = np.clip(similarity_matrix(rows[group], rows[group]), -1, 1)
        found.append((group[a], group[b], scores[a, b]))
    probe, mate, scores = (np.concatenate(part) for part in zip(*found, strict=True))
    if not len(scores):
        raise InputError("probes: expected a subject with at least two pictures")
    return ProbePairs(probe, mate, scores)


def distractor_cmc(pairs: ProbePairs, scan: DistractorScores) -> Cmc:
    """Rank rates with one mate at a time among the distractors.

    For each pair the gallery holds the mate and all distractors. Ties count against the system.

    Returns:
        Ranks 1 to R, where R is the `ranks` of the scan.

    Source:
        I. Kemelmacher-Shlizerman et al., "The MegaFace Benchmark", 2016.
    """
    above = np.concatenate(
        [
            np.count_nonzero(scan.best[pairs.probe[part]] >= pairs.scores[part, None], axis=1)
            for part in (slice(s, s + 65536) for s in range(0, len(pairs.scores), 65536))
        ]
    )
    ranks = scan.best.shape[1]
    counts = np.bincount(above, minlength=ranks + 1)[:ranks]
    return Cmc(np.cumsum(counts).astype(np.int64), len(above), scan.distractors + 1)


def _keep_best(best: Floats, scores: Floats, top: Floats) -> None:
    """Merge a block of scores (P, m) with row maxima `top` into `best` (P, R), falling."""
    better = np.flatnonzero(top > best[:, -1])
    if best.shape[1] == 1:
        best[better, 0] = top[better]
        return
    for row in better:
        higher = scores[row][scores[row] > best[row, -1]]
        merged = np.concatenate([best[row], higher])
        if len(merged) > 4 * best.shape[1]:
            merged = np.partition(merged, len(merged) - best.shape[1])[-best.shape[1] :]
        best[row] = np.sort(merged)[::-1][: best.shape[1]]
