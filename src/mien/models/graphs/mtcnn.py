"""The three networks of MTCNN as ONNX graphs.

The weights come as lists of arrays in forward order: kernel (rows, columns, inputs, outputs), bias, PReLU slopes.

Source: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", IEEE Signal
Processing Letters 23 (2016).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.errors import ModelFileError
from mien.models.graphs.builder import GraphBuilder, input_folded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.types import Floats

__all__ = ["onet_graph", "pnet_graph", "rnet_graph"]

_MEAN: Final = 127.5
_SCALE: Final = 1 / 128
_LANES: Final = 16  # channels that engines compute together

_PNET: Final = ((3, 3, 3, 10), (3, 3, 10, 16), (3, 3, 16, 32), (1, 1, 32, 4), (1, 1, 32, 2))
_RNET: Final = ((3, 3, 3, 28), (3, 3, 28, 48), (2, 2, 48, 64), (576, 128), (128, 4), (128, 2))
_ONET: Final = (
    (3, 3, 3, 32),
    (3, 3, 32, 64),
    (3, 3, 64, 64),
    (2, 2, 64, 128),
    (1152, 256),
    (256, 4),
    (256, 10),
    (256, 2),
)


def pnet_graph(weights: Sequence[NDArray[Any]]) -> bytes:
    """Build the proposal network.

    Args:
        weights: the arrays of ``pnet.lz4``.

    Returns:
        A serialized ONNX model: ``pixels`` uint8 (N, H, W, 3) RGB, at least 12 x 12, to ``probability`` float32
        (N, h, w) and ``offsets`` float32 (N, h, w, 4). Cell (i, j) looks at the 12 x 12 window whose top left pixel is
        (y, x) = (2i, 2j); offsets are (x0, y0, x1, y1) in windows.

    Raises:
        ModelFileError: the arrays are not those of this network.
    """
    first, second, third, box, face = _layers("P-Net", weights, _PNET, slopes=3)
    graph = GraphBuilder("mtcnn-pnet")
    x, second = _first(graph, graph.pixels("H", "W"), first, second)
    x = _pool(graph, x, 2)
    for layer in (second, third):
        x = _conv(graph, x, layer)
    kernel = np.concatenate([_planes(box[0]), _planes(_face(face)[0])])
    bias = np.concatenate([box[1], _face(face)[1]])
    x = graph.node("Transpose", graph.node("Conv", x, kernel, bias), perm=[0, 2, 3, 1])
    _, logit = graph.nodes("Split", x, np.array([4, 1]), outputs=["offsets", "logit"], axis=3)
    graph.node("Sigmoid", graph.node("Squeeze", logit, np.array([3])), output="probability")
    return graph.model({"probability": ("N", "h", "w"), "offsets": ("N", "h", "w", 4)})


def rnet_graph(weights: Sequence[NDArray[Any]]) -> bytes:
    """Build the refinement network.

    Args:
        weights: the arrays of ``rnet.lz4``.

    Returns:
        A serialized ONNX model: ``pixels`` uint8 (N, 24, 24, 3) RGB to ``probability`` float32 (N,) and ``offsets``
        float32 (N, 4), in units of the cut-out's side.

    Raises:
        ModelFileError: the arrays are not those of this network.
    """
    first, second, third, dense, box, face = _layers("R-Net", weights, _RNET, slopes=4)
    graph = GraphBuilder("mtcnn-rnet")
    x, second = _first(graph, graph.pixels(24, 24), first, second)
    x = _pool(graph, x, 3)
    x = _conv(graph, x, second)
    x = graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    x = _conv(graph, x, third)
    return _heads(graph, _dense(graph, x, dense, side=3), {"offsets": box}, face)


def onet_graph(weights: Sequence[NDArray[Any]]) -> bytes:
    """Build the output network.

    Args:
        weights: the arrays of ``onet.lz4``.

    Returns:
        A serialized ONNX model: ``pixels`` uint8 (N, 48, 48, 3) RGB to ``probability`` float32 (N,), ``offsets``
        float32 (N, 4) and ``landmarks`` float32 (N, 5, 2), (x, y); lengths in units of the cut-out's side.

    Raises:
        ModelFileError: the arrays are not those of this network.
    """
    first, second, third, fourth, dense, box, points, face = _layers("O-Net", weights, _ONET, slopes=5)
    graph = GraphBuilder("mtcnn-onet")
    x, second = _first(graph, graph.pixels(48, 48), first, second)
    x = _pool(graph, x, 3)
    x = _conv(graph, x, second)
    x = graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    x = _conv(graph, x, third)
    x = _pool(graph, x, 2)
    x = _conv(graph, x, fourth)
    # The file's order is all x, then all y; ours is one point after the other.
    pairs = [value.reshape(*value.shape[:-1], 2, 5).swapaxes(-1, -2).reshape(value.shape) for value in points]
    return _heads(graph, _dense(graph, x, dense, side=3), {"offsets": box, "landmarks": pairs}, face)


def _layers(
    name: str, weights: Sequence[NDArray[Any]], shapes: Sequence[tuple[int, ...]], *, slopes: int
) -> list[list[NDArray[Any]]]:
    """Group a flat list of arrays by layer; the first `slopes` layers have PReLU slopes."""
    expected = []
    for i, shape in enumerate(shapes):
        expected += [shape, shape[-1:]]
        if i < slopes:
            expected.append((1, 1, shape[-1]) if len(shape) == 4 else shape[-1:])
    found = [array.shape for array in weights]
    if found != expected or any(array.dtype != np.float32 for array in weights):
        raise ModelFileError(f"{name}: expected float32 arrays of shapes {expected}, found {found}")
    left = iter(weights)
    return [[next(left) for _ in range(3 if i < slopes else 2)] for i in range(len(shapes))]


def _planes(kernel: NDArray[Any]) -> NDArray[Any]:
    """(rows, columns, inputs, outputs) to ONNX's (outputs, inputs, rows, columns)."""
    return kernel.transpose(3, 2, 0, 1)


