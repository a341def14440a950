"""Released checkpoints: names and shapes as published, and numbers against plain functional forward passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from mien.errors import ModelFileError  # noqa: E402
from mien.train.backbones import build  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

Shapes = dict[str, tuple[int, ...]]


def norm(name: str, width: int) -> Shapes:
    shapes: Shapes = {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {f"{name}.num_batches_tracked": ()}


def arcface_torch(blocks: tuple[int, ...], widths: tuple[int, ...] = (64, 128, 256, 512), side: int = 7) -> Shapes:
    """The layout of insightface's recognition/arcface_torch files, written down from the published ones."""
    stem = widths[0]
    shapes: Shapes = {"conv1.weight": (stem, 3, 3, 3), **norm("bn1", stem), "prelu.weight": (stem,)}
    inputs = stem
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), 1):
        for block in range(count):
            at = f"layer{stage}.{block}"
            shapes |= norm(f"{at}.bn1", inputs)
            shapes[f"{at}.conv1.weight"] = (width, inputs, 3, 3)
            shapes |= norm(f"{at}.bn2", width)
            shapes[f"{at}.prelu.weight"] = (width,)
            shapes[f"{at}.conv2.weight"] = (width, width, 3, 3)
            shapes |= norm(f"{at}.bn3", width)
            if block == 0:
                shapes[f"{at}.downsample.0.weight"] = (width, inputs, 1, 1)
                shapes |= norm(f"{at}.downsample.1", width)
            inputs = width
    shapes |= norm("bn2", inputs)
    shapes |= {"fc.weight": (512, inputs * side * side), "fc.bias": (512,)}
    return shapes | norm("features", 512)


def facenet_pytorch(classes: int) -> Shapes:
    """The layout of facenet-pytorch's files for VGGFace2 (8631 classes) and CASIA-WebFace (10575)."""
    shapes: Shapes = {}

    def conv(name: str, inputs: int, outputs: int, rows: int, columns: int) -> None:
        shapes[f"{name}.conv.weight"] = (outputs, inputs, rows, columns)
        shapes.update(norm(f"{name}.bn", outputs))

    for name, inputs, outputs, kernel in (
        ("conv2d_1a", 3, 32, 3),
        ("conv2d_2a", 32, 32, 3),
        ("conv2d_2b", 32, 64, 3),
        ("conv2d_3b", 64, 80, 1),
        ("conv2d_4a", 80, 192, 3),
        ("conv2d_4b", 192, 256, 3),
    ):
        conv(name, inputs, outputs, kernel, kernel)
    for i in range(5):
        at = f"repeat_1.{i}"
        conv(f"{at}.branch0", 256, 32, 1, 1)
        for branch, count in (("branch1", 2), ("branch2", 3)):
            for j in range(count):
                conv(f"{at}.{branch}.{j}", 32 if j else 256, 32, 3 if j else 1, 3 if j else 1)
        shapes |= {f"{at}.conv2d.weight": (256, 96, 1, 1), f"{at}.conv2d.bias": (256,)}
    conv("mixed_6a.branch0", 256, 384, 3, 3)
    conv("mixed_6a.branch1.0", 256, 192, 1, 1)
    conv("mixed_6a.branch1.1", 192, 192, 3, 3)
    conv("mixed_6a.branch1.2", 192, 256, 3, 3)
    for i in range(10):
        at = f"repeat_2.{i}"
        conv(f"{at}.branch0", 896, 128, 1, 1)
        conv(f"{at}.branch1.0", 896, 128, 1, 1)
        conv(f"{at}.branch1.1", 128, 128, 1, 7)
        conv(f"{at}.branch1.2", 128, 128, 7, 1)
        shapes |= {f"{at}.conv2d.weight": (896, 256, 1, 1), f"{at}.conv2d.bias": (896,)}
    for branch, last in (("branch0", 384), ("branch1", 256)):
        conv(f"mixed_7a.{branch}.0", 896, 256, 1, 1)
        conv(f"mixed_7a.{branch}.1", 256, last, 3, 3)
    conv("mixed_7a.branch2.0", 896, 256, 1, 1)
    conv("mixed_7a.branch2.1", 256, 256, 3, 3)
    conv("mixed_7a.branch2.2", 256, 256, 3, 3)
    for at in (*(f"repeat_3.{i}" for i in range(5)), "block8"):
        conv(f"{at}.branch0", 1792, 192, 1, 1)
        conv(f"{at}.branch1.0", 1792, 192, 1, 1)
        conv(f"{at}.branch1.1", 192, 192, 1, 3)
        conv(f"{at}.branch1.2", 192, 192, 3, 1)
        shapes |= {f"{at}.conv2d.weight": (1792, 384, 1, 1), f"{at}.conv2d.bias": (1792,)}
    shapes["last_linear.weight"] = (512, 1792)
    shapes |= norm("last_bn", 512)
    return shapes | {"logits.weight": (classes, 512), "logits.bias": (classes,)}


