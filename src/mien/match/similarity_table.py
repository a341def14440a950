"""How alike the pictures of some people are, within a person and across people: every pair, in bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.match.calibration import ScoreSpread
from mien.match.scores import unit_embeddings

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mien.types import Floats

__all__ = ["BIN_EDGES", "Pair", "PersonRow", "Rate", "SimilarityTable", "similarity_table"]

BIN_EDGES: Final = np.linspace(-1.0, 1.0, 201)
"""Edges of the histograms' bins, 0.01 wide; the last bin includes 1."""

BLOCK_BYTES = 16 << 20
"""Size of one block of scores. A handful of temporary arrays of this size live at once."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something happened.

    >>> Rate(0, 1000).interval()[1] < 0.004
    True
    """

    count: int
    trials: int

    @property
    def value(self) -> float | None:
        """The share, or None without trials."""
        return self.count / self.trials if self.trials else None

    def interval(self, z: float = 1.959964) -> tuple[float, float]:
        """Wilson's score interval, 95 % by default. Pairs share pictures, so the truth is wider.

        Source:
            E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
        """
        n = self.trials
        if not n:
            return 0.0, 1.0
        p = self.count / n
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        low = 0.0 if self.count == 0 else max(0.0, centre - half)  # exactly 0 and 1 at the ends, whatever the rounding
        return low, 1.0 if self.count == n else min(1.0, centre + half)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures, by row, and how alike they are; ``a < b``."""

    a: int
    b: int
    score: float


@dataclass(frozen=True, slots=True)
class PersonRow:
    """One person's part of the table.

    Attributes:
        pictures: how many pictures.
        same: spread of the scores between the person's own pictures, or None with a single picture.
        different: spread of the scores to everyone else's pictures, or None without anyone else.
        false_non_matches: pairs of the person's own pictures below the threshold.
        false_matches: pairs with someone else's picture at or above it.
        closest: the pair with someone else that scores highest, or None without anyone else.
    """

    pictures: int
    same: ScoreSpread | None
    different: ScoreSpread | None
    false_non_matches: int
    false_matches: int
    closest: Pair | None


@dataclass(frozen=True, slots=True, eq=False)
class SimilarityTable:
    """Every pair of pictures, counted.

    Attributes:
        threshold: the score at and above which a pair counts as one person.
        same: spread of the scores of pairs of one person, or None without such a pair.
        different: spread of the scores of pairs of two people, or None without such a pair.
        false_match: pairs of two people at or above the threshold (FMR).
        false_non_match: pairs of one person below it (FNMR).
        same_histogram, different_histogram: counts per bin of `BIN_EDGES`.
        people: one row a person.
        most_alike: for the two people that look most alike, and so on, their most alike pair: highest first.
        least_alike: the least alike pairs of one person, lowest first.
    """

    threshold: float
    same: ScoreSpread | None
    different: ScoreSpread | None
    false_match: Rate
    false_non_match: Rate
    same_histogram: NDArray[np.int64]
    different_histogram: NDArray[np.int64]
    people: tuple[PersonRow, ...]
    most_alike: tuple[Pair, ...]
    least_alike: tuple[Pair, ...]


def similarity_table(
    embeddings: ArrayLike, people: ArrayLike, *, threshold: float, top: int = 5, block_bytes: int = BLOCK_BYTES
) -> SimilarityTable:
    """Compare every picture with every other one.

    Args:
        embeddings: (N, D) unit rows, one a picture.
        people: (N,) the person each picture shows: whole numbers from 0 to P - 1, all of them used.
        threshold: the score at and above which two pictures count as one person.
        top: how many pairs `most_alike` and `least_alike` hold at most.
        block_bytes: about how large a block of scores may be; the answer does not depend on it.

    Raises:
        InputError: the shapes do not fit, or a row is not a unit vector.
    """
    rows, who = unit_embeddings(embeddings), np.asarray(people)
    n, count = len(rows), int(who.max(initial=-1)) + 1
    if who.shape != (n,) or who.dtype.kind not in "iu" or not np.array_equal(np.unique(who), np.arange(count)):
        raise InputError(f"similarity_table: expected {n} people numbered from 0 without gaps, got {who.shape}")
    order = np.argsort(who, kind="stable")  # a person's pictures lie together, so that maxima per two people are cheap
    tally = _Tally(rows[order], who[order].astype(np.intp), count, threshold, top)
    step = max(1, block_bytes // max(1, 4 * n))
    for start in range(0, n, step):
        tally.add(start, min(n, start + step))
    return tally.table(order)


class _Tally:
    """Sums over the pairs seen so far. Rows are sorted by person; used by one thread."""

    def __init__(self, rows: Floats, who: NDArray[np.intp], count: int, threshold: float, top: int) -> None:
        self.rows, self.who, self.threshold, self.top = rows, who, threshold, top
        self.pictures = np.bincount(who, minlength=count)
        # First axis: pairs of one person, pairs of two. Per person: scores, their squares, and errors, summed.
        self.wrong = np.zeros((2, count), np.int64)
        self.sums, self.squares = np.zeros((2, count)), np.zeros((2, count))
        self.histograms = np.zeros((2, len(BIN_EDGES) - 1), np.int64)
        self.best_score, self.best_other = np.full(len(rows), -np.inf, np.float32), np.full(len(rows), -1)
        self.alike: dict[tuple[int, int], Pair] = {}
        self.unlike: list[Pair] = []

    def add(self, start: int, stop: int) -> None:
        """Count the pairs of rows [start, stop) with themselves and with all rows after them, each pair once."""
        scores = np.clip(self.rows[start:stop] @ self.rows[start:].T, -1, 1)
        later = np.arange(start, len(self.rows)) > np.arange(start, stop)[:, None]
        one = (self.who[start:stop, None] == self.who[None, start:]) & later
        two = later & ~one
        self._count(0, scores, one, one & (scores < self.threshold), start)
        self._count(1, scores, two, two & (scores >= self.threshold), start)
        self._least_alike(scores, one, start)
        scores[~two] = -np.inf
        self._closest(scores, start)
        self._most_alike(scores, start)

    def _count(self, kind: int, scores: Floats, mask: NDArray[np.bool_], wrong: NDArray[np.bool_], start: int) -> None:
        # In float64, and nudged, so that a score on an edge falls into the bin that starts there.
        bins = ((scores[mask].astype(np.float64) + 1) * 100 + 1e-6).astype(np.intp)
        last = len(BIN_EDGES) - 2
        self.histograms[kind] += np.bincount(np.minimum(bins, last), minlength=last + 1)
        kept = np.where(mask, scores, 0).astype(np.float64)
        for target, values in ((self.wrong, wrong), (self.sums, kept), (self.squares, kept * kept)):
            by_row = values.sum(1, dtype=target.dtype)
            np.add.at(target[kind], self.who[start : start + len(by_row)], by_row)
            if kind == 1:  # a pair of two people counts for both of them
                np.add.at(target[kind], self.who[start:], values.sum(0, dtype=target.dtype))

    def _least_alike(self, scores: Floats, one: NDArray[np.bool_], start: int) -> None:
        flat = np.flatnonzero(one)
        if len(flat) > self.top:
            flat = flat[np.argpartition(scores.ravel()[flat], self.top)[: self.top]]
        i, j = np.unravel_index(flat, scores.shape)
        found = [Pair(start + int(a), start + int(b), float(scores[a, b])) for a, b in zip(i, j, strict=True)]
        self.unlike = sorted(self.unlike + found, key=lambda pair: (pair.score, pair.a, pair.b))[: self.top]

    def _closest(self, scores: Floats, start: int) -> None:
        """For each picture, the picture of someone else that is most like it."""
        for axis in (1, 0):
            other, best = scores.argmax(axis), scores.max(axis)
            better = np.flatnonzero(best > self.best_score[start : start + len(best)])
            self.best_score[start + better] = best[better]
            self.best_other[start + better] = start + other[better]

    def _most_alike(self, scores: Floats, start: int) -> None:
        """Keep the best pair of each two people; two people among the overall best are among the best of some block."""
        who, across = self.who[start : start + len(scores)], self.who[start:]
        rows, columns = (np.flatnonzero(np.diff(w, prepend=-1)) for w in (who, across))
        best = np.maximum.reduceat(np.maximum.reduceat(scores, rows, axis=0), columns, axis=1)
        flat = (
            np.argpartition(best, -self.top, axis=None)[-self.top :] if best.size > self.top else np.arange(best.size)
        )
        for p, q in zip(*np.unravel_index(flat, best.shape), strict=True):
            people = int(who[rows[p]]), int(across[columns[q]])
            if best[p, q] == -np.inf or (people in self.alike and self.alike[people].score >= best[p, q]):
                continue
            part = scores[_group(rows, p), _group(columns, q)]
            a, b = np.unravel_index(int(part.argmax()), part.shape)
            self.alike[people] = Pair(start + int(rows[p] + a), start + int(columns[q] + b), float(best[p, q]))
        self.alike = dict(sorted(self.alike.items(), key=lambda item: (-item[1].score, item[0]))[: self.top])

    def table(self, order: NDArray[np.intp]) -> SimilarityTable:
        """The finished table; `order` maps sorted rows to the caller's."""

        def back(pair: Pair) -> Pair:
            a, b = sorted((int(order[pair.a]), int(order[pair.b])))
            return Pair(a, b, pair.score)

        n = len(self.rows)
        same_pairs, different_pairs = self.pictures * (self.pictures - 1) // 2, self.pictures * (n - self.pictures)
        starts = np.cumsum(self.pictures) - self.pictures
        people = []
        for p, pictures in enumerate(self.pictures.tolist()):
            row = int(starts[p] + self.best_score[starts[p] : starts[p] + pictures].argmax())
            closest = Pair(row, int(self.best_other[row]), float(self.best_score[row]))
            people.append(
                PersonRow(
                    pictures=pictures,
                    same=_spread(same_pairs[p], self.sums[0, p], self.squares[0, p]),
                    different=_spread(different_pairs[p], self.sums[1, p], self.squares[1, p]),
                    false_non_matches=int(self.wrong[0, p]),
                    false_matches=int(self.wrong[1, p]),
                    closest=back(closest) if closest.b >= 0 else None,
                )
            )
        same, different = int(same_pairs.sum()), int(different_pairs.sum()) // 2
        return SimilarityTable(
            threshold=self.threshold,
            same=_spread(same, self.sums[0].sum(), self.squares[0].sum()),
            different=_spread(different, self.sums[1].sum() / 2, self.squares[1].sum() / 2),
            false_match=Rate(int(self.wrong[1].sum()) // 2, different),
            false_non_match=Rate(int(self.wrong[0].sum()), same),
            same_histogram=self.histograms[0],
            different_histogram=self.histograms[1],
            people=tuple(people),
            most_alike=tuple(back(pair) for pair in self.alike.values()),
            least_alike=tuple(back(pair) for pair in self.unlike),
        )


def _group(starts: NDArray[np.intp], i: int) -> slice:
    """The rows of the i-th group of rows that begin at `starts`."""
    return slice(int(starts[i]), int(starts[i + 1]) if i + 1 < len(starts) else None)


def _spread(n: int, total: float, squares: float) -> ScoreSpread | None:
    if not n:
        return None
    mean = total / n
    variance = max(0.0, squares - n * mean * mean) / (n - 1) if n > 1 else 0.0
    return ScoreSpread(int(n), float(mean), math.sqrt(variance))
