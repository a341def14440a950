"""Digits in the plane: a folder of made-up ones, the split, the numbers, the files; the real ones where they are."""

from __future__ import annotations

import csv
import gzip
import json
import struct

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError, NotFoundError  # noqa: E402
from mien.experiments import mnist  # noqa: E402
from mien.experiments.digits import read_digits  # noqa: E402
from mien.experiments.plane_losses import PLANE_LOSSES, chosen_losses, class_logits  # noqa: E402


def idx(array: np.ndarray) -> bytes:
    head = b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes())


def write_part(folder, part: str, count: int, seed: int = 0) -> None:
    draw = np.random.default_rng(7)
    patterns = draw.integers(0, 255, (10, 28, 28))
    labels = np.random.default_rng(seed).permutation(np.arange(count) % 10)
    pictures = np.clip(patterns[labels] * 0.8 + draw.normal(25, 20, (count, 28, 28)), 0, 255)
    (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(pictures))
    (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))


def test_the_test_file_alone_is_split_by_the_seed(tmp_path) -> None:
    write_part(tmp_path, "t10k", 200)
    digits = read_digits(tmp_path, seed=3)
    assert (len(digits.train[1]), len(digits.test[1])) == (160, 40)
    assert "160 of its 200" in digits.split
    assert "seed 3" in digits.split
    rows = [tuple(picture.ravel()) for picture in (*digits.train[0], *digits.test[0])]
    assert len(set(rows)) == 200  # every digit on one side
    np.testing.assert_array_equal(read_digits(tmp_path, seed=3).test[0], digits.test[0])
    assert (read_digits(tmp_path, seed=4).test[0] != digits.test[0]).any()


def test_the_training_file_is_trained_on_where_it_is_there(tmp_path) -> None:
    write_part(tmp_path, "t10k", 50)
    write_part(tmp_path, "train", 100)
    digits = read_digits(tmp_path)
    assert (len(digits.train[1]), len(digits.test[1]), digits.split) == (100, 50, "the published one")


def test_what_is_not_mnist_is_refused(tmp_path) -> None:
    with pytest.raises(NotFoundError, match="t10k"):
        read_digits(tmp_path)
    write_part(tmp_path, "t10k", 50)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(40) % 10))
    with pytest.raises(InputError, match="labels"):
        read_digits(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(50) % 11))
    with pytest.raises(InputError, match="0 to 9"):
        read_digits(tmp_path)


def test_a_small_run_is_repeatable_and_writes_what_it_says(tmp_path) -> None:
    write_part(tmp_path, "t10k", 400)
    before = torch.get_num_threads(), torch.random.get_rng_state()
    runs = [mnist(tmp_path, tmp_path / out, losses=("softmax", "arcface"), steps=3, seed=5) for out in "ab"]
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
    assert (tmp_path / "a" / "mnist.csv").read_bytes() == (tmp_path / "b" / "mnist.csv").read_bytes()
    assert (tmp_path / "a" / "mnist.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "a" / "mnist.json").read_text())
    assert record == runs[0].record
    assert (record["trained"], record["measured"]) == (320, 80)
    # The numbers are those of the features that were written, angle by angle.
    rows = [
        r for r in csv.DictReader((tmp_path / "a" / "mnist.csv").read_text().splitlines()) if r["loss"] == "softmax"
    ]
    features = np.array([[float(r["x"]), float(r["y"])] for r in rows])
    labels = np.array([int(r["digit"]) for r in rows])
    turn = np.arctan2(features[:, 1], features[:, 0])
    middle = [np.angle(np.exp(1j * turn[labels == k]).sum()) for k in range(10)]
    intra = np.degrees(np.abs(np.angle(np.exp(1j * (turn - np.array(middle)[labels]))))).mean()
    gaps = [abs(np.degrees(np.angle(np.exp(1j * (a - b))))) for i, a in enumerate(middle) for b in middle[:i]]
    found = record["losses"]["softmax"]
    assert found["mean_intra"] == pytest.approx(intra, abs=1e-3)
    assert found["smallest_inter"] == pytest.approx(min(gaps), abs=1e-3)


def test_losses_are_made_prepared_and_classify() -> None:
    features, labels = torch.randn(20, 2, requires_grad=True), torch.arange(20) % 5
    for name, rule in PLANE_LOSSES.items():
        loss = rule.make(5)
        rule.prepare(loss, 5, 10)
        loss(features, labels).backward()
        logits = class_logits(loss, features.detach())
        assert logits.shape == (20, 5), name
    rule = PLANE_LOSSES["arcface"]
    loss = rule.make(5)
    margins = []
    for step in (0, 25, 50, 99):
        rule.prepare(loss, step, 100)
        margins.append(loss.margin.m2)
    assert margins == pytest.approx([0, 0.15, 0.3, 0.3])
    with pytest.raises(InputError, match="softmacks"):
        chosen_losses(["softmacks"])


@pytest.mark.data
def test_real_digits_are_read(mien_data) -> None:
    digits = read_digits(mien_data / "mnist")
    assert len(digits.train[1]) == 8000
    counts = np.bincount(np.concatenate([digits.train[1], digits.test[1]]))
    assert counts.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # as published
