"""Highest scores of strangers, and the thresholds that follow: against plain loops, and by their properties."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import CardError, InputError
from mien.match import FpirPoint, FpirTable, GalleryRow, comparison_fmr
from mien.match.ladder import rate_on, threshold_on
from mien.match.maxima import ScoreCounts, largest_gallery, sample_maxima

STEP = 2.0**-16


def unit(rng, n, d=16):
    rows = rng.normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def table(*rows, **changes):
    made = [
        GalleryRow(size, comparisons, tuple(FpirPoint(p, t) for p, t in points)) for size, comparisons, points in rows
    ]
    return FpirTable(**{"faces_per_person": 1, "draws": 10, "rows": tuple(made), **changes})


SMALL = (
    (1, 1.0, [(0.1, 0.30), (0.01, 0.50), (0.001, 0.65), (0.0001, 0.75)]),
    (10, 9.0, [(0.1, 0.49), (0.01, 0.64), (0.001, 0.74)]),
    (100, 60.0, [(0.1, 0.62), (0.01, 0.72)]),
)


class TestCounts:
    def test_thresholds_are_those_of_a_plain_loop(self):
        scores = np.random.default_rng(1).uniform(-1, 1, 1_000).astype(np.float32)
        counts = ScoreCounts()
        for part in np.split(scores, 10):
            counts.add(part.reshape(10, 10))
        steps = np.arange(-(2**16), 2**16 + 2) * STEP
        for rate in (0.9, 0.5, 0.1, 0.01, 0.001, 0.0002):
            allowed = int(rate * len(scores) + 1e-9)
            expected = next(step for step in steps if np.count_nonzero(scores >= np.float32(step)) <= allowed)
            assert counts.threshold(rate) == expected
            assert counts.passing(expected) == np.count_nonzero(scores >= np.float32(expected))

    def test_what_is_taken_away_was_never_there(self):
        counts = ScoreCounts()
        counts.add(np.array([0.5, 0.25, 1.0], np.float32))
        counts.add(np.array([1.0], np.float32), times=-1)
        assert (counts.total, counts.passing(-1.0), counts.passing(0.5), counts.passing(0.51)) == (2, 2, 1, 0)

    def test_no_threshold_below_one_keeps_out_what_scores_one(self):
        counts = ScoreCounts()
        counts.add(np.ones(10, np.float32))
        assert counts.threshold(0.5) == 1 + STEP


class TestSampling:
    def test_all_galleries_of_all_draws_agree_with_plain_loops(self):
        """Where everybody has one picture, a draw is a permutation of the people, and nothing else."""
        rows, people, draws, sizes = unit(np.random.default_rng(5), 21), 21, 7, (1, 3, 4, 12, 15)
        found = sample_maxima(rows, np.arange(people), sizes, draws=draws, seed=11)
        rng = np.random.default_rng(11)
        expected = {size: [] for size in sizes}
        for _ in range(draws):
            order = rng.permutation(people)
            rng.random(people)
            for size in sizes:
                enrolled = max(size, people // 2)
                galleries = [order[i : i + size] for i in range(0, enrolled - size + 1, size)]
                for stranger in order[enrolled:]:
                    expected[size] += [max(float(rows[stranger] @ rows[g]) for g in some) for some in galleries]
        for size in sizes:
            assert found.counts[size].total == len(expected[size])
            for threshold in (-0.25, 0.0, 0.125, 0.25, 0.5):
                share = np.mean([score >= threshold for score in expected[size]])
                assert found.fpir(threshold=threshold, gallery_size=size) == pytest.approx(share, abs=1e-9)

    def test_nobody_is_a_stranger_to_their_own_picture(self):
        """People are at right angles, their own pictures equal: any score above 0 would be a mate's."""
        rows, who = np.eye(8, dtype=np.float32)[np.repeat(np.arange(8), 5)], np.repeat(np.arange(8), 5)
        for per_person in (1, 3, 100):
            most = largest_gallery(np.bincount(who), per_person)
            found = sample_maxima(rows, who, [1, most], draws=20, faces_per_person=per_person)
            assert found.fpir(threshold=0.001, gallery_size=1) == found.fpir(threshold=0.001, gallery_size=most) == 0

    def test_it_does_not_matter_in_which_order_the_people_lie(self):
        rng = np.random.default_rng(2)
        who = rng.integers(0, 30, 200)
        who[:30] = np.arange(30)
        rows = unit(rng, 200, 4)
        order = np.argsort(who, kind="stable")
        one, two = (sample_maxima(rows[o], who[o], [5], draws=20, seed=1) for o in (order, np.arange(200)))
        assert one.threshold(fpir=0.1, gallery_size=5) == two.threshold(fpir=0.1, gallery_size=5)

    def test_independent_scores_give_the_rule_of_independence(self):
        """Many dimensions and one face a person: the maximum of N is what N independent comparisons give."""
        rows = unit(np.random.default_rng(3), 1_000, 64)
        found = sample_maxima(rows, np.arange(1_000), [1, 20], draws=30)
        for fpir in (0.1, 0.02):
            one = found.threshold(fpir=comparison_fmr(fpir, 20), gallery_size=1)
            assert found.fpir(threshold=one, gallery_size=20) == pytest.approx(fpir, rel=0.15)

    def test_several_faces_of_a_person_are_fewer_comparisons(self):
        rng = np.random.default_rng(4)
        who = np.repeat(np.arange(200), 5)
        rows = unit(rng, 200, 16)[who] + rng.normal(size=(1_000, 16)) * 0.05
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        one = sample_maxima(rows, who, [50], draws=40)
        five = sample_maxima(rows, who, [50], draws=40, faces_per_person=5)
        at = one.threshold(fpir=0.1, gallery_size=50)
        assert five.fpir(threshold=at, gallery_size=50) < 0.6 * one.fpir(threshold=at, gallery_size=50)

    @pytest.mark.parametrize(
        ("people", "sizes", "options"),
        [
            (1, [1], {}),
            (4, [4], {}),
            (4, [], {}),
            (4, [0], {}),
            (4, [1], {"draws": 0}),
            (4, [1], {"faces_per_person": 0}),
        ],
    )
    def test_what_cannot_be_is_refused(self, people, sizes, options):
        with pytest.raises(InputError, match="galleries"):
            sample_maxima(unit(np.random.default_rng(0), people), np.arange(people), sizes, **options)

    def test_what_is_no_number_is_refused(self):
        rows = unit(np.random.default_rng(0), 4)
        rows[2, 3] = np.nan
        with pytest.raises(InputError, match="unit length"):
            sample_maxima(rows, np.arange(4), [1])

    def test_memory_is_bounded(self):
        """Galleries of 4,000 among 12,000 people would be 384 MB of scores a draw if it were one matrix."""
        import tracemalloc

        rows = unit(np.random.default_rng(0), 12_000, 8)
        tracemalloc.start()
        sample_maxima(rows, np.arange(12_000), [1, 4_000], draws=1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 150 << 20


class TestTable:
    def test_at_what_was_measured_it_is_what_was_measured(self):
        made = table(*SMALL)
        for size, _, points in SMALL:
            for fpir, threshold in points:
                assert made.threshold(fpir=fpir, gallery_size=size) == threshold
                assert made.supports(fpir=fpir, gallery_size=size)
        assert made.threshold(fpir=0.01, gallery_size=0) == made.threshold(fpir=0.01, gallery_size=1) == 0.5

    def test_beyond_what_was_measured_it_says_so(self):
        made = table(*SMALL)
        for fpir, size in ((0.001, 100), (0.0001, 5), (0.1, 101), (1e-9, 1)):
            assert not made.supports(fpir=fpir, gallery_size=size)
        assert made.supports(fpir=0.001, gallery_size=7)

    @given(st.floats(1e-12, 0.999), st.floats(1e-12, 0.999), st.integers(0, 10**12), st.integers(0, 10**12))
    def test_it_never_falls_as_the_gallery_grows_or_the_rate_falls(self, p, q, n, m):
        made = table(*SMALL)
        loose = made.threshold(fpir=max(p, q), gallery_size=min(n, m))
        assert -1 <= loose <= made.threshold(fpir=min(p, q), gallery_size=max(n, m)) <= 1

    @given(st.integers(1, 2000), st.sampled_from([0.1, 0.01, 0.001]))
    def test_it_is_never_stricter_than_independence(self, size, fpir):
        """At measured rates: comparisons that depend on each other are fewer, and the thresholds allow for that."""
        made = table(*SMALL)
        independent = threshold_on([(p, t) for p, t in SMALL[0][2]], comparison_fmr(fpir, size))
        assert made.threshold(fpir=fpir, gallery_size=size) <= independent + 1e-12

    def test_no_gallery_is_too_large(self):
        made = table(*SMALL)
        assert made.threshold(fpir=1e-300, gallery_size=10**30) == 1.0
        with pytest.raises(InputError, match="gallery_size"):
            made.threshold(fpir=0.1, gallery_size=-1)

    @pytest.mark.parametrize("rate", [0, 1, math.nan, "0.1", None])
    def test_what_is_no_rate_is_refused(self, rate):
        made = table(*SMALL)
        for act in (made.threshold, made.supports):
            with pytest.raises(InputError, match="between 0 and 1"):
                act(fpir=rate, gallery_size=3)

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([], "gallery sizes"),
            ([(2, 1.0, [(0.1, 0.5)])], "to be 1"),
            ([(1, 1.0, [])], "rates"),
            ([(1, 1.0, [(0.1, math.nan)])], "cosines"),
            ([(1, 1.0, [(math.nan, 0.5)])], "cosines"),
            ([(1, 1.0, [(0.1, 1.5)])], "cosines"),
            ([(1, math.nan, [(0.1, 0.5)])], "comparisons"),
            ([(1, 0.0, [(0.1, 0.5)])], "comparisons"),
            ([(1, 1.1, [(0.1, 0.5)])], "comparisons"),
            ([(1, 1.0, [(0.1, 0.5), (0.1, 0.6)])], "falling rates"),
            ([(1, 1.0, [(0.1, 0.5), (0.01, 0.4)])], "thresholds fall"),
            ([(1, 1.0, [(0.1, 0.5)]), (1, 1.0, [(0.1, 0.5)])], "rising gallery sizes"),
            ([(1, 1.0, [(0.1, 0.5)]), (2, 2.0, [(0.1, 0.4)])], "thresholds fall between"),
            ([(1, 1.0, [(0.1, 0.5)]), (2, 2.0, [(0.1, 0.5)]), (3, 1.5, [(0.1, 0.5)])], "comparisons fall"),
            ([(1, 1.0, [(0.1, 0.5)])] + [(i, 1.0, [(0.1, 0.5)]) for i in range(2, 200)], "gallery sizes"),
        ],
    )
    def test_contradictions_are_refused(self, rows, message):
        with pytest.raises(CardError, match=message):
            table(*rows)

    def test_what_was_not_drawn_is_no_table(self):
        with pytest.raises(CardError, match="draws"):
            dataclasses.replace(table(*SMALL), draws=0)


@given(st.floats(0.31, 0.74))
def test_a_rate_read_from_a_threshold_reads_back(threshold):
    steps = list(SMALL[0][2])
    rate = rate_on(steps, threshold)
    assert threshold_on(steps, rate) >= threshold - 1e-9
    assert rate_on(steps, 0.2) is None
    assert rate_on(steps, 0.8) is None
