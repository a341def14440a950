"""MobileFaceNet: a million parameters."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from mien.errors import InputError
from mien.train.backbones.base import Backbone, full_precision
from mien.train.backbones.layers import activation, halved, normalisation
from mien.train.backbones.spec import InputSpec

__all__ = ["MobileFaceNet"]

_TABLE: Final = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""The paper's table 1: expansion, channels, blocks, stride of the first."""
_STAGES: Final = ("stage1", "stage2", "stage3")


def _conv(
    inputs: int, outputs: int, norm: str, act: str, *, kernel: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    parts: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        normalisation(norm, outputs),
    ]
    return parts if act == "linear" else [*parts, activation(act, outputs)]


class _Bottleneck(nn.Sequential):
    """Widen (1 x 1), filter each channel (3 x 3), narrow (1 x 1, linear); the input added where shapes allow."""

    def __init__(self, inputs: int, outputs: int, norm: str, act: str, *, stride: int, expansion: int) -> None:
        inner = inputs * expansion
        super().__init__(
            *_conv(inputs, inner, norm, act),
            *_conv(inner, inner, norm, act, kernel=3, stride=stride, groups=inner),
            *_conv(inner, outputs, norm, "linear"),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self:
            y = layer(y)
        return x + y if self.adds else y


class MobileFaceNet(Backbone):
    """Inverted bottlenecks with PReLU; a depthwise convolution as large as the last map instead of pooling.

    When: phones and small boards; on a CPU it trains slower than its arithmetic says, for depthwise layers wait for
    memory. 0.99 M parameters at 112 x 112 and 128 numbers, 0.44 GFLOP counted as in docs/backbones.md.

    Initial weights: Kaiming-normal (fan-out, relu) convolutions, linear layer N(0, 1 / inputs), norms 1 and 0.

    Args:
        size: side of the picture.
        dim: numbers an embedding.
        colour: "rgb", "bgr" or "grey".
        norm: "batch", "sync" or "group"; with "group" the embedding's own norm is left out.
        act: "prelu", "relu", "silu" or "gelu".

    Raises:
        InputError: settings that make no sense.

    Source:
        Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices",
        CCBR 2018.
    """

    def __init__(
        self, *, size: int = 112, dim: int = 128, colour: str = "rgb", norm: str = "batch", act: str = "prelu"
    ) -> None:
        super().__init__(InputSpec.plain(size, colour, std=128.0), dim)
        if norm == "none":
            raise InputError("norm: expected batch, sync or group; got 'none'")
        first = _conv(self.spec.channels, 64, norm, act, kernel=3, stride=2)
        self.stem = nn.Sequential(*first, *_conv(64, 64, norm, act, kernel=3, groups=64))
        inputs, parts = 64, []
        for expansion, outputs, count, stride in _TABLE:
            group: list[nn.Module] = []
            for place in range(count):
                step = 1 if place else stride
                group.append(_Bottleneck(inputs, outputs, norm, act, stride=step, expansion=expansion))
                inputs = outputs
            parts.append(group)
        self.stage1 = nn.Sequential(*parts[0])
        self.stage2 = nn.Sequential(*parts[1], *parts[2])
        self.stage3 = nn.Sequential(*parts[3], *parts[4], *_conv(inputs, 512, norm, act))
        last = halved(size, 4)
        self.depthwise = nn.Conv2d(512, 512, last, groups=512, bias=False)
        self.depthwise_norm = normalisation(norm, 512)
        self.fc = nn.Linear(512, dim, bias=False)
        self.features = nn.Identity() if norm == "group" else nn.BatchNorm1d(dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.fc.weight, 0.0, 512**-0.5)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """stem, stage1 to stage3, head."""
        head = nn.ModuleList([self.depthwise, self.depthwise_norm, self.fc, self.features])
        return [(name, self.get_submodule(name)) for name in ("stem", *_STAGES)] + [("head", head)]

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, size, size) to embeddings (B, dim), float32, not of unit length."""
        x = pictures
        for name in ("stem", *_STAGES):
            x = self._run(self.get_submodule(name), x)
        x = self.depthwise_norm(self.depthwise(x)).flatten(1)
        with full_precision(x):
            embeddings: Tensor = self.features(self.fc(x.float()))
        return embeddings
