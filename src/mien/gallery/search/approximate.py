"""Approximate search for galleries whose exact scan takes too long: FAISS finds who is likely, float32 decides.

An inverted file of 4-bit product codes (Jegou, Douze and Schmid, Product Quantization for Nearest Neighbor Search,
2011; scanned as by Andre, Kermarrec and Le Scouarnec, Cache Locality Is Not Enough, 2015) lists candidates, whose rows
are then compared in full: a score is always the true one, only the best owner can be missed. How often that happens is
measured against the exact index when it is built. Needs faiss-cpu, extra `large`.
"""

from __future__ import annotations

import importlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mien.errors import GalleryError, InputError, MissingExtraError
from mien.gallery.search.ranking import Hits, Ranking, exact_scores
from mien.gallery.search.threads import default_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.gallery.records import Ids
    from mien.gallery.search.exact import ExactIndex
    from mien.types import Floats

__all__ = ["ApproximateIndex", "BehindError", "RecallReport"]

Faiss: TypeAlias = Any  # faiss has no types

_FEWEST = 4096  # rows; an inverted file of less is no index
_TRAIN = 131_072  # rows that lists and codes are trained on
_DEEP = (50, 200, 1000)  # candidates compared in full
_COST = 1 / 1300  # of one candidate, as a share of scanning a million codes; it orders the efforts to try


class BehindError(GalleryError):
    """An approximate index was asked about an exact one that has fewer rows than itself."""


@dataclass(frozen=True, slots=True)
class RecallReport:
    """How often the approximate index finds whom the exact one does.

    Attributes:
        recall: share of held-out samples for which the owner of the nearest other row was found.
        samples: how many there were.
        lists: inverted lists read a probe.
        deep: candidates compared in full a probe.
    """

    recall: float
    samples: int
    lists: int
    deep: int


