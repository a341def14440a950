"""`mien distil`, its refusals; the training itself is tested in tests/train/distil."""

from __future__ import annotations

import pytest

from mien.cli import main

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--teacher", "sface"], "--data DIR"),
        (["--teacher", "sface", "--data", ".", "--out", "run", "--preset", "best"], "fast or accurate"),
        (["--teacher", "sface", "--data", ".", "--out", "run", "--pairs", "p.txt"], "--pairs and --images"),
        (["--teacher", "sface", "--data", ".", "--out", "run", "--set", "optimizer.rate=1"], "optimizer.rate"),
        (["--teacher", "sface", "--data", ".", "--out", "run", "--student", "toaster"], "toaster"),
        (["--teacher", "nobody", "--data", ".", "--out", "run", "--student", "iresnet-small"], "no model is called"),
    ],
)
def test_refusals_name_what_is_wrong(tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIEN_CARDS", str(tmp_path))
    assert main(["distil", *arguments]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
