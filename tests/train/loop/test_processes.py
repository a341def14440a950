"""Runs over 1, 2 and 3 processes (gloo) have the same losses, and each goes on with what another left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.train.backbones import load_network, save_network  # noqa: E402
from mien.train.config import TrainConfig  # noqa: E402
from mien.train.parts import made_network  # noqa: E402
from mien.train.trainer import train  # noqa: E402

pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("loop_worker.py")
CASES = {
    "arcface, sgd": {},
    "adaface, ema, clipped": {"loss": {"name": "adaface", "options": {"scale": 16.0}},
                              "optimizer": {"lr": 0.05, "ema": 0.9, "clip": 0.5}},
    "arcface and triplets in two parts, adamw": {
        "loss": {"name": "arcface-triplet", "options": {"scale": 16.0, "mining": "batch-all"}, "keep": 1.0},
        "optimizer": {"name": "adamw", "lr": 0.002, "accumulate": 2},
        "data": {"sampler": {"name": "pk", "people": 3, "each": 4}},
    },
    "beside filters": {
        "network": {"name": "filters:iresnet-small", "size": 48, "options": {
            "trunk_size": 32, "view_dim": 4,
            "trunk_options": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1], "norm": "group"}}},
        "optimizer": {"lr": 0.05, "ema": 0.9},
    },
    "muon": {"optimizer": {"name": "muon", "lr": 0.03, "head_lr": 1.7}},
    "center loss": {"loss": {"name": "center", "options": {"weight": 0.01}}},
}  # fmt: skip


def start(world: int, jobs: list[dict], folder: Path, name: str) -> list[subprocess.Popen]:
    """Processes that make runs one after another."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(jobs))
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen([sys.executable, str(WORKER), str(rank), str(world), str(folder / f"{name}.meet"), str(path)],
                         env=env, stderr=subprocess.PIPE, text=True)
        for rank in range(world)
    ]  # fmt: skip


def finish(running: list[subprocess.Popen]) -> None:
    try:
        errors = [process.communicate(timeout=250)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert all(process.returncode == 0 for process in running), "\n".join(errors)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, request):
    """For each case: one process all the way; two all the way; two stopped, by two; and 2 -> 1 -> 3."""
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("loop_conftest", Path(__file__).with_name("conftest.py"))
    helpers = module_from_spec(spec)
    spec.loader.exec_module(helpers)
    people, root = request.getfixturevalue("people"), tmp_path_factory.mktemp("runs")
    configs = {name: helpers.plain_config(people, **sections) for name, sections in CASES.items()}
    for config in configs.values():
        if "keep" in config["loss"]:  # to a network that came before
            save_network(made_network(TrainConfig.from_dict(config).network, 0), root / "old")
            config["loss"]["old"] = str(root / "old")
    stop = __import__("runpy").run_path(str(Path(__file__).with_name("stopping.py")))["StopAfter"]

    def jobs(kind: str, stop: int | None) -> list[dict]:
        return [{"config": c, "folder": str(root / kind / n), "stop": stop} for n, c in configs.items()]

    finish(start(2, [*jobs("two", None), *jobs("again", 3), *jobs("again", None), *jobs("mixed", 3)], root, "pair"))
    patch = pytest.MonkeyPatch()
    for kind, steps in (("one", None), ("mixed", 2)):
        patch.setattr("mien.train.trainer.Interrupts", lambda steps=steps: stop(steps))
        for name, config in configs.items():
            train(TrainConfig.from_dict(config), root / kind / name)
    patch.undo()
    finish(start(3, jobs("mixed", None), root, "three"))
    return root


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_to_the_losses_of_one(runs, losses, name: str) -> None:
    one = losses(runs / "one" / name)
    assert len(one) == 8
    assert one[-1] != pytest.approx(one[0], rel=1e-3)  # it does learn
    np.testing.assert_allclose(losses(runs / "two" / name), one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_two_then_one_then_three_processes_train_to_the_losses_of_one(runs, losses, name: str) -> None:
    np.testing.assert_allclose(losses(runs / "mixed" / name), losses(runs / "one" / name), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_that_were_stopped_have_the_losses_of_two_that_were_not(runs, losses, name: str) -> None:
    np.testing.assert_allclose(losses(runs / "again" / name), losses(runs / "two" / name), rtol=1e-6, atol=1e-6)


def test_the_last_layer_is_the_same_on_any_number_of_processes(runs) -> None:
    kept = [load_network(runs / kind / "beside filters" / "last").last_layer for kind in ("one", "two", "mixed")]
    for layer in kept:
        assert layer.fitted
        torch.testing.assert_close(layer.axes, kept[0].axes, atol=2e-3, rtol=0)
        torch.testing.assert_close(layer.mean, kept[0].mean, atol=2e-3, rtol=0)


TOGETHER = """
import sys
import torch.distributed as dist, torch
from mien.errors import MienError
from mien.train.processes import Processes
rank, meet = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
group = Processes(rank, 2, torch.device("cpu"), dist.group.WORLD)
did = []
group.by_first(lambda: did.append(rank))
assert did == [0][rank:], did
def full():
    raise OSError("no space left")
try:
    group.by_first(full)
except (OSError, MienError) as error:
    assert str(error) == "no space left", error
    assert isinstance(error, OSError) == (rank == 0)
else:
    raise AssertionError("nobody was told")
group.wait()
dist.destroy_process_group()
"""


def test_what_fails_on_the_first_process_is_told_by_all(tmp_path) -> None:
    finish(
        [
            subprocess.Popen([sys.executable, "-c", TOGETHER, str(rank), str(tmp_path / "meet")],
                             stderr=subprocess.PIPE, text=True)
            for rank in range(2)
        ]
    )  # fmt: skip


def test_killed_at_any_moment_a_run_goes_on_as_if_it_had_not_been(plain, losses, tmp_path) -> None:
    config = plain(loop={"checkpoint_steps": 2}, optimizer={"ema": 0.9})
    whole = train(TrainConfig.from_dict(config), tmp_path / "whole")
    job = {"config": config, "folder": str(tmp_path / "killed"), "sleep": 0.1}
    metrics = tmp_path / "killed" / "metrics.jsonl"
    draw = np.random.default_rng()
    for kill, lines in enumerate((2, 5)):
        (process,) = start(1, [job], tmp_path, f"kill{kill}")
        while process.poll() is None and (not metrics.exists() or metrics.read_bytes().count(b"\n") < lines):
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.2))
        process.kill()
        process.communicate()
        assert process.returncode != 0
    result = train(TrainConfig.from_dict(config), tmp_path / "killed")
    assert (result.stopped, result.step) == ("finished", whole.step)
    np.testing.assert_allclose(losses(tmp_path / "killed"), losses(tmp_path / "whole"), rtol=1e-6, atol=1e-6)
    from mien.train.backbones import load_network

    ends = [load_network(tmp_path / run / "last").state_dict() for run in ("whole", "killed")]
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-6, atol=1e-6)
