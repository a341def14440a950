"""Runs that start from weights and measure first say what they forgot, in words, records and the result."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.evaluate.protocols.sets import PairSet  # noqa: E402
from mien.train import trainer  # noqa: E402
from mien.train.display import Display  # noqa: E402
from mien.train.forgetting import SCORES, KeptScores  # noqa: E402
from mien.train.measuring import Accuracy  # noqa: E402
from mien.train.trainer import train  # noqa: E402

PAIRS = 200
SAME = np.arange(PAIRS) % 2 == 0
SCORED = np.where(SAME, 0.8, 0.1).astype(np.float32)


def worse(share: float) -> np.ndarray:
    """Scores of which a share of the genuine pairs has fallen to the strangers'."""
    scores = SCORED.copy()
    scores[np.flatnonzero(SAME)[: round(share * SAME.sum())]] = 0.0
    return scores


class Scripted:
    """Stands in for a set of pairs: its accuracies and scores, one after another."""

    def __init__(self, name: str, accuracies, scores) -> None:
        self.name, self.scores = name, None
        self.pairs = PairSet(
            name, "", range(2 * PAIRS), np.arange(2 * PAIRS).reshape(-1, 2), SAME, np.zeros(PAIRS, int)
        )
        self._next = iter(zip(accuracies, scores, strict=True))

    def __call__(self, embed) -> Accuracy:
        accuracy, self.scores = next(self._next)
        return Accuracy(self.name, accuracy, 0.01, 0.5, 0.01, PAIRS, 0)


class Told(Display):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def fine_tuned(tiny, monkeypatch, tmp_path):
    """Trains two epochs from weights, the hard set getting better; returns result, words and records."""
    train(tiny(schedule={"epochs": 1}), tmp_path / "start")

    def run(easy_scores, *, weights: bool = True):
        hard = Scripted("hard", [0.6, 0.7, 0.8], [worse(0.3), worse(0.2), worse(0.1)])
        easy = Scripted("view1", [0.99, 0.98, 0.97], easy_scores)
        monkeypatch.setattr(trainer, "made_measures", lambda *_: [hard, easy])
        network = {"weights": str(tmp_path / "start" / "best")} if weights else {}
        config, told = tiny(network=network, measure={"first": True}), Told()
        result = train(config, tmp_path / "run", display=told)
        lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        return result, told.said, [line for line in lines if line["kind"] == "forgot"], config

    return run


def test_what_the_set_that_chooses_does_not_see_is_said(fine_tuned, monkeypatch, tmp_path) -> None:
    result, said, lines, config = fine_tuned([SCORED, worse(0.2), worse(0.4)])
    assert result.best["epoch"] == 2
    assert [(one.part, one.name, one.forgot) for one in result.forgot] == [
        ("best", "view1", True),
        ("last", "view1", True),
    ]
    change = result.forgot[0].changes[0]
    assert (change["rate"], change["before"], change["after"]) == ("accuracy", 1.0, 0.8)
    assert change["high"] < -0.002
    assert [text for text in said if text.startswith("warning: best/, view1: the model forgets")]
    assert [line["part"] for line in lines] == ["best", "last"]
    assert json.dumps(result.to_dict())
    told = Told()
    assert train(config, tmp_path / "run", display=told).forgot == result.forgot  # the finished run, looked at again
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count('"forgot"') == 2 * len(lines)


def test_nothing_is_said_where_nothing_was_lost(fine_tuned) -> None:
    result, said, lines, _ = fine_tuned([worse(0.1), worse(0.1), SCORED])
    assert not result.forgot
    assert not lines
    assert not any("warning" in text for text in said)


def test_a_run_from_new_weights_forgets_nothing(fine_tuned) -> None:
    result, _, lines, _ = fine_tuned([SCORED, worse(0.2), worse(0.4)], weights=False)
    assert not result.forgot
    assert not lines


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 torn", None])
def test_damaged_scores_compare_nothing(tmp_path, damage) -> None:
    sets = [("view1", Scripted("view1", [], []).pairs)]
    kept = KeptScores(tmp_path)
    kept.keep(["first"], [SCORED])
    kept.keep(["best"], [worse(0.4)])
    assert [one.part for one in KeptScores(tmp_path).lost(sets)] == ["best"]
    if damage is None:
        np.savez(tmp_path / SCORES, **{"first-0": np.array([{}], object)})
    else:
        (tmp_path / SCORES).write_bytes(damage)
    assert KeptScores(tmp_path).lost(sets) == []
