"""How well a clustering of faces agrees with the people in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["ClusterAgreement", "Contingency", "PrecisionRecall", "agreement", "cluster_agreement", "contingency"]


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


@dataclass(frozen=True, slots=True, eq=False)
class Contingency:
    """How many faces of each subject are in each cluster: the C cells that are not empty.

    Attributes:
        subject, cluster: (C,) int64 numbers of the cell, by rising subject, then cluster.
        together: (C,) int64 faces in it.
        by_subject: (S,) int64 faces of each subject.
        by_cluster: (K,) int64 faces of each cluster.
    """

    subject: NDArray[np.int64]
    cluster: NDArray[np.int64]
    together: NDArray[np.int64]
    by_subject: NDArray[np.int64]
    by_cluster: NDArray[np.int64]


def contingency(truth: ArrayLike, predicted: ArrayLike) -> Contingency:
    """Count the faces of each subject in each cluster. Subjects and clusters are numbered in the order of their names.

    Args:
        truth: (N,) subjects, names or whole numbers.
        predicted: (N,) clusters, names or whole numbers; a negative number is a face that was left alone.

    Raises:
        InputError: shapes differ, no face, or values of another kind.
    """
    people, groups = _numbers("truth", truth), _numbers("predicted", predicted, alone=True)
    if people.shape != groups.shape:
        raise InputError(f"clusters: expected one cluster a face, got {groups.shape} for {people.shape}")
    subjects, clusters = int(people.max()) + 1, int(groups.max()) + 1
    cells, together = np.unique(people * clusters + groups, return_counts=True)
    return Contingency(
        cells // clusters,
        cells % clusters,
        together.astype(np.int64),
        np.bincount(people, minlength=subjects),
        np.bincount(groups, minlength=clusters),
    )


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
    return agreement(contingency(truth, predicted))


def agreement(counts: Contingency) -> ClusterAgreement:
    """`cluster_agreement` of counts."""
    n = int(counts.by_subject.sum())
    right, found, there = (_couples(sizes) for sizes in (counts.together, counts.by_cluster, counts.by_subject))
    squares = counts.together.astype(np.float64) ** 2
    return ClusterAgreement(
        pairwise=PrecisionRecall(right / found if found else 1.0, right / there if there else 1.0),
        bcubed=PrecisionRecall(
            math.fsum(squares / counts.by_cluster[counts.cluster]) / n,
            math.fsum(squares / counts.by_subject[counts.subject]) / n,
        ),
        faces=n,
        subjects=len(counts.by_subject),
        clusters=len(counts.by_cluster),
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