def _face(layer: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """A two-class softmax as the logit of its second class: sigmoid(b - a) = softmax(a, b)[1]."""
    return [value[..., 1:] - value[..., :1] for value in layer]


def _first(
    graph: GraphBuilder, x: str, layer: list[NDArray[Any]], following: list[NDArray[Any]]
) -> tuple[str, list[NDArray[Any]]]:
    """Add the first convolution, normalisation folded in; return its output and the layer that follows, adapted.

    Channels are filled up to whole lanes with zeros, which the next layer gives no weight: engines compute whole lanes
    anyway, and only whole lanes stay in their fast memory layout through `_prelu`.
    """
    missing = -layer[1].size % _LANES
    kernel, bias, slopes = (np.pad(v, [(0, 0)] * (v.ndim - 1) + [(0, missing)]) for v in layer)
    planes, bias = input_folded(_planes(kernel), bias, _MEAN, _SCALE)
    adapted = [np.pad(following[0], [(0, 0), (0, 0), (0, missing), (0, 0)]), *following[1:]]
    return _prelu(graph, graph.node("Conv", x, planes, bias), slopes), adapted


def _conv(graph: GraphBuilder, x: str, layer: Sequence[NDArray[Any]]) -> str:
    return _prelu(graph, graph.node("Conv", x, _planes(layer[0]), layer[1]), layer[2])


def _prelu(graph: GraphBuilder, x: str, slopes: Floats) -> str:
    """PReLU of a map, as a * x + (1 - a) * relu(x) with both factors applied by 1x1 convolutions of single channels.

    onnxruntime leaves its blocked layout for a PRelu node and computes it slowly: it took half of these networks' time.
    """
    a = slopes.reshape(-1, 1, 1, 1)
    linear = graph.node("Conv", x, a, group=len(a))
    return graph.node("Add", linear, graph.node("Conv", graph.node("Relu", x), 1 - a, group=len(a)))


def _pool(graph: GraphBuilder, x: str, size: int) -> str:
    """A max pool of stride 2 that rounds its output's size up."""
    return graph.node("MaxPool", x, kernel_shape=[size] * 2, strides=[2, 2], auto_pad="SAME_UPPER")


def _dense(graph: GraphBuilder, x: str, layer: Sequence[NDArray[Any]], *, side: int) -> str:
    """A fully connected layer on a map whose rows in the file run over (column, row, channel)."""
    matrix = layer[0].reshape(side, side, -1, layer[0].shape[1]).transpose(2, 1, 0, 3).reshape(layer[0].shape)
    return graph.node("PRelu", graph.node("Gemm", graph.node("Flatten", x), matrix, layer[1]), layer[2])


def _heads(graph: GraphBuilder, x: str, heads: dict[str, list[NDArray[Any]]], face: list[NDArray[Any]]) -> bytes:
    """Add the linear outputs and the face probability, as one matrix product, and write the model."""
    layers = [*heads.values(), _face(face)]
    x = graph.node("Gemm", x, np.concatenate([w for w, _ in layers], axis=1), np.concatenate([b for _, b in layers]))
    widths = [len(bias) for _, bias in layers]
    names = ["offsets", *(f"flat_{name}" for name in heads if name != "offsets"), "logit"]
    parts = graph.nodes("Split", x, np.array(widths), outputs=names, axis=1)
    shapes: dict[str, tuple[int | str, ...]] = {"probability": ("N",), "offsets": ("N", 4)}
    if "landmarks" in heads:
        graph.node("Reshape", "flat_landmarks", np.array([-1, 5, 2]), output="landmarks")
        shapes["landmarks"] = ("N", 5, 2)
    graph.node("Sigmoid", graph.node("Squeeze", parts[-1], np.array([1])), output="probability")
    return graph.model(shapes)
