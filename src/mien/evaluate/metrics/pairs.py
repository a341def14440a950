"""Scores of pairs: all pairs of a set of pictures, or the pairs of a list. Never the whole n x n matrix at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.scores import ScoreSet, score_set
from mien.match.scores import cosine, similarity_matrix, unit_embeddings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from mien.types import Floats

__all__ = ["CheckedPairs", "all_pair_scores", "checked_pairs", "listed_pair_scores", "subject_numbers"]

BLOCK_BYTES = 16 << 20
"""Size of one block of scores: it still lies in a cache when it is taken apart."""

LIMIT_BYTES = 4 << 30
"""What all scores together may take, by default: about a billion pairs."""


@dataclass(frozen=True, slots=True, eq=False)
class CheckedPairs:
    """Which pairs of a list can be counted, and how many cannot.

    Attributes:
        keep: (P,) False for pairs of a picture with itself and for repetitions of an earlier pair in either order.
        selves: how many pairs join a picture with itself.
        duplicates: how many repeat an earlier pair.
    """

    keep: NDArray[np.bool_]
    selves: int
    duplicates: int


def all_pair_scores(
    embeddings: ArrayLike, subjects: ArrayLike, *, block_bytes: int = BLOCK_BYTES, limit_bytes: int = LIMIT_BYTES
) -> ScoreSet:
    """Cosines of every pair of pictures, each pair once, split into genuine and impostor.

    Memory: 4 bytes a pair, and one block.

    Args:
        embeddings: (N, D) unit rows, one a picture.
        subjects: (N,) whom each picture shows: numbers or names.
        block_bytes: about how large a block of scores may be; the counts do not depend on it.
        limit_bytes: refuse a set whose scores would take more.

    Raises:
        InputError: shapes do not fit, rows are not unit vectors, no genuine or no impostor pair, or too many pairs.
    """
    rows = unit_embeddings(embeddings)
    who = subject_numbers(subjects, len(rows))
    n, pictures = len(rows), np.bincount(who)
    n_genuine = int((pictures * (pictures - 1) // 2).sum())
    n_impostor = n * (n - 1) // 2 - n_genuine
    if 4 * (n_genuine + n_impostor) > limit_bytes:
        raise InputError(
            f"pairs: {n} pictures make {n_genuine + n_impostor} pairs, {4 * (n_genuine + n_impostor) >> 20} MiB of "
            f"scores, more than the limit of {limit_bytes >> 20} MiB; take fewer subjects or raise limit_bytes"
        )
    genuine, impostor = np.empty(n_genuine, np.float32), np.empty(n_impostor, np.float32)
    order = np.argsort(who, kind="stable")
    ends = np.searchsorted(who[order], who[order], side="right")
    g = i = 0
    for first, scores in triangle_blocks(rows[order], block_bytes=block_bytes):
        for r, row in enumerate(scores):  # a subject's pictures lie together: two copies a row, and no masks
            own = int(ends[first + r]) - first
            genuine[g : g + own - r - 1] = row[r + 1 : own]
            impostor[i : i + len(row) - own] = row[own:]
            g, i = g + own - r - 1, i + len(row) - own
    return score_set(genuine, impostor, in_place=True)


def triangle_blocks(rows: Floats, *, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, Floats]]:
    """Cosines of a block of rows with themselves and all later rows: (first row, (r, N - first)).

    A block's first r columns are its square with itself: pair (a, b) is at [a - first, b - first] for a < b.
    """
    first, n = 0, len(rows)
    while first < n:
        last = min(n, first + max(1, block_bytes // (4 * (n - first))))
        scores = similarity_matrix(rows[first:last], rows[first:])
        yield first, np.clip(scores, -1, 1, out=scores)
        first = last


def listed_pair_scores(embeddings: ArrayLike, pairs: ArrayLike, *, block_pairs: int = 65536) -> Floats:
    """Cosines of the pairs of a list, in its order.

    Args:
        embeddings: (N, D) unit rows.
        pairs: (P, 2) row numbers.
        block_pairs: how many pairs are gathered at a time.

    Returns:
        (P,) float32 in [-1, 1].

    Raises:
        InputError: shapes do not fit, rows are not unit vectors, or a row number does not exist.
    """
    rows, index = unit_embeddings(embeddings), _index(pairs)
    if len(index) and not 0 <= index.min() <= index.max() < len(rows):
        raise InputError(f"pairs: expected row numbers from 0 to {len(rows) - 1}, got {index.min()} to {index.max()}")
    scores = np.empty(len(index), np.float32)
    for start in range(0, len(index), block_pairs):
        part = index[start : start + block_pairs]
        scores[start : start + block_pairs] = cosine(rows[part[:, 0]], rows[part[:, 1]])
    return scores


def checked_pairs(pairs: ArrayLike) -> CheckedPairs:
    """Find pairs of a picture with itself, and pairs that repeat.

    Args:
        pairs: (P, 2) whole numbers, one for each picture.

    Raises:
        InputError: not of shape (P, 2), or not whole numbers.

    >>> checked_pairs([[0, 1], [1, 0], [2, 2]]).keep.tolist()
    [True, False, False]
    """
    index = np.sort(_index(pairs), axis=1)
    other = index[:, 0] != index[:, 1]
    first = np.zeros(len(index), np.bool_)
    first[np.unique(index, axis=0, return_index=True)[1]] = True
    return CheckedPairs(first & other, int((~other).sum()), int((other & ~first).sum()))


def subject_numbers(subjects: ArrayLike, count: int, *, what: str = "subjects") -> NDArray[np.int64]:
    """Subjects, numbered from 0 without gaps in the order of their names.

    Raises:
        InputError: not one name or whole number a row.
    """
    names = np.asarray(subjects)
    if names.shape != (count,) or (count and names.dtype.kind not in "iuUSb"):
        raise InputError(f"{what}: expected {count} names or whole numbers, got {names.dtype} {names.shape}")
    return np.unique(names, return_inverse=True)[1].astype(np.int64).reshape(-1)


def _index(pairs: ArrayLike) -> NDArray[np.int64]:
    index = np.asarray(pairs)
    if index.ndim != 2 or index.shape[1] != 2 or (index.size and index.dtype.kind not in "iu"):
        raise InputError(f"pairs: expected whole numbers of shape (P, 2), got {index.dtype} {index.shape}")
    return index.astype(np.int64)
