"""Intervals of AP against the metric itself on copies of the drawn pictures."""

from __future__ import annotations

import numpy as np
import pytest

from mien.errors import InputError
from mien.evaluate.metrics.detection import Annotated, Detected, average_precision, detection_curve, match_boxes
from mien.evaluate.metrics.detection_intervals import bootstrap_average_precision

BOXES = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], np.float32)


def made(seed, pictures=8):
    random = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(pictures):
        there = random.integers(1, 4)
        truth.append(Annotated(BOXES[:there], random.random(there) < 0.2))
        guesses = BOXES[random.integers(0, 3, random.integers(0, 5))] + random.integers(-4, 5)
        found.append(Detected(guesses, np.round(random.random(len(guesses)), 1)))  # with ties
    return truth, found


@pytest.mark.parametrize("seed", range(4))
def test_percentiles_are_those_of_the_metric_on_drawn_pictures(seed):
    truth, found = made(seed)
    matches = [match_boxes(a, b) for a, b in zip(truth, found, strict=True)]
    owners = np.repeat(np.arange(8), [len(m.outcomes) for m in matches])
    scores = np.concatenate([np.asarray(b.scores, np.float64) for b in found])
    faces = np.array([int((~np.asarray(a.ignore)).sum()) for a in truth])
    outcomes = np.concatenate([m.outcomes for m in matches])
    got = bootstrap_average_precision(scores, outcomes, owners, faces, replicates=30, seed=seed)
    assert got.value == pytest.approx(average_precision(detection_curve(truth, found)), abs=1e-12)
    areas = []
    for draw in np.random.default_rng(seed).multinomial(8, np.full(8, 1 / 8), 30):
        at = np.repeat(np.arange(8), draw)
        areas.append(average_precision(detection_curve([truth[i] for i in at], [found[i] for i in at])))
    np.testing.assert_allclose((got.low, got.high), np.percentile(areas, [2.5, 97.5]), rtol=0, atol=1e-12)


def test_finders_and_outcomes_agree():
    truth, found = made(9)
    for a, b in zip(truth, found, strict=True):
        match = match_boxes(a, b)
        counts = ~np.asarray(a.ignore)
        right = match.finders[counts & (match.finders >= 0)]
        assert sorted(right.tolist()) == np.flatnonzero(match.outcomes == 1).tolist()


def test_no_detection_and_no_face():
    none = np.zeros(0)
    got = bootstrap_average_precision(none, none.astype(np.int8), none.astype(np.intp), np.array([2, 1]), replicates=5)
    assert (got.value, got.low, got.high) == (0, 0, 0)
    with pytest.raises(InputError, match="no annotated face"):
        bootstrap_average_precision(none, none.astype(np.int8), none.astype(np.intp), np.array([0]))
