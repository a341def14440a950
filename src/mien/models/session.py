"""Runs ONNX models: onnxruntime always, OpenVINO where it is installed and was measured to be faster."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mien.errors import ModelError, ModelFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Engine", "Precision", "Session", "available_cores", "open_session"]

_log = logging.getLogger(__name__)

Engine = Literal["auto", "onnxruntime", "openvino"]
"""Which library runs a model; auto takes the faster one, as `open_session` says."""

Precision = Literal["auto", "f32", "bf16"]
"""The numbers a model computes with; auto takes bf16 only where it was shown to give the same answers."""


class Session(Protocol):
    """A model that is ready to run. Safe to call from several threads at once."""

    @property
    def engine(self) -> str:
        """What runs the model: onnxruntime or openvino."""
        ...

    @property
    def precision(self) -> str:
        """What it computes with: f32 or bf16."""
        ...

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Run the model.

        Args:
            inputs: the model's inputs, in its order.

        Returns:
            The model's outputs, in its order; they belong to the caller.

        Raises:
            ModelError: the inputs do not fit the model, or it fails.
        """
        ...


def available_cores() -> int:
    """How many cores this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def open_session(
    model: bytes | Path,
    *,
    threads: int | None = None,
    callers: int = 1,
    engine: Engine = "auto",
    precision: Precision = "auto",
    probe: Sequence[NDArray[Any]] | None = None,
    name: str | None = None,
) -> Session:
    """Make a model ready to run.

    For the least waiting, let one call use all cores: ``threads=None``. For the most work in a given time, let as many
    threads as there are cores call `Session.run` at once: ``threads=1, callers=available_cores()``.

    With ``engine="auto"``, onnxruntime is used unless a `probe` is given and OpenVINO is installed. Then both run the
    probe, once for this machine, model and versions (the answer is kept in the user's cache folder), and OpenVINO is
    used where it takes less than 0.9 of the time. It may compute in bf16 where the machine does so natively and the
    cosine of every row of every output to that of onnxruntime in f32 stays above 0.9999. Without typical inputs
    neither can be known, so models that come without a probe stay with onnxruntime in f32; so does, with a warning in
    the log, a machine whose OpenVINO does not work.

    Args:
        model: an ONNX model, or the path of one.
        threads: cores that one call may use; None for all that are available.
        callers: how many threads will call at the same time.
        engine: which library runs the model.
        precision: the numbers it computes with; bf16 needs OpenVINO.
        probe: typical inputs of several rows, such as a batch of real faces.
        name: the model's name for messages; by default its path.

    Raises:
        ModelFileError: the model cannot be read, or is not one.
        MissingExtraError: OpenVINO was asked for and is not installed.
        ValueError: a number is below 1, or bf16 was asked of onnxruntime.
    """
    threads = available_cores() if threads is None else threads
    if threads < 1 or callers < 1:
        raise ValueError(f"threads, callers: expected at least 1, got {threads} and {callers}")
    if engine == "onnxruntime" and precision == "bf16":
        raise ValueError("precision: onnxruntime computes in f32; bf16 needs engine='openvino'")
    name = name or (str(model) if isinstance(model, Path) else "<model>")
    if isinstance(model, Path) and not model.is_file():
        raise ModelFileError(f"{name}: expected a model file, found none")

    if engine != "onnxruntime":
        from mien.models import session_choice, session_openvino

        if engine == "openvino" or precision == "bf16":
            session_openvino.require()
            numbers = session_choice.precision(model, name, probe) if precision == "auto" else precision
            return session_openvino.OpenVinoSession(model, name, threads, callers, numbers)
        if probe is not None and session_openvino.installed():
            try:
                choice = session_choice.choose(model, name, probe, precision)
                if choice.engine == "openvino":
                    return session_openvino.OpenVinoSession(model, name, threads, callers, choice.precision)
            except Exception as error:  # noqa: BLE001 - whatever a broken installation raises; nobody asked for it
                _log.warning("%s: OpenVINO is installed but does not work, so onnxruntime is used: %s", name, error)
    return OnnxRuntimeSession(model, name, threads)


class OnnxRuntimeSession:
    """A model in onnxruntime. Safe to call from several threads at once; each call uses its own memory.

    Args:
        model: an ONNX model, or the path of one.
        name: its name for messages.
        threads: cores that one call may use.
    """

    engine = "onnxruntime"
    precision = "f32"

    def __init__(self, model: bytes | Path, name: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised, with the model's name
        # The arena and the memory patterns keep the most that any shape ever needed (1.5 GB after one large picture,
        # against 0.2 GB without) and gain no time.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        # Threads that spin while they wait take the cores from decoding and from other processes; under load a call
        # of two threads took 1.6 times as long with it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._name = name
        try:
            self._session = onnxruntime.InferenceSession(
                str(model) if isinstance(model, Path) else model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the engine's exceptions have no base of their own
            raise ModelFileError(f"{name}: onnxruntime cannot load it: {error}") from error
        self._inputs = [value.name for value in self._session.get_inputs()]

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Run the model; see `Session.run`."""
        if len(inputs) != len(self._inputs):
            raise ModelError(f"{self._name}: expected {len(self._inputs)} inputs, got {len(inputs)}")
        try:
            outputs: list[NDArray[Any]] = self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))
        except Exception as error:
            raise ModelError(f"{self._name}: onnxruntime cannot run it: {error}") from error
        return outputs
