"""`mien export`, its refusals; what it writes is tested in tests/train/export."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

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


@pytest.mark.parametrize("calibrations", [(), ("fast", "accurate")])
def test_the_command_to_use_it_names_a_threshold_where_there_is_no_calibration(monkeypatch, capsys, calibrations):
    run = Path("runs") / "mine"
    made = SimpleNamespace(folder=run / "export", forms=(), calibrations=calibrations, notes=())
    monkeypatch.setattr("mien.train.export.export_run", lambda *_given, **_settings: made)
    assert main(["export", str(run)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"mien verify A.jpg B.jpg --model {run}" in told
    assert ("--threshold X" in told) is ("--calibrate" in told) is (not calibrations)
