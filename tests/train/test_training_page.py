"""docs/training.md: its commands follow from each other, and its settings file is one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.cli import main
from mien.train.config_file import read_started_config
from mien.train.recipes import recipe

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def blocks(section: str, kind: str) -> list[str]:
    """The code of a section."""
    (text,) = re.findall(rf"^##+ {section}\n(.*?)(?=^##+ )", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_what_is_split_is_what_is_measured_and_trained_on(tmp_path, monkeypatch, capsys) -> None:
    draw = np.random.default_rng(0)
    for person in range(10):
        (tmp_path / "people" / f"p{person}").mkdir(parents=True)
        for k in range(12):
            picture = draw.integers(0, 256, (16, 16, 3)).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "people" / f"p{person}" / f"{k}.png"), picture)
    monkeypatch.chdir(tmp_path)
    commands = [
        shlex.split(line, comments=True)[1:] for line in blocks("Measure while it trains", "sh")[0].splitlines()
    ]
    assert [words[0] for words in commands] == ["data", "data", "train"]
    for words in commands[:2]:
        assert main(words) == 0, words
    words = commands[2]
    trained, measured, pairs = (words[words.index(option) + 1] for option in ("--data", "--images", "--pairs"))
    assert main([*words, "--show"]) == 0
    people = [{folder.name for folder in Path(at).iterdir()} for at in (trained, measured)]
    assert [len(one) for one in people] == [7, 3]
    assert not people[0] & people[1]
    names = {part for line in Path(pairs).read_text().splitlines() for part in line.split("\t") if part[:1] == "p"}
    assert names == people[1]


def test_the_settings_file_says_what_its_comments_say(tmp_path) -> None:
    (text,) = blocks("A file of your own", "toml")
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    found, start = read_started_config(tmp_path / "mine.toml"), recipe("small-cpu")
    assert found.network == start.network
    assert (found.loss.options["scale"], found.loss.options["margin"]) == (start.loss.options["scale"], 0.3)
    assert found.optimizer.clip is None
    assert [one.proportion for one in found.data.sources] == [3.0, 1.0]
    assert found.measure.sets[0].images == "sets/test"
