"""Angles against a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError
from mien.experiments.spread import angles_between, class_directions, spread_of, unit_directions


def angle(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return math.degrees(math.acos(max(-1.0, min(1.0, dot / (math.hypot(*a) * math.hypot(*b))))))


def test_spread_is_that_of_a_plain_loop() -> None:
    draw = np.random.default_rng(1)
    labels = np.arange(40) % 4
    features = np.array([[3, 0, 1], [0, 2, 0], [-1, 0, 2], [0, -2, 1.0]])[labels] + draw.normal(size=(40, 3)) * 0.4
    features *= draw.uniform(0.1, 20, (40, 1))

    centres = []
    for k in range(4):
        total = [0.0, 0.0, 0.0]
        for row in features[labels == k].tolist():
            total = [t + x / math.hypot(*row) for t, x in zip(total, row, strict=True)]
        centres.append(total)
    intra = [angle(row, centres[k]) for row, k in zip(features.tolist(), labels.tolist(), strict=True)]
    inter = [angle(centres[i], centres[j]) for i in range(4) for j in range(i)]

    found = spread_of(features, labels)
    assert found.mean_intra == pytest.approx(sum(intra) / 40, abs=1e-9)
    assert found.smallest_inter == pytest.approx(min(inter), abs=1e-9)
    assert found.ratio == pytest.approx(sum(intra) / 40 / min(inter), abs=1e-12)


def test_small_and_straight_angles_are_exact() -> None:
    tiny = 1e-9
    a, b = unit_directions([[1, 0], [1, 0]]), unit_directions([[math.cos(tiny), math.sin(tiny)], [-1, 0]])
    np.testing.assert_allclose(angles_between(a, b), [math.degrees(tiny), 180], rtol=1e-9)


def test_classes_that_share_a_direction_have_no_ratio() -> None:
    assert spread_of([[1.0, 0], [2.0, 0]], [0, 1]).ratio is None


@pytest.mark.parametrize(
    ("features", "labels", "said"),
    [
        ([[0.0, 0.0], [1.0, 0.0]], [0, 1], "row 0 has length 0"),
        ([[np.nan, 0.0], [1.0, 0.0]], [0, 1], "finite"),
        ([[1.0, 0.0], [1.0, 0.0]], [0, 2], "class 1 has no row"),
        ([[1.0, 0.0], [1.0, 0.0]], [0.0, 1.0], "labels"),
        ([[1.0, 0.0], [1.0, 0.0]], [0, 0], "two classes"),
    ],
)
def test_what_has_no_spread_is_refused(features, labels, said) -> None:
    with pytest.raises(InputError, match=said):
        spread_of(features, labels)


def test_rows_that_cancel_out_have_no_direction() -> None:
    with pytest.raises(InputError, match="length 0"):
        class_directions([[1.0, 0.0], [-1.0, 0.0]], [0, 0])
