"""What holds for every network: stages, shapes, precision, checkpointing, settings."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError  # noqa: E402
from mien.train.backbones import build, describe, names  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

THIN = {"widths": [8, 8, 16, 16], "blocks": [1, 1, 2, 1]}
SMALL: dict[str, dict[str, Any]] = {
    "iresnet18": {"size": 32, "dim": 16, "se": True, "dropout": 0.2, **THIN},
    "iresnet-small": {"size": 32, "dim": 16, "norm": "group", "act": "silu", **THIN},
    "iresnet-quick": {"size": 32, "dim": 16, **THIN},
    "iresnet-quick-silu": {"size": 32, "dim": 16, **THIN},
    "sphereface20": {"size": 32, "dim": 16, **THIN},
    "resnet36": {"size": 32, "dim": 16, "norm": "batch", **THIN},
    "inception-resnet-v1": {"size": 75, "dim": 16},
    "mobilefacenet": {"size": 32, "dim": 16},
    "resface18": {"size": 32, "dim": 16, "se": True},
    "dlib-resnet29": {"size": 103, "affine": "kept"},
    "densenet121": {"size": 32, "dim": 16, "colour": "grey"},
    "mobilenetv2": {"size": 32, "dim": 16, "colour": "bgr"},
    "filters:iresnet-quick": {"size": 48, "dim": 16, "trunk_size": 32, "view_dim": 8, "trunk_options": THIN},
    "timm:mobilenetv3_small_050": {"size": 32, "dim": 16},
    "timm:vit_tiny_patch16_224": {"size": 32, "dim": 16, "colour": "grey"},
}
BIG = ("iresnet100", "iresnet200", "iresnet34", "iresnet50", "sphereface36", "sphereface64", "resnet20")


def test_every_name_is_covered_here() -> None:
    assert set(names()) <= {*SMALL, *BIG}


@pytest.mark.parametrize("name", SMALL)
def test_stages_hold_every_parameter_once_and_input_comes_first(name: str) -> None:
    with torch.device("meta"):
        network = build(name, **SMALL[name])
        pictures = torch.empty(2, network.spec.channels, network.spec.size, network.spec.size)
        assert network(pictures).shape == (2, network.dim)
        assert network.test_features(pictures).shape == (2, network.test_dim)
    staged = [id(parameter) for _, stage in network.stages() for parameter in stage.parameters()]
    assert sorted(staged) == sorted(id(parameter) for parameter in network.parameters())
    labels = [label for label, _ in network.stages()]
    assert len(set(labels)) == len(labels) >= 5
    assert (labels[0], labels[-1]) in {("stem", "head"), ("stage1", "head"), ("stem", "within")}
    firsts = [p for p in network.stages()[0][1].parameters() if p.ndim == 4]
    assert firsts[0].shape[1] == network.spec.channels  # what sees the picture


@pytest.mark.parametrize("name", [key for key in SMALL if not key.startswith("inception")])
def test_bf16_channels_last_training_step_is_finite(name: str) -> None:
    network = build(name, **SMALL[name]).to(memory_format=torch.channels_last)
    side = network.spec.size
    x = torch.randn(4, network.spec.channels, side, side).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = network(x)
    assert embeddings.dtype == torch.float32  # whatever autocast does
    embeddings.square().mean().backward()
    for key, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize(
    "name", ["iresnet18", "resface18", "dlib-resnet29", "mobilenetv2", "timm:vit_tiny_patch16_224"]
)
def test_checkpointing_changes_neither_gradients_nor_running_statistics(name: str) -> None:
    plain = build(name, **SMALL[name])
    saving = copy.deepcopy(plain)
    saving.set_checkpointing(wanted=True)
    x = torch.randn(4, plain.spec.channels, plain.spec.size, plain.spec.size)
    for network in (plain, saving):
        torch.manual_seed(3)  # the same dropout
        network(x).square().sum().backward()
    states = plain.state_dict(), saving.state_dict()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    for (key, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert one.grad is None or torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-5), key


def test_checkpointing_keeps_less_for_the_way_back() -> None:
    kept = []
    for wanted in (False, True):
        network = build("iresnet18", checkpoint_activations=wanted, **SMALL["iresnet18"])
        sizes: dict[int, int] = {}

        def pack(value: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            result = network(torch.randn(16, 3, 32, 32))
        kept.append(sum(sizes.values()))
        assert result.requires_grad
    assert kept[1] < kept[0] / 2


def test_without_batch_statistics_no_sample_sees_another() -> None:
    for name in ("iresnet-small", "sphereface20", "dlib-resnet29"):
        network = build(name, **SMALL[name])
        x = torch.randn(4, 3, network.spec.size, network.spec.size)
        with torch.no_grad():
            assert torch.allclose(network(x)[:2], network(x[:2]), atol=1e-4), name


def test_resface_features_are_the_picture_and_its_mirror_image() -> None:
    network = build("resface18", **SMALL["resface18"]).eval()
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        both, mirrored = network.test_features(x), network.test_features(x.flip(3))
        assert torch.allclose(both[:, :16], network(x), atol=1e-5)
    assert torch.allclose(both[:, :16], mirrored[:, 16:], atol=1e-5)
    assert not torch.allclose(both[:, :16], both[:, 16:], atol=1e-2)


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("iresnet51", {}, "iresnet51"),
        (None, {}, "expected one of"),
        ("timm:no_such_net", {}, "no_such_net"),
        ("timm:hf-hub:someone/model", {}, "hf-hub"),
        ("timm:local-dir:/tmp", {}, "local-dir"),
        ("iresnet18", {"depth": 3}, "expected one of blocks"),
        ("iresnet18", {"norm": "layer"}, "norm: expected one of batch"),
        ("iresnet18", {"norm": "none"}, "norm"),
        ("iresnet18", {"act": "tanh"}, "activation"),
        ("iresnet18", {"widths": [8, 8]}, "widths: expected 4 whole numbers"),
        ("iresnet18", {"blocks": [1, 1, 1, True]}, "blocks"),
        ("iresnet18", {"stem_stride": 3}, "stem_stride"),
        ("iresnet18", {"dropout": 1.0}, "dropout"),
        ("iresnet18", {"init": "zeros"}, "init"),
        ("iresnet18", {"dim": 0}, "dim"),
        ("iresnet18", {"size": 8}, "size"),
        ("iresnet18", {"colour": "hsv"}, "colour"),
        ("iresnet18", {"template": [(1.0, 2.0)]}, "template"),
        ("inception-resnet-v1", {"size": 64}, "at least 75"),
        ("dlib-resnet29", {"affine": "gone"}, "affine"),
        ("dlib-resnet29", {"size": 102}, "at least 103"),
        ("resface18", {"dropout": -1}, "dropout"),
        ("densenet121", {"head_norm": "group"}, "head_norm"),
        ("mobilenetv2", {"size": 16}, "at least 32"),
        ("iresnet18", {"se": object()}, "plain numbers"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(name: str, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says), torch.device("meta"):
        build(name, **settings)


def test_describe_counts_what_a_known_network_costs() -> None:
    facts = describe("iresnet50")
    assert (facts.parameters, facts.size, facts.dim, facts.colour) == (43_590_848, 112, 512, "rgb")
    assert 12.5e9 < facts.flops < 12.8e9  # published: 6.3 G multiplications with additions
    tiny = describe("sphereface20", size=16, dim=4, widths=[2, 2, 2, 2], blocks=[1, 1, 1, 1])
    maps = [64, 16, 4, 1]
    convolutions = sum(side * 9 * 2 * (inputs + 2 * 2) for side, inputs in zip(maps, (3, 2, 2, 2), strict=True))
    assert tiny.flops == 2 * (convolutions + 2 * 4)


def test_the_table_of_the_page_is_what_describe_says() -> None:
    from pathlib import Path

    from mien.train.backbones.facts import table

    page: Path = Path(__file__).parents[3] / "docs" / "backbones.md"
    rows = page.read_text(encoding="utf-8").splitlines()
    shown = [row for row in rows if row.startswith("| `") and row.count("|") == 6]
    assert [row.split("`")[1] for row in shown] == list(names())
    some = ("iresnet-small", "mobilefacenet", "resface18", "dlib-resnet29", "mobilenetv2", "sphereface20")
    assert set(table(some).splitlines()[2:]) <= set(shown)


@pytest.mark.parametrize("name", ["iresnet-small", "inception-resnet-v1", "resface18", "mobilenetv2"])
def test_an_option_of_another_kind_is_named(name: str) -> None:
    with pytest.raises(InputError, match=rf"^{name}: .*dropout"):
        build(name, dropout="much")
