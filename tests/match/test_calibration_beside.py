"""Calibrations beside a user's card: found once their folder was offered, and only for their very model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mien.errors import CardError, InputError
from mien.match import calibrate, calibration_for
from mien.match.calibration_beside import found_beside, offer_calibrations
from mien.types import ModelIdentity

MINE = ModelIdentity("beside-test", "fast", "ab" * 32, 8)


@pytest.fixture
def made():
    rng = np.random.default_rng(0)
    return calibrate(
        MINE, genuine=rng.uniform(0.5, 1, 100), impostor=rng.uniform(-0.5, 0.5, 4000), made_on="toys", date="2026-01-01"
    )


def test_found_only_where_offered_and_for_the_same_weights(tmp_path, made):
    (tmp_path / "fast.calibration.toml").write_text(made.to_toml(), encoding="utf-8")
    (tmp_path / "other.txt").write_text("no calibration", encoding="utf-8")
    with pytest.raises(InputError, match="no calibration for"):
        calibration_for(MINE)
    offer_calibrations(tmp_path)
    found = calibration_for(MINE)
    assert found.threshold(fmr=1e-2) == made.threshold(fmr=1e-2)
    assert found.source.endswith("fast.calibration.toml")
    for other in ({"sha256": "cd" * 32}, {"preset": "accurate"}, {"name": "else"}):
        assert found_beside(dataclasses.replace(MINE, **other)) is None


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "bad.calibration.toml").write_text("format = 2\n", encoding="utf-8")
    offer_calibrations(tmp_path)
    with pytest.raises(CardError, match=r"bad\.calibration\.toml"):
        found_beside(dataclasses.replace(MINE, name="asked"))
    (tmp_path / "bad.calibration.toml").unlink()


def test_folders_are_few_and_may_vanish(tmp_path):
    for i in range(100):
        offer_calibrations(tmp_path / str(i))
    assert found_beside(MINE) is None
