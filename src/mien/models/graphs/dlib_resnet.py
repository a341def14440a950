"""dlib's face recognition network as an ONNX graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.models.graphs.builder import GraphBuilder, input_folded

if TYPE_CHECKING:
    from mien.models.readers.dlib_resnet import Convolution, DlibResNet, ResidualBlock
    from mien.types import Floats

__all__ = ["dlib_resnet_graph"]


def dlib_resnet_graph(net: DlibResNet) -> bytes:
    """Build the embedder.

    Args:
        net: the network's numbers.

    Returns:
        A serialized ONNX model: ``pixels`` uint8 (N, h, w, 3) RGB chips of `net.size` to ``embedding`` float32
        (N, D), as dlib gives it: not normalised.
    """
    graph = GraphBuilder("dlib-resnet")
    width, height = net.size
    x = graph.pixels(height, width)
    kernel, bias = input_folded(net.stem.kernel, net.stem.bias, net.mean, net.scale)
    x = graph.node("Relu", graph.node("Conv", x, kernel, bias, strides=[2, 2]))
    x = graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    side = tuple(((n - 7) // 2 + 1 - 3) // 2 + 1 for n in (height, width))
    for block in net.blocks:
        x, side = _block(graph, x, block, side)
    x = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    graph.node("MatMul", x, net.head, output="embedding")
    return graph.model({"embedding": ("N", net.dimension)})


def _block(graph: GraphBuilder, x: str, block: ResidualBlock, side: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Add a residual block to the map `x` of `side` (rows, columns); return its output and that one's side."""
    y = _convolution(graph, graph.node("Relu", _convolution(graph, x, block.first)), block.second)
    if block.shrinks:
        inner = tuple((n - block.first.kernel.shape[2]) // 2 + 1 for n in side)
        side = tuple(n // 2 for n in side)
        x = graph.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
        channels, inputs = block.first.kernel.shape[:2]
        if channels != inputs:
            x = graph.node("Conv", x, _widening(inputs, channels))
        if inner != side:
            missing = [outer - n for outer, n in zip(side, inner, strict=True)]
            y = graph.node("Pad", y, np.array([0, 0, 0, 0, 0, 0, *missing], np.int64))
    return graph.node("Relu", graph.node("Add", y, x)), side


def _convolution(graph: GraphBuilder, x: str, layer: Convolution) -> str:
    return graph.node("Conv", x, layer.kernel, layer.bias, strides=[layer.stride] * 2, pads=[layer.padding] * 4)


def _widening(inputs: int, outputs: int) -> Floats:
    """A 1x1 convolution that appends channels of zeros.

    It says the same as a Pad node, but engines keep their blocked memory layout through a convolution and can fuse the
    sum that follows.
    """
    return np.eye(outputs, inputs, dtype=np.float32)[:, :, None, None]
