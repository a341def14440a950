"""The clustering that `mien evaluate cluster FOLDER` measures: faces that are linked by a score, and nothing cleverer.

A chain of look-alikes makes one cluster of many people, so this is a baseline to compare others with, no more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.clustering import RULES, Labelled, cluster_result
from mien.evaluate.experiment import shot
from mien.evaluate.metrics.thresholds import float32_at_least
from mien.evaluate.results import PairOfShots
from mien.match.calibration import check_threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from mien.evaluate.clustering import ClusterResult
    from mien.evaluate.embeddings import Embedded
    from mien.evaluate.experiment import Setup
    from mien.evaluate.protocols.sets import SubjectSet
    from mien.types import Floats

__all__ = ["METHOD", "cluster_folder", "linked"]

METHOD: Final = "connected components: a chain of scores at or above the threshold joins two faces"
_BLOCK_BYTES: Final = 32 << 20

_FAILURES: Final = {
    "error": "A picture in which no face is found, or that cannot be read, is a cluster of its own.",
    "exclude": "Pictures in which no face is found, or that cannot be read, are left out.",
}


def linked(embeddings: ArrayLike, threshold: float, *, block_bytes: int = _BLOCK_BYTES) -> NDArray[np.intp]:
    """Connected components of the graph in which faces at or above a score are neighbours.

    Args:
        embeddings: (N, D) unit rows.
        threshold: a cosine.
        block_bytes: about how large a block of scores may be; the answer does not depend on it.

    Returns:
        (N,) the number of each face's component, by its first face: 0, 1, ...

    Raises:
        InputError: `threshold` is no cosine.
    """
    check_threshold(threshold)
    rows = np.asarray(embeddings, np.float32)
    least, n = float32_at_least(threshold), len(rows)
    root = np.arange(n)
    step = max(1, block_bytes // (4 * max(n, 1)))
    for start in range(0, n, step):
        scores = rows[start : start + step] @ rows[: start + step].T
        a, b = np.nonzero(scores >= least)
        a += start
        below = b < a
        _join(root, a[below], b[below])
    first, number = np.unique(root, return_inverse=True)
    del first
    return number.astype(np.intp)


def _join(root: NDArray[np.intp], a: NDArray[np.intp], b: NDArray[np.intp]) -> None:
    """Merge the components that edges join; each component is named by its lowest member."""
    while True:
        low, high = np.minimum(root[a], root[b]), np.maximum(root[a], root[b])
        apart = low != high
        if not apart.any():
            return
        a, b = a[apart], b[apart]
        np.minimum.at(root, high[apart], low[apart])
        while (root[root] != root).any():
            root[:] = root[root]


def cluster_folder(
    data: SubjectSet, embedded: Embedded, setup: Setup, threshold: float, source: str = ""
) -> ClusterResult:
    """Cluster the pictures of a folder per person, and measure.

    Args:
        data: pictures and whose they are.
        embedded: their embeddings.
        setup: what is measured, and how.
        threshold: a cosine.
        source: where the threshold comes from, in words.

    Raises:
        InputError: no face was found, or `threshold` is no cosine.
    """
    found = embedded.found
    if not found.any():
        raise InputError(f"{data.name}: no face was found in any of {len(found)} pictures")
    cluster = np.full(len(found), -1, np.intp)
    cluster[found] = linked(embedded.vectors[found], threshold)
    kept = np.ones(len(found), np.bool_) if setup.failures == "error" else found
    names = tuple(f"cluster {i + 1}" for i in range(int(cluster.max()) + 1))
    faces = Labelled(data.people, data.subject[kept], names, cluster[kept])
    experiment = setup.experiment(data, embedded, _FAILURES[setup.failures])
    rules = f"Every picture of a folder per person, clustered by {METHOD}. {source} {RULES}"
    experiment = replace(experiment, rules=" ".join(rules.split()))
    result = cluster_result(faces, experiment, seed=setup.seed, method=METHOD, threshold=threshold)

    def pairs(rows: Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]) -> tuple[PairOfShots, ...]:
        return tuple(pair for members, by in rows for pair in _two(data, embedded, members, by))

    return replace(
        result,
        split_pairs=pairs(
            (np.flatnonzero(found & (data.subject == data.people.index(row.person))), cluster) for row in result.split
        ),
        merged_pairs=pairs(
            (np.flatnonzero(cluster == names.index(row.cluster)), data.subject) for row in result.merged
        ),
    )


def _two(
    data: SubjectSet, embedded: Embedded, members: NDArray[np.intp], by: NDArray[np.intp]
) -> Iterator[PairOfShots]:
    """Of pictures, the first of the largest part beside the most alike one of any other part."""
    parts, sizes = np.unique(by[members], return_counts=True)
    if len(parts) < 2:
        return
    largest: NDArray[np.bool_] = by[members] == parts[int(sizes.argmax())]
    a, others = int(members[largest][0]), members[~largest]
    scores: Floats = embedded.vectors[others] @ embedded.vectors[a]
    b = int(others[int(scores.argmax())])
    yield PairOfShots(
        shot(data.pictures[a], embedded, a), shot(data.pictures[b], embedded, b), float(np.clip(scores.max(), -1, 1))
    )
