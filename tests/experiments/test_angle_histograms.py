"""Angles of pairs and to centres against plain loops."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError
from mien.experiments import angles
from mien.experiments.angle_histograms import angle_histograms


def people(spread: float, *, dim: int = 6, each: int = 7, count: int = 5, seed: int = 0):
    draw = np.random.default_rng(seed)
    labels = np.repeat([f"p{k}" for k in range(count)], each)
    rows = np.repeat(draw.normal(size=(count, dim)), each, 0) + spread * draw.normal(size=(count * each, dim))
    return rows * draw.uniform(0.5, 4, (len(rows), 1)), labels


def angle(a, b) -> float:
    return math.degrees(math.acos(max(-1.0, min(1.0, float(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b))))))


def test_pairs_are_those_of_a_plain_loop() -> None:
    rows, labels = people(0.6)
    same, other = [], []
    for i in range(len(rows)):
        for j in range(i):
            (same if labels[i] == labels[j] else other).append(angle(rows[i], rows[j]))
    found = angle_histograms(rows, labels).pairs
    assert (found.facts.same, found.facts.other) == (len(same), len(other))
    assert found.facts.same_mean == pytest.approx(np.mean(same), abs=1e-3)
    assert found.facts.other_deviation == pytest.approx(np.std(other), abs=1e-3)
    assert abs(found.same - np.histogram(same, np.arange(181))[0]).sum() <= 2  # float32 at the edge of a bin
    overlap = sum(
        min(
            sum(d <= a < d + 1 for a in same) / len(same),
            sum(d <= a < d + 1 for a in other) / len(other),
        )
        for d in range(180)
    )
    assert found.facts.overlap == pytest.approx(overlap, abs=0.01)
    # At the equal error rate no threshold does better on both sides.
    rates = [(np.mean(np.array(other) <= t), np.mean(np.array(same) > t)) for t in sorted(same + other)]
    assert min(max(pair) for pair in rates) >= found.facts.eer - 1e-9
    assert max(min(pair) for pair in rates) <= found.facts.eer + 1e-9


def test_centres_leave_the_picture_itself_out() -> None:
    rows, labels = people(0.5, each=3)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    own, nearest = [], []
    for i in range(len(unit)):
        mates = [unit[j] for j in range(len(unit)) if j != i and labels[j] == labels[i]]
        own.append(angle(unit[i], np.sum(mates, 0)))
        centres = [np.sum(unit[labels == k], 0) for k in np.unique(labels) if k != labels[i]]
        nearest.append(min(angle(unit[i], centre) for centre in centres))
    facts = angle_histograms(rows, labels).centres.facts
    assert facts.same_mean == pytest.approx(np.mean(own), abs=1e-3)
    assert facts.other_mean == pytest.approx(np.mean(nearest), abs=1e-3)


def test_a_better_model_is_seen_to_be_better(tmp_path) -> None:
    before, after = people(1.2, seed=1), people(0.2, dim=16, seed=1)
    outcome = angles(before, after, tmp_path, names=("old $", "new"))
    first, second = outcome.record["models"]
    for kind in ("pairs", "centres"):
        assert second[kind]["eer"] < first[kind]["eer"]
        assert second[kind]["overlap"] < first[kind]["overlap"]
    assert (tmp_path / "angles.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "angles.json").read_text()) == outcome.record
    rows = list(csv.DictReader((tmp_path / "angles.csv").read_text().splitlines()))
    assert sum(int(row["pairs_after_same"]) for row in rows) == second["pairs"]["same"]


def test_people_with_one_picture_count_in_pairs_only() -> None:
    found = angle_histograms([[1.0, 0], [1, 0.1], [0, 1]], ["a", "a", "b"])
    assert (found.pairs.facts.same, found.pairs.facts.other) == (1, 2)
    assert (found.centres.facts.same, found.centres.facts.other) == (2, 3)


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ([[1.0, 0], [1, 1]], ["a", "b"]),
        ([[1.0, 0], [1, 1]], ["a", "a"]),
        ([[1.0, 0], [0, 0]], [0, 0]),
        ([[1.0]], [0, 1]),
    ],
)
def test_no_pair_of_a_kind_is_refused(rows, labels) -> None:
    with pytest.raises(InputError):
        angle_histograms(rows, labels)
