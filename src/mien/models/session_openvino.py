"""Models in OpenVINO, an optional extra."""

from __future__ import annotations

import functools
import importlib.util
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import MissingExtraError, ModelError, ModelFileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OpenVinoSession", "computes_bf16", "installed", "require"]


def installed() -> bool:
    """Whether OpenVINO is installed; does not import it."""
    try:
        return importlib.util.find_spec("openvino") is not None
    except ValueError:
        return False


def require() -> None:
    """Make sure that OpenVINO is installed.

    Raises:
        MissingExtraError: it is not.
    """
    if not installed():
        raise MissingExtraError("The OpenVINO engine", "openvino")


def computes_bf16() -> bool:
    """Whether this machine computes in bf16 natively."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@functools.cache
def _core() -> Any:  # noqa: ANN401 - untyped library
    import openvino

    return openvino.Core()


_FIRST_RUN = threading.Lock()
"""Held by the first run of each session. OpenVINO's Python layer sets itself up when it is first used, and two threads
that do so at once can wait for each other for ever: one has the set-up's lock, the other the interpreter's (seen with
2026.4, in one process of a hundred)."""


class OpenVinoSession:
    """A model in OpenVINO. Safe to call from several threads at once: each has its own request.

    Args:
        model: an ONNX model, or the path of one.
        name: its name for messages.
        threads: cores that one call may use.
        callers: how many threads will call at the same time; more may, but wait for each other.
        precision: f32 or bf16.
    """

    engine = "openvino"

    def __init__(self, model: bytes | Path, name: str, threads: int, callers: int, precision: str) -> None:
        self.precision = precision
        self._name = name
        self._requests = threading.local()
        settings = {
            "INFERENCE_NUM_THREADS": threads * callers,
            "NUM_STREAMS": callers,
            "INFERENCE_PRECISION_HINT": precision,
            # Pinned threads of several sessions, or of several processes, would all sit on the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            network = _core().read_model(str(model) if isinstance(model, Path) else model)
            self._compiled = _core().compile_model(network, "CPU", settings)
        except Exception as error:  # the engine's exceptions have no base of their own
            raise ModelFileError(f"{name}: OpenVINO cannot load it: {error}") from error
        self._inputs = len(self._compiled.inputs)
        self._has_run = False

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Run the model; see `Session.run`."""
        if self._has_run:
            return self._run(*inputs)
        with _FIRST_RUN:
            outputs = self._run(*inputs)
            self._has_run = True
            return outputs

    def _run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        if len(inputs) != self._inputs:
            raise ModelError(f"{self._name}: expected {self._inputs} inputs, got {len(inputs)}")
        try:
            request = self._requests.value
        except AttributeError:
            request = self._requests.value = self._compiled.create_infer_request()
        try:
            request.infer([np.ascontiguousarray(value) for value in inputs], share_inputs=True)
            # The tensors are the request's: the next call overwrites them.
            return [tensor.data.copy() for tensor in request.output_tensors]
        except Exception as error:
            raise ModelError(f"{self._name}: OpenVINO cannot run it: {error}") from error
