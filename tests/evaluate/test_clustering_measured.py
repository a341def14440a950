"""The baseline clustering against scipy's connected components."""

from __future__ import annotations

import numpy as np
import pytest

from mien.errors import InputError
from mien.evaluate.clustering_baseline import linked


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("block", [1, 1000, 1 << 20])
def test_components_are_those_of_scipy(threshold, block):
    csgraph = pytest.importorskip("scipy.sparse.csgraph")
    rows = np.random.default_rng(3).normal(size=(60, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    edges = rows @ rows.T >= np.float32(threshold)
    count, expected = csgraph.connected_components(edges, directed=False)
    found = linked(rows, threshold, block_bytes=block)
    assert int(found.max()) + 1 == count
    assert len({*zip(found.tolist(), expected.tolist(), strict=True)}) == count
    assert list(dict.fromkeys(found.tolist())) == list(range(count))


def test_a_chain_is_one_cluster_and_a_threshold_is_a_cosine():
    angles = np.arange(50) * 0.1
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert linked(rows, np.cos(0.11)).max() == 0
    assert linked(rows, np.cos(0.09)).tolist() == list(range(50))
    assert linked(np.zeros((0, 2), np.float32), 0.5).tolist() == []
    with pytest.raises(InputError, match="cosine"):
        linked(rows, float("nan"))
