"""Which engine and which precision to use for a model on this machine: measured once, then remembered."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.models.session import OnnxRuntimeSession
from mien.models.session_openvino import OpenVinoSession, computes_bf16

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.models.session import Session

__all__ = ["Choice", "choose", "precision", "worst_cosine"]

_FASTER: Final = 0.9  # of onnxruntime's time; less of a gain is not worth a second engine's import
_SAME: Final = 0.9999
_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and on what evidence.

    Attributes:
        engine: onnxruntime or openvino.
        precision: f32 or bf16.
        time: seconds the chosen one took for the probe on one core.
        reference_time: seconds onnxruntime took.
        cosine: the worst cosine of a row to onnxruntime's in f32.
    """

    engine: str
    precision: str
    time: float
    reference_time: float
    cosine: float


def choose(model: bytes | Path, name: str, probe: Sequence[NDArray[Any]], wanted: str = "auto") -> Choice:
    """Choose engine and precision for a model by running both on typical inputs.

    Args:
        model: an ONNX model, or the path of one.
        name: its name for messages.
        probe: typical inputs, of several rows.
        wanted: auto, or f32 to leave bf16 out.

    Returns:
        The fastest choice whose answers are the same; taken from the user's cache folder where it was made before.

    Raises:
        ModelFileError: the model is not one.
        ModelError: the probe does not fit it.
    """
    path = _cache_folder() / f"{_key(model, probe, wanted)}.json"
    if (known := _recall(path)) is not None:
        return known
    reference = OnnxRuntimeSession(model, name, 1)
    rivals = [OpenVinoSession(model, name, 1, 1, "f32")]
    if wanted != "f32" and computes_bf16():
        rivals.append(OpenVinoSession(model, name, 1, 1, "bf16"))
    sessions: list[Session] = [reference, *rivals]
    truth = reference.run(*probe)
    cosines = [worst_cosine(session.run(*probe), truth) for session in sessions]  # warms them up, too
    times = [float("inf")] * len(sessions)
    for _ in range(_ROUNDS):  # in turn, so that what else the machine does falls on all of them
        for i, session in enumerate(sessions):
            start = time.perf_counter()
            session.run(*probe)
            times[i] = min(times[i], time.perf_counter() - start)
    valid = [i for i in range(1, len(sessions)) if cosines[i] > _SAME and times[i] < _FASTER * times[0]]
    best = min(valid, key=times.__getitem__, default=0)
    choice = Choice(sessions[best].engine, sessions[best].precision, times[best], times[0], cosines[best])
    _remember(path, choice)
    return choice


def precision(model: bytes | Path, name: str, probe: Sequence[NDArray[Any]] | None) -> str:
    """The precision for OpenVINO: bf16 where the machine computes in it and the probe shows the same answers."""
    if probe is None or not computes_bf16():
        return "f32"
    truth = OnnxRuntimeSession(model, name, 1).run(*probe)
    found = OpenVinoSession(model, name, 1, 1, "bf16").run(*probe)
    return "bf16" if worst_cosine(found, truth) > _SAME else "f32"


def worst_cosine(found: Sequence[NDArray[Any]], truth: Sequence[NDArray[Any]]) -> float:
    """The smallest cosine between corresponding rows (along the first axis) of corresponding arrays.

    Rows that are both zero agree; rows with NaN do not.
    """
    worst = 1.0
    for a, b in zip(found, truth, strict=True):
        x, y = (value.reshape(len(value), -1).astype(np.float64) for value in (a, b))
        lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            cosines = np.where(lengths > 0, (x * y).sum(axis=1) / lengths, (x == y).all(axis=1))
        worst = min(worst, float(np.nan_to_num(cosines, nan=-1.0).min(initial=1.0)))
    return worst


def _cache_folder() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("mien", appauthor=False) / "engines"


def _key(model: bytes | Path, probe: Sequence[NDArray[Any]], wanted: str) -> str:
    digest = hashlib.sha256(model if isinstance(model, bytes) else model.read_bytes())
    for value in probe:
        digest.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    machine = (platform.machine(), _processor(), platform.system())
    versions = (metadata.version("onnxruntime"), metadata.version("openvino"))
    digest.update(repr((machine, versions, wanted, _FASTER, _SAME)).encode())
    return digest.hexdigest()


def _processor() -> str:
    """The processor's name and abilities, where the system tells them; folders of users are shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _recall(path: Path) -> Choice | None:
    """The choice in a file; None where there is none, or something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        choice = Choice(**values)
    except (OSError, ValueError, TypeError):
        return None
    sane = (choice.engine, choice.precision) in {("onnxruntime", "f32"), ("openvino", "f32"), ("openvino", "bf16")}
    return choice if sane else None


def _remember(path: Path, choice: Choice) -> None:
    """Keep the choice; where the folder cannot be written, it is simply made again next time."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(choice), file)
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
