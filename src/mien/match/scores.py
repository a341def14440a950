"""How alike two faces are: the cosine of their embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike

    from mien.types import Floats

__all__ = ["cosine", "similarity_blocks", "similarity_matrix", "unit_embeddings"]

NORM_TOLERANCE = 1e-3
"""How far an embedding's length may be from 1; bf16 inference stays well inside."""

BLOCK_BYTES = 64 << 20
"""Size of one block of scores: large enough for a fast matrix product, small enough for any machine."""


def unit_embeddings(value: ArrayLike, *, dimension: int | None = None, what: str = "embeddings") -> Floats:
    """Check embeddings that come from outside.

    Args:
        value: (N, D) numbers, or (D,) for one face.
        dimension: the D that is needed, or None for any.
        what: what the message calls them.

    Returns:
        float32 (N, D), C-contiguous; the same array when it already is one.

    Raises:
        InputError: wrong shape, a number that is not finite, or a row that is not of unit length.

    >>> unit_embeddings([0.6, 0.8]).shape
    (1, 2)
    """
    try:
        rows = np.ascontiguousarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: expected numbers in shape (N, D), got {type(value).__name__}: {error}") from error
    if rows.ndim == 1 and np.ndim(value) == 1:
        rows = rows[None, :]
    if rows.ndim != 2 or rows.shape[1] == 0 or dimension not in (None, rows.shape[1]):
        raise InputError(f"{what}: expected shape (N, {dimension or 'D'}), got {np.shape(value)}")
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float32))
        wrong = ~(np.abs(lengths - 1) <= NORM_TOLERANCE)  # written so that NaN is wrong too
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"{what}: expected rows of unit length, got length {lengths[row]:.6g} in row {row}; normalise")
    return rows


def cosine(a: ArrayLike, b: ArrayLike) -> Floats:
    """Cosine of each row of `a` with the same row of `b`.

    Args:
        a: unit embeddings (..., D).
        b: unit embeddings (..., D), of a shape that broadcasts against `a`.

    Returns:
        float32 (...), in [-1, 1]; higher is closer.

    Raises:
        InputError: the shapes do not fit.

    >>> float(cosine([1, 0], [0, 1]))
    0.0
    """
    left, right = np.asarray(a, np.float32), np.asarray(b, np.float32)
    if left.ndim == 0 or right.ndim == 0 or left.shape[-1] != right.shape[-1]:
        raise InputError(f"cosine: expected embeddings of one dimension, got shapes {left.shape} and {right.shape}")
    try:
        scores = np.einsum("...d,...d->...", left, right)
    except ValueError as error:
        raise InputError(f"cosine: shapes {left.shape} and {right.shape} do not broadcast") from error
    return np.asarray(np.clip(scores, -1, 1), np.float32)


def similarity_blocks(a: Floats, b: Floats, *, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, Floats]]:
    """Cosine of every row of `a` with every row of `b`, a block of rows at a time, in bounded memory.

    Args:
        a: unit embeddings float32 (N, D).
        b: unit embeddings float32 (M, D).
        block_bytes: about how large a block may be; a block holds at least one row.

    Yields:
        (first row, float32 (rows, M)); the block belongs to the caller.

    Raises:
        InputError: the dimensions differ.

    Thread-safe: it only reads its arguments.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise InputError(f"similarity: expected (N, D) and (M, D), got {a.shape} and {b.shape}")
    rows = max(1, block_bytes // max(1, 4 * len(b)))
    for start in range(0, len(a), rows):
        yield start, a[start : start + rows] @ b.T


def similarity_matrix(a: Floats, b: Floats) -> Floats:
    """Cosine of every row of `a` (N, D) with every row of `b` (M, D): float32 (N, M).

    Use `similarity_blocks` when N x M numbers are too many to hold.

    Raises:
        InputError: the dimensions differ.
    """
    return next((block for _, block in similarity_blocks(a, b, block_bytes=1 << 62)), np.zeros((0, len(b)), np.float32))
