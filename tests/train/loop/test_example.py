"""The examples train on a folder: here, and over two "machines" that are both this one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[3] / "examples" / "two_nodes.sh"
SETTINGS = (
    "data.sources.0.aligned=true", "data.batch=12", "data.workers=0", "network.name=iresnet-small", "network.size=32",
    "network.dim=16", "network.options={widths = [8, 8, 8, 8], blocks = [1, 1, 1, 1], norm = 'group'}",
    "schedule.epochs=2", "optimizer.lr=0.05", "loop.precision=fp32", "loop.threads=1", "loop.log_steps=1",
    "loop.tensorboard=false", "loop.device=cpu",
)  # fmt: skip


def test_the_example_trains_on_a_folder(people, tmp_path) -> None:
    path = Path(__file__).parents[3] / "examples" / "train_on_your_folder.py"
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    settings = (
        "data.sources.0.aligned=true", "data.batch=12", "data.workers=0", "schedule.epochs=1", "network.size=48",
        "network.options.trunk_size=32", "network.options.trunk_options={widths = [8, 8, 8, 8]}", "loop.threads=1",
        "loop.tensorboard=false",
    )  # fmt: skip
    result = module.main(str(people), str(tmp_path / "run"), settings=settings)
    assert (result.stopped, result.step) == ("finished", 4)
    assert (tmp_path / "run" / "best" / "network.safetensors").exists()


@pytest.mark.slow
def test_the_example_changes_a_gallery_or_says_why_not(mien_data, tmp_path, capsys) -> None:
    from mien import Gallery

    path = Path(__file__).parents[3] / "examples" / "fine_tune_and_promote.py"
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    folders = sorted(folder for folder in (mien_data / "celebs").iterdir() if folder.is_dir())[:10]
    for i, folder in enumerate(folders):
        target = tmp_path / ("people" if i < 6 else "held-out") / folder.name
        target.mkdir(parents=True)
        for photo in sorted(folder.iterdir())[:8]:
            shutil.copy(photo, target)
    with Gallery.open(tmp_path / "people.db") as gallery:
        gallery.enrol_folder(tmp_path / "people")
        before = gallery.identity
        assert before is not None
    code = module.main(tmp_path / "people", tmp_path / "held-out", tmp_path / "people.db", tmp_path / "run")
    said = capsys.readouterr().out
    with Gallery.open(tmp_path / "people.db") as gallery:
        assert (gallery.identity == before) == (code == 1)
    assert ("nothing has changed" in said) == (code == 1)
    assert ("to take it back" in said) == (code == 0)


def nodes(*words: str, port: int, ranks=(0, 1)) -> list[tuple[int, str]]:
    """The script on so many machines at once, RANK in words being each one's: its exit code and what it said."""
    shell, beside = shutil.which("sh"), Path(sys.executable).parent
    if shell is None or not (beside / "torchrun").exists():
        pytest.skip("needs sh and torchrun")
    env = {**os.environ, "PORT": str(port), "OMP_NUM_THREADS": "1", "PATH": f"{beside}{os.pathsep}{os.environ['PATH']}"}
    running = [
        subprocess.Popen([shell, str(SCRIPT), "localhost", str(rank), *(w.replace("RANK", str(rank)) for w in words)],
                         env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for rank in ranks
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=200)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [(process.returncode, text) for process, text in zip(running, said, strict=True)]


@pytest.mark.slow
def test_two_nodes_train_to_the_losses_of_one_process(people, tmp_path, losses) -> None:
    from mien.train.backbones import network_facts
    from mien.train.recipes import recipe
    from mien.train.trainer import train

    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    for rank in range(2):  # each machine has its pictures somewhere else
        shutil.copytree(people, tmp_path / f"machine{rank}" / "people")
    found = nodes(str(tmp_path / "machineRANK" / "people"), str(tmp_path / "two"), *words, port=port)
    assert [code for code, _ in found] == [0, 0], found
    config = recipe("arcface").with_settings([f"data.sources=[{{path = '{people.as_posix()}'}}]", *SETTINGS])
    train(config, tmp_path / "one")
    assert network_facts(tmp_path / "two" / "last")["facts"]["processes"] == 2
    assert len(losses(tmp_path / "one")) == 8
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-4)


def test_two_nodes_ask_for_what_is_missing() -> None:
    ((code, said),) = nodes("people", port=1, ranks=(0,))
    assert code == 2
    assert "usage: two_nodes.sh" in said
