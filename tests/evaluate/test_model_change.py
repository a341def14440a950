"""Two models on the same faces, against plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mien.errors import InputError
from mien.evaluate.metrics.bootstrap import all_subject_pairs, bootstrap_tar, bootstrap_tar_difference
from mien.evaluate.model_change import compare_models
from mien.gallery.migration import BothModels
from mien.match import Calibration, OperatingPoint, ScoreSpread


def faces(rng, spread, people=40, each=4, dimension=24):
    centres = rng.standard_normal((people, 1, dimension))
    rows = (centres + spread * rng.standard_normal((people, each, dimension))).reshape(-1, dimension)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def both():
    rng = np.random.default_rng(11)
    return BothModels(np.repeat(np.arange(40) * 3 + 5, 4), faces(rng, 0.8), faces(rng, 0.5))


def scores(rows, subjects):
    genuine, impostor = [], []
    for i, j in itertools.combinations(range(len(rows)), 2):
        (genuine if subjects[i] == subjects[j] else impostor).append(float(rows[i] @ rows[j]))
    return np.array(genuine), np.array(impostor)


def test_numbers_are_those_of_a_plain_loop(both):
    points = (OperatingPoint(1e-1, 0.3, 1.0, True), OperatingPoint(1e-2, 0.55, 0.9, True))
    calibration = Calibration(
        model="m", preset="fast", sha256="0" * 64, provisional=False, made_on="x", date="2026-01-01",
        genuine=ScoreSpread(9, 0.8, 0.1), impostor=ScoreSpread(9, 0.0, 0.1), table=points,
    )  # fmt: skip
    change = compare_models(both, live=calibration, fmr=0.01, replicates=50)
    assert (change.people, change.faces, change.genuine, change.impostor) == (40, 160, 240, 12480)
    for rows, found in ((both.live, change.live), (both.staged, change.staged)):
        genuine, impostor = scores(rows, both.subjects)
        pooled = np.sqrt((genuine.var(ddof=1) + impostor.var(ddof=1)) / 2)
        assert found.d_prime == pytest.approx((genuine.mean() - impostor.mean()) / pooled, rel=1e-5)
        threshold = np.sort(impostor)[::-1][int(0.01 * len(impostor))]  # the first that must not pass
        assert found.tar.value == pytest.approx((genuine > threshold).mean())
        assert found.tar.low <= found.tar.value <= found.tar.high
    genuine, impostor = scores(both.live, both.subjects)
    assert change.live.calibrated.threshold == 0.55
    assert change.live.calibrated.fmr == pytest.approx((impostor >= 0.55).mean())
    assert change.live.calibrated.tar == pytest.approx((genuine >= 0.55).mean())
    assert change.staged.calibrated is None
    assert change.gain.value == pytest.approx(change.staged.tar.value - change.live.tar.value)
    assert change.gain.low > 0  # the second model is much better, and the pairing shows it


def test_the_difference_is_paired(both):
    a, b = (all_subject_pairs(rows, both.subjects) for rows in (both.live, both.staged))
    same = bootstrap_tar_difference(a, a, 0.01, replicates=100)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    there, back = (bootstrap_tar_difference(*pair, 0.01, replicates=100, seed=3) for pair in ((a, b), (b, a)))
    assert there.low == pytest.approx(-back.high)
    alone = [bootstrap_tar(pairs, 0.01, replicates=100, seed=3) for pairs in (a, b)]
    assert there.value == pytest.approx(alone[1].value - alone[0].value)
    with pytest.raises(InputError, match="same subjects"):
        bootstrap_tar_difference(a, all_subject_pairs(both.live[:80], both.subjects[:80]), 0.01)


def test_too_few_say_so(both):
    few = BothModels(both.subjects[:12], both.live[:12], both.staged[:12])
    change = compare_models(few, fmr=1e-3)
    assert (change.gain, change.live.tar, change.live.calibrated) == (None, None, None)
    for one in (BothModels(both.subjects[:4], both.live[:4], both.staged[:4]),
                BothModels(both.subjects[::4], both.live[::4], both.staged[::4])):  # fmt: skip
        with pytest.raises(InputError, match="at least two people"):
            compare_models(one)
