"""The curves against the formulas of the papers, an angle at a time."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.experiments import logits
from mien.experiments.target_logits import negative_curves, target_curves

DEGREES = np.linspace(0, 180, 361)


def psi(theta: float, m: int) -> float:
    k = min(int(m * theta / math.pi), m - 1)
    return (-1) ** k * math.cos(m * theta) - 2 * k


def arc(theta: float, m: float) -> float:
    return math.cos(theta + m) if theta + m <= math.pi else math.cos(theta) - m * math.sin(m)


FORMULAS = {
    "softmax": math.cos,
    "sphereface_m4": lambda t: psi(t, 4),
    "sphereface_m4_lambda5": lambda t: (5 * math.cos(t) + psi(t, 4)) / 6,
    "l_softmax_m2": lambda t: psi(t, 2),
    "cosface": lambda t: math.cos(t) - 0.35,
    "arcface_published": lambda t: arc(t, 0.5),
    "arcface_continuous": lambda t: math.cos(t + 0.5) if t + 0.5 <= math.pi else math.cos(t) - (1 - math.cos(0.5)),
    "arcface_plain": lambda t: math.cos(t + 0.5),
    "combined": lambda t: arc(t, 0.3) - 0.2,
    "curricularface": lambda t: arc(t, 0.5),
    "adaface_quality_0": lambda t: math.cos(t) - 0.4,
    "adaface_quality_+1": lambda t: math.cos(max(t - 0.4, 0)) - 0.8,
    "adaface_quality_-1": lambda t: math.cos(t + 0.4) if t + 0.4 <= math.pi else math.cos(t) - (1 - math.cos(0.4)),
    "magface_length_10": lambda t: arc(t, 0.45),
    "magface_length_110": lambda t: arc(t, 0.8),
}


def test_every_curve_is_its_formula() -> None:
    curves = {curve.key: curve for curve in target_curves(DEGREES)}
    assert set(curves) == set(FORMULAS)
    for key, formula in FORMULAS.items():
        wanted = [formula(math.radians(d)) for d in DEGREES]
        np.testing.assert_allclose(curves[key].values, wanted, atol=1e-7, err_msg=key)


def test_only_the_plain_one_rises() -> None:
    assert [curve.key for curve in target_curves(DEGREES) if not curve.monotone] == ["arcface_plain"]


def test_negatives_are_weighed_where_they_are_hard() -> None:
    target = math.cos(math.radians(30) + 0.5)
    for curve, t in zip(negative_curves(DEGREES), (0.0, 0.3, 0.7), strict=True):
        cosines = [math.cos(math.radians(d)) for d in DEGREES]
        np.testing.assert_allclose(curve.values, [c if c <= target else c * (t + c) for c in cosines], atol=1e-6)


def test_files(tmp_path) -> None:
    outcome = logits(tmp_path / "new" / "folder")
    assert [path.name for path in outcome.files] == ["logits.png", "logits.csv", "logits.json"]
    assert outcome.files[0].read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(outcome.files[1].read_text().splitlines()))
    assert len(rows) == 721
    assert float(rows[360]["degrees"]) == 90
    assert float(rows[360]["cosface"]) == pytest.approx(-0.35)
    record = json.loads(outcome.files[2].read_text())
    assert record == outcome.record
    assert {one["column"] for one in record["curves"]} == set(rows[0]) - {"degrees"}
