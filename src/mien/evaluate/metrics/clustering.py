"""How well a clustering of faces agrees with the people in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["ClusterAgreement", "PrecisionRecall", "cluster_agreement"]


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Precision, recall, and their harmonic mean; rates."""

    precision: float
    recall: float

    @property
    def f(self) -> float:
        """F1; 0 where precision and recall both are."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


@dataclass(frozen=True, slots=True)
class ClusterAgreement:
    """Agreement of a clustering with the truth.

    Attributes:
        pairwise: of the pairs of faces put together, how many are of one person (precision); of the pairs of one
            person, how many were put together (recall). 1 where there is no such pair: nothing was claimed, or missed.
        bcubed: the same, asked of each face about its own cluster and averaged over faces, itself included.
        faces, subjects, clusters: how many; each face that was left alone is a cluster.
    """

    pairwise: PrecisionRecall
    bcubed: PrecisionRecall
    faces: int
    subjects: int
    clusters: int


def cluster_agreement(truth: ArrayLike, predicted: ArrayLike) -> ClusterAgreement:
    """Compare a clustering with the truth. Counts are exact; no n x n matrix is made.

    Args:
        truth: (N,) subjects, names or whole numbers.
        predicted: (N,) clusters, names or whole numbers; a negative number is a face that was left alone.

    Raises:
        InputError: shapes differ, no face, or values of another kind.

    Source:
        A. Bagga and B. Baldwin, "Entity-based cross-document coreferencing using the vector space model", 1998 (B3).

    >>> cluster_agreement(["a", "a", "b"], [0, 0, 0]).bcubed.recall
    1.0
    """
    people, groups = _numbers("truth", truth), _numbers("predicted", predicted, alone=True)
    if people.shape != groups.shape:
        raise InputError(f"clusters: expected one cluster a face, got {groups.shape} for {people.shape}")
    n, subjects, clusters = len(people), int(people.max()) + 1, int(groups.max()) + 1
    cells, together = np.unique(people * clusters + groups, return_counts=True)
    by_subject = np.bincount(people, minlength=subjects)
    by_cluster = np.bincount(groups, minlength=clusters)
    right = _couples(together)
    found, there = _couples(by_cluster), _couples(by_subject)
    squares = together.astype(np.float64) ** 2
    return ClusterAgreement(
        pairwise=PrecisionRecall(right / found if found else 1.0, right / there if there else 1.0),
        bcubed=PrecisionRecall(
            math.fsum(squares / by_cluster[cells % clusters]) / n,
            math.fsum(squares / by_subject[cells // clusters]) / n,
        ),
        faces=n,
        subjects=subjects,
        clusters=clusters,
    )


def _couples(sizes: NDArray[np.int64]) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _numbers(name: str, value: ArrayLike, *, alone: bool = False) -> NDArray[np.int64]:
    array = np.asarray(value)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iuUS":
        raise InputError(
            f"{name}: expected (N,) names or whole numbers of at least one face, got {array.dtype} {array.shape}"
        )
    found, numbers = np.unique(array, return_inverse=True)
    numbers = numbers.astype(np.int64)
    if alone and array.dtype.kind == "i" and found[0] < 0:
        single = array < 0
        numbers[single] = len(found) + np.arange(np.count_nonzero(single))
        numbers = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    return numbers
