"""Inception-ResNet-v1: FaceNet's network as most people know it, with facenet-pytorch's names."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.errors import InputError
from mien.train.backbones.base import Backbone, full_precision
from mien.train.backbones.layers import normalisation
from mien.train.backbones.spec import InputSpec
from mien.train.backbones.weights import State

__all__ = ["InceptionResNetV1"]

_STEM: Final = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "maxpool_3a", "conv2d_3b", "conv2d_4a", "conv2d_4b")
_SMALLEST: Final = 75


class _Conv(nn.Module):
    """Convolution, batch norm (epsilon 0.001), ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int], norm: str, *, stride: int = 1, same: bool = False
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if same else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = normalisation(norm, outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _chain(norm: str, *widths: int, kernels: str, stride: int = 1) -> nn.Module:
    """Convolutions one after the other; the last has the stride, and then no padding. Kernels like "1 17 71"."""
    parts: list[nn.Module] = []
    shapes = [(int(text[0]), int(text[-1])) for text in kernels.split()]
    for place, shape in enumerate(shapes, 1):
        step = stride if place == len(shapes) else 1
        parts.append(_Conv(widths[place - 1], widths[place], shape, norm, stride=step, same=step == 1))
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


class _Residual(nn.Module):
    """Branches side by side, a 1 x 1 convolution over all of them, scaled and added to the input."""

    def __init__(self, scale: float, branches: list[nn.Module], inner: int, width: int, *, relu: bool = True) -> None:
        super().__init__()
        self.scale, self.relu = scale, relu
        self.names = [f"branch{place}" for place in range(len(branches))]
        for name, branch in zip(self.names, branches, strict=True):
            self.add_module(name, branch)
        self.conv2d = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2d(torch.cat([self.get_submodule(name)(x) for name in self.names], 1))
        y = y * self.scale + x
        return F.relu(y) if self.relu else y


class _Reduction(nn.Module):
    """Branches of stride 2 and a max pool, side by side."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.names = [f"branch{place}" for place in range(len(branches))]
        for name, branch in zip(self.names, branches, strict=True):
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*(self.get_submodule(name)(x) for name in self.names), F.max_pool2d(x, 3, 2)], 1)


def _block35(n: str) -> _Residual:
    branches = [_chain(n, 256, 32, kernels="1"), _chain(n, 256, 32, 32, kernels="1 3")]
    return _Residual(0.17, [*branches, _chain(n, 256, 32, 32, 32, kernels="1 3 3")], 96, 256)


def _block17(n: str) -> _Residual:
    branches = [_chain(n, 896, 128, kernels="1"), _chain(n, 896, 128, 128, 128, kernels="1 17 71")]
    return _Residual(0.1, branches, 256, 896)


def _block8(n: str, scale: float, *, relu: bool = True) -> _Residual:
    branches = [_chain(n, 1792, 192, kernels="1"), _chain(n, 1792, 192, 192, 192, kernels="1 13 31")]
    return _Residual(scale, branches, 384, 1792, relu=relu)


class InceptionResNetV1(Backbone):
    """Three kinds of residual inception blocks (5, 10, 5 + 1), 160 x 160, fixed standardisation (pixel - 127.5) / 128.

    When: released weights on VGGFace2 or CASIA-WebFace are wanted, or FaceNet's papers are to be redone. The released
    weights (facenet-pytorch's files, given as ``weights=FILE``) were trained on MTCNN's boxes, not on aligned faces;
    its classifier (``logits``) is dropped.

    Initial weights: Kaiming-normal (fan-out, relu) convolutions, Glorot-uniform linear layer, biases 0, norms 1 and 0.

    Args:
        size: side of the picture, at least 75.
        dim: numbers an embedding.
        colour: "rgb", "bgr" or "grey".
        dropout: share of the pooled numbers dropped while training.
        norm: "batch", "sync" or "group"; with "group" the embedding's own norm is left out.

    Raises:
        InputError: settings that make no sense.

    Source:
        Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", AAAI 2017;
        Schroff et al., "FaceNet", CVPR 2015.
    """

    def __init__(
        self, *, size: int = 160, dim: int = 512, colour: str = "rgb", dropout: float = 0.6, norm: str = "batch"
    ) -> None:
        super().__init__(InputSpec.plain(size, colour, std=128.0), dim)
        if size < _SMALLEST or not 0 <= dropout < 1:
            raise InputError(
                f"size: expected at least {_SMALLEST}, got {size}; dropout: expected 0 to below 1, got {dropout}"
            )
        n = norm
        self.conv2d_1a = _Conv(self.spec.channels, 32, (3, 3), n, stride=2)
        self.conv2d_2a = _Conv(32, 32, (3, 3), n)
        self.conv2d_2b = _Conv(32, 64, (3, 3), n, same=True)
        self.maxpool_3a = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = _Conv(64, 80, (1, 1), n)
        self.conv2d_4a = _Conv(80, 192, (3, 3), n)
        self.conv2d_4b = _Conv(192, 256, (3, 3), n, stride=2)
        self.repeat_1 = nn.Sequential(*(_block35(n) for _ in range(5)))
        self.mixed_6a = _Reduction(
            _chain(n, 256, 384, kernels="3", stride=2), _chain(n, 256, 192, 192, 256, kernels="1 3 3", stride=2)
        )
        self.repeat_2 = nn.Sequential(*(_block17(n) for _ in range(10)))
        self.mixed_7a = _Reduction(
            _chain(n, 896, 256, 384, kernels="1 3", stride=2),
            _chain(n, 896, 256, 256, kernels="1 3", stride=2),
            _chain(n, 896, 256, 256, 256, kernels="1 3 3", stride=2),
        )
        self.repeat_3 = nn.Sequential(*(_block8(n, 0.2) for _ in range(5)))
        self.block8 = _block8(n, 1.0, relu=False)
        self.dropout = nn.Dropout(dropout)
        self.last_linear = nn.Linear(1792, dim, bias=False)
        self.last_bn = nn.Identity() if norm == "group" else nn.BatchNorm1d(dim, eps=0.001)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.last_linear.weight)

    def published(self, state: State, source: str) -> State:
        """facenet-pytorch's names, without its classifier."""
        return {key: value for key, value in super().published(state, source).items() if key.split(".")[0] != "logits"}

    def stages(self) -> list[tuple[str, nn.Module]]:
        """stem, block35, block17, block8, head."""
        return [
            ("stem", nn.Sequential(*(self.get_submodule(name) for name in _STEM))),
            ("block35", self.repeat_1),
            ("block17", nn.Sequential(self.mixed_6a, self.repeat_2)),
            ("block8", nn.Sequential(self.mixed_7a, self.repeat_3, self.block8)),
            ("head", nn.ModuleList([self.last_linear, self.last_bn])),
        ]

    def _stem(self, x: Tensor) -> Tensor:
        for name in _STEM:
            x = self.get_submodule(name)(x)
        return x

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, size, size) to embeddings (B, dim), float32, not of unit length."""
        x = self._run(self._stem, pictures)
        for part in (self.repeat_1, self.mixed_6a, self.repeat_2, self.mixed_7a, self.repeat_3, self.block8):
            x = self._run(part, x)
        with full_precision(x):
            x = self.dropout(x.float().mean((2, 3)))
            embeddings: Tensor = self.last_bn(self.last_linear(x))
        return embeddings
