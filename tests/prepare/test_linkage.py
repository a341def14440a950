"""Average linkage against SciPy's, and on faces with known answers."""

import numpy as np
import pytest

from mien.prepare import linkage
from mien.prepare.linkage import average_linkage


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("seed", range(40))
def test_groups_are_those_of_scipy(seed):
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    rng = np.random.default_rng(seed)
    rows = unit(rng.normal(size=(int(rng.integers(2, 40)), 3)))
    threshold = float(rng.uniform(-0.5, 0.95))
    scores = (rows @ rows.T).astype(float)
    condensed = (1 - (scores + scores.T) / 2)[np.triu_indices(len(rows), 1)]
    theirs = hierarchy.fcluster(hierarchy.linkage(condensed, "average"), 1 - threshold, "distance")
    ours = average_linkage(rows, threshold)
    assert np.array_equal(ours[:, None] == ours, theirs[:, None] == theirs)
    sizes = np.bincount(ours)
    assert (np.diff(sizes) <= 0).all()


def test_more_faces_than_are_linked_at_once_join_the_nearest_group(monkeypatch):
    rng = np.random.default_rng(0)
    middle = np.eye(8)[rng.integers(0, 2, 300)]
    rows = unit(middle + 0.05 * rng.normal(size=(300, 8)))
    whole = average_linkage(rows, 0.5)
    monkeypatch.setattr(linkage, "MOST", 40)
    assert np.array_equal(average_linkage(rows, 0.5), whole)


def test_nobody_and_one():
    assert average_linkage(np.zeros((1, 4)), 0.5).tolist() == [0]
