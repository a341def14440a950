"""Runs on a CUDA device: every loss, every precision; stopped, shared and taken back to the processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")
if not torch.cuda.is_available():
    pytest.skip("needs a CUDA device", allow_module_level=True)

import torch.distributed as dist  # noqa: E402

from mien.train import plan  # noqa: E402
from mien.train.backbones import load_network  # noqa: E402
from mien.train.config import TrainConfig  # noqa: E402
from mien.train.losses_by_name import LOSSES  # noqa: E402
from mien.train.trainer import train  # noqa: E402

WORKER = Path(__file__).with_name("loop_worker.py")
PK = {"data": {"sampler": {"name": "pk", "people": 3, "each": 4}}}
WIDE = {"network": {"name": "iresnet-small", "options": {"widths": [16] * 4, "blocks": [1] * 4, "norm": "group"}}}


@pytest.fixture
def made(plain, tmp_path):
    """made(name, device, **sections): a run in a folder of that name."""

    def run(name: str, device: str = "cuda", **sections):
        loop = {**sections.pop("loop", {}), "device": device}
        return train(TrainConfig.from_dict(plain(loop=loop, **sections)), tmp_path / name)

    return run


@pytest.fixture(autouse=True)
def _exact_convolutions():
    """As on the processor: no TF32, and the same sums in the same order each time."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = before


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains_as_on_the_processor(made, losses, tmp_path, name: str) -> None:
    sections = {"loss": {"name": name, "options": {}}, **PK}
    if name == "harmonic-triplet":
        made("old", "cpu", **WIDE)
        sections = {**sections, "loss": {**sections["loss"], "old": str(tmp_path / "old" / "last")}, **WIDE}
    if name in ("triplet", "contrastive", "harmonic-triplet"):
        sections["optimizer"] = {"name": "adamw", "lr": 1e-3}
    for device in ("cpu", "cuda"):
        made(device, device, **sections)
    on_cuda = losses(tmp_path / "cuda")
    np.testing.assert_allclose(on_cuda, losses(tmp_path / "cpu"), rtol=5e-3, atol=5e-3)
    assert len(on_cuda) == 8


@pytest.mark.parametrize(
    "sections",
    [
        {"loop": {"precision": "auto"}},
        {"loop": {"precision": "fp16"}},
        {"loop": {"precision": "bf16", "compile": True}, **WIDE},
        {"loop": {"channels_last": False}},
        {"optimizer": {"name": "muon", "lr": 0.03, "head_lr": 1.7, "ema": 0.9, "accumulate": 2}},
        {"loss": {"products": "bf16"}, "loop": {"precision": "bf16"}},
        {"loss": {"sample_rate": 0.5}, "optimizer": {"lr": 0.05, "clip": 0.5}},
        {"loss": {"centres": "class-means"}},
        {"network": {"recompute": True}},
        {"data": {"workers": 2}},
    ],
    ids=lambda sections: json.dumps(sections)[:60],
)
def test_every_way_of_training_runs_and_is_read_on_the_processor(made, losses, tmp_path, sections) -> None:
    result = made("run", **sections)
    found = losses(tmp_path / "run")
    assert result.stopped == "finished"
    assert np.isfinite(found).all()
    assert min(found) < found[0]
    network = load_network(result.folder / "last")
    assert all(weight.device.type == "cpu" and weight.isfinite().all() for weight in network.state_dict().values())


@pytest.mark.parametrize(
    "sections", [{"optimizer": {"ema": 0.9}}, {"schedule": {"epochs": 1, "sizes": [[0, 24], [0.5, 32]]}}]
)
def test_filters_beside_a_network_are_fitted_and_read_on_the_processor(made, filters, sections) -> None:
    network = load_network(made("run", network=filters, **sections).folder / "last")
    assert network.fitted
    assert network.last_layer.fitted
    assert all(weight.device.type == "cpu" and weight.isfinite().all() for weight in network.state_dict().values())


