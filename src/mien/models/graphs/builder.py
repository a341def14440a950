"""Writes ONNX graphs: one call a node, constants named on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["GraphBuilder", "input_folded"]

_OPSET: Final = 17  # understood by onnxruntime and OpenVINO since 2022
_IR: Final = 8


class GraphBuilder:
    """Collects nodes and constants, then writes the model. Not thread-safe.

    Args:
        name: the graph's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._shape: tuple[int | str, ...] = ()

    def constant(self, values: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, *inputs: str | NDArray[Any], output: str | None = None, **attributes: object) -> str:
        """Add a node with one output and return the output's name; arrays among the inputs become constants."""
        return self.nodes(kind, *inputs, outputs=[output or f"t{len(self._nodes)}"], **attributes)[0]

    def nodes(
        self, kind: str, *inputs: str | NDArray[Any], outputs: Sequence[str], **attributes: object
    ) -> Sequence[str]:
        """Add a node with several named outputs and return their names."""
        from onnx import helper

        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self._nodes.append(helper.make_node(kind, names, list(outputs), **attributes))
        return outputs

    def pixels(self, height: int | str, width: int | str) -> str:
        """Turn the graph's input into float32 planes.

        Args:
            height: rows, or the name of a dimension that may vary.
            width: columns, or a name.

        Returns:
            The name of the float32 (N, 3, height, width) planes of grey levels made of the graph's one input,
            ``pixels``, uint8 (N, height, width, 3).
        """
        self._shape = ("N", height, width, 3)
        # Transposing bytes moves a quarter of the memory that transposing floats would.
        planes = self.node("Transpose", "pixels", perm=[0, 3, 1, 2])
        return self.node("Cast", planes, to=1)

    def model(self, outputs: Mapping[str, Sequence[int | str]]) -> bytes:
        """Write the model.

        Args:
            outputs: the shapes of the float32 outputs by name; text stands for a dimension that may vary.

        Returns:
            A serialized ONNX model; the same nodes and constants give the same bytes.
        """
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info("pixels", TensorProto.UINT8, self._shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(s)) for name, s in outputs.items()],
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="mien", ir_version=_IR
        )
        serialized: bytes = model.SerializeToString(deterministic=True)
        return serialized


def input_folded(
    kernel: NDArray[Any], bias: NDArray[Any], mean: NDArray[Any] | float, scale: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fold (x - mean) * scale into the convolution that follows it.

    Exact for a convolution without padding only: a padding of zeros would have to become one of `mean`.

    Args:
        kernel: (outputs, inputs, rows, columns).
        bias: (outputs,).
        mean: (inputs,) or one number for all.
        scale: factor.

    Returns:
        The kernel and the bias to use on x itself.
    """
    scaled = kernel.astype(np.float64) * scale
    means = np.broadcast_to(np.asarray(mean, np.float64), kernel.shape[1])
    return scaled.astype(np.float32), (bias - np.einsum("oihw,i->o", scaled, means)).astype(np.float32)
