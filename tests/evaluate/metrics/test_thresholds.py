import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import InputError
from mien.evaluate.metrics.intervals import wilson
from mien.evaluate.metrics.tail import TailCollector
from mien.evaluate.metrics.thresholds import allowed_errors, crossing, float32_at_least, just_above, smallest_threshold

FLOATS = st.floats(-1, 1, width=32)


@given(st.floats(allow_nan=False), st.floats(width=32, allow_nan=False))
def test_a_float32_threshold_accepts_what_the_float64_one_does(threshold, score):
    assert (np.float32(score) >= float32_at_least(threshold)) == (score >= threshold)


def test_a_threshold_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="NaN"):
        float32_at_least(math.nan)


@pytest.mark.parametrize("n", [10, 1000, 3000, 87_000_000])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_a_rate_that_names_a_whole_number_of_errors_allows_all_of_them(n, k):
    assert allowed_errors(k / n, n) == k
    assert allowed_errors(k / n * (1 - 1e-9), n) == k - 1


@given(st.lists(FLOATS, min_size=1, max_size=40), st.floats(0.001, 0.999))
def test_the_smallest_threshold_is_conservative_and_none_is_smaller(values, rate):
    scores = np.sort(np.array(values, np.float32))
    threshold = np.float32(smallest_threshold(scores, rate))
    below = np.nextafter(threshold, np.float32(-np.inf))
    assert np.mean(scores >= threshold) <= rate * (1 + 1e-9)
    assert np.mean(scores >= below) > rate


def test_above_the_largest_number_only_infinity_is_left():
    largest = np.finfo(np.float32).max
    assert just_above(largest) == smallest_threshold(np.array([largest]), 0.5) == math.inf


def test_a_tail_gives_the_same_threshold_as_all_scores_or_says_that_it_is_too_short():
    scores = np.sort(np.random.default_rng(0).normal(size=1000).astype(np.float32))
    assert smallest_threshold(scores[-101:], 0.1, total=1000) == smallest_threshold(scores, 0.1)
    with pytest.raises(InputError, match="101 highest are needed, got 100"):
        smallest_threshold(scores[-100:], 0.1, total=1000)
    with pytest.raises(InputError, match="needed, got 0"):
        smallest_threshold(scores[:0], 0.1)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_the_crossing_of_a_step_is_the_step(at):
    low, high = crossing(lambda t: t <= np.float32(at))
    assert low == np.float32(at)
    assert high == just_above(np.float32(at)) > low


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 5000), st.integers(1, 50), st.integers(1, 900), st.sampled_from([1, 8])
)
def test_a_collector_keeps_the_highest_and_whose_they_are(seed, n, size, block, decimals):
    scores = np.random.default_rng(seed).normal(size=n).round(decimals).astype(np.float32)
    collector = TailCollector(size)
    for start in range(0, len(scores), block):
        collector.offer(scores[start : start + block], np.arange(start, min(len(scores), start + block)))
        if start % 3 == 0:
            collector.sorted()  # raises the floor now and then
    kept, codes = collector.sorted()
    np.testing.assert_array_equal(kept, np.sort(scores)[-size:])
    np.testing.assert_array_equal(scores[codes], kept)
    assert len(set(codes.tolist())) == len(codes)


def test_a_collector_shrinks_and_raises_its_floor():
    collector = TailCollector(10)
    for _ in range(5):
        collector.offer(np.linspace(0, 1, 1000, dtype=np.float32))
    assert collector.floor > 0.9
    collector.offer(np.float32([0.5]))
    assert len(collector.sorted()[0]) == 10
    with pytest.raises(InputError, match="size"):
        TailCollector(-1)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("count", "trials"), [(0, 7), (7, 7), (3, 7), (1, 100_000)])
def test_wilson_solves_the_score_equation(count, trials, confidence):
    from scipy.stats import norm

    z = norm.ppf(0.5 + confidence / 2)
    for p, trivial in zip(wilson(count, trials, confidence=confidence), (count == 0, count == trials), strict=True):
        assert (p in (0, 1)) if trivial else abs(count / trials - p) / np.sqrt(p * (1 - p) / trials) == pytest.approx(z)


def test_wilson_refuses_nonsense_and_knows_nothing_without_trials():
    assert wilson(0, 0) == (0.0, 1.0)
    for count, trials in ((-1, 3), (4, 3), (1, 0)):
        with pytest.raises(InputError, match="count between"):
            wilson(count, trials)
    with pytest.raises(InputError, match="confidence"):
        wilson(1, 2, confidence=1.0)
