"""Networks in folders: round trips, crashes and hostile files."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from safetensors.torch import load_file, save_file  # noqa: E402

from mien.errors import InputError, ModelError, ModelFileError, NotFoundError  # noqa: E402
from mien.train.backbones import build, load_network, network_facts, save_network  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {"widths": [8, 8, 16, 16], "blocks": [1, 1, 1, 1], "size": 32, "dim": 16}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = build("iresnet18", **SMALL)
    network(torch.randn(8, 3, 32, 32))  # moves the running statistics
    save_network(network, tmp_path / "n", facts={"recipe": "测试", "accuracy": 0.5})
    return tmp_path / "n"


def test_round_trip_gives_the_same_numbers_and_facts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build("iresnet18", colour="grey", norm="group", se=True, **SMALL).to(memory_format=torch.channels_last)
    save_network(network, tmp_path, facts={"a": [1, 2]})
    again = load_network(tmp_path)
    x = torch.randn(2, 1, 32, 32)
    assert not again.training
    assert torch.allclose(network.eval()(x), again(x), atol=1e-5)  # channels-last sums in another order
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in network.state_dict().items())
    assert (again.name, again.dim, again.spec, again.options) == (
        network.name,
        16,
        network.spec,
        network.options,
    )
    shown = json.loads((tmp_path / "network.json").read_text("utf-8"))
    assert shown == network_facts(tmp_path)
    assert shown["facts"] == {"a": [1, 2]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.json", "network.safetensors"]


def test_a_network_with_nan_is_not_saved_and_the_old_one_stays(saved: Path) -> None:
    network = load_network(saved)
    before = (saved / "network.safetensors").read_bytes()
    with torch.no_grad():
        network.fc.bias[0] = float("nan")
    with pytest.raises(ModelError, match=r"fc\.bias"):
        save_network(network, saved)
    with pytest.raises(InputError, match="facts"):
        save_network(load_network(saved), saved, facts={"x": float("inf")})
    assert (saved / "network.safetensors").read_bytes() == before


def test_a_crash_while_writing_leaves_the_old_network(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_network(saved)
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def crash(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(InputError, match="No space left"):
        save_network(network, saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    path = saved / "network.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ModelFileError, match=r"network\.safetensors"):
        load_network(saved)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"options": {"widths": [8, 8, 16, 4096]}}, "another shape|missing"),
        ({"options": {"weights": "/etc/passwd"}}, "options"),
        ({"options": {"blocks": [10**9, 1, 1, 1]}}, "blocks"),
        ({"options": {"nonsense": 1}}, "nonsense"),
        ({"name": "no-such-network"}, "no-such-network"),
        ({"name": "timm:../../x", "options": {}}, "timm"),
        ({"dim": 10**12}, "dim"),
        ({"size": 10**9}, "size"),
        ({"format": 99}, "format"),
        ({"spec": {}}, "input"),
        ({"facts": 3}, "facts"),
    ],
)
def test_a_header_that_lies_is_refused_by_name(saved: Path, change: dict[str, object], says: str) -> None:
    path = saved / "network.safetensors"
    described = {**network_facts(saved), **change}
    save_file(load_file(path), path, metadata={"mien": json.dumps(described)})
    with pytest.raises(ModelFileError, match=says):
        load_network(saved)


def test_nan_inside_the_file_and_a_missing_file_are_refused(saved: Path) -> None:
    path = saved / "network.safetensors"
    described = network_facts(saved)
    state = load_file(path)
    state["fc.weight"][0, 0] = float("nan")
    save_file(state, path, metadata={"mien": json.dumps(described)})
    with pytest.raises(ModelFileError, match=r"fc\.weight.*NaN"):
        load_network(saved)
    with pytest.raises(NotFoundError, match="no saved network"):
        load_network(saved / "elsewhere")
