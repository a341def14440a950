"""Average linkage: faces of one folder, joined into people as long as these are alike on average."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["average_linkage"]

MOST: Final = 4000
"""Faces that are linked at once: their scores take 64 MB; see `average_linkage`."""


def average_linkage(embeddings: ArrayLike, threshold: float) -> NDArray[np.intp]:
    """Join the two groups whose pairs score highest on average, until no two reach the threshold.

    By chains of nearest neighbours, which give the same groups in N^2 steps and N^2 memory. Of more than `MOST` faces,
    that many evenly spaced ones are linked, and the rest joins the group that it scores highest with on average.

    Args:
        embeddings: (N, D) unit rows.
        threshold: a cosine.

    Returns:
        (N,) the group of each face: 0 is the largest, then the next; of equally large ones the one that begins first.

    Source:
        F. Murtagh, "A survey of recent advances in hierarchical clustering algorithms", 1983 (nearest-neighbour chain).

    >>> average_linkage([[1, 0], [0, 1], [0.6, 0.8]], 0.7).tolist()
    [1, 0, 0]
    """
    rows = np.asarray(embeddings, np.float32)
    n = len(rows)
    if n > MOST:
        some = np.linspace(0, n - 1, MOST).round().astype(np.intp)
        part = average_linkage(rows[some], threshold)
        means = np.stack([rows[some[part == g]].mean(axis=0) for g in range(int(part.max()) + 1)])
        group = np.concatenate([(rows[i : i + MOST] @ means.T).argmax(axis=1) for i in range(0, n, MOST)])
        group[some] = part
        return _by_size(group)
    return _by_size(_linked(rows @ rows.T, threshold))


def _linked(scores: NDArray[np.float32], threshold: float) -> NDArray[np.intp]:
    """Groups from pair scores (N, N), which are changed."""
    n = len(scores)
    np.fill_diagonal(scores, -np.inf)
    size, group = np.ones(n), np.arange(n)
    left = np.ones(n, np.bool_)  # groups, each in the row of one of its faces, that may still be joined
    chain: list[int] = []
    while left.any():
        if not chain:
            chain.append(int(left.argmax()))
        top = chain[-1]
        near = int(scores[top].argmax())
        if len(chain) > 1 and scores[top, chain[-2]] >= scores[top, near]:
            near = chain[-2]
        if scores[top, near] < threshold:
            # Nothing that is joined later comes nearer to it: averages of scores below the threshold stay below.
            chain.pop()
            left[top] = False
        elif len(chain) > 1 and near == chain[-2]:
            del chain[-2:]
            keep, gone = min(top, near), max(top, near)
            joined = (size[keep] * scores[keep] + size[gone] * scores[gone]) / (size[keep] + size[gone])
            scores[keep], scores[:, keep] = joined, joined
            scores[gone], scores[:, gone] = -np.inf, -np.inf
            scores[keep, keep] = -np.inf
            size[keep] += size[gone]
            group[group == gone] = keep
            left[gone] = False
        else:
            chain.append(near)
    return group


def _by_size(group: NDArray[np.intp]) -> NDArray[np.intp]:
    _, first, inverse, count = np.unique(group, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -count))
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order))
    return rank[inverse]
