"""`mien train`: recipes listed, configs shown, runs made, stopped and planned."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.cli import main

SMALL = [
    "network.name=iresnet-small", "network.size=32", "network.dim=16", "network.options.norm=group",
    "network.options.widths=[8, 8, 8, 8]", "network.options.blocks=[1, 1, 1, 1]", "data.batch=8", "data.workers=0",
    "schedule.epochs=2", "loop.threads=1", "loop.precision=fp32", "loop.tensorboard=false", "loop.log_steps=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, draw = tmp_path_factory.mktemp("cli-people"), np.random.default_rng(0)
    for person in range(4):
        (root / f"p{person}").mkdir()
        for k in range(4):
            picture = np.clip(60 * person + draw.normal(0, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(root / f"p{person}" / f"{k}.png"), picture)
    return root


@pytest.fixture
def arguments(folder, tmp_path):
    sets = [part for setting in SMALL for part in ("--set", setting)]
    return ["train", "small-cpu", "--data", str(folder), "--aligned", "--out", str(tmp_path / "run"), *sets]


def test_recipes_are_listed(capsys) -> None:
    assert main(["train", "--list"]) == 0
    shown = capsys.readouterr().out
    assert "small-cpu" in shown
    assert "softmax-then-triplet" in shown
    assert main(["train", "--list", "--json"]) == 0
    assert "arcface" in json.loads(capsys.readouterr().out)


def test_a_config_is_shown_and_read_again(capsys, arguments, tmp_path) -> None:
    assert main([*arguments, "--show"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["data"]["batch"] == 8
    (tmp_path / "mine.json").write_text(json.dumps(shown))
    assert main(["train", str(tmp_path / "mine.json"), "--show"]) == 0
    assert json.loads(capsys.readouterr().out) == shown


def test_a_file_that_names_a_recipe_starts_from_it_and_options_hold_over_it(capsys, tmp_path) -> None:
    def shown(*words):
        assert main(["train", *words, "--show"]) == 0
        return json.loads(capsys.readouterr().out)

    (tmp_path / "mine.toml").write_text('recipe = "small-cpu"\n[optimizer]\nlr = 0.015\n[data]\nbatch = 64\n')
    settings = ["--set", "optimizer.lr=0.015", "--set", "data.batch=32"]
    assert shown(str(tmp_path / "mine.toml"), "--set", "data.batch=32") == shown("small-cpu", *settings)
    (tmp_path / "mine.toml").write_text('recipe = "smal-cpu"\n')
    assert main(["train", str(tmp_path / "mine.toml"), "--show"]) == 2
    assert "did you mean small-cpu" in " ".join(capsys.readouterr().err.split())


def test_aligned_is_a_word_about_data(capsys, tmp_path) -> None:
    (tmp_path / "mine.toml").write_text('recipe = "small-cpu"\n[[data.sources]]\npath = "people"\n')
    assert main(["train", str(tmp_path / "mine.toml"), "--aligned", "--show"]) == 2
    assert "--aligned: says of --data" in capsys.readouterr().err


def test_several_lists_of_pairs_are_sets_with_names_of_their_own(capsys, arguments) -> None:
    def sets(*more):
        assert main([*arguments, *more, "--show"]) == 0
        return json.loads(capsys.readouterr().out)["measure"]["sets"]

    one = sets("--pairs", "own.txt", "--images", "mine")
    expected = {"pairs": "own.txt", "images": "mine", "threshold_pairs": None, "name": "own", "skip_missing": False}
    assert one == [expected]
    two = sets(
        "--pairs", "own.txt", "--images", "mine", "--threshold-pairs", "none",
        "--pairs", "test.txt", "--images", "lfw", "--threshold-pairs", "dev.txt", "--skip-missing",
    )  # fmt: skip
    assert two[0] == {**expected, "skip_missing": True}
    other = {"pairs": "test.txt", "images": "lfw", "threshold_pairs": "dev.txt", "name": "test", "skip_missing": True}
    assert two[1] == other
    same = sets("--pairs", "a/t.txt", "--pairs", "b/t.txt", "--pairs", "c/t.txt", "--images", "x", "--images", "y",
                "--images", "y")  # fmt: skip
    assert [one["name"] for one in same] == ["t of x", "t of y 2", "t of y 3"]
    assert [one["images"] for one in sets("--pairs", "a", "--pairs", "b", "--images", "x")] == ["x", "x"]


def test_a_run_ends_with_a_result_and_is_not_made_twice(capsys, arguments, tmp_path) -> None:
    assert main([*arguments, "--json"]) == 0
    out = capsys.readouterr()
    result = json.loads(out.out)
    assert (result["stopped"], result["step"], result["people"]) == ("finished", 4, 4)
    assert "step 4/4" in out.err
    assert (tmp_path / "run" / "best" / "network.safetensors").exists()
    assert main(arguments) == 0
    out = capsys.readouterr()
    assert "4 steps" in out.out
    assert "done already, after step 4 (epoch 2)" in out.err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--set", "optimizer.lrr=1"], "did you mean lr"),
        (["--set", "loss.name=arkface"], "did you mean arcface"),
        (["--set", "loss.options.margni=1"], "did you mean margin"),
        (["--set", "network.name=resnet1"], "resnet1"),
        (["--set", "data.augment.flp=1"], "did you mean flip"),
        (["--set", "data.batch=0"], "batch"),
        (["--pairs", "x.txt"], "--images"),
        (["--threshold-pairs", "x.txt"], "--pairs"),
        (["--skip-missing"], "--pairs"),
        (
            ["--pairs", "a", "--pairs", "b", "--pairs", "c", "--images", "x", "--images", "y"],
            "one for all --pairs, or 3",
        ),
        (["--pairs", "a", "--pairs", "b", "--images", "x", "--threshold-pairs", "t"], "none: a list that has none"),
        (["--set", "network.frozen=['nothing']"], "no stage"),
    ],
)
def test_mistakes_end_with_2_and_say_what_to_do(capsys, arguments, more, says) -> None:
    assert main([*arguments, *more]) == 2
    assert says in capsys.readouterr().err


def test_a_recipe_data_and_a_folder_are_asked_for(capsys, arguments) -> None:
    for given, says in ((["train"], "--list"), (["train", "small-cpu"], "--out"), (["train", "arc"], "arcface")):
        assert main(given) == 2
        assert says in capsys.readouterr().err
    assert main(["train", "small-cpu", "--out", arguments[6]]) == 2
    assert "--data" in capsys.readouterr().err


def test_a_plan_tells_what_is_needed_and_trains_nothing(capsys, arguments, tmp_path) -> None:
    assert main([*arguments, "--plan"]) == 0
    table = capsys.readouterr().out
    assert "activations" in table
    assert "fits" in table
    assert main([*arguments, "--plan", "--json", "--processes", "2"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["people"], plan["pictures"], plan["processes"], plan["at_once"]) == (4, 16, 2, 4)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_leaves_a_checkpoint_and_130(arguments, tmp_path) -> None:
    endless = [*arguments, "--set", "schedule.epochs=100000"]
    command = [sys.executable, "-m", "mien", *endless]
    running = subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        metrics = tmp_path / "run" / "metrics.jsonl"
        while running.poll() is None and (not metrics.exists() or metrics.read_bytes().count(b"\n") < 3):
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == 130, err
    assert "the same command goes on from there" in out
    assert list((tmp_path / "run" / "checkpoints").glob("step-*.pt"))


@pytest.mark.parametrize("text", ["[optimizer]\nlrr = 1\n", '[optimizer]\nlr = "fast"\n', "[optimizer\n", "lr = 1\n"])
def test_a_config_file_that_is_wrong_is_named(text, tmp_path, capsys):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert main(["train", str(path), "--show"]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "mine.toml: " in err.replace("\n", "")
