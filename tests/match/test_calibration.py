"""Thresholds: what the table says on its rows, never looser between and below them, and files that are checked."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import CardError, InputError
from mien.match import (
    IDENTIFY_FPIR,
    VERIFY_FMR,
    Calibration,
    OperatingPoint,
    calibrate,
    calibration_for,
    comparison_fmr,
)
from mien.types import ModelIdentity

IDENTITY = ModelIdentity("net", "fast", "0" * 64, 8)
RNG = np.random.default_rng(7)
IMPOSTOR = np.clip(RNG.normal(0.3, 0.1, 200_000), -1, 1)
GENUINE = np.clip(RNG.normal(0.8, 0.05, 3_000), -1, 1)


@pytest.fixture(scope="module")
def made():
    return calibrate(IDENTITY, genuine=GENUINE, impostor=IMPOSTOR, made_on="normal scores", date="2026-01-31")


def normal_fmr(threshold):
    """The true rate behind the simulated scores."""
    return 0.5 * math.erfc((threshold - 0.3) / 0.1 / math.sqrt(2))


def test_each_row_is_the_smallest_threshold_that_holds_its_rate(made):
    assert [p.fmr for p in made.table][:4] == [0.1, 0.05, 0.02, 0.01]
    for p in made.table:
        assert np.count_nonzero(p.threshold <= IMPOSTOR) <= p.fmr * len(IMPOSTOR)
        looser = np.nextafter(p.threshold, -1)
        assert np.count_nonzero(looser <= IMPOSTOR) > p.fmr * len(IMPOSTOR) * (1 - 1e-9)
        assert p.tar == pytest.approx(np.mean(p.threshold <= GENUINE))
        assert p.supported == (p.fmr * len(IMPOSTOR) >= 10 - 1e-6)
        assert made.threshold(fmr=p.fmr) == p.threshold or not p.supported


def test_ties_are_counted_as_false_matches():
    scores = np.array([0.5] * 30 + [0.1] * 70)
    made = calibrate(
        IDENTITY, genuine=[0.9], impostor=scores, made_on="ties", date="2026-01-31", rates=[0.29, 0.3, 0.1]
    )
    assert [p.threshold > 0.5 for p in made.table] == [False, True, True]
    assert made.table[0].threshold > 0.1


def test_between_rows_the_true_rate_is_not_exceeded(made):
    """Sampling moves the rows themselves, so the true rate is asked of a table made from the true distribution."""
    table = tuple(OperatingPoint(p.fmr, _solve(p.fmr), p.tar, True) for p in made.table)
    exact = dataclasses.replace(made, table=table)
    for fmr in np.geomspace(0.4, table[-1].fmr, 400):
        assert normal_fmr(exact.threshold(fmr=float(fmr))) <= fmr * (1 + 1e-9)
    for fmr in np.geomspace(table[-1].fmr, 1e-11, 200):  # below the table, where the tail bends down
        assert normal_fmr(exact.threshold(fmr=float(fmr))) <= fmr * (1 + 1e-9)


def _solve(fmr):
    low, high = -1.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if normal_fmr(middle) > fmr else (low, middle)
    return high


@given(st.floats(1e-15, 0.999), st.floats(1e-15, 0.999))
def test_a_stricter_rate_never_has_a_looser_threshold(one, two):
    made = _cached()
    assert made.threshold(fmr=min(one, two)) >= made.threshold(fmr=max(one, two))
    between = next((p.threshold for p in made.table if p.supported and p.fmr <= min(one, two)), 1.0)
    assert made.threshold(fmr=min(one, two)) <= between  # the next row is always enough


_CACHE = []


def _cached():
    if not _CACHE:
        _CACHE.append(calibrate(IDENTITY, genuine=GENUINE, impostor=IMPOSTOR, made_on="x", date="2026-01-31"))
    return _CACHE[0]


def test_below_the_last_supported_row_it_is_extrapolated_and_says_so(made):
    last = [p for p in made.table if p.supported][-1]
    assert made.supports(last.fmr)
    assert not made.supports(last.fmr / 2)
    ten, hundred = (made.threshold(fmr=last.fmr / f) for f in (10, 100))
    assert last.threshold < ten < hundred <= 1
    assert made.threshold(fmr=1e-300) == 1.0


def test_a_single_row_says_nothing_of_the_tail(made):
    one = dataclasses.replace(made, table=made.table[:1])
    assert one.threshold(fmr=0.2) == one.threshold(fmr=0.1) == made.table[0].threshold
    assert one.threshold(fmr=0.01) == 1.0


@given(st.floats(1e-9, 0.5), st.integers(1, 10**9))
def test_the_rate_of_one_comparison(fpir, size):
    fmr = comparison_fmr(fpir, size)
    assert -math.expm1(size * math.log1p(-fmr)) == pytest.approx(fpir, rel=1e-6)  # at least one of N passes
    assert fpir / size <= fmr * (1 + 1e-12)
    assert comparison_fmr(fpir, size + 1) <= fmr


def test_larger_galleries_have_higher_thresholds(made):
    thresholds = [made.threshold_for(fpir=1e-2, gallery_size=n) for n in (0, 1, 2, 5, 10, 1000, 10**6, 10**9)]
    assert thresholds == sorted(thresholds)
    assert thresholds[0] == thresholds[1] == made.threshold(fmr=1e-2)
    assert made.threshold() == made.threshold(fmr=VERIFY_FMR)
    assert made.threshold_for(gallery_size=1) == made.threshold(fmr=IDENTIFY_FPIR)
    with pytest.raises(InputError, match="gallery_size"):
        made.threshold_for(gallery_size=-1)


def test_strangers_are_named_at_most_at_the_stated_rate(made):
    rng = np.random.default_rng(3)
    for size in (1, 10, 40):
        threshold = made.threshold_for(fpir=0.05, gallery_size=size)
        named = (rng.normal(0.3, 0.1, (20_000, size)).max(axis=1) >= threshold).mean()
        assert named <= 0.05 * 1.15  # three standard errors of 20,000 strangers


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, math.nan, math.inf, "0.1", None, True])
def test_what_is_no_rate_is_refused(made, rate):
    for act in (
        lambda: made.threshold(fmr=rate),
        lambda: made.threshold_for(fpir=rate, gallery_size=3),
        lambda: made.supports(rate),
    ):
        with pytest.raises(InputError, match="between 0 and 1"):
            act()


def test_it_is_read_back_unchanged(made, tmp_path):
    path = tmp_path / "net-fast.toml"
    path.write_text(made.to_toml(), encoding="utf-8")
    assert Calibration.read(path) == made
    assert Calibration.from_toml(made.to_toml().replace('date = "2026-01-31"', "date = 2026-01-31")) == made


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('model = "net"', ""),
        ('model = "net"', "model = 3"),
        ("0" * 64, "123"),
        ("2026-01-31", "yesterday"),
        ("provisional = true", 'provisional = "yes"'),
        ("fmr = 0.05", "fmr = 0.5"),
        ("fmr = 0.05", "fmr = nan"),
        ("fmr = 0.05", 'fmr = "low"'),
        ("tar = ", "tar = 7"),
        ("supported = true", "supported = false"),
        ("[[table]]", "[table]"),
        ("[[table]]", "[[table"),
        ("n = 3000", "n = 0"),
    ],
)
def test_broken_files_are_named(made, tmp_path, old, new):
    text = made.to_toml()
    assert old in text
    path = tmp_path / "broken.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CardError, match=r"broken\.toml"):
        Calibration.read(path)


def test_falling_thresholds_are_refused(made):
    table = list(made.table)
    table[1] = dataclasses.replace(table[1], threshold=0.0)
    with pytest.raises(CardError, match="thresholds fall"):
        dataclasses.replace(made, table=tuple(table))


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.toml", "binary.toml", "."):
        with pytest.raises(CardError):
            Calibration.read(tmp_path / name)


def test_too_few_scores_make_no_calibration():
    for genuine, impostor in (([], [0.1] * 100), ([0.9], [0.1]), ([0.9], [math.nan] * 100)):
        with pytest.raises(InputError, match="finite scores"):
            calibrate(IDENTITY, genuine=genuine, impostor=impostor, made_on="x", date="2026-01-31")


def test_a_model_without_one_asks_for_a_threshold():
    with pytest.raises(InputError, match=r"net/fast.*explicit threshold"):
        calibration_for(IDENTITY)


def test_it_belongs_to_exactly_one_model(made):
    assert made.belongs_to(IDENTITY)
    for change in ({"name": "x"}, {"preset": "accurate"}, {"sha256": "1" * 64}):
        assert not made.belongs_to(dataclasses.replace(IDENTITY, **change))
