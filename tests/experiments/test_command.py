"""`mien experiments`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.cli import main


def test_angles_of_two_files(tmp_path, capsys) -> None:
    draw = np.random.default_rng(0)
    names = np.array([f"{person}/{k}.jpg" for person in ("Ada", "Bob") for k in range(4)])
    rows = np.repeat(np.eye(2, 5), 4, 0) + 0.3 * draw.normal(size=(8, 5))
    np.savez(tmp_path / "a.npz", embeddings=rows.astype(np.float32), names=names)
    np.savez(tmp_path / "b.npz", embeddings=rows[:, :3], labels=np.repeat([0, 1], 4))
    files = [str(tmp_path / name) for name in ("a.npz", "b.npz")]
    assert main(["experiments", "angles", *files, "--out", str(tmp_path / "out"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [one["pairs"]["same"] for one in record["models"]] == [12, 12]
    assert (tmp_path / "out" / "angles.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"embeddings": np.eye(2), "names": np.array(["a.jpg", "b.jpg"])}, "no person's folder"),
        ({"embeddings": np.eye(2), "labels": np.arange(3)}, "a label for each"),
        ({"embeddings": np.eye(2)}, "labels"),
        ({"labels": np.arange(2)}, "embeddings"),
        ({"embeddings": np.array([{}, {}], object)}, "plain arrays"),
    ],
)
def test_files_that_are_none_are_refused(tmp_path, capsys, arrays, said) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **arrays)
    assert main(["experiments", "angles", str(path), str(path), "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


def test_a_model_needs_a_folder(tmp_path, capsys) -> None:
    assert main(["experiments", "angles", "one", "two", "--out", str(tmp_path)]) == 2
    assert "--data" in capsys.readouterr().err
