"""iResNet, also called LResNet-E-IR: the residual network of ArcFace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import Tensor, nn

from mien.errors import InputError
from mien.train.backbones.base import Backbone, full_precision
from mien.train.backbones.layers import SqueezeExcite, activation, halved, normalisation, whole_numbers
from mien.train.backbones.spec import InputSpec

__all__ = ["IResNet"]

_INITS: Final = ("normal", "kaiming")
_LAYERS: Final = ("layer1", "layer2", "layer3", "layer4")


class _Block(nn.Module):
    """norm, conv, norm, activation, conv (stride), norm, and the input added. Names as in released checkpoints."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm: str, act: str, *, se: bool, halve_early: bool
    ) -> None:
        super().__init__()
        early, late = (stride, 1) if halve_early else (1, stride)
        self.bn1 = normalisation(norm, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, early, padding=1, bias=False)
        self.bn2 = normalisation(norm, outputs)
        self.prelu = activation(act, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, late, padding=1, bias=False)
        self.bn3 = normalisation(norm, outputs)
        self.se = SqueezeExcite(outputs) if se else None
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            shrink = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shrink, normalisation(norm, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        y = self.bn3(self.conv2(y))
        if self.se is not None:
            y = self.se(y)
        result: Tensor = y + (x if self.downsample is None else self.downsample(x))
        return result


class IResNet(Backbone):
    """Blocks of BN-conv-BN-PReLU-conv-BN, a stem of stride 1, and BN-dropout-linear-BN at the end ("E").

    When: the default of the field; 50 for a first real model, 100 for the last percent, 18 for devices, for training on
    a CPU ``iresnet-quick-silu`` and ``iresnet-quick`` (64 pixels) and ``iresnet-small``. Loads arcface_torch's released
    checkpoints as they are (same names).

    Initial weights: convolutions and linear layers N(0, 0.1), as released ("kaiming": fan-out, for relu); norms 1 and
    0; the last norm's factor is 1 for ever, so that no direction of the embedding can be scaled away. With norm "group"
    nothing follows the linear layer, which then starts as N(0, 1 / inputs).

    Args:
        blocks: blocks in each of the stages; every stage halves the map once.
        widths: channels of each stage; the stem has the first stage's.
        size: side of the picture.
        dim: numbers an embedding.
        colour: "rgb", "bgr" or "grey".
        stem_stride: 2 costs a quarter: for small machines.
        first_stride: of the first stage: 1 keeps twice the side to the end, for small pictures.
        halve_early: halve the map in a block's first convolution instead of its second: two thirds of the time.
        dropout: share of the last map's numbers dropped while training.
        norm: "batch", "sync" (batch statistics over all processes, CUDA) or "group" (none of the batch).
        act: "prelu", "leaky", "relu", "silu" or "gelu".
        se: squeeze-and-excitation in every block.
        init: "normal" or "kaiming".
        closer: how much larger the face is than in ArcFace's template: less hair and surroundings.

    Raises:
        InputError: settings that make no sense.

    Source:
        Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019 (LResNetE-IR); Duta et
        al., "Improved Residual Networks", 2020.
    """

    def __init__(
        self,
        *,
        blocks: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        size: int = 112,
        dim: int = 512,
        colour: str = "rgb",
        stem_stride: int = 1,
        first_stride: int = 2,
        halve_early: bool = False,
        dropout: float = 0.0,
        norm: str = "batch",
        act: str = "prelu",
        se: bool = False,
        init: str = "normal",
        closer: float = 1.0,
    ) -> None:
        super().__init__(InputSpec.plain(size, colour, closer=closer), dim)
        blocks = whole_numbers(blocks, "blocks", 4, 1, 200)
        widths = whole_numbers(widths, "widths", 4, 1, 4096)
        if norm == "none":
            raise InputError("norm: expected batch, sync or group; got 'none'")
        if {stem_stride, first_stride} - {1, 2} or not 0 <= dropout < 1 or init not in _INITS:
            given = f"{stem_stride!r}, {first_stride!r}, {dropout!r} and {init!r}"
            raise InputError(
                f"stem_stride, first_stride: expected 1 or 2; dropout: expected 0 to below 1; "
                f"init: expected one of {', '.join(_INITS)}; got {given}"
            )
        self.conv1 = nn.Conv2d(self.spec.channels, widths[0], 3, stem_stride, padding=1, bias=False)
        self.bn1 = normalisation(norm, widths[0])
        self.prelu = activation(act, widths[0])
        inputs = widths[0]
        for stage, (count, outputs) in enumerate(zip(blocks, widths, strict=True), 1):
            more = {"se": se, "halve_early": halve_early}
            parts = [_Block(inputs, outputs, first_stride if stage == 1 else 2, norm, act, **more)]
            parts += [_Block(outputs, outputs, 1, norm, act, **more) for _ in range(count - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*parts))  # layer1 ... layer4, the published names
            inputs = outputs
        side = halved(size, 3 + (first_stride == 2) + (stem_stride == 2))
        self.bn2 = normalisation(norm, inputs)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(inputs * side * side, dim)
        self.features = nn.Identity() if norm == "group" else nn.BatchNorm1d(dim)
        if isinstance(self.features, nn.BatchNorm1d):
            self.features.weight.requires_grad = False
        self._start(init)

    def _start(self, init: str) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and init == "normal":
                nn.init.normal_(module.weight, 0.0, 0.1)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(self.features, nn.Identity):
            nn.init.normal_(self.fc.weight, 0.0, self.fc.in_features**-0.5)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """stem, layer1 to layer4, head."""
        stem = nn.Sequential(self.conv1, self.bn1, self.prelu)
        layers = [(name, self.get_submodule(name)) for name in _LAYERS]
        return [("stem", stem), *layers, ("head", nn.ModuleList([self.bn2, self.fc, self.features]))]

    def _stem(self, x: Tensor) -> Tensor:
        result: Tensor = self.prelu(self.bn1(self.conv1(x)))
        return result

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, size, size) to embeddings (B, dim), float32, not of unit length."""
        x = self._run(self._stem, pictures)
        for name in _LAYERS:
            x = self._run(self.get_submodule(name), x)
        x = self.dropout(self.bn2(x).flatten(1))
        with full_precision(x):
            embeddings: Tensor = self.features(self.fc(x.float()))
        return embeddings
