"""ResFace18: a small network for grey pictures that looks at the mirror image too."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from mien.errors import InputError
from mien.train.backbones.base import Backbone, full_precision
from mien.train.backbones.layers import PReLU, SqueezeExcite, halved, normalisation
from mien.train.backbones.spec import InputSpec

__all__ = ["ResFace"]

_LAYERS: Final = ("layer1", "layer2", "layer3", "layer4")


class _Block(nn.Module):
    """norm, conv, norm, PReLU, conv (stride), norm, the input added, PReLU: one slope for both."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str, *, se: bool) -> None:
        super().__init__()
        self.bn0 = normalisation(norm, inputs)
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1, bias=False)
        self.bn1 = normalisation(norm, inputs)
        self.prelu = PReLU()
        self.conv2 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = normalisation(norm, outputs)
        self.se = SqueezeExcite(outputs) if se else None
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            shrink = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shrink, normalisation(norm, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.prelu(self.bn1(self.conv1(self.bn0(x))))
        y = self.bn2(self.conv2(y))
        if self.se is not None:
            y = self.se(y)
        result: Tensor = self.prelu(y + (x if self.downsample is None else self.downsample(x)))
        return result


class ResFace(Backbone):
    """Four stages of two pre-activated blocks on grey 128 x 128; the names are arcface-pytorch's (``resnet_face18``).

    At test time `test_features` gives 2 x dim numbers: the picture's embedding, then its mirror image's. A cosine of
    two such vectors looks at both; export writes them, so a run's ONNX file answers with 1024 numbers.

    When: grey cameras and infrared pictures.

    Initial weights: Glorot-normal convolutions and linear layer, biases 0, norms 1 and 0, slopes 0.25; as published.

    Args:
        size: side of the picture.
        dim: numbers an embedding of one picture.
        colour: "grey", "rgb" or "bgr".
        dropout: share of the last map's numbers dropped while training.
        norm: "batch", "sync" or "group"; with "group" the embedding's own norm is left out.
        se: squeeze-and-excitation in every block.

    Raises:
        InputError: settings that make no sense.

    Source:
        The open implementation of ArcFace for PyTorch that trains on grey pictures; blocks: Deng et al., CVPR 2019.
    """

    def __init__(
        self,
        *,
        size: int = 128,
        dim: int = 512,
        colour: str = "grey",
        dropout: float = 0.5,
        norm: str = "batch",
        se: bool = False,
    ) -> None:
        super().__init__(InputSpec.plain(size, colour), dim)
        if not 0 <= dropout < 1:
            raise InputError(f"dropout: expected 0 to below 1, got {dropout!r}")
        self.conv1 = nn.Conv2d(self.spec.channels, 64, 3, padding=1, bias=False)
        self.bn1 = normalisation(norm, 64)
        self.prelu = PReLU()
        self.maxpool = nn.MaxPool2d(2, 2)
        inputs = 64
        for name, outputs in zip(_LAYERS, (64, 128, 256, 512), strict=True):
            first = _Block(inputs, outputs, 1 if name == "layer1" else 2, norm, se=se)
            self.add_module(name, nn.Sequential(first, _Block(outputs, outputs, 1, norm, se=se)))
            inputs = outputs
        self.bn4 = normalisation(norm, inputs)
        self.dropout = nn.Dropout(dropout)
        self.fc5 = nn.Linear(inputs * halved(size // 2, 3) ** 2, dim)
        self.bn5 = nn.Identity() if norm == "group" else nn.BatchNorm1d(dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def test_dim(self) -> int:
        """Twice `dim`."""
        return 2 * self.dim

    def test_features(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, size, size) to (B, 2 dim): the embeddings of each and of its mirror image."""
        return torch.cat([self(pictures), self(pictures.flip(3))], 1)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """stem, layer1 to layer4, head."""
        stem = nn.Sequential(self.conv1, self.bn1, self.prelu)
        layers = [(name, self.get_submodule(name)) for name in _LAYERS]
        return [("stem", stem), *layers, ("head", nn.ModuleList([self.bn4, self.fc5, self.bn5]))]

    def _stem(self, x: Tensor) -> Tensor:
        result: Tensor = self.maxpool(self.prelu(self.bn1(self.conv1(x))))
        return result

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, size, size) to embeddings (B, dim), float32, not of unit length."""
        x = self._run(self._stem, pictures)
        for name in _LAYERS:
            x = self._run(self.get_submodule(name), x)
        x = self.dropout(self.bn4(x)).flatten(1)
        with full_precision(x):
            embeddings: Tensor = self.bn5(self.fc5(x.float()))
        return embeddings
