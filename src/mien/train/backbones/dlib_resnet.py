"""dlib's ResNet-29, mien's default embedder, made trainable."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.embed.views import CHIP, DETECTOR_TEMPLATE, PRESETS, place
from mien.errors import InputError, ModelFileError, NotFoundError
from mien.images.align import transform_points
from mien.models.packaged import read_packaged
from mien.models.readers.dlib_resnet import Convolution, DlibResNet, ResidualBlock, read_dlib_resnet
from mien.train.backbones.base import Backbone, full_precision
from mien.train.backbones.spec import InputSpec, Template
from mien.train.backbones.weights import fit_state

__all__ = ["DlibResNet29"]

_GROUPS: Final = {"group1": (32, 3), "group2": (64, 4), "group3": (128, 3), "group4": (256, 3), "group5": (256, 1)}
_AFFINES: Final = ("folded", "kept")
_MEAN: Final = (122.782, 117.001, 104.298)
_STD: Final = 256.0
_SMALLEST: Final = 103  # below, the last block's convolution is larger than its map


def _template(size: int) -> Template:
    """Where the detector's landmarks lie in the first view of the shipped embedder's preset "fast"."""
    view = PRESETS["fast"][0]
    assert view.points == "detector"
    matrix = place(view, np.eye(2, 3)[None])
    points = (transform_points(DETECTOR_TEMPLATE[None], matrix)[0] + 0.5) * (size / CHIP) - 0.5
    return tuple((float(x), float(y)) for x, y in points)


class _Affine(nn.Module):
    """A factor and a summand for each channel: a batch norm whose statistics are frozen."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, 1, 1)
        return torch.addcmul(self.bias.to(x.dtype).view(shape), x, self.weight.to(x.dtype).view(shape))


