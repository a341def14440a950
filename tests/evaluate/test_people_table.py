import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import InputError
from mien.evaluate.metrics.intervals import Rate
from mien.evaluate.people_table import BIN_EDGES, Pair, people_table


def unit(rng, n, d=8):
    rows = rng.normal(size=(n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def loop(rows, who, threshold):
    """The same table with a plain loop over pairs."""
    same, different = [], []
    for a, b in itertools.combinations(range(len(rows)), 2):
        score = float(np.float32(sum(float(x) * float(y) for x, y in zip(rows[a], rows[b], strict=True))))
        (same if who[a] == who[b] else different).append((a, b, score))
    return same, different


def check_spread(spread, scores):
    if not scores:
        assert spread is None
        return
    assert spread.n == len(scores)
    assert spread.mean == pytest.approx(np.mean(scores), abs=1e-6)
    assert spread.sd == pytest.approx(np.std(scores, ddof=1) if len(scores) > 1 else 0, abs=1e-5)


@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    block_rows=st.integers(1, 30),
    top=st.integers(1, 6),
)
def test_equals_a_plain_loop_over_pairs_whatever_the_blocks(seed, counts, block_rows, top):
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    rows = unit(rng, len(who))
    threshold = 0.2
    table = people_table(rows, who, threshold=threshold, top=top, block_bytes=4 * len(who) * block_rows)
    same, different = loop(rows, who, threshold)

    for spread, pairs in ((table.same, same), (table.different, different)):
        check_spread(spread, [s for *_, s in pairs])
    false_match, false_non_match = table.false_match(), table.false_non_match()
    assert (false_match.count, false_match.trials) == (
        sum(s >= threshold for *_, s in different),
        len(different),
    )
    assert (false_non_match.count, false_non_match.trials) == (
        sum(s < threshold for *_, s in same),
        len(same),
    )
    for histogram, pairs in ((table.same_histogram, same), (table.different_histogram, different)):
        np.testing.assert_array_equal(histogram, np.histogram([s for *_, s in pairs], BIN_EDGES)[0])

    want = sorted(same, key=lambda p: p[2])[:top]
    assert [(p.a, p.b) for p in table.least_alike] == [p[:2] for p in want]
    best = {}
    for a, b, s in different:
        key = frozenset((who[a], who[b]))
        if key not in best or s > best[key][2]:
            best[key] = (a, b, s)
    want = sorted(best.values(), key=lambda p: -p[2])[:top]
    assert [(p.a, p.b) for p in table.most_alike] == [p[:2] for p in want]
    assert [p.score for p in table.most_alike] == pytest.approx([p[2] for p in want], abs=1e-6)

    couples = {}
    for a, b, s in different:
        if s >= threshold:
            couples.setdefault(tuple(sorted((int(who[a]), int(who[b])))), []).append((s, a, b))
    found = table.alike
    assert {
        (int(a), int(b)): (int(n), int(i), int(j))
        for a, b, n, i, j in zip(found.first, found.second, found.matches, found.a, found.b, strict=True)
    } == {couple: (len(pairs), *max(pairs)[1:]) for couple, pairs in couples.items()}

    for person, row in enumerate(table.people):
        mine = [s for a, b, s in same if who[a] == person]
        others = [(a, b, s) for a, b, s in different if person in (who[a], who[b])]
        assert row.pictures == counts[person]
        check_spread(row.same, mine)
        check_spread(row.different, [s for *_, s in others])
        assert row.false_non_matches == sum(s < threshold for s in mine)
        assert row.false_matches == sum(s >= threshold for *_, s in others)
        closest = max(others, key=lambda p: p[2])[:2] if others else None
        assert (row.closest and (row.closest.a, row.closest.b)) == closest


def test_ends_of_the_scale_fall_into_the_outer_bins():
    rows = np.array([[1, 0], [1, 0], [-1, 0]], np.float32)
    table = people_table(rows, [0, 0, 1], threshold=1.0)
    assert table.same_histogram[-1] == 1
    assert table.different_histogram[0] == 2
    assert (table.false_non_match().count, table.false_non_match().trials) == (0, 1)  # a score at the threshold matches
    assert table.most_alike[0].score == -1


def test_identical_pictures_have_no_spread():
    table = people_table(np.tile(np.float32([0.6, 0.8]), (50, 1)), np.zeros(50, int), threshold=0.5)
    assert table.same.mean == pytest.approx(1)
    assert table.same.sd < 1e-4
    assert table.different is None
    assert table.people[0].closest is None
    assert table.false_match().value is None


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_compare(n):
    table = people_table(np.ones((n, 1), np.float32), np.zeros(n, int), threshold=0.5)
    assert table.same is table.different is None
    assert len(table.people) == n
    assert table.most_alike == table.least_alike == ()


@pytest.mark.parametrize("who", [[0], [0, 2], [-1, 0], [0.0, 1.0], [[0, 1]]])
def test_refuses_people_that_do_not_fit(who):
    with pytest.raises(InputError, match="expected 2 people numbered from 0"):
        people_table(np.eye(2, dtype=np.float32), who, threshold=0.5)


def test_refuses_rows_that_are_not_unit_vectors():
    with pytest.raises(InputError, match="unit length"):
        people_table(2 * np.eye(2, dtype=np.float32), [0, 1], threshold=0.5)


# Worked out by hand from Wilson's formula (and in agreement with the tables of Brown, Cai and DasGupta, 2001).
@pytest.mark.parametrize(
    ("count", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (1, 1000, 0.000177, 0.005642)],
)
def test_interval(count, trials, low, high):
    assert Rate(count, trials).interval() == pytest.approx((low, high), abs=1e-4)


def test_interval_solves_the_score_equation():
    rate = Rate(7, 93)
    for p in rate.interval():
        assert abs(rate.value - p) / np.sqrt(p * (1 - p) / 93) == pytest.approx(1.959964, rel=1e-6)


def test_interval_without_trials_says_nothing():
    assert Rate(0, 0).interval() == (0.0, 1.0)
    assert Rate(0, 0).value is None


def test_a_pair_is_a_value():
    assert Pair(0, 1, 0.5) == Pair(0, 1, 0.5)