def parameters(shapes: Shapes) -> int:
    """Trainable numbers of a layout: everything but the running statistics."""
    return sum(torch.Size(s).numel() for key, s in shapes.items() if not key.split(".")[-1].startswith(("run", "num")))


def filled(shapes: Shapes) -> dict[str, Tensor]:
    """Numbers that keep a deep network's maps at a sensible size."""
    draw = torch.Generator().manual_seed(1)
    state = {}
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
        elif key.endswith("running_var") or (len(shape) == 1 and key.endswith("weight")):
            state[key] = torch.rand(shape, generator=draw) + 0.5
        else:
            fan = torch.Size(shape[1:]).numel()
            state[key] = torch.randn(shape, generator=draw) * (0.1 if len(shape) == 1 else fan**-0.5)
    return state


def plain_norm(x: Tensor, state: dict[str, Tensor], name: str, eps: float) -> Tensor:
    weight, bias, mean, var = (
        state[f"{name}.{key}"].view(1, -1, *[1] * (x.ndim - 2))
        for key in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / (var + eps).sqrt() * weight + bias


def plain_iresnet(x: Tensor, s: dict[str, Tensor], blocks: tuple[int, ...]) -> Tensor:
    def norm_(x: Tensor, name: str) -> Tensor:
        return plain_norm(x, s, name, 1e-5)

    def prelu(x: Tensor, name: str) -> Tensor:
        return torch.where(x > 0, x, x * s[name].view(1, -1, 1, 1))

    x = prelu(norm_(F.conv2d(x, s["conv1.weight"], padding=1), "bn1"), "prelu.weight")
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            at, stride = f"layer{stage}.{block}", 1 if block else 2
            y = F.conv2d(norm_(x, f"{at}.bn1"), s[f"{at}.conv1.weight"], padding=1)
            y = prelu(norm_(y, f"{at}.bn2"), f"{at}.prelu.weight")
            y = norm_(F.conv2d(y, s[f"{at}.conv2.weight"], stride=stride, padding=1), f"{at}.bn3")
            if block == 0:
                x = norm_(F.conv2d(x, s[f"{at}.downsample.0.weight"], stride=2), f"{at}.downsample.1")
            x = x + y
    x = norm_(x, "bn2").flatten(1)
    return norm_(x @ s["fc.weight"].T + s["fc.bias"], "features")


def plain_facenet(x: Tensor, s: dict[str, Tensor]) -> Tensor:
    def conv(x: Tensor, name: str, stride: int = 1, padding: int | tuple[int, int] = 0) -> Tensor:
        y = F.conv2d(x, s[f"{name}.conv.weight"], stride=stride, padding=padding)
        return plain_norm(y, s, f"{name}.bn", 0.001).clamp(min=0)

    def joined(x: Tensor, name: str, scale: float, branches: list[Tensor]) -> Tensor:
        y = F.conv2d(torch.cat(branches, 1), s[f"{name}.conv2d.weight"], s[f"{name}.conv2d.bias"])
        return y * scale + x

    x = conv(conv(conv(x, "conv2d_1a", 2), "conv2d_2a"), "conv2d_2b", 1, 1)
    x = conv(conv(conv(F.max_pool2d(x, 3, 2), "conv2d_3b"), "conv2d_4a"), "conv2d_4b", 2)
    for i in range(5):
        at = f"repeat_1.{i}"
        two = conv(conv(x, f"{at}.branch1.0"), f"{at}.branch1.1", 1, 1)
        three = conv(conv(conv(x, f"{at}.branch2.0"), f"{at}.branch2.1", 1, 1), f"{at}.branch2.2", 1, 1)
        x = joined(x, at, 0.17, [conv(x, f"{at}.branch0"), two, three]).clamp(min=0)
    long = conv(conv(conv(x, "mixed_6a.branch1.0"), "mixed_6a.branch1.1", 1, 1), "mixed_6a.branch1.2", 2)
    x = torch.cat([conv(x, "mixed_6a.branch0", 2), long, F.max_pool2d(x, 3, 2)], 1)
    for i in range(10):
        at = f"repeat_2.{i}"
        y = conv(conv(conv(x, f"{at}.branch1.0"), f"{at}.branch1.1", 1, (0, 3)), f"{at}.branch1.2", 1, (3, 0))
        x = joined(x, at, 0.10, [conv(x, f"{at}.branch0"), y]).clamp(min=0)
    a = conv(conv(x, "mixed_7a.branch0.0"), "mixed_7a.branch0.1", 2)
    b = conv(conv(x, "mixed_7a.branch1.0"), "mixed_7a.branch1.1", 2)
    c = conv(conv(conv(x, "mixed_7a.branch2.0"), "mixed_7a.branch2.1", 1, 1), "mixed_7a.branch2.2", 2)
    x = torch.cat([a, b, c, F.max_pool2d(x, 3, 2)], 1)
    for at in (*(f"repeat_3.{i}" for i in range(5)), "block8"):
        y = conv(conv(conv(x, f"{at}.branch1.0"), f"{at}.branch1.1", 1, (0, 1)), f"{at}.branch1.2", 1, (1, 0))
        last = at == "block8"
        x = joined(x, at, 1.0 if last else 0.20, [conv(x, f"{at}.branch0"), y])
        x = x if last else x.clamp(min=0)
    return plain_norm(x.mean((2, 3)) @ s["last_linear.weight"].T, s, "last_bn", 0.001)


IRESNETS = {
    "iresnet18": ((2, 2, 2, 2), 24.03),
    "iresnet50": ((3, 4, 14, 3), 43.59),
    "iresnet100": ((3, 13, 30, 3), 65.16),
}


@pytest.mark.parametrize("name", IRESNETS)
def test_iresnet_has_the_published_names_shapes_and_count(name: str) -> None:
    blocks, millions = IRESNETS[name]
    shapes = arcface_torch(blocks)
    with torch.device("meta"):
        network = build(name)
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == shapes
    assert round(parameters(shapes) / 1e6, 2) == millions
    assert not network.features.weight.requires_grad


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_arcface_torch_file_loads_and_computes_what_its_layout_says(tmp_path: Path, wrapped: bool) -> None:
    blocks, widths = (1, 2, 1, 1), (8, 8, 16, 16)
    state = filled(arcface_torch(blocks, widths, side=2))
    saved = {"state_dict": {f"module.{key}": value.half() for key, value in state.items()}} if wrapped else state
    torch.save(saved, tmp_path / "backbone.pth")
    network = build("iresnet18", blocks=blocks, widths=widths, size=32, weights=tmp_path / "backbone.pth").eval()
    if wrapped:
        state = {key: value.half().float() for key, value in state.items()}
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(network(x), plain_iresnet(x, state, blocks), rtol=1e-4, atol=1e-4)


def test_inception_resnet_v1_has_the_published_names_shapes_and_count() -> None:
    shapes = facenet_pytorch(8631)
    assert parameters(shapes) == 27_910_327
    with torch.device("meta"):
        network = build("inception-resnet-v1")
    ours = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert ours == {key: shape for key, shape in shapes.items() if not key.startswith("logits")}


def test_a_facenet_pytorch_file_loads_and_computes_what_its_layout_says(tmp_path: Path) -> None:
    state = filled(facenet_pytorch(4))
    torch.save(state, tmp_path / "vggface2.pt")
    network = build("inception-resnet-v1", weights=tmp_path / "vggface2.pt", size=80).eval()
    x = torch.randn(1, 3, 80, 80)
    with torch.no_grad():
        ours, theirs = network(x), plain_facenet(x, state)
    assert float(theirs.std()) > 0.05
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("old_names", [False, True])
def test_densenet121_takes_torchvisions_file(tmp_path: Path, old_names: bool) -> None:
    models = pytest.importorskip("torchvision.models")
    theirs = models.densenet121(weights=None).eval()
    assert sum(p.numel() for p in theirs.parameters()) == 7_978_856  # published: 7.98 M
    state = theirs.state_dict()
    if old_names:  # as in the file that torchvision publishes
        state = {k.replace("norm1", "norm.1").replace("conv1", "conv.1"): v for k, v in state.items()}
    torch.save(state, tmp_path / "densenet121.pth")
    ours = build("densenet121", size=64, dim=8, weights=tmp_path / "densenet121.pth").eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(theirs.classifier(ours.pooled(x)), theirs(x), atol=1e-5)


def test_imagenet_mobilenet_comes_from_its_package_in_colour_and_in_grey() -> None:
    models = pytest.importorskip("torchvision.models")
    from mien.train.backbones.torchvision_models import imagenet_mobilenet

    try:
        path = imagenet_mobilenet()
    except ModelFileError as error:
        pytest.skip(str(error))
    theirs = models.mobilenet_v2(weights=None).eval()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    grey = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        expected = theirs(grey.repeat(1, 3, 1, 1))
        for colour, x in (("rgb", grey.repeat(1, 3, 1, 1)), ("grey", grey)):
            ours = build("mobilenetv2", size=64, colour=colour, weights="imagenet").eval()
            assert torch.allclose(theirs.classifier(ours.pooled(x)), expected, atol=1e-3), colour


def test_a_timm_file_loads_without_its_classifier(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("resnet18", num_classes=5).eval()
    torch.save(theirs.state_dict(), tmp_path / "r18.pth")
    ours = build("timm:resnet18", size=64, dim=8, weights=tmp_path / "r18.pth").eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(theirs.fc(ours.pooled(x)), theirs(x), atol=1e-5)


def test_mobilefacenet_has_a_million_parameters() -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in build("mobilefacenet").parameters())
    assert 0.98e6 < count < 1.02e6  # published: 0.99 M


@pytest.mark.parametrize(("name", "layers"), [("sphereface20", 20), ("sphereface36", 36), ("sphereface64", 64)])
def test_sphereface_is_named_by_its_layers(name: str, layers: int) -> None:
    with torch.device("meta"):
        network = build(name)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in network.modules()) == layers
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
