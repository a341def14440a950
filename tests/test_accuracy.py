"""The default models on LFW View 1, through the public API: the threshold is chosen on one list, used on the other."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import mien

_spec = importlib.util.spec_from_file_location("accuracy", Path(__file__).parents[1] / "benchmarks" / "accuracy.py")
assert _spec is not None
assert _spec.loader is not None
accuracy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(accuracy)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("preset", "bar"), [("fast", 0.985), ("accurate", 0.989)])
def test_view_1(mien_data, preset, bar) -> None:
    lists, folder = mien_data / "lists", mien_data / "lfw"
    train, train_same, _ = accuracy.read_pairs(lists / "pairsDevTrain.txt", folder)
    test, test_same, _ = accuracy.read_pairs(lists / "pairsDevTest.txt", folder)
    paths = sorted({path for pair in train + test for path in pair})
    vectors, failures, _ = accuracy.embed(mien.default_recognizer(preset), paths)
    threshold = accuracy.best_threshold(accuracy.scores(train, vectors), train_same)
    right = (accuracy.scores(test, vectors) >= threshold) == test_same
    assert len(test) == 1000
    assert failures <= len(paths) // 1000
    assert right.mean() >= bar
