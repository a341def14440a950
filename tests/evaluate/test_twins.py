"""Couples of people who are too alike: the order, and the counts against a loop."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mien.evaluate import twins
from mien.evaluate.results import PairOfShots, RateAt, Shot
from mien.evaluate.twins import CoupleCollector, point_for, too_alike


def at(target, threshold=0.5):
    return RateAt(target, 0.9, 0.8, 1.0, threshold, target)


@given(seed=st.integers(0, 2**32 - 1), held=st.sampled_from([1, 5, 1 << 20]))
def test_couples_against_a_loop(seed, held):
    rng = np.random.default_rng(seed)
    who = np.sort(rng.integers(0, 5, 14))
    pairs = np.array([(a, b) for a, b in itertools.combinations(range(14), 2) if who[a] != who[b]])
    pairs = pairs[rng.random(len(pairs)) < 0.4]
    scores = rng.integers(0, 5, len(pairs)).astype(np.float32)
    want = {}
    for (a, b), score in zip(pairs.tolist(), scores.tolist(), strict=True):
        want.setdefault((int(who[a]), int(who[b])), []).append((-score, a, b))
    before, twins._HELD = twins._HELD, held
    try:
        collector = CoupleCollector(who, 5)
        for part in np.array_split(rng.permutation(len(pairs)), 4):
            collector.offer(scores[part], pairs[part, 0], pairs[part, 1])
        found = collector.couples()
    finally:
        twins._HELD = before
    got = {
        (int(p), int(q)): (int(n), -float(s), int(a), int(b))
        for p, q, n, s, a, b in zip(
            found.first, found.second, found.matches, found.score, found.a, found.b, strict=True
        )
    }
    assert got == {couple: (len(listed), *min(listed)) for couple, listed in want.items()}


def test_nothing_matches():
    found = CoupleCollector(np.array([0, 1]), 2).couples()
    assert len(found.first) == 0
    listed = too_alike(found, np.array([1, 1]), at(0.1), name=str, shown=None)
    assert (listed.found, listed.couples, listed.people) == (0, (), 2)


def test_many_matching_pairs_come_before_one_of_one():
    pictures = np.array([6, 5, 1, 1, 10])
    starts = np.cumsum(pictures) - pictures
    who = np.repeat(np.arange(5), pictures)
    offers = [(starts[0] + i, starts[1] + j, 0.6) for i in range(6) for j in range(5) if i or j]  # 29 of 30
    offers += [(starts[2], starts[3], 0.9)]  # 1 of 1
    offers += [(starts[3], starts[4], 0.99)]  # 1 of 10
    a, b, scores = (np.array(column) for column in zip(*offers, strict=True))
    collector = CoupleCollector(who, 5)
    collector.offer(scores.astype(np.float32), a, b)

    def shown(one, other, score):
        return PairOfShots(Shot(str(one), ""), Shot(str(other), ""), score)

    found = too_alike(collector.couples(), pictures, at(0.001), name="ABCDE".__getitem__, shown=shown)
    assert [(c.a, c.b, c.matches, c.pairs) for c in found.couples] == [
        ("A", "B", 29, 30),
        ("C", "D", 1, 1),
        ("D", "E", 1, 10),
    ]
    record = found.record("fmr")
    assert (record["fmr"], record["found"], record["people"]) == (0.001, 3, 5)
    assert record["couples"][1] == {
        "a": {"name": "C", "picture": str(starts[2])},
        "b": {"name": "D", "picture": str(starts[3])},
        "matches": 1,
        "pairs": 1,
        "share": 1.0,
        "score": 0.9,
    }


def test_the_threshold_is_never_looser_than_asked_where_data_allows():
    rows = [at(1e-2), at(1e-3), at(1e-4), RateAt(1e-5, None, None, None, None, None, reason="few")]
    assert point_for(rows, 1e-3).target == 1e-3
    assert point_for(rows, 5e-3).target == 1e-3
    assert point_for(rows, 1e-6).target == 1e-4  # the strictest that could be told
    assert point_for(rows[3:], 1e-3) is None
