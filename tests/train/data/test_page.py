"""The examples of the page run, one after the other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

PAGE = Path(__file__).parents[3] / "docs" / "training-data.md"


def test_the_examples_run(hopper, astronaut, tmp_path, monkeypatch, capsys):
    for name, path in (("Grace", hopper), ("Eileen", astronaut)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        shutil.copy(path, tmp_path / "photos" / name)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), names)
    out = capsys.readouterr().out
    assert "2 pictures of 2 people; without a face: 0" in out
    assert "torch.Size([2, 112, 112, 3])" in out
