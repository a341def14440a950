"""Exact scores, and the best of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.gallery.records import Ids
    from mien.types import Floats

    Doubles = NDArray[np.float64]

__all__ = ["Hits", "Ranking", "exact_scores"]


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """The best rows of each probe, best first; equal scores in row order.

    Attributes:
        rows: int64 (Q, k), -1 where there were fewer than k.
        owners: int64 (Q, k), whose they are; -1 likewise.
        scores: float32 (Q, k), the cosine, computed in float64 and rounded; -inf likewise.
    """

    rows: Ids
    owners: Ids
    scores: Floats


def exact_scores(rows: Floats, probe: Floats) -> Doubles:
    """Products of rows (N, D) with a probe (D,) in float64. Equal rows score equally, wherever they stand.

    The sums run in the order of `kernels`' own, so that both ways agree to the last bit.
    """
    products = rows * probe.astype(np.float64)
    whole = products.shape[1] // 4 * 4
    sums = np.zeros((len(products), 4))
    for i in range(0, whole, 4):
        sums += products[:, i : i + 4]
    for i in range(whole, products.shape[1]):
        sums[:, 0] += products[:, i]
    return (sums[:, 0] + sums[:, 1]) + (sums[:, 2] + sums[:, 3])


class Ranking:
    """The k best rows of one probe so far, one an owner if asked. For one thread.

    Attributes:
        offset: added to the places of rows that are offered: where their segment begins.
        scores: float64, best first.
        rows: int64 (n,), n at most k.
        owners: int64 (n,).
    """

    def __init__(self, k: int, *, by_owner: bool) -> None:
        self._k, self._by_owner = k, by_owner
        self.offset = 0
        self.scores: Doubles = np.zeros(0)
        self.rows: Ids = np.zeros(0, np.int64)
        self.owners: Ids = np.zeros(0, np.int64)

    @property
    def bar(self) -> float:
        """A score below this cannot enter any more."""
        return float(self.scores[-1]) if len(self.scores) == self._k else -np.inf

    def offer(self, scores: Doubles, rows: Ids, owners: Ids) -> None:
        """Take what is good enough of rows that were not offered before."""
        scores = np.concatenate((self.scores, scores))
        rows = np.concatenate((self.rows, rows + self.offset))
        owners = np.concatenate((self.owners, owners))
        order = np.lexsort((rows, -scores))
        if self._by_owner:
            first = np.sort(np.unique(owners[order], return_index=True)[1])
            order = order[first]
        order = order[: self._k]
        self.scores, self.rows, self.owners = scores[order], rows[order], owners[order]

    @staticmethod
    def table(rankings: list[Ranking], k: int) -> Hits:
        """All probes' rankings as one table."""
        hits = Hits(
            np.full((len(rankings), k), -1, np.int64),
            np.full((len(rankings), k), -1, np.int64),
            np.full((len(rankings), k), -np.inf, np.float32),
        )
        for i, ranking in enumerate(rankings):
            n = len(ranking.rows)
            hits.rows[i, :n], hits.owners[i, :n], hits.scores[i, :n] = ranking.rows, ranking.owners, ranking.scores
        return hits
