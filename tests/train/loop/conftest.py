"""A folder of made-up people, tiny networks without batch statistics, and runs over them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

SIDE, PEOPLE, EACH = 32, 6, 8

NETWORK = {
    "name": "iresnet-small", "size": SIDE, "dim": 16,
    "options": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1], "norm": "group"},
}  # fmt: skip


@pytest.fixture(scope="session")
def people(tmp_path_factory) -> Path:
    """Six people of eight pictures, 32 x 32: a pattern each, and noise."""
    draw = np.random.default_rng(3)
    root = tmp_path_factory.mktemp("people")
    for person in range(PEOPLE):
        pattern = draw.integers(0, 255, (4, 4, 3)).astype(np.uint8)
        folder = root / f"person{person}"
        folder.mkdir()
        for k in range(EACH):
            big = cv2.resize(pattern, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(int)
            noisy = np.clip(big + draw.normal(0, 25, big.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{k}.png"), noisy)
    return root


def plain_config(people, **sections) -> dict:
    """A config as plain values: 8 steps of 12, float32, nothing measured; sections are merged into it."""
    plain = {
        "network": {**NETWORK},
        "data": {"sources": [{"path": str(people), "aligned": True}], "batch": 12, "workers": 0,
                 "augment": {"flip": 0.5, "light": 0.5}},
        "loss": {"name": "arcface", "options": {"scale": 16.0, "margin": 0.3}},
        "optimizer": {"lr": 0.05},
        "schedule": {"epochs": 2, "warm_up": 0.5},
        "loop": {"precision": "fp32", "threads": 1, "log_steps": 1, "tensorboard": False, "device": "cpu"},
    }  # fmt: skip
    for name, values in sections.items():
        plain[name] = {**plain.get(name, {}), **values}
    return plain


@pytest.fixture
def plain(people):
    """Makes plain configs: plain(loss={"name": "cosface"}) ..."""
    return lambda **sections: plain_config(people, **sections)


@pytest.fixture
def tiny(people):
    """Makes configs: tiny(loss={"name": "cosface"}) ..."""
    from mien.train.config import TrainConfig

    return lambda **sections: TrainConfig.from_dict(plain_config(people, **sections))


@pytest.fixture
def filters() -> dict:
    """A network beside filters, as small as they go: for `tiny(network=filters)`."""
    trunk = {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1], "norm": "group"}
    options = {"trunk_size": 32, "view_dim": 4, "trunk_options": trunk}
    return {"name": "filters:iresnet-small", "size": 48, "options": options}


@pytest.fixture
def losses():
    """losses(folder): the loss of each step."""
    return _losses


def _losses(folder: Path) -> list[float]:
    """The loss of each step as a run's metrics tell."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    return [line["loss"] for line in steps]


@pytest.fixture
def stop_after(monkeypatch):
    """stop_after(n): the next run is interrupted at its n-th step; stop_after(None): not."""
    from mien.train import trainer

    stop = runpy.run_path(str(Path(__file__).with_name("stopping.py")))["StopAfter"]

    def arrange(steps: int | None):
        monkeypatch.setattr(trainer, "Interrupts", lambda: stop(steps))

    return arrange
