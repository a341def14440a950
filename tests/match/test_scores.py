"""Cosines against a plain loop, in blocks of any size."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mien.errors import InputError
from mien.match import cosine, similarity_blocks, similarity_matrix, unit_embeddings


def unit_rows(seed, n, d=16):
    rows = np.random.default_rng(seed).standard_normal((n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def plain(a, b):
    return [[math.fsum(float(x) * float(y) for x, y in zip(p, q, strict=True)) for q in b] for p in a]


@pytest.mark.parametrize("block_bytes", [1, 100, 1 << 20])
def test_blocks_and_matrix_agree_with_a_plain_loop(block_bytes):
    a, b = unit_rows(0, 11), unit_rows(1, 7)
    expected = plain(a, b)
    np.testing.assert_allclose(similarity_matrix(a, b), expected, atol=1e-6)
    starts, blocks = zip(*similarity_blocks(a, b, block_bytes=block_bytes), strict=True)
    assert list(starts) == np.cumsum([0, *map(len, blocks)])[:-1].tolist()
    assert all(len(block) == 1 or block.nbytes <= block_bytes for block in blocks)
    np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-6)


def test_row_by_row_cosine():
    a, b = unit_rows(0, 5), unit_rows(1, 5)
    np.testing.assert_allclose(cosine(a, b), np.diag(plain(a, b)), atol=1e-6)
    assert cosine(a[0], a[0]) == pytest.approx(1.0, abs=1e-6)
    assert float(cosine(a, a).max()) <= 1.0
    assert cosine(a[0], b).shape == (5,)


def test_nothing_compares_to_nothing():
    assert similarity_matrix(unit_rows(0, 0), unit_rows(0, 3)).shape == (0, 3)
    assert similarity_matrix(unit_rows(0, 3), unit_rows(0, 0)).shape == (3, 0)


@pytest.mark.parametrize(("a", "b"), [((2, 3), (2, 4)), ((2, 3), (4, 3)), ((), (3,))])
def test_shapes_that_do_not_fit(a, b):
    with pytest.raises(InputError):
        cosine(np.zeros(a), np.zeros(b))
    if len(a) == len(b) == 2 and a[1] != b[1]:
        with pytest.raises(InputError):
            similarity_matrix(np.zeros(a, np.float32), np.zeros(b, np.float32))


def test_unit_embeddings_are_passed_on_uncopied():
    rows = unit_rows(0, 3)
    assert unit_embeddings(rows) is rows
    assert unit_embeddings(rows[0].astype(np.float64)).shape == (1, 16)


@pytest.mark.parametrize(
    "rows",
    [np.zeros((2, 4)), np.full((1, 4), 0.51), np.full((1, 4), np.nan), np.zeros(()), np.zeros((1, 0)), "x", None],
)
def test_what_is_no_embedding_is_refused(rows):
    with pytest.raises(InputError):
        unit_embeddings(rows)


def test_the_row_that_is_wrong_is_named():
    rows = unit_rows(0, 5)
    rows[3] *= 2
    with pytest.raises(InputError, match="length 2 in row 3"):
        unit_embeddings(rows)
