"""A tiny trained network as a run leaves it, exported once."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_tiny(seed=0, **options):
    """An iResNet of a few thousand weights, with statistics as training leaves them."""
    import torch

    from mien.train.backbones import build

    torch.manual_seed(seed)
    settings = {"dim": 16, "size": 32, "blocks": [1, 1, 1, 1], "widths": [8, 8, 8, 8], **options}
    network = build("iresnet-small", **settings).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network


@pytest.fixture(scope="session")
def tiny():
    """Makes tiny networks; another seed, other weights."""
    return make_tiny


def make_run(folder, network, part="best"):
    from mien.train.backbones import save_network

    config = {"recipe": "tiny|<b>", "loop": {"seed": 7}, "data": {"sources": [{"path": "/home/me/secret/celebs"}]}}
    lists = {"lists": ["C:\\Users\\me\\pairs.txt", "~/secret/more.txt"]}
    save_network(network, folder / part, facts={"recipe": "tiny", "config": config, **lists})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    lines = [
        '{"step": 1, "loss": 3.5}',
        '{"step": 2, "loss": 2.5, "view1": {"accuracy": 0.75}}',
        "[1]",
        '{"loss": NaN}',
    ]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 3, "lo', encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def write_run():
    """Writes a run's folder."""
    return make_run


@pytest.fixture(scope="session")
def network():
    return make_tiny()


@pytest.fixture(scope="session")
def run(tmp_path_factory, network):
    return make_run(tmp_path_factory.mktemp("runs") / "My Run_1", network)


@pytest.fixture(scope="session")
def exported(run):
    from mien.train.export import ExportSettings, export_run

    return export_run(run, settings=ExportSettings(variants=("fp16",), licence="Apache-2.0", commercial=True))
