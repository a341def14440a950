"""Error rates at thresholds that are given, with intervals by resampling people.

A system is run at one threshold. How often does it err on these people, and how far may that be off for others like
them? The threshold stays as it is in every replicate; whose pairs count is drawn anew, as in `bootstrap`.

All arrays by subject have one entry for each of S subjects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from mien.evaluate.metrics.bootstrap import drawn_counts
from mien.evaluate.metrics.intervals import Rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "MIN_PEOPLE",
    "CountedRate",
    "ListedTrials",
    "MatchedPeople",
    "PairTrials",
    "Trials",
    "pair_rates",
    "share_rates",
    "wilson_rate",
]

MIN_PEOPLE: Final = 10
"""Fewer people than this say too little about others, however often they are resampled."""

WORK: Final = 30_000_000  # weights drawn for one group: well under a second
_BATCH: Final = 4_000_000  # of them at a time

_WILSON: Final = "Wilson, which takes pairs or probes of the same people for independent"


@dataclass(frozen=True, slots=True)
class CountedRate:
    """How often something happened, and how far its rate may be off.

    Attributes:
        count, trials: how often it happened, and could have.
        low, high: 95 % interval of the rate; (0, 1) without trials.
        interval: how it was found.
        reason: why no rate is told; empty where one is.
    """

    count: int
    trials: int
    low: float
    high: float
    interval: str
    reason: str = ""

    @property
    def value(self) -> float | None:
        """The rate; None where there are too few trials to tell one."""
        return None if self.reason or not self.trials else self.count / self.trials

    def record(self, trials: str = "pairs") -> dict[str, Any]:
        """In JSON, with the name that the trials have there."""
        told = {"rate": self.value, "low": self.low, "high": self.high}
        return {
            "count": self.count,
            trials: self.trials,
            **told,
            "interval": self.interval,
            "reason": self.reason or None,
        }


class Trials(Protocol):
    """Impostor pairs, as far as it matters which people they are of."""

    def total(self) -> int:
        """How many there are."""
        ...

    def weighed(self, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """(R,) how many there are in each of R replicates, from how often each subject was drawn: (R, S)."""
        ...

    def present(self, subjects: int) -> NDArray[np.bool_]:
        """(S,) which subjects they are of."""
        ...

    def among(self, there: NDArray[np.bool_]) -> Trials:
        """The same with only those subjects, numbered anew; all they are of must be among them."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ListedTrials:
    """The impostor pairs of a list: (P,) first and second subjects. Immutable by agreement."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]

    def total(self) -> int:
        """How many there are."""
        return len(self.first)

    def weighed(self, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """(R,) how many there are in each replicate."""
        found: NDArray[np.float64] = (drawn[:, self.first] * drawn[:, self.second]).sum(axis=1)
        return found

    def present(self, subjects: int) -> NDArray[np.bool_]:
        """(S,) which subjects they are of."""
        there = np.zeros(subjects, np.bool_)
        there[self.first] = there[self.second] = True
        return there

    def among(self, there: NDArray[np.bool_]) -> ListedTrials:
        """The same with only those subjects, numbered anew."""
        number = np.cumsum(there, dtype=np.int32) - 1
        return ListedTrials(number[self.first], number[self.second])


@dataclass(frozen=True, slots=True, eq=False)
class PairTrials:
    """All pairs of pictures of two people whose values are related.

    Attributes:
        pictures: (S, V) how many pictures of each subject have each of V values.
        related: bool (V, V), symmetric: which two values make a pair count.
    """

    pictures: NDArray[np.int64]
    related: NDArray[np.bool_]

    def total(self) -> int:
        """How many there are."""
        every = self.pictures.sum(axis=0)
        return int(every @ self.related @ every - self._own().sum()) // 2

    def weighed(self, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """(R,) how many there are in each replicate; pairs of two copies of a subject are left out."""
        every = drawn @ self.pictures
        pairs = ((every @ self.related) * every).sum(axis=1) - np.square(drawn) @ self._own()
        return np.asarray(pairs / 2)

    def present(self, subjects: int) -> NDArray[np.bool_]:
        """(S,) which subjects they are of: a picture of theirs is related to one of somebody else."""
        assert subjects == len(self.pictures)
        others = (self.pictures.sum(axis=0) - self.pictures).astype(np.float64) @ self.related
        return np.asarray(((self.pictures > 0) & (others > 0)).any(axis=1))

    def among(self, there: NDArray[np.bool_]) -> PairTrials:
        """The same with only those subjects, numbered anew."""
        return PairTrials(self.pictures[there], self.related)

    def genuine(self) -> NDArray[np.int64]:
        """(S,) how many pairs of each subject's own pictures count."""
        selves = self.pictures @ np.diagonal(self.related)
        return np.asarray((self._own() - selves) // 2)

    def _own(self) -> NDArray[np.int64]:
        """(S,) ordered pairs within each subject, a picture with itself included."""
        pictures = self.pictures.astype(np.float64)  # whole numbers below 2^53, so still exact, and much faster
        return np.asarray(((pictures @ self.related) * pictures).sum(axis=1), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class MatchedPeople:
    """Impostor pairs that pass, by the two people they are of.

    Attributes:
        first, second: (U,) the two subjects; U different couples.
        counts: (F, U) how many of their pairs reach each of F thresholds.
    """

    first: NDArray[np.integer]
    second: NDArray[np.integer]
    counts: NDArray[np.int64]


def share_rates(hits: NDArray[np.int64], trials: NDArray[np.int64], *, seed: int = 0) -> tuple[CountedRate, ...]:
    """Rates of what happens to one subject: FNMR, FNIR, FPIR.

    Args:
        hits: (F, S) how often it happened to each subject, at each of F thresholds.
        trials: (S,) how often it could have.
        seed: of the random draws.
    """
    there = np.flatnonzero(trials)
    hits, trials = hits[:, there], trials[there]
    rates, total = hits.sum(axis=1), int(trials.sum())

    def replicates() -> Iterator[NDArray[np.float64]]:
        for drawn in _draws(len(trials), _replicates(len(trials)), seed, width=len(trials)):
            yield (drawn @ hits.T) / (drawn @ trials)[:, None]  # every subject here has a trial, so the sum is not 0

    return _told(rates, total, len(trials), replicates)


def pair_rates(matched: MatchedPeople, trials: Trials, subjects: int, *, seed: int = 0) -> tuple[CountedRate, ...]:
    """False match rates at F thresholds; those subjects are drawn who have an impostor pair.

    Args:
        matched: the pairs that pass.
        trials: all impostor pairs.
        subjects: S.
        seed: of the random draws.
    """
    there = trials.present(subjects)
    people, number = int(there.sum()), np.cumsum(there) - 1
    first, second, own = number[matched.first], number[matched.second], trials.among(there)
    width = max(people, len(first), len(own.first) if isinstance(own, ListedTrials) else 0)

    def replicates() -> Iterator[NDArray[np.float64]]:
        for drawn in _draws(people, _replicates(width), seed, width=width):
            passed = (drawn[:, first] * drawn[:, second]) @ matched.counts.T
            weights = own.weighed(drawn)
            yield passed[weights > 0] / weights[weights > 0, None]

    return _told(matched.counts.sum(axis=1), trials.total(), people, replicates)


def wilson_rate(count: int, trials: int, *, reason: str = "") -> CountedRate:
    """A rate of trials that are taken for independent."""
    return CountedRate(count, trials, *Rate(count, trials).interval(), _WILSON, reason)


def _told(counts: NDArray[np.int64], total: int, people: int, replicates: Any) -> tuple[CountedRate, ...]:  # noqa: ANN401
    plain = [wilson_rate(int(count), total) for count in counts]
    # Where nothing went wrong, nothing does in a replicate either: then Wilson's interval is the honest one.
    if people < MIN_PEOPLE or not any(0 < rate.count < total for rate in plain):
        return tuple(plain)
    drawn = np.concatenate(list(replicates()))
    if len(drawn) < 2:
        return tuple(plain)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    how = f"bootstrap over {people} people, {len(drawn)} replicates"
    return tuple(
        CountedRate(rate.count, total, float(a), float(b), how) if 0 < rate.count < total else rate
        for rate, a, b in zip(plain, low, high, strict=True)
    )


def _replicates(width: int) -> int:
    return max(100, min(1000, WORK // max(width, 1)))


def _draws(subjects: int, replicates: int, seed: int, *, width: int) -> Iterator[NDArray[np.float64]]:
    """How often each subject is drawn, (R, S), so many replicates at a time that `width` numbers of each fit."""
    draws = drawn_counts(subjects, replicates, seed)
    next(draws)  # the data as they are
    size = max(1, _BATCH // max(width, 1))
    for start in range(0, replicates, size):
        yield np.array([next(draws) for _ in range(min(size, replicates - start))], np.float64)
