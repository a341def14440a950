"""Reads dlib's face recognition network (a ResNet with 29 convolutions) from its serialized form.

The stream nests the layers from the last to the first; what each layer holds therefore follows in forward order, by
name. The reader follows the network it expects layer by layer and refuses any other.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, in dlib's reduced form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.models.readers.dlib_stream import DlibStream

if TYPE_CHECKING:
    from mien.types import Floats

__all__ = ["Convolution", "DlibResNet", "ResidualBlock", "read_dlib_resnet"]

_BLOCKS: Final = 14
_NESTING_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """A convolution with the affine layer that followed it folded in.

    Attributes:
        kernel: float32 (outputs, inputs, rows, columns), for cross-correlation.
        bias: float32 (outputs,).
        stride: step in both directions.
        padding: zeros around the input in both directions.
        gain: float32 (outputs,), the affine layer's factors, which `kernel` already holds: for those who train on.
    """

    kernel: Floats
    bias: Floats
    stride: int
    padding: int
    gain: Floats


@dataclass(frozen=True, slots=True, eq=False)
class ResidualBlock:
    """Two convolutions, a ReLU between them, the block's input added at the end, and another ReLU.

    When the first convolution has stride 2 the input passes a 2x2 average pool of stride 2 before the sum. Where the
    summands differ in size or channels, the smaller is filled with zeros at the bottom, the right and the end.

    Attributes:
        first: the convolution that may change size and channels.
        second: the convolution that keeps both.
    """

    first: Convolution
    second: Convolution

    @property
    def shrinks(self) -> bool:
        """Whether the block halves the map, and with it its input in the shortcut."""
        return self.first.stride == 2


@dataclass(frozen=True, slots=True, eq=False)
class DlibResNet:
    """The network: (x - mean) * scale, stem, ReLU, 3x3 max pool of stride 2, blocks, global average, linear map.

    Attributes:
        mean: float32 (3,) RGB, in grey levels.
        scale: what the centred input is multiplied with.
        size: (width, height) of the input in pixels.
        stem: the first convolution.
        blocks: the residual blocks.
        head: float32 (channels, dimension), without bias.
    """

    mean: Floats
    scale: float
    size: tuple[int, int]
    stem: Convolution
    blocks: tuple[ResidualBlock, ...]
    head: Floats

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return int(self.head.shape[1])


class _Layers:
    """Reads one layer after the other; a layer that is not the expected one is an error."""

    def __init__(self, stream: DlibStream) -> None:
        self.stream = stream

    def name(self, expected: str) -> None:
        found = self.stream.text()
        if found != expected:
            raise self.stream.fail(f"expected the layer {expected!r}, found {found!r}")

    def integers(self, *expected: int | None) -> list[int]:
        found = [self.stream.integer() for _ in expected]
        if any(want is not None and want != got for want, got in zip(expected, found, strict=True)):
            raise self.stream.fail(f"expected the layer settings {list(expected)}, found {found}")
        return found

    def skip_view(self) -> None:
        """The place of a filter bank within its tensor: a version and four dimensions, all known already."""
        self.integers(1, None, None, None, None)

    def skip_reals(self) -> None:
        """Four learning-rate and decay multipliers."""
        for _ in range(4):
            self.stream.real()

    def end(self) -> None:
        """What every layer ends with: three flags, and three tensors that only training fills."""
        for _ in range(3):
            self.stream.flag()
        for _ in range(3):
            self.stream.tensor()

    def convolution(
        self, inputs: int, size: int, padding: int | None = None, *, innermost: bool = False
    ) -> Convolution:
        """A convolution and the affine layer after it, as one."""
        self.name("con_4")
        values = self.stream.tensor().ravel()
        outputs, _, _, stride, _, pad, pad_across = self.integers(None, size, size, None, None, padding, padding)
        self.skip_view()
        self.skip_view()
        self.skip_reals()
        self.end()
        if innermost:
            self.integers(1)  # how many samples the input layer makes of one picture
        taps = inputs * size * size
        if outputs < 1 or stride not in (1, 2) or pad != pad_across or len(values) != outputs * (taps + 1):
            raise self.stream.fail(f"expected a {size}x{size} convolution of {inputs} channels, found other dimensions")
        kernel = values[: outputs * taps].reshape(outputs, inputs, size, size)
        bias = values[outputs * taps :]

        self.name("affine_")
        affine = self.stream.tensor().ravel()
        self.skip_view()
        self.skip_view()
        self.integers(0)  # one factor a channel, not one a pixel
        self.end()
        if len(affine) != 2 * outputs:
            raise self.stream.fail(f"expected {2 * outputs} affine factors, found {len(affine)}")
        gain, beta = affine[:outputs], affine[outputs:]
        gamma = gain.astype(np.float64)
        folded = (kernel * gamma[:, None, None, None]).astype(np.float32)
        return Convolution(folded, (bias * gamma + beta).astype(np.float32), stride, pad, gain)

    def plain(self, name: str, *settings: int) -> None:
        """A layer without weights."""
        self.name(name)
        self.integers(*settings)
        self.end()

    def block(self, inputs: int) -> ResidualBlock:
        first = self.convolution(inputs, 3)
        self.plain("relu_")
        channels = len(first.bias)
        second = self.convolution(channels, 3, padding=1)
        if first.padding != (0 if first.stride == 2 else 1) or second.stride != 1 or len(second.bias) != channels:
            raise self.stream.fail("expected a residual block, found other strides or paddings")
        if first.stride == 2:
            self.plain("avg_pool_2", 2, 2, 2, 2, 0, 0)
        elif channels != inputs:
            raise self.stream.fail("expected a block of stride 1 to keep its channels")
        self.plain("add_prev_")
        self.plain("relu_")
        return ResidualBlock(first, second)

    def head(self, inputs: int) -> Floats:
        self.plain("avg_pool_2", 0, 0, 1, 1, 0, 0)  # a window of 0 means the whole map
        self.name("fc_2")
        outputs, _ = self.integers(None, inputs)
        weights = self.stream.tensor()
        self.skip_view()
        self.skip_view()
        self.integers(1)  # no bias
        self.skip_reals()
        self.end()
        if outputs < 1 or weights.size != inputs * outputs:
            raise self.stream.fail(f"expected {inputs} x {outputs} weights, found {weights.size}")
        return weights.reshape(inputs, outputs)


def read_dlib_resnet(data: bytes, *, source: str) -> DlibResNet:
    """Read dlib's face recognition network.

    Args:
        data: the file's bytes.
        source: the file's name, for messages.

    Returns:
        The network's numbers, with each affine layer folded into the convolution before it.

    Raises:
        ModelFileError: the bytes are not this kind of network, or are cut short.
    """
    stream = DlibStream(data, source=source)
    layers = _Layers(stream)
    layers.integers(1)
    layers.name("loss_metric_2")
    stream.real()  # margin and distance threshold of the loss
    stream.real()
    for _ in range(_NESTING_LIMIT):  # one version number a layer, from the outermost to the input's, which is 3
        version = stream.integer()
        if version not in (1, 2):
            break
    if version != 3:
        raise stream.fail(f"expected an input layer of version 3, found {version}")
    layers.name("input_rgb_image_sized")
    mean = np.array([stream.real() for _ in range(3)], np.float32)
    rows, columns = layers.integers(None, None)
    if not (32 <= rows <= 1024 and 32 <= columns <= 1024 and all(math.isfinite(m) for m in mean)):
        raise stream.fail(f"expected a picture size, found {rows} rows and {columns} columns")

    stem = layers.convolution(3, 7, padding=0, innermost=True)
    layers.plain("relu_")
    layers.plain("max_pool_2", 3, 3, 2, 2, 0, 0)
    blocks: list[ResidualBlock] = []
    channels = len(stem.bias)
    for _ in range(_BLOCKS):
        blocks.append(layers.block(channels))
        channels = len(blocks[-1].second.bias)
    head = layers.head(channels)
    if not stream.exhausted:
        raise stream.fail("expected the end")
    # dlib's input layer divides by 256 whatever the file says.
    return DlibResNet(mean, 1 / 256, (columns, rows), stem, tuple(blocks), head)
