"""How alike the pictures of some people are, within a person and across people: every pair, in bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.fixed_threshold import MatchedPeople, PairTrials, pair_rates, share_rates
from mien.evaluate.metrics.pairs import BLOCK_BYTES, triangle_blocks
from mien.evaluate.metrics.thresholds import float32_at_least
from mien.evaluate.twins import CoupleCollector
from mien.match.calibration import ScoreSpread
from mien.match.scores import unit_embeddings

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mien.evaluate.metrics.fixed_threshold import CountedRate
    from mien.evaluate.twins import Couples
    from mien.types import Floats

__all__ = ["BIN_EDGES", "Pair", "PeopleTable", "PersonRow", "people_table"]

BIN_EDGES: Final = np.linspace(-1.0, 1.0, 201)
"""Edges of the histograms' bins, 0.01 wide; the last bin includes 1."""


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
class PeopleTable:
    """Every pair of pictures, counted. Immutable by agreement, so safe to share between threads.

    Attributes:
        threshold: the score at and above which a pair counts as one person.
        same: spread of the scores of pairs of one person, or None without such a pair.
        different: spread of the scores of pairs of two people, or None without such a pair.
        same_histogram, different_histogram: counts per bin of `BIN_EDGES`.
        people: one row a person.
        alike: the couples of people of whom a pair reaches the threshold.
        most_alike: for the two people that look most alike, and so on, their most alike pair: highest first.
        least_alike: the least alike pairs of one person, lowest first.
    """

    threshold: float
    same: ScoreSpread | None
    different: ScoreSpread | None
    same_histogram: NDArray[np.int64]
    different_histogram: NDArray[np.int64]
    people: tuple[PersonRow, ...]
    alike: Couples
    most_alike: tuple[Pair, ...]
    least_alike: tuple[Pair, ...]

    def false_match(self, *, seed: int = 0) -> CountedRate:
        """FMR: pairs of two people at or above the threshold, with an interval over people."""
        pictures = np.array([row.pictures for row in self.people], np.int64)
        trials = PairTrials(pictures[:, None], np.ones((1, 1), np.bool_))
        matched = MatchedPeople(self.alike.first, self.alike.second, self.alike.matches[None])
        return pair_rates(matched, trials, len(pictures), seed=seed)[0]

    def false_non_match(self, *, seed: int = 0) -> CountedRate:
        """FNMR: pairs of one person below the threshold, with an interval over people."""
        missed = np.array([row.false_non_matches for row in self.people], np.int64)
        pictures = np.array([row.pictures for row in self.people], np.int64)
        return share_rates(missed[None], pictures * (pictures - 1) // 2, seed=seed)[0]


def people_table(
    embeddings: ArrayLike, people: ArrayLike, *, threshold: float, top: int = 5, block_bytes: int = BLOCK_BYTES
) -> PeopleTable:
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
        raise InputError(f"people_table: expected {n} people numbered from 0 without gaps, got {who.shape}")
    order = np.argsort(who, kind="stable")  # a person's pictures lie together, so that maxima per two people are cheap
    tally = _Tally(who[order].astype(np.intp), count, threshold, top)
    for start, scores in triangle_blocks(rows[order], block_bytes=block_bytes):
        tally.add(start, scores)
    return tally.table(order)


class _Tally:
    """Sums over the pairs seen so far. Rows are sorted by person; used by one thread."""

    def __init__(self, who: NDArray[np.intp], count: int, threshold: float, top: int) -> None:
        self.who, self.threshold, self.least, self.top = who, threshold, float32_at_least(threshold), top
        self.pictures = np.bincount(who, minlength=count)
        self.ends = np.cumsum(self.pictures)[who]  # where the own pictures of each row end
        # First axis: pairs of one person, pairs of two. Per person: scores, their squares, and errors, summed.
        self.wrong = np.zeros((2, count), np.int64)
        self.sums, self.squares = np.zeros((2, count)), np.zeros((2, count))
        self.histograms = np.zeros((2, len(BIN_EDGES) - 1), np.int64)
        self.best_score, self.best_other = np.full(len(who), -np.inf, np.float32), np.full(len(who), -1)
        self.couples = CoupleCollector(who.astype(np.int64), count)
        self.alike: dict[tuple[int, int], Pair] = {}
        self.unlike: list[Pair] = []

    def add(self, start: int, scores: Floats) -> None:
        """Count the pairs of some rows with themselves and with all rows after them, each pair once.

        Args:
            start: the first of the rows.
            scores: (r, N - start), used up.
        """
        rows, columns = np.arange(start, start + len(scores)), np.arange(start, len(self.who))
        two = columns >= self.ends[rows, None]
        one = (columns > rows[:, None]) & ~two
        wrong = two & (scores >= self.least)
        self._count(0, scores, one, one & (scores < self.least), start)
        self._count(1, scores, two, wrong, start)
        at, column = np.nonzero(wrong)
        self.couples.offer(scores[at, column], start + at, start + column)
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

    def table(self, order: NDArray[np.intp]) -> PeopleTable:
        """The finished table; `order` maps sorted rows to the caller's."""

        def back(pair: Pair) -> Pair:
            a, b = sorted((int(order[pair.a]), int(order[pair.b])))
            return Pair(a, b, pair.score)

        n = len(self.who)
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
        found = self.couples.couples()
        rows = np.sort(np.stack([order[found.a], order[found.b]]), axis=0)
        alike = replace(found, a=rows[0], b=rows[1])
        same, different = int(same_pairs.sum()), int(different_pairs.sum()) // 2
        return PeopleTable(
            threshold=self.threshold,
            same=_spread(same, self.sums[0].sum(), self.squares[0].sum()),
            different=_spread(different, self.sums[1].sum() / 2, self.squares[1].sum() / 2),
            same_histogram=self.histograms[0],
            different_histogram=self.histograms[1],
            people=tuple(people),
            alike=alike,
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
