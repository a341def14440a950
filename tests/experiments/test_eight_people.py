"""People on the circle: arcs against a plain loop, and the gap that a margin opens."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError
from mien.experiments import toy
from mien.experiments.eight_people import arcs_of


def on_circle(degrees) -> np.ndarray:
    turn = np.radians(degrees)
    return np.column_stack([np.cos(turn), np.sin(turn)])


def test_arcs_of_known_angles() -> None:
    # Three people: about 0 (across where degrees begin), 90, and 180.
    spread = np.linspace(-10, 10, 401)
    degrees = np.concatenate([spread, 90 + spread / 2, 180 + spread])
    labels = np.repeat([2, 0, 1], 401)
    found = arcs_of(on_circle(degrees) * 3.0, labels)
    assert found.widths == pytest.approx((9.5, 19, 19), abs=0.01)  # 95 % of 10, 20 and 20 degrees, by label
    # Round the circle from the lowest angle: 0 to 90 to 180 to 360.
    assert sorted(found.gaps) == pytest.approx(sorted([90 - 9.5 - 4.75, 90 - 4.75 - 9.5, 180 - 19]), abs=0.01)
    assert sum(found.gaps) + sum(found.widths) == pytest.approx(360, abs=1e-6)


def test_overlapping_arcs_have_a_gap_below_zero() -> None:
    spread = np.linspace(-20, 20, 101)
    found = arcs_of(on_circle(np.concatenate([spread, 30 + spread])), np.repeat([0, 1], 101))
    assert min(found.gaps) == pytest.approx(30 - 38, abs=0.01)


def faces(each: int = 12, seed: int = 0):
    draw = np.random.default_rng(seed)
    labels = np.repeat(["Ada", "Bob", "Eve"], each)
    rows = np.repeat(draw.normal(size=(3, 16)), each, 0) + 1.0 * draw.normal(size=(3 * each, 16))
    return rows, labels


def test_arcface_opens_the_gaps(tmp_path) -> None:
    rows, labels = faces()
    outcome = toy(rows, labels, tmp_path, steps=150, seed=1)
    plain, arc = (outcome.record["losses"][key] for key in ("normalised-softmax", "arcface"))
    assert arc["smallest_gap"] > plain["smallest_gap"]
    assert arc["mean_intra"] < plain["mean_intra"]
    assert arc["train_accuracy"] == 1
    assert outcome.record["people"] == ["Ada", "Bob", "Eve"]
    assert (outcome.record["trained"], outcome.record["measured"]) == (30, 6)
    assert math.fsum(arc["gaps"]) + math.fsum(arc["arcs"]) == pytest.approx(360, abs=1e-6)
    assert json.loads((tmp_path / "toy.json").read_text())["losses"]["arcface"]["arcs"] == list(arc["arcs"])
    assert (tmp_path / "toy.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_numbers(tmp_path) -> None:
    rows, labels = faces()
    a, b, c = (toy(rows, labels, tmp_path, steps=3, seed=seed).record["losses"] for seed in (1, 1, 2))
    assert a == b
    assert a != c


def test_too_few_pictures_are_refused(tmp_path) -> None:
    rows, labels = faces(each=4)
    with pytest.raises(InputError, match="5 pictures"):
        toy(rows, labels, tmp_path)
    with pytest.raises(InputError, match="names"):
        toy(*faces(), tmp_path, names=["one"])
