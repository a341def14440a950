"""Checkpoints on the disk: whole or not taken."""

from __future__ import annotations

import pickle

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError, TrainingError  # noqa: E402
from mien.train import checkpoint as module  # noqa: E402
from mien.train.checkpoint import checkpoints, newest_checkpoint, read_checkpoint, write_checkpoint  # noqa: E402


def steps(folder) -> list[int]:
    return [int(path.name.split("-")[1]) for path in checkpoints(folder)]


def test_a_state_comes_back_and_only_the_newest_stay(tmp_path) -> None:
    for step in (1, 5, 12):
        write_checkpoint(tmp_path, step, {"x": torch.arange(step), "deep": [{"y": 1.5}]}, keep=2)
    assert steps(tmp_path) == [12, 5]
    state = read_checkpoint(checkpoints(tmp_path)[0])
    assert torch.equal(state["x"], torch.arange(12))
    assert state["deep"] == [{"y": 1.5}]


def test_later_ones_of_a_history_given_up_do_not_push_out_the_earlier(tmp_path) -> None:
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, step, {}, keep=3)
    checkpoints(tmp_path)[0].write_bytes(b"damaged")
    write_checkpoint(tmp_path, 2, {"again": True}, keep=2)
    assert steps(tmp_path) == [2, 1]


@pytest.mark.parametrize("harm", ["bit", "cut", "empty", "name"])
def test_damage_is_seen(tmp_path, harm: str) -> None:
    path = write_checkpoint(tmp_path, 3, {"x": torch.zeros(1000)}, keep=1)
    content = bytearray(path.read_bytes())
    if harm == "bit":
        content[2000] ^= 4
    path.write_bytes({"cut": content[:-7], "empty": b""}.get(harm, content))
    if harm == "name":
        path = path.rename(path.with_name("step-00000003-0123456789abcdef.pt"))
    with pytest.raises(TrainingError, match="damaged"):
        read_checkpoint(path)
    said: list[str] = []
    assert newest_checkpoint(tmp_path, said.append) is None
    assert len(said) == 1


def test_code_in_a_checkpoint_never_runs(tmp_path) -> None:
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    draft = tmp_path / "draft"
    draft.write_bytes(pickle.dumps(Evil(), protocol=2))
    named = draft.rename(tmp_path / f"step-00000001-{module._checksum(draft)}.pt")
    with pytest.raises(TrainingError, match="something else than tensors") as caught:
        read_checkpoint(named)
    assert "weights_only" not in str(caught.value)  # PyTorch's advice how to run it
    assert not (tmp_path / "ran").exists()


def test_a_write_that_fails_leaves_what_is_there(tmp_path, monkeypatch) -> None:
    write_checkpoint(tmp_path, 1, {"x": torch.zeros(10)}, keep=1)

    def full(*_given, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write_checkpoint(tmp_path, 2, {"x": torch.zeros(10)}, keep=1)
    assert steps(tmp_path) == [1]
    assert len(list(tmp_path.iterdir())) == 1
    read_checkpoint(checkpoints(tmp_path)[0])
