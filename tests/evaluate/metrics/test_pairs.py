import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import InputError
from mien.evaluate.metrics.pairs import all_pair_scores, checked_pairs, listed_pair_scores


def unit(rng, n, d=8):
    rows = rng.normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 5), min_size=2, max_size=7).filter(lambda c: max(c) > 1),
    st.integers(1, 2000),
)
def test_all_pairs_equal_a_plain_loop_whatever_the_blocks(seed, counts, block_bytes):
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat([f"person {i}" for i in range(len(counts))], counts))
    rows = unit(rng, len(who))
    scores = all_pair_scores(rows, who, block_bytes=block_bytes)
    want = {True: [], False: []}
    for a, b in itertools.combinations(range(len(who)), 2):
        want[bool(who[a] == who[b])].append(float(np.dot(rows[a].astype(float), rows[b].astype(float))))
    np.testing.assert_allclose(scores.genuine, sorted(want[True]), atol=1e-6)
    np.testing.assert_allclose(scores.impostor, sorted(want[False]), atol=1e-6)


def test_all_pairs_refuse():
    rows = unit(np.random.default_rng(0), 4)
    with pytest.raises(InputError, match="error rates need both"):
        all_pair_scores(rows, [0, 1, 2, 3])
    with pytest.raises(InputError, match="error rates need both"):
        all_pair_scores(rows, [0, 0, 0, 0])
    with pytest.raises(InputError, match="4 pictures make 6 pairs"):
        all_pair_scores(rows, [0, 0, 1, 1], limit_bytes=23)
    with pytest.raises(InputError, match="subjects: expected 4"):
        all_pair_scores(rows, [0, 0, 1])
    with pytest.raises(InputError, match="unit length"):
        all_pair_scores(rows * np.float32([[1], [1], [np.nan], [1]]), [0, 0, 1, 1])


@pytest.mark.parametrize("block", [1, 3, 1000])
def test_listed_pairs(block):
    rng = np.random.default_rng(1)
    rows, pairs = unit(rng, 10), rng.integers(0, 10, (25, 2))
    want = [float(np.dot(rows[a].astype(float), rows[b].astype(float))) for a, b in pairs]
    np.testing.assert_allclose(listed_pair_scores(rows, pairs, block_pairs=block), want, atol=1e-6)
    assert listed_pair_scores(rows, np.zeros((0, 2), int)).shape == (0,)


@pytest.mark.parametrize("pairs", [[[0, 10]], [[-1, 0]], [[0.0, 1.0]], [0, 1], [[0, 1, 2]]])
def test_listed_pairs_refuse(pairs):
    with pytest.raises(InputError, match="pairs: expected"):
        listed_pair_scores(unit(np.random.default_rng(0), 10), pairs)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=30))
def test_checked_pairs_equal_a_plain_loop(pairs):
    found = checked_pairs(np.array(pairs, int).reshape(-1, 2))
    seen, keep, selves, duplicates = set(), [], 0, 0
    for a, b in pairs:
        new = frozenset((a, b)) not in seen
        seen.add(frozenset((a, b)))
        selves += a == b
        duplicates += a != b and not new
        keep.append(a != b and new)
    assert found.keep.tolist() == keep
    assert (found.selves, found.duplicates) == (selves, duplicates)
