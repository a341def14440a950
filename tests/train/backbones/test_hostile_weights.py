"""Weight files that are damaged, of another network, or meant to do harm."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import ModelFileError, NotFoundError  # noqa: E402
from mien.train.backbones import build, save_network  # noqa: E402
from mien.train.backbones.weights import read_state  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1], "size": 32, "dim": 8}


class Harm:
    """Unpickled the usual way, it would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (self.target,)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    torch.save(build("iresnet18", **SMALL).state_dict(), tmp_path / "good.pth")
    return tmp_path / "good.pth"


@pytest.mark.parametrize("new", [True, False])
def test_code_in_a_pickle_never_runs(tmp_path: Path, new: bool) -> None:
    path, target = tmp_path / "harm.pth", tmp_path / "harmed"
    torch.save({"conv1.weight": Harm(target)}, path, _use_new_zipfile_serialization=new)
    with pytest.raises(ModelFileError, match=r"harm\.pth"):
        build("iresnet18", weights=path, **SMALL)
    assert not target.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused_by_name(good: Path, share: float) -> None:
    good.write_bytes(good.read_bytes()[: int(good.stat().st_size * share)])
    with pytest.raises(ModelFileError, match=r"good\.pth"):
        build("iresnet18", weights=good, **SMALL)


@pytest.mark.parametrize("content", [b"not a checkpoint", b"\x80\x02]q\x00.", bytes(1000)])
def test_something_else_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    for name in ("x.pth", "x.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelFileError, match=name):
            read_state(tmp_path / name)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(good: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry.filename))
    with pytest.raises(ModelFileError, match="compressed"):
        read_state(bomb)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fc.bias": None}, r"1 missing: fc\.bias"),
        ({"extra.weight": torch.zeros(1)}, r"1 unknown: extra\.weight"),
        ({"conv1.weight": torch.zeros(8, 3, 5, 5)}, r"conv1\.weight is \(8, 3, 5, 5\) instead of \(8, 3, 3, 3\)"),
        ({"fc.bias": torch.full((8,), float("nan"))}, r"fc\.bias.*NaN"),
        ({"fc.bias": torch.full((8,), float("inf"))}, r"fc\.bias.*infinity"),
        ({"fc.bias": "text"}, "expected a tensor"),
        ({3: torch.zeros(1)}, "expected a tensor"),
    ],
)
def test_what_does_not_fit_is_named_and_the_network_unchanged(good: Path, change: dict[str, object], says: str) -> None:
    state = torch.load(good, weights_only=True)
    state.update(change)
    torch.save({key: value for key, value in state.items() if value is not None}, good)
    network = build("iresnet18", **SMALL)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ModelFileError, match=r"good\.pth.*" + says):
        network.load_weights(str(good))
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_missing_batch_counters_are_forgiven_and_old_files_read(good: Path) -> None:
    state = torch.load(good, weights_only=True)
    kept = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(kept, good, _use_new_zipfile_serialization=False)
    network = build("iresnet18", weights=good, **SMALL)
    assert all(torch.equal(kept[key], network.state_dict()[key]) for key in kept)


def test_a_missing_file_and_an_empty_folder_are_not_found(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(NotFoundError, match=str(tmp_path)):
            build("iresnet18", weights=path, **SMALL)
    with pytest.raises(NotFoundError, match=r"none\.dat"):
        build("dlib-resnet29", weights=tmp_path / "none.dat")
    (tmp_path / "bad.dat").write_bytes(b"\x01\x01")
    with pytest.raises(ModelFileError, match=r"bad\.dat"):
        build("dlib-resnet29", weights=tmp_path / "bad.dat")


def test_a_saved_folder_is_a_start_for_another_training(tmp_path: Path) -> None:
    for name, options in (("iresnet18", SMALL), ("mobilenetv2", {"size": 32, "dim": 8})):
        first = build(name, **options)
        save_network(first, tmp_path / name)
        again = build(name, weights=tmp_path / name, **options)
        assert all(torch.equal(value, again.state_dict()[key]) for key, value in first.state_dict().items())
