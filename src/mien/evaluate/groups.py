"""Does it work equally well for everybody? Error rates of groups at the threshold that everybody lives with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.evaluate.groups_results import AttributeRates, GroupAt, GroupRow, WorstThreshold
from mien.evaluate.metrics.fixed_threshold import pair_rates, share_rates, wilson_rate
from mien.evaluate.metrics.thresholds import float32_at_least, smallest_threshold
from mien.evaluate.rates import insufficient
from mien.evaluate.results import RateAt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mien.evaluate.groups_pairs import GroupPairs
    from mien.evaluate.groups_values import Attribute
    from mien.evaluate.metrics.fixed_threshold import CountedRate
    from mien.evaluate.metrics.identification import Search
    from mien.types import Floats

    Rates = Callable[[NDArray[np.float32]], tuple[CountedRate, ...]]

__all__ = ["MIN_GENUINE", "probe_rates", "verification_rates"]

MIN_GENUINE: Final = 30
"""Genuine pairs (or known probes) of a group below which no miss rate is told."""


def verification_rates(
    attribute: Attribute,
    groups: Sequence[GroupPairs],
    points: Sequence[RateAt],
    overall: Callable[[float], tuple[float, float]],
    *,
    seed: int = 0,
) -> AttributeRates:
    """The rates of an attribute's groups of pairs.

    Args:
        attribute: of the pictures.
        groups: the pairs of each of its groups.
        points: the overall thresholds; each has one.
        overall: FMR and TAR of everybody at a threshold.
        seed: of the resampling.
    """
    rows = []
    for group, pairs in zip(attribute.groups, groups, strict=True):
        if not len(pairs.genuine) and not len(pairs.impostor):
            continue
        counts, there = (len(pairs.genuine), len(pairs.impostor)), pairs.present()
        people = None if there is None else int(there.sum())
        at = _at(
            points,
            pairs.impostor,
            _fmr(pairs, seed),
            _fnmr(pairs, seed),
            ("impostor pairs", "genuine pairs"),
            alone=group.counts,
        )
        rows.append(GroupRow(group, people, *counts, at))
    return AttributeRates(attribute.name, attribute.kind, attribute.unknown, tuple(rows), _worst(rows, points, overall))


def probe_rates(
    attribute: Attribute,
    search: Search,
    subjects: NDArray[np.intp],
    points: Sequence[RateAt],
    overall: Callable[[float], tuple[float, float]],
    *,
    seed: int = 0,
) -> AttributeRates:
    """The rates of an attribute's groups of probes.

    Args:
        attribute: of the P probes.
        search: what was found for each.
        subjects: (P,) whose they are.
        points: the overall thresholds; each has one.
        overall: FPIR and DIR of everybody at a threshold.
        seed: of the resampling.
    """
    who = np.unique(subjects, return_inverse=True)[1]
    rows = []
    for value, name in enumerate(attribute.values):
        mine = attribute.codes == value
        known, unknown = np.flatnonzero(mine & search.known), np.flatnonzero(mine & ~search.known)
        if not len(known) and not len(unknown):
            continue
        group = attribute.groups[int(attribute.between[value, value])]
        mate = np.where(search.mate_rank[known] == 1, search.mate_score[known], -np.inf).astype(np.float32)
        top = np.sort(search.top_score[unknown])
        at = _at(
            points,
            top,
            _by_person(search.top_score[unknown], who[unknown], seed, above=True),
            _by_person(mate, who[known], seed, above=False),
            ("unknown probes", "known probes"),
            alone=group.counts,
        )
        rows.append(GroupRow(group, len(np.unique(who[mine])), len(known), len(unknown), at))
        assert group.name == name
    return AttributeRates(attribute.name, attribute.kind, attribute.unknown, tuple(rows), _worst(rows, points, overall))


def _at(
    points: Sequence[RateAt], false_scores: Floats, false: Rates, missed: Rates, kinds: tuple[str, str], *, alone: bool
) -> tuple[GroupAt, ...]:
    """A group at each stated rate; `false_scores` ascend; `kinds` of trials are named in reasons.

    `alone` says whether it may have a threshold of its own.
    """
    if not points:
        return ()
    (alarms, mates), trials = kinds, len(false_scores)
    enough = [point.target * trials * (1 + 1e-12) >= 1 for point in points]
    shared = np.array([float32_at_least(_threshold(point)) for point in points])
    own = [
        smallest_threshold(false_scores, point.target) if ok else _threshold(point)
        for point, ok in zip(points, enough, strict=True)
    ]
    misses = missed(np.concatenate([shared, np.array(own, np.float32)]))
    found = []
    for i, (point, alarm) in enumerate(zip(points, false(shared), strict=True)):
        rate, there = misses[i], misses[len(points) + i]
        if rate.trials < MIN_GENUINE:
            few = f"insufficient data: {rate.trials} {mates}, at least {MIN_GENUINE} needed"
            rate, there = replace(rate, reason=few), replace(there, reason=few)
        at_own = insufficient(point.target, trials, alarms)
        if not alone:
            at_own = replace(at_own, reason="not a group, but what is in none")
        elif enough[i]:
            reached = np.count_nonzero(false_scores >= np.float32(own[i])) / trials
            told = there.value
            at_own = RateAt(
                point.target,
                None if told is None else 1 - told,
                None if told is None else 1 - there.high,
                None if told is None else 1 - there.low,
                own[i],
                reached,
                "" if told is None else there.interval,
                there.reason,
            )
        if not enough[i]:
            alarm = replace(alarm, reason=insufficient(point.target, trials, alarms).reason)  # noqa: PLW2901
        found.append(GroupAt(point.target, alarm, rate, at_own))
    return tuple(found)


def _worst(
    rows: Sequence[GroupRow], points: Sequence[RateAt], overall: Callable[[float], tuple[float, float]]
) -> tuple[WorstThreshold, ...]:
    found = []
    for i, point in enumerate(points):
        able = [(row.at[i].own.threshold, row.group.name) for row in rows if row.group.counts]
        needed = [(threshold, name) for threshold, name in able if threshold is not None]
        if not needed:
            found.append(WorstThreshold(point.target))
            continue
        threshold, name = max(needed, key=lambda pair: pair[0])
        false, success = overall(threshold)
        found.append(WorstThreshold(point.target, name, threshold, false, success, point.rate))
    return tuple(found)


def _threshold(point: RateAt) -> float:
    assert point.threshold is not None
    return point.threshold


def _fmr(pairs: GroupPairs, seed: int) -> Rates:
    def rates(thresholds: NDArray[np.float32]) -> tuple[CountedRate, ...]:
        if pairs.trials is None or pairs.matched is None:
            below = np.searchsorted(pairs.impostor, thresholds, side="left")
            return tuple(wilson_rate(len(pairs.impostor) - int(b), len(pairs.impostor)) for b in below)
        return pair_rates(pairs.matched_people(thresholds), pairs.trials, pairs.subjects, seed=seed)

    return rates


def _fnmr(pairs: GroupPairs, seed: int) -> Rates:
    def rates(thresholds: NDArray[np.float32]) -> tuple[CountedRate, ...]:
        if pairs.owner is None:
            below = np.searchsorted(pairs.genuine, thresholds, side="left")
            return tuple(wilson_rate(int(b), len(pairs.genuine)) for b in below)
        return _by_person(pairs.genuine, pairs.owner, seed, above=False)(thresholds)

    return rates


def _by_person(scores: Floats, who: NDArray[Any], seed: int, *, above: bool) -> Rates:
    """Rates of scores at or above a threshold, or below it, resampling those whose scores they are."""

    def rates(thresholds: NDArray[np.float32]) -> tuple[CountedRate, ...]:
        size = int(who.max(initial=-1)) + 1
        hits = [np.bincount(who[(scores >= t) if above else (scores < t)], minlength=size) for t in thresholds.tolist()]
        return share_rates(np.array(hits).reshape(len(thresholds), size), np.bincount(who, minlength=size), seed=seed)

    return rates