@pytest.mark.parametrize("stop", [1, 5])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_that_was_stopped_has_the_losses_of_one_that_was_not(
    made, losses, stop_after, tmp_path, stop, precision
) -> None:
    sections = {
        "network": {"name": "iresnet-small", "options": {"widths": [8] * 4, "blocks": [1] * 4, "dropout": 0.3}},
        "optimizer": {"name": "muon", "lr": 0.03, "head_lr": 1.7, "ema": 0.9},
        "loss": {"name": "curricularface", "options": {"scale": 16.0}},
    }
    made("whole", loop={"precision": precision}, **sections)
    stop_after(stop)
    assert made("parts", loop={"precision": precision}, **sections).step == stop
    torch.cuda.manual_seed(99)
    stop_after(None)
    assert made("parts", loop={"precision": precision}, **sections).stopped == "finished"
    np.testing.assert_allclose(losses(tmp_path / "parts"), losses(tmp_path / "whole"), rtol=1e-6, atol=1e-6)


def test_a_run_goes_on_from_one_device_to_the_other(made, losses, stop_after, tmp_path) -> None:
    sections = {"optimizer": {"lr": 0.05, "ema": 0.9}, "loss": {"name": "adaface", "options": {"scale": 16.0}}}
    made("whole", "cpu", **sections)
    for device, stop in (("cuda", 3), ("cpu", 2), ("cuda", None)):
        stop_after(stop)
        made("parts", device, **sections)
    np.testing.assert_allclose(losses(tmp_path / "parts"), losses(tmp_path / "whole"), rtol=2e-3, atol=2e-3)


def test_a_group_over_nccl_trains_to_the_losses_of_one_process(plain, losses, tmp_path, monkeypatch) -> None:
    """The wrapped network and the sharded head over NCCL; one device has room for one process of it."""
    from mien.train import processes

    if not dist.is_nccl_available():
        pytest.skip("this torch has no NCCL")
    config = TrainConfig.from_dict(plain(loop={"device": "cuda"}))
    train(config, tmp_path / "alone")
    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        group = processes.Processes(0, 1, torch.device("cuda", 0), dist.group.WORLD)

        class Joined:
            def __enter__(self):
                return group

            def __exit__(self, *_):
                pass

        monkeypatch.setattr("mien.train.trainer.joined", lambda _: Joined())
        train(config, tmp_path / "group")
    finally:
        dist.destroy_process_group()
    np.testing.assert_allclose(losses(tmp_path / "group"), losses(tmp_path / "alone"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("optimizer", [{"lr": 0.05}, {"name": "muon", "lr": 0.03, "head_lr": 1.7}], ids=str)
def test_two_processes_on_one_device_train_to_the_losses_of_one(plain, losses, tmp_path, optimizer) -> None:
    config = plain(loop={"device": "cuda"}, optimizer=optimizer, loss={"name": "adaface", "options": {"scale": 16.0}})
    train(TrainConfig.from_dict(config), tmp_path / "one")
    jobs = tmp_path / "jobs.json"
    jobs.write_text(json.dumps([{"config": config, "folder": str(tmp_path / "two"), "stop": None}]))
    env = {**os.environ, "OMP_NUM_THREADS": "1", "LOCAL_RANK": "0"}
    command = [sys.executable, str(WORKER)]
    running = [
        subprocess.Popen([*command, str(rank), "2", str(tmp_path / "meet"), str(jobs)], env=env,
                         stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]  # fmt: skip
    try:
        errors = [process.communicate(timeout=200)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert all(process.returncode == 0 for process in running), "\n".join(errors)
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-3, atol=1e-3)


def test_a_plan_counts_the_devices_memory(plain) -> None:
    found = plan.planned(TrainConfig.from_dict(plain(loop={"device": "cuda"})))
    assert found.device == "cuda"
    assert found.fits
