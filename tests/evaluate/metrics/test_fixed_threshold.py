"""Rates at given thresholds against loops that draw the same people."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mien.evaluate.metrics import fixed_threshold
from mien.evaluate.metrics.bootstrap import drawn_counts
from mien.evaluate.metrics.fixed_threshold import (
    ListedTrials,
    MatchedPeople,
    PairTrials,
    pair_rates,
    share_rates,
    wilson_rate,
)
from mien.evaluate.metrics.intervals import Rate

SUBJECTS = 12


def draws(subjects=SUBJECTS, replicates=1000, seed=3):
    return list(itertools.islice(drawn_counts(subjects, replicates, seed), 1, None))


def test_shares_against_a_loop(monkeypatch):
    monkeypatch.setattr(fixed_threshold, "_BATCH", 100)  # several batches
    rng = np.random.default_rng(0)
    trials = rng.integers(1, 9, SUBJECTS)
    hits = np.stack([rng.integers(0, trials + 1), np.zeros(SUBJECTS, int), trials])
    some, none, every = share_rates(hits, trials, seed=3)
    rates = [
        sum(c * h for c, h in zip(counts, hits[0], strict=True))
        / sum(c * t for c, t in zip(counts, trials, strict=True))
        for counts in draws()
    ]
    assert (some.low, some.high) == pytest.approx(tuple(np.quantile(rates, [0.025, 0.975])), abs=1e-12)
    assert (some.count, some.trials) == (hits[0].sum(), trials.sum())
    assert some.interval == "bootstrap over 12 people, 1000 replicates"
    for rate, count in ((none, 0), (every, trials.sum())):
        assert (rate.low, rate.high) == Rate(int(count), int(trials.sum())).interval()
        assert rate.interval.startswith("Wilson")


def test_people_without_trials_are_not_drawn():
    trials, hits = np.arange(SUBJECTS) % 3 * 2 + 1, np.arange(SUBJECTS) % 2
    wide = np.insert(trials, [0, 4], 0), np.insert(hits, [0, 4], 0)
    assert share_rates(wide[1][None], wide[0], seed=3) == share_rates(hits[None], trials, seed=3)


@pytest.mark.parametrize("listed", [True, False])
def test_pairs_against_a_loop(listed):
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 3, (SUBJECTS, 3))
    pictures[0] = 1  # whose pictures are related to everybody's
    related = np.array([[0, 1, 1], [1, 1, 0], [1, 0, 0]], bool)
    shots = [(s, v) for s in range(SUBJECTS) for v in range(3) for _ in range(pictures[s, v])]
    pairs = [(a, b) for (a, v), (b, w) in itertools.combinations(shots, 2) if a != b and related[v, w]]
    hit = rng.random(len(pairs)) < 0.2
    first, second = np.array(pairs).T.astype(np.int32)
    trials = ListedTrials(first, second) if listed else PairTrials(pictures, related)
    assert trials.total() == len(pairs)
    couples = sorted({tuple(sorted(p)) for p, h in zip(pairs, hit, strict=True) if h})
    counts = [sum(h and tuple(sorted(p)) == c for p, h in zip(pairs, hit, strict=True)) for c in couples]
    a, b = np.array(couples).T
    (found,) = pair_rates(MatchedPeople(a, b, np.array([counts])), trials, SUBJECTS, seed=3)
    there = sorted({s for pair in pairs for s in pair})
    number = {s: i for i, s in enumerate(there)}
    rates = []
    for drawn in draws(len(there)):
        weights = [int(drawn[number[p]] * drawn[number[q]]) for p, q in pairs]
        rates.append(sum(w for w, h in zip(weights, hit, strict=True) if h) / sum(weights))
    assert (found.count, found.trials) == (hit.sum(), len(pairs))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(rates, [0.025, 0.975])), abs=1e-12)
    assert found.interval == f"bootstrap over {len(there)} people, 1000 replicates"


def test_few_people_are_not_resampled():
    (rate,) = share_rates(np.array([[1, 0, 2]]), np.array([2, 2, 2]))
    assert rate == wilson_rate(3, 6)
    one = MatchedPeople(np.array([0]), np.array([1]), np.array([[1]]))
    (pair,) = pair_rates(one, PairTrials(np.ones((3, 1), np.int64), np.ones((1, 1), bool)), 3)
    assert pair == wilson_rate(1, 3)


def test_nothing_was_tried():
    (rate,) = share_rates(np.zeros((1, 0), int), np.zeros(0, int))
    assert (rate.value, rate.low, rate.high) == (None, 0, 1)
    (pair,) = pair_rates(
        MatchedPeople(np.zeros(0, int), np.zeros(0, int), np.zeros((1, 0), int)),
        PairTrials(np.array([[5]]), np.ones((1, 1), bool)),
        1,
    )
    assert (pair.value, pair.trials) == (None, 0)
