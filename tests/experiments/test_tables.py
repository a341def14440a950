"""The tables over tiny runs: one budget, gone on where they were, failures told."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError, TrainingError
from mien.experiments import Budget, backbones, losses
from mien.experiments.comparison import in_own_process
from mien.experiments.tables import LOSSES
from mien.train.losses_by_name import loss_parts

SETTINGS = (
    "measure.epochs=1",
    "network.size=32",
    "network.dim=8",
    'network.options={"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1], "norm": "group"}',
    "data.batch=8",
    "data.workers=0",
    "loop.threads=1",
    "loop.log_steps=1",
    "loop.tensorboard=false",
    'loop.precision="fp32"',
    'loop.device="cpu"',
)


@pytest.fixture(scope="module")
def budget(tmp_path_factory) -> Budget:
    root = tmp_path_factory.mktemp("faces")
    draw = np.random.default_rng(3)
    for person in ("Ada", "Bob", "Eve"):
        (root / person).mkdir()
        pattern = draw.integers(0, 255, (4, 4, 3)).astype(np.uint8)
        for k in range(1, 5):
            noisy = cv2.resize(pattern, (32, 32)).astype(int) + draw.normal(0, 20, (32, 32, 3))
            picture = np.clip(noisy, 0, 255).astype(np.uint8)
            cv2.imwrite(str(root / person / f"{person}_{k:04}.jpg"), picture)
    rows = [f"{a}\t1\t2" for a in ("Ada", "Bob", "Eve")] + ["Ada\t1\tBob\t1", "Ada\t2\tEve\t1", "Bob\t3\tEve\t2"]
    (root / "pairs.txt").write_text("3\n" + "\n".join(rows) + "\n")
    return Budget(
        data=[root], pairs=root / "pairs.txt", images=root, threshold_pairs=root / "pairs.txt", aligned=True, epochs=2,
        settings=SETTINGS,
    )  # fmt: skip


def made_up(calls: list[str]):
    """A runner that writes what a run leaves, without training."""

    def run(config, folder: Path):
        calls.append(config.loss.name)
        if config.loss.name == "cosface" and calls.count("cosface") == 1:
            raise TrainingError("NaN in step 3")
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            {"kind": "step", "step": s, "seconds": 6.0 * s, "speed": 10.0 * s, "memory": 2**20 * s} for s in (1, 10)
        ]
        lines += [{"kind": "measure", "step": s, "name": "pairs", "accuracy": 0.5 + s / 20} for s in (5, 10)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        measured = {
            "name": "pairs",
            "accuracy": 0.875,
            "error": 0.01,
            "tar": 0.5,
            "far": 0.001,
            "pairs": 6,
            "no_face": 0,
        }
        return {
            "stopped": "finished", "step": 10, "epoch": 2, "seconds": 60.0, "people": 3, "pictures": 12,
            "measured": [measured], "best": measured,
        }  # fmt: skip

    return run


def test_a_table_goes_on_where_it_was_and_tells_failures(budget, tmp_path) -> None:
    calls: list[str] = []
    names = ("softmax", "cosface", "arcface")
    first = losses(budget, tmp_path, names=names, runner=made_up(calls))
    assert calls == ["softmax", "cosface", "arcface"]
    assert first.rows[1][:2] == ("cosface", "failed")
    assert first.record["runs"][1]["failed"] == "NaN in step 3"

    again = losses(budget, tmp_path, names=names, runner=made_up(calls))
    assert calls[3:] == ["cosface"]  # only what was not done
    assert again.rows[1] == (
        "cosface", "0.8750 ± 0.0100", "0.8750", "0.500 at 0.001", "55", "10", "10", "1.0",
    )  # fmt: skip
    run = again.record["runs"][0]
    assert run["convergence"] == {"minutes": pytest.approx([0.5, 1.0]), "steps": [5, 10], "accuracy": [0.75, 1.0]}
    table = (tmp_path / "losses.md").read_text()
    assert "| cosface | 0.8750 ± 0.0100 |" in table
    assert str(tmp_path) not in table + json.dumps(again.record["data"])
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "losses.json").read_text()) == again.record

    for outcome in (tmp_path / "outcomes").glob("*.json"):  # written by a mien that had fewer settings
        facts = json.loads(outcome.read_text())
        del facts["config"]["data"]["evening"]
        outcome.write_text(json.dumps(facts))
    losses(budget, tmp_path, names=names, runner=made_up(calls))
    assert len(calls) == 4

    with pytest.raises(InputError, match="other settings"):
        losses(Budget(**{**_fields(budget), "seed": 1}), tmp_path, names=names, runner=made_up(calls))


def _fields(budget: Budget) -> dict:
    return {name: getattr(budget, name) for name in Budget.__dataclass_fields__}


def test_only_one_thing_differs(budget, tmp_path) -> None:
    seen = {}

    def run(config, folder):
        seen[config.loss.name if config.recipe == "losses" else config.network.name] = config.to_dict()
        return made_up([])(config, folder)

    losses(budget, tmp_path / "l", names=("softmax", "arcface"), runner=run)
    backbones(budget, tmp_path / "b", names=("iresnet18", "mobilefacenet"), runner=run)
    a, b, c, d = seen.values()
    assert {key for key in a if a[key] != b[key]} == {"loss"}
    assert {key for key in c if c[key] != d[key]} == {"network"}


def test_every_row_of_the_loss_table_is_a_loss() -> None:
    for name, rule in LOSSES.items():
        parts = loss_parts(rule.name or name, rule.options)
        assert rule.alone == (parts.margin is None and parts.dense is None)


def test_what_grows_in_the_loss_table_can_grow(budget, tmp_path) -> None:
    from mien.train.objective import Objective

    def run(config, folder):
        Objective(config.loss, 8, 5)
        grown[folder.name] = (config.loss.scale_warm_up > 0, config.loss.margin_warm_up > 0)
        return made_up([])(config, folder)

    grown: dict[str, tuple[bool, bool]] = {}
    losses(budget, tmp_path, runner=run)
    assert grown.keys() == LOSSES.keys()
    assert (grown["arcface"], grown["normface"], grown["softmax"]) == ((True, True), (True, False), (False, False))


def test_an_unknown_loss_is_named(budget, tmp_path) -> None:
    with pytest.raises(InputError, match="arcface"):
        losses(budget, tmp_path, names=("arcfase",))


def test_settings_that_the_table_would_pass_over_are_refused(budget, tmp_path) -> None:
    for table, setting in (
        (losses, "loss.options={}"),
        (backbones, 'network.name="x"'),
        (backbones, "network.weights=y"),
    ):
        given = Budget(**{**_fields(budget), "settings": (*SETTINGS, setting)})
        with pytest.raises(InputError, match=f"{setting.partition('=')[0]}: has no place"):
            table(given, tmp_path, runner=made_up([]))


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM ends a process at once there")
def test_sigterm_is_for_the_run_which_stops_by_itself(tmp_path, monkeypatch) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntrap 'touch {tmp_path}/kept; exit 143' TERM\ntouch {tmp_path}/begun\n"
                       "while :; do sleep 0.02; done\n")  # fmt: skip
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))

    def stop():
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(SystemExit, match="143"):
        in_own_process(SimpleNamespace(to_dict=dict), tmp_path / "run")
    stopping.join()
    assert (tmp_path / "kept").exists()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture
def with_faces(budget, tmp_path, hopper, astronaut) -> Budget:
    """A budget whose pairs show faces: two people of two pictures."""
    for name, source in (("Grace", hopper), ("Eileen", astronaut)):
        (tmp_path / name).mkdir()
        picture = cv2.resize(cv2.imread(str(source)), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        for k, light in ((1, 1.0), (2, 0.8)):
            cv2.imwrite(str(tmp_path / name / f"{name}_{k:04}.jpg"), picture * light)
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("2\nGrace\t1\t2\nEileen\t1\t2\nGrace\t1\tEileen\t1\nGrace\t2\tEileen\t2\n")
    settings = (*SETTINGS, f"data.cache={tmp_path / 'cache'}")
    places = {"pairs": pairs, "threshold_pairs": pairs, "images": tmp_path}
    return Budget(**{**_fields(budget), **places, "settings": settings})


def test_real_training_in_this_process(with_faces, tmp_path) -> None:
    from mien.train.trainer import train

    outcome = losses(
        with_faces,
        tmp_path / "out",
        names=("cosface", "triplet"),
        runner=lambda config, folder: train(config, folder).to_dict(),
    )
    for run in outcome.record["runs"]:
        assert run["steps"] == 2
        assert run["pictures"] == 12
        assert run["pairs"] == "pairs"
        assert 0 <= run["accuracy"] <= 1
        assert run["images_per_second"] > 0
        assert run["peak_memory_bytes"] > 2**20
        assert len(run["convergence"]["accuracy"]) == 2


def test_rows_of_two_runs_share_the_budget_and_are_told_together(with_faces, tmp_path) -> None:
    from mien.train.records import read_records
    from mien.train.trainer import train

    def run(config, folder):
        return train(config, folder).to_dict()

    names = ("triplet-after-softmax", "harmonic-triplet")
    outcome = losses(with_faces, tmp_path / "out", names=names, runner=run)
    for name, told in zip(names, outcome.record["runs"], strict=True):
        folder = tmp_path / "out" / "runs" / name
        before, after = (read_records(one) for one in (folder / "before", folder))
        configs = [json.loads((one / "config.json").read_text()) for one in (folder / "before", folder)]
        assert [one["loss"]["name"] for one in configs] == ["softmax", LOSSES[name].name or name]
        assert [one["schedule"]["epochs"] for one in configs] == [1, 1]
        steps = [line["step"] for line in (*before, *after) if line["kind"] == "step"]
        assert told["steps"] == steps[len(steps) // 2 - 1] + steps[-1]
        assert told["epochs"] == 2
        seconds = [line["seconds"] for line in (*before, *after) if line["kind"] == "step"]
        assert told["seconds"] >= max(seconds)
        curve = told["convergence"]
        assert curve["steps"] == [told["steps"] // 2, told["steps"]]
        assert curve["minutes"] == sorted(curve["minutes"])
    assert (tmp_path / "out" / "runs" / "harmonic-triplet" / "before" / "best").is_dir()
    again = losses(with_faces, tmp_path / "out", names=names, runner=made_up(calls := []))
    assert not calls
    assert again.rows == outcome.rows


def test_half_a_budget_of_minutes_is_half_of_them(budget, tmp_path) -> None:
    seen = {}

    def run(config, folder):
        seen[folder.name] = config
        return made_up([])(config, folder)

    whole = Budget(**{**_fields(budget), "minutes": 8.0, "epochs": None})
    losses(whole, tmp_path, names=("softmax", "triplet-after-softmax"), runner=run)
    halves = seen["triplet-after-softmax"]
    assert (halves.schedule.minutes, halves.before.schedule.minutes, seen["softmax"].schedule.minutes) == (4, 4, 8)
    assert halves.before.network == seen["softmax"].network
    assert halves.before.optimizer == seen["softmax"].optimizer


def test_two_runs_take_all_epochs_of_an_odd_budget_and_one_alone_is_refused(budget, tmp_path) -> None:
    seen = []

    def run(config, folder):
        seen.append((config.before.schedule.epochs, config.schedule.epochs))
        return made_up([])(config, folder)

    name = "triplet-after-softmax"
    losses(Budget(**{**_fields(budget), "epochs": 11}), tmp_path / "eleven", names=(name,), runner=run)
    assert seen == [(5, 6)]
    with pytest.raises(InputError, match="two runs, and needs 2"):
        losses(Budget(**{**_fields(budget), "epochs": 1}), tmp_path / "one", names=(name,), runner=run)


def test_two_runs_by_the_clock_tell_every_step_and_second(with_faces, tmp_path, monkeypatch) -> None:
    from mien.train import trainer

    ended, real = [], trainer._run

    def spied(*given, **named):
        ended.append(real(*given, **named))
        return ended[-1]

    monkeypatch.setattr(trainer, "_run", spied)
    settings = tuple(one for one in with_faces.settings if not one.startswith("loop.log_steps"))
    short = Budget(**{**_fields(with_faces), "minutes": 0.08, "epochs": None, "settings": settings})
    outcome = losses(
        short, tmp_path / "out", names=("triplet-after-softmax",),
        runner=lambda config, folder: trainer.train(config, folder).to_dict(),
    )  # fmt: skip
    (told,) = outcome.record["runs"]
    assert len(ended) == 2
    assert (told["steps"], told["epochs"]) == (sum(one.step for one in ended), sum(one.epoch for one in ended))
    # The second's are told in hundredths.
    assert told["seconds"] == pytest.approx(sum(one.seconds for one in ended), abs=0.01)
    assert told["convergence"]["steps"] == sorted(told["convergence"]["steps"])


def test_a_folder_is_the_same_by_any_path(with_faces, tmp_path, monkeypatch) -> None:
    from mien.train.trainer import train

    def run(config, folder):
        return train(config, folder).to_dict()

    monkeypatch.chdir(tmp_path)
    names = ("triplet-after-softmax", "harmonic-triplet")
    first = losses(with_faces, "out", names=names, runner=run)
    assert losses(with_faces, tmp_path / "out", names=names, runner=made_up(calls := [])).rows == first.rows
    assert not calls
    for outcome in (tmp_path / "out" / "outcomes").glob("*.json"):
        outcome.unlink()
    again = losses(with_faces, tmp_path / "out", names=names, runner=run)  # told again by the runs that are there
    assert [row[:4] for row in again.rows] == [row[:4] for row in first.rows]
