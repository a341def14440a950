"""A run keeps which code made it, over all its starts, and the exported card tells it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.models.card import load_card  # noqa: E402
from mien.train import code_record  # noqa: E402
from mien.train.backbones import network_facts  # noqa: E402
from mien.train.checkpoint import newest_checkpoint  # noqa: E402
from mien.train.export import ExportSettings, export_run  # noqa: E402
from mien.train.trainer import train  # noqa: E402

OLD = {"mien": "1.0", "commit": "a" * 40, "project": "b" * 40}
NEW = {"mien": "1.1", "commit": "c" * 40}


@pytest.fixture
def runs_as(monkeypatch):
    """runs_as(OLD): a start from now on is by that code; what was asked is counted."""
    asked = []

    def put(now):
        monkeypatch.setattr(code_record, "code_now", lambda: asked.append(now) or now)

    put.asked = asked
    return put


def kept(folder):
    facts, checkpoint = network_facts(folder / "last")["facts"], newest_checkpoint(folder / "checkpoints", print)
    assert facts["code"] == checkpoint[1]["code"]
    return facts["code"]


def exported(folder):
    """Lines of the card for people that tell of code, the card's source, and the record beside."""
    made = export_run(folder, settings=ExportSettings(licence="unstated")).folder
    lines = (made / "README.md").read_text(encoding="utf-8").splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Trained by"))
    record = json.loads((made / "export.json").read_text(encoding="utf-8"))["trained_by"]
    return (
        [line for line in lines[at + 1 : at + 4] if line.startswith("- ")],
        load_card(made / "card.toml").source,
        record,
    )


def test_one_start(tiny, runs_as, tmp_path) -> None:
    runs_as(OLD)
    train(tiny(), tmp_path / "run")
    assert runs_as.asked == [OLD]
    assert kept(tmp_path / "run") == [{"from_step": 1, **OLD}]
    told = f"mien 1.0, commit {'a' * 40}; started in a checkout at commit {'b' * 40}"
    assert exported(tmp_path / "run") == ([f"- {told}"], f"trained with {told}", [told])


def test_several_starts_by_several_commits(tiny, runs_as, stop_after, tmp_path) -> None:
    runs_as(OLD)
    stop_after(3)
    train(tiny(), tmp_path / "run")
    runs_as(NEW)
    stop_after(None)
    train(tiny(), tmp_path / "run")
    both = [{"from_step": 1, **OLD}, {"from_step": 4, **NEW}]
    assert kept(tmp_path / "run") == both
    runs_as({"mien": "9"})
    train(tiny(), tmp_path / "run")  # done already
    assert kept(tmp_path / "run") == both
    lines, source, record = exported(tmp_path / "run")
    assert [line[: len("- from step 4: mien 1.1")] for line in lines] == [
        "- from step 1: mien 1.0",
        "- from step 4: mien 1.1",
    ]
    assert source == f"trained with mien in pieces (README.md), the last from step 4: mien 1.1, commit {'c' * 40}"
    assert len(record) == 2
    train(tiny(), tmp_path / "run", resume=False)
    assert kept(tmp_path / "run") == [{"from_step": 1, "mien": "9"}]


def test_a_run_of_before_there_was_a_record(tiny, runs_as, stop_after, tmp_path, monkeypatch) -> None:
    stop_after(3)
    monkeypatch.setattr(code_record.CodeRecord, "at", lambda _self, _step: None)  # as then
    train(tiny(), tmp_path / "run")
    monkeypatch.undo()
    runs_as(NEW)
    train(tiny(), tmp_path / "run")
    assert kept(tmp_path / "run") == [{"from_step": 4, **NEW}]


def test_this_very_checkout_is_told(tiny, tmp_path) -> None:
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        pytest.skip("the tests do not run in a git checkout")
    try:
        wanted = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the git program, as the oracle ({error})")
    said = subprocess.run(
        [sys.executable, "-c", "from mien.train.code_record import code_now; print(code_now())"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    ).stdout  # fmt: skip
    if wanted.stdout.strip() not in said:  # another commit was made in between
        wanted = subprocess.run(
            ["git", "-C", str(root), "log", "-5", "--format=%H"], capture_output=True, text=True, check=True
        )
    assert any(commit in said for commit in wanted.stdout.split())