class ApproximateIndex:
    """Lists of likely rows beside an `ExactIndex`, which stays the truth: rows, owners and removals are always its.

    Thread-safe; searches and additions take turns, for FAISS does not allow both at once.

    Attributes:
        report: the recall that was measured when it was built.
    """

    def __init__(self, lists: Faiss, count: int, report: RecallReport) -> None:
        self._lists, self._count, self.report = lists, count, report
        self._turn = threading.Lock()

    @classmethod
    def built(cls, index: ExactIndex, *, recall: float = 0.995, samples: int = 2000, seed: int = 0) -> ApproximateIndex:
        """An approximate index of all rows, with the least effort that reaches a recall.

        Rows that stand for probes are sampled; each looks for its nearest other row, and the exact index says which it
        is. Half of them choose the effort, which must miss half as often as is allowed; `report` is of the other half.

        Args:
            index: at least 4096 rows, not removed.
            recall: share of nearest owners to find; if no effort reaches it, the greatest is used and reported.
            samples: how many rows stand for probes.
            seed: of the sample.

        Raises:
            MissingExtraError: faiss is not installed.
            InputError: there are too few rows.
        """
        try:
            faiss = importlib.import_module("faiss")
        except ImportError as error:
            raise MissingExtraError("approximate search", "large") from error
        kept = index.kept()
        if len(kept) < _FEWEST:
            raise InputError(f"rows: expected at least {_FEWEST} for approximate search, got {len(kept)}")
        rng = np.random.default_rng(seed)
        dimension = index.dimension or 0
        lists = 1 << int(np.log2(np.sqrt(len(kept))))
        code = f"PQ{dimension // 2}x4fs" if dimension % 2 == 0 else "SQ8"
        train = index.read(np.sort(rng.choice(kept, min(_TRAIN, len(kept)), replace=False)))
        made = faiss.index_factory(dimension, f"IVF{lists},{code}", faiss.METRIC_INNER_PRODUCT)
        made.train(train)
        self = cls(made, 0, RecallReport(0.0, 0, lists, _DEEP[-1]))
        self.follow(index)
        probes = np.sort(rng.choice(kept, min(samples, len(kept)), replace=False))
        self.report = self._measured(index, probes[rng.permutation(len(probes))], recall, lists)
        return self

    @property
    def nbytes(self) -> int:
        """Bytes that it takes beside the exact index."""
        return int(self._count * (self._lists.code_size + 8) + self._lists.nlist * self._lists.d * 4)

    def follow(self, index: ExactIndex) -> None:
        """Take in the rows that were appended since; `index` is a descendant of the one it was built from.

        Raises:
            BehindError: it has fewer rows (it was compacted: build anew; or it is an older one).
        """
        with self._turn:
            if index.count < self._count:
                raise BehindError("the approximate index is of another gallery; it is built anew")
            for start in range(self._count, index.count, _TRAIN):
                self._lists.add(index.read(np.arange(start, min(start + _TRAIN, index.count))))
            self._count = index.count

    def search(
        self,
        index: ExactIndex,
        probes: Floats,
        *,
        k: int,
        by_owner: bool = True,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Hits:
        """The k best rows of each probe that were found; see `ExactIndex.search`.

        A probe for which fewer than k were found (a filter that lets few through) is answered exactly.
        """
        self.follow(index)
        if k < 1:
            raise InputError(f"k: expected at least 1, got {k}")
        if probes.ndim != 2 or probes.shape[1] != index.dimension or not np.isfinite(probes).all():
            raise InputError(
                f"probes: expected finite float32 (N, {index.dimension}), got {probes.dtype}{probes.shape}"
            )
        mask = index.allowed(allowed)
        rankings = []
        for probe, found in zip(
            probes, self._likely(probes, max(self.report.deep, 4 * k), self.report.lists), strict=True
        ):
            ranking = Ranking(k, by_owner=by_owner)
            self._read(index, ranking, probe, found, mask)
            rankings.append(ranking)
        hits = Ranking.table(rankings, k)
        poor = np.flatnonzero(hits.rows[:, -1] < 0)
        if len(poor):
            exact = index.search(probes[poor], k=k, by_owner=by_owner, allowed=allowed)
            hits.rows[poor], hits.owners[poor], hits.scores[poor] = exact.rows, exact.owners, exact.scores
        return hits

    def _likely(self, probes: Floats, deep: int, lists: int) -> Ids:
        faiss = importlib.import_module("faiss")
        parameters = faiss.SearchParametersIVF(nprobe=min(lists, self._lists.nlist))
        with self._turn:
            faiss.omp_set_num_threads(default_threads())
            found: Ids = self._lists.search(np.ascontiguousarray(probes), min(deep, self._count), params=parameters)[1]
        return found

    @staticmethod
    def _read(index: ExactIndex, ranking: Ranking, probe: Floats, found: Ids, mask: NDArray[np.bool_] | None) -> None:
        rows = np.sort(found[found >= 0])
        if mask is not None:
            rows = rows[(rows >= len(mask)) | mask[np.minimum(rows, len(mask) - 1)]]
        ranking.offer(exact_scores(index.read(rows), probe), rows, index.owners[rows])

    def _measured(self, index: ExactIndex, sample: Ids, recall: float, lists: int) -> RecallReport:
        probes = index.read(np.sort(sample))[np.argsort(np.argsort(sample))]
        first_two = index.search(probes, k=2, by_owner=False)
        mask = index.allowed(None)
        choosing, reporting = np.array_split(np.arange(len(sample)), 2)

        owners = index.owners

        def share(which: Ids, lists: int, deep: int) -> float:
            hit = 0
            for i, found in zip(which.tolist(), self._likely(probes[which], deep, lists), strict=True):
                ranking = Ranking(2, by_owner=False)
                self._read(index, ranking, probes[i], found, mask)
                hit += _other(ranking.rows, owners, sample[i]) == _other(first_two.rows[i], owners, sample[i])
            return hit / len(which)

        shares = [lists * n // 64 for n in (1, 2, 4, 8, 16, 24, 32, 48, 64) if lists * n >= 64]
        size = len(index) / 1e6
        efforts = sorted((n / lists * size + deep * _COST, n, deep) for n in shares for deep in _DEEP)
        chosen = next((e[1:] for e in efforts if share(choosing, *e[1:]) >= 1 - (1 - recall) / 2), efforts[-1][1:])
        return RecallReport(share(reporting, *chosen), len(reporting), *chosen)


def _other(rows: Ids, owners: Ids, itself: int) -> int:
    return next((int(owners[row]) for row in rows.tolist() if row not in (itself, -1)), -1)
