"""Smaller forms of an exported graph: half precision, and whole numbers of eight bits."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mien.errors import InputError, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["VARIANTS", "to_fp16", "to_int8"]

VARIANTS: Final = ("fp32", "fp16", "int8")
"""The forms that can be asked for."""

FEWEST_PICTURES: Final = 16
"""Fewer do not say how far the numbers inside a network reach."""

_AT_ONCE: Final = 16


def to_fp16(model: bytes) -> bytes:
    """Weights and arithmetic in half precision; input and output stay float32 (or uint8), as before.

    Raises:
        ModelError: the graph cannot be converted.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        with _quiet():
            made = convert_float_to_float16(onnx.load_from_string(model), keep_io_types=True)
    except Exception as error:  # the converter's errors have no base of their own
        raise ModelError(f"fp16: the graph cannot be converted ({error})") from error
    data: bytes = made.SerializeToString(deterministic=True)
    return data


def to_int8(model: bytes, batches: Sequence[NDArray[Any]]) -> bytes:
    """Weights and activations in eight bits, one scale a channel of weights; calibrated on real pictures.

    Args:
        model: float32.
        batches: the graph's input for aligned real faces, such as those it will see: what the activations reach on them
            decides the scales.

    Raises:
        InputError: fewer than 16 pictures.
        ModelError: the graph cannot be quantised.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationMethod
    from onnxruntime.quantization.shape_inference import quant_pre_process

    count = sum(len(batch) for batch in batches)
    if count < FEWEST_PICTURES:
        raise InputError(f"int8: expected at least {FEWEST_PICTURES} aligned faces to calibrate on, got {count}")
    with tempfile.TemporaryDirectory(prefix="mien-int8-") as folder, _quiet():
        plain, ready, done = (Path(folder, name) for name in ("plain.onnx", "ready.onnx", "done.onnx"))
        plain.write_bytes(model)
        try:
            quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready),
                str(done),
                _Reader(ready, batches),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                op_types_to_quantize=["Conv", "MatMul", "Gemm", "Add"],
                nodes_to_exclude=_of_filters(ready),
            )
        except Exception as error:
            raise ModelError(f"int8: the graph cannot be quantised ({error})") from error
        return done.read_bytes()


def _of_filters(model: Path) -> list[str]:
    """Nodes that stay in full precision beside what learned: fixed filters, and a last layer fitted to both.

    Eight bits would lose all but the filters' largest responses, and the last layer makes small what was large.
    """
    import onnx

    graph = onnx.load(str(model)).graph
    names = [weight.name for weight in graph.initializer]
    if not any(name.startswith("network.views.") for name in names):
        return []
    learned = {name for name in names if name.startswith("network.trunk.")}
    nodes = []
    for node in graph.node:  # each after those that it depends on
        learned |= set(node.output) if learned & set(node.input) else set()
        if not learned & set(node.output) or any(name.startswith("network.last.") for name in node.input):
            nodes.append(node.name)
    return nodes


class _Reader:
    """Hands the calibration pictures out, once."""

    def __init__(self, model: Path, batches: Sequence[NDArray[Any]]) -> None:
        import onnx

        self._name = onnx.load(str(model)).graph.input[0].name
        self._rest = iter([batch[i : i + _AT_ONCE] for batch in batches for i in range(0, len(batch), _AT_ONCE)])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        batch = next(self._rest, None)
        return None if batch is None else {self._name: batch}

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        return iter(self.get_next, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
