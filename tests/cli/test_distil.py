"""`mien distil`, its refusals; the training itself is tested in tests/train/distil."""

from __future__ import annotations

import signal

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


def test_the_default_student_is_the_default_embedder_with_its_weights_and_best_teacher(tmp_path, monkeypatch):
    from mien.models.catalogue import DEFAULT_EMBEDDER
    from mien.train import distil as room
    from mien.train.distil import DistilResult

    asked = []

    def fake(config, folder, settings, **_more):
        asked.append((config, settings))
        return DistilResult(folder, "finished", 1, 1, 0.1, None, "x")

    monkeypatch.setattr(room, "distil", fake)
    for more in ([], ["--preset", "fast", "--student", "mobilefacenet"]):
        arguments = ["distil", "--student", "default", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
        assert main([*arguments, *more, "--json"]) == 0
    (own, taught), (small, fast) = asked
    assert (own.network.name, own.network.weights) == (DEFAULT_EMBEDDER, "default")
    assert (taught.teacher, taught.preset) == (DEFAULT_EMBEDDER, "accurate")
    assert own.data.augment["away"] > 0
    assert own.data.augment["mesh"] > 0
    assert (small.network.name, small.network.weights, fast.preset) == ("mobilefacenet", None, "fast")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_told_by_the_exit_code(tmp_path, monkeypatch, capsys, number):
    from mien.train import distil as room
    from mien.train.distil import DistilResult

    stopped = DistilResult(tmp_path / "run", "interrupted", 7, 0, 0.1, None, "x", number)
    monkeypatch.setattr(room, "distil", lambda *_given, **_more: stopped)
    assert main(["distil", "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 128 + number
    assert "after step 7" in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_of_several_processes_the_first_one_tells(tmp_path, monkeypatch, capsys, more):
    from mien.train import distil as room
    from mien.train.distil import DistilResult

    done = DistilResult(tmp_path / "run", "finished", 7, 1, 0.1, None, "x")
    monkeypatch.setattr(room, "distil", lambda *_given, **_more: done)
    told = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert main(["distil", "--data", str(tmp_path), "--out", str(tmp_path / "run"), *more]) == 0
        told.append(capsys.readouterr().out)
    assert "run" in told[0]
    assert not told[1]
