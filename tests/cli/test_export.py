"""`mien export`, its refusals; what it writes is tested in tests/train/export."""

from __future__ import annotations

import pytest

from mien.cli import main

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none"], "no such training run"),
        (["."], "no trained network is there"),
        ([".", "--variant", "int4"], "expected one of fp32, fp16, int8"),
        ([".", "--variant", "int8"], "--images"),
        ([".", "--pairs", "p.txt"], "--images"),
        ([".", "--commercial"], "--licence"),
        ([".", "--part", "../x"], "expected one of best, last"),
        ([".", "--evidence", "e.csv"], "--images"),
        ([".", "--evidence", "e.csv", "--images", "."], "config.json"),
    ],
)
def test_refusals_name_what_is_wrong(tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())
