"""How far the agreement of a clustering may be off: people are resampled, for the faces of one do not vary alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.evaluate.metrics.clustering import Contingency

__all__ = ["AgreementIntervals", "Bounds", "bootstrap_agreement", "resampled_sums"]

Bounds = tuple[float, float]
"""(low, high) of a 95 % interval."""

_CELLS = 1 << 22  # drawn numbers at a time


@dataclass(frozen=True, slots=True)
class AgreementIntervals:
    """95 % intervals, in the order precision, recall, F.

    Attributes:
        pairwise, bcubed: of both kinds of numbers.
        replicates: how many there were.
    """

    pairwise: tuple[Bounds, Bounds, Bounds]
    bcubed: tuple[Bounds, Bounds, Bounds]
    replicates: int


def bootstrap_agreement(counts: Contingency, *, replicates: int = 1000, seed: int = 0) -> AgreementIntervals:
    """Percentiles over replicates that draw as many people as there are, with replacement.

    The clustering itself is not repeated: a face keeps the precision and the recall that it has among all faces, and
    counts as often as its person was drawn. A pair of two people's faces counts half with either.

    Args:
        counts: the faces of each subject in each cluster.
        replicates: how many.
        seed: of the draws.

    Raises:
        InputError: fewer than two people, or fewer than one replicate.
    """
    people = len(counts.by_subject)
    if people < 2 or replicates < 1:
        raise InputError(f"interval: expected two or more people and a replicate, got {people} and {replicates}")
    size = counts.by_cluster[counts.cluster]
    own = counts.by_subject.astype(np.float64)
    squares = counts.together.astype(np.float64) ** 2

    def by_person(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(counts.subject, values, people), np.float64)

    right = by_person(counts.together * (counts.together - 1) / 2)
    found = by_person(counts.together * (size - 1) / 2)
    terms = [right, found, own * (own - 1) / 2, by_person(squares / size), by_person(squares) / own, own]
    sums = resampled_sums(np.stack(terms, axis=1), replicates, seed)
    pairwise = _share(sums[:, 0], sums[:, 1]), _share(sums[:, 0], sums[:, 2])
    bcubed = sums[:, 3] / sums[:, 5], sums[:, 4] / sums[:, 5]
    return AgreementIntervals(_bounds(*pairwise), _bounds(*bcubed), replicates)


def resampled_sums(values: NDArray[np.float64], replicates: int, seed: int) -> NDArray[np.float64]:
    """Sums over people of replicates that draw as many people as there are: (S, T) -> (replicates, T)."""
    people, random = len(values), np.random.default_rng(seed)
    step, even = max(1, _CELLS // people), np.full(people, 1 / people)
    parts = [
        random.multinomial(people, even, min(step, replicates - start)) @ values for start in range(0, replicates, step)
    ]
    return np.asarray(np.concatenate(parts), np.float64)


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.ones(len(part)), where=whole > 0))


def _bounds(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> tuple[Bounds, Bounds, Bounds]:
    total = precision + recall
    f = np.divide(2 * precision * recall, total, out=np.zeros(len(total)), where=total > 0)
    low, high = np.percentile(np.stack([precision, recall, f]), [2.5, 97.5], axis=1)
    p, r, f1 = zip(low.tolist(), high.tolist(), strict=True)
    return p, r, f1
