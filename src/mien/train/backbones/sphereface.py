"""The residual networks of SphereFace and CosFace: no batch normalisation at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import Tensor, nn

from mien.train.backbones.base import Backbone, full_precision
from mien.train.backbones.layers import activation, halved, normalisation, whole_numbers
from mien.train.backbones.spec import InputSpec

__all__ = ["SphereFaceNet"]

_STAGES: Final = ("stage1", "stage2", "stage3", "stage4")


def _convolution(inputs: int, outputs: int, stride: int, norm: str, act: str) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=norm == "none")
    return [convolution, normalisation(norm, outputs), activation(act, outputs)]


class _Block(nn.Sequential):
    """Two convolutions with their activations, and the input added."""

    def __init__(self, width: int, norm: str, act: str) -> None:
        super().__init__(*_convolution(width, width, 1, norm, act), *_convolution(width, width, 1, norm, act))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self:
            y = layer(y)
        return x + y


class SphereFaceNet(Backbone):
    """Each stage: a convolution of stride 2, then residual blocks; at the end one linear layer over the whole map.

    When: to redo SphereFace, CosFace and the like, where papers also write ResNet-20 or ResNet-36 (the number counts
    the convolutions); where batch statistics are unwanted, for without a norm no sample sees another. Needs a warm-up.

    Initial weights: convolutions of stride 2 and the linear layer Glorot-uniform, those of the blocks N(0, 0.01) (a
    block starts as nearly nothing), biases 0, slopes 0.25; as published. With a norm, blocks start Kaiming-normal.

    Args:
        blocks: blocks in each of the four stages.
        widths: channels of each stage.
        size: side of the picture; the papers used 112 x 96.
        dim: numbers an embedding.
        colour: "rgb", "bgr" or "grey".
        norm: "none" as published, "batch", "sync" or "group".
        act: "prelu", "relu", "silu" or "gelu".

    Raises:
        InputError: settings that make no sense.

    Source:
        Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", CVPR 2017, table 2; Wang et al.,
        "CosFace", CVPR 2018.
    """

    def __init__(
        self,
        *,
        blocks: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        size: int = 112,
        dim: int = 512,
        colour: str = "rgb",
        norm: str = "none",
        act: str = "prelu",
    ) -> None:
        super().__init__(InputSpec.plain(size, colour, std=128.0), dim)
        blocks = whole_numbers(blocks, "blocks", 4, 1, 200)
        widths = whole_numbers(widths, "widths", 4, 1, 4096)
        inputs = self.spec.channels
        for name, count, outputs in zip(_STAGES, blocks, widths, strict=True):
            first = _convolution(inputs, outputs, 2, norm, act)
            self.add_module(name, nn.Sequential(*first, *(_Block(outputs, norm, act) for _ in range(count))))
            inputs = outputs
        self.fc = nn.Linear(inputs * halved(size, 4) ** 2, dim)
        self._start(norm)

    def _start(self, norm: str) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in self.modules():
            for module in block if isinstance(block, _Block) else ():
                if isinstance(module, nn.Conv2d) and norm == "none":
                    nn.init.normal_(module.weight, 0.0, 0.01)
                elif isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stages(self) -> list[tuple[str, nn.Module]]:
        """stage1 to stage4, head."""
        return [*((name, self.get_submodule(name)) for name in _STAGES), ("head", self.fc)]

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, size, size) to embeddings (B, dim), float32, not of unit length."""
        x = pictures
        for name in _STAGES:
            x = self._run(self.get_submodule(name), x)
        with full_precision(x):
            embeddings: Tensor = self.fc(x.float().flatten(1))
        return embeddings