class _Conv(nn.Module):
    """A convolution and dlib's affine layer, folded into it or kept."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, *, padding: int, kept: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=not kept)
        self.affine = _Affine(outputs) if kept else None
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x if self.affine is None else self.affine(x)

    def tensors(self, prefix: str, layer: Convolution) -> dict[str, Tensor]:
        """The state that computes what `layer` does."""
        kernel, bias = torch.from_numpy(layer.kernel.copy()), torch.from_numpy(layer.bias.copy())
        if self.affine is None:
            return {f"{prefix}.conv.weight": kernel, f"{prefix}.conv.bias": bias}
        gain = torch.from_numpy(np.where(layer.gain == 0, 1, layer.gain).astype(np.float32))
        raw = (kernel.double() / gain.double()[:, None, None, None]).float()
        return {f"{prefix}.conv.weight": raw, f"{prefix}.affine.weight": gain, f"{prefix}.affine.bias": bias}

    def numbers(self) -> Convolution:
        """The inverse of `tensors`, with the affine layer folded in."""
        kernel = self.conv.weight.detach().cpu().double()
        stride, padding = self.conv.stride[0], int(self.conv.padding[0])
        if self.affine is None:
            assert self.conv.bias is not None
            bias, gain = self.conv.bias.detach().cpu(), torch.ones(len(kernel))
        else:
            bias, gain = self.affine.bias.detach().cpu(), self.affine.weight.detach().cpu()
            kernel = kernel * gain.double()[:, None, None, None]
        folded = kernel.float().contiguous().numpy()
        return Convolution(folded, bias.float().numpy().copy(), stride, padding, gain.float().numpy().copy())


class _Block(nn.Module):
    """Two convolutions; the input, pooled and widened with zero channels where need be, added; ReLU."""

    def __init__(self, inputs: int, outputs: int, *, shrinks: bool, kept: bool) -> None:
        super().__init__()
        self.shrinks, self.widens = shrinks, outputs - inputs
        stride, padding = (2, 0) if shrinks else (1, 1)
        self.first = _Conv(inputs, outputs, 3, stride, padding=padding, kept=kept)
        self.second = _Conv(outputs, outputs, 3, 1, padding=1, kept=kept)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x)))
        if self.shrinks:
            x = F.avg_pool2d(x, 2, 2)
            x = F.pad(x, (0, 0, 0, 0, 0, self.widens)) if self.widens else x
            rows, columns = x.shape[2] - y.shape[2], x.shape[3] - y.shape[3]
            y = F.pad(y, (0, columns, 0, rows)) if rows or columns else y
        return F.relu(y + x)


class DlibResNet29(Backbone):
    """dlib's face recognition network: 29 convolutions, 150 x 150 RGB in, 128 numbers out, 5.6 M parameters.

    When: to fine-tune what mien's users already use. ``weights="default"`` (or a ``.dat`` file) loads the shipped
    weights and then computes what the shipped embedder does; `as_dlib` gives trained weights back in that form, for
    [dlib_resnet_graph][mien.models.graphs.dlib_resnet.dlib_resnet_graph] to write. It has no batch statistics.

    From nothing it is hard to train with "folded" (no norm at all); "kept" has dlib's own factors (2 to 14) beside
    small kernels, so that the same step turns it further: take smaller rates.

    Initial weights: Kaiming-normal (fan-out, relu) convolutions, linear layer N(0, 1 / 256), factors 1, biases 0.

    Args:
        size: side of the picture, at least 103.
        dim: numbers an embedding.
        affine: "folded" into the convolutions, or "kept": one trainable factor and summand for each channel.

    Raises:
        InputError: settings that make no sense.

    Source:
        King, "High Quality Face Recognition with Deep Metric Learning", dlib blog, 2017; He et al., CVPR 2016.
    """

    def __init__(self, *, size: int = CHIP, dim: int = 128, affine: str = "folded") -> None:
        spec = InputSpec(size=size, mean=_MEAN, std=(_STD,) * 3)
        super().__init__(InputSpec(size=size, mean=_MEAN, std=(_STD,) * 3, template=_template(spec.size)), dim)
        if affine not in _AFFINES or size < _SMALLEST:
            raise InputError(
                f"affine: expected one of {', '.join(_AFFINES)}, got {affine!r}; "
                f"size: expected at least {_SMALLEST}, got {size}"
            )
        kept = affine == "kept"
        self.stem = _Conv(3, 32, 7, 2, padding=0, kept=kept)
        inputs = 32
        for name, (width, count) in _GROUPS.items():
            blocks = []
            for place_ in range(count):
                blocks.append(_Block(inputs, width, shrinks=name != "group1" and place_ == 0, kept=kept))
                inputs = width
            self.add_module(name, nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, dim, bias=False)
        nn.init.normal_(self.fc.weight, 0.0, inputs**-0.5)

    def load_weights(self, weights: str) -> None:
        """``default``, a ``.dat`` file of dlib's network, or what the base class takes."""
        if weights != "default" and not weights.endswith(".dat"):
            super().load_weights(weights)
            return
        if weights == "default":
            data = read_packaged("dlib-resnet")
        else:
            try:
                data = Path(weights).read_bytes()
            except OSError as error:
                raise NotFoundError(f"{weights}: weights: cannot be read ({error.strerror})") from error
        net = read_dlib_resnet(data, source=weights)
        if not np.allclose(net.mean, self.spec.mean, atol=1e-3) or net.scale * _STD != 1:
            raise ModelFileError(f"{weights}: expected dlib's network of mean {_MEAN}, found {net.mean.tolist()}")
        blocks = self._blocks()
        state = {"fc.weight": torch.from_numpy(net.head.T.copy()), **self.stem.tensors("stem", net.stem)}
        for (name, own), block in zip(blocks, net.blocks, strict=True):
            state |= own.first.tensors(f"{name}.first", block.first)
            state |= own.second.tensors(f"{name}.second", block.second)
            if own.shrinks != block.shrinks:
                raise ModelFileError(f"{weights}: {name}: expected {'a' if own.shrinks else 'no'} halving block")
        fit_state(self, state, source=weights)

    def as_dlib(self) -> DlibResNet:
        """The network's numbers in the shipped embedder's form, affine layers folded in."""
        blocks = tuple(ResidualBlock(block.first.numbers(), block.second.numbers()) for _, block in self._blocks())
        mean, head = np.array(self.spec.mean, np.float32), self.fc.weight.detach().cpu().float().T.contiguous().numpy()
        return DlibResNet(mean, 1 / _STD, (self.spec.size,) * 2, self.stem.numbers(), blocks, head)

    def _blocks(self) -> list[tuple[str, _Block]]:
        return [(name, module) for name, module in self.named_modules() if isinstance(module, _Block)]

    def stages(self) -> list[tuple[str, nn.Module]]:
        """stem, group1 to group5 (the residual groups), head."""
        return [("stem", self.stem), *((name, self.get_submodule(name)) for name in _GROUPS), ("head", self.fc)]

    def _start(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.stem(x)), 3, 2)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, size, size) to embeddings (B, dim), float32, not of unit length."""
        x = self._run(self._start, pictures)
        for name in _GROUPS:
            x = self._run(self.get_submodule(name), x)
        with full_precision(x):
            embeddings: Tensor = self.fc(x.float().mean((2, 3)))
        return embeddings
