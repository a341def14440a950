"""Reading released weights from files that may be damaged or hostile, and fitting them to a network."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from mien.errors import MissingExtraError, ModelFileError, NotFoundError

__all__ = ["State", "fit_state", "read_state"]

State: TypeAlias = dict[str, Tensor]
"""Tensors by name."""

_WRAPPERS: Final = ("state_dict", "model", "model_state_dict", "backbone")
_COUNTER: Final = "num_batches_tracked"
_SHOWN: Final = 4
_BROKEN: Final = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError,
    AssertionError, ImportError, OverflowError, UnicodeError, OSError, zipfile.BadZipFile,
)  # fmt: skip


def read_state(path: str | Path) -> State:
    """Read a checkpoint: ``.safetensors``, or anything ``torch.save`` wrote. Code in a pickle never runs.

    Dictionaries such as ``{"state_dict": ...}`` are opened, and DDP's prefix ``module.`` is taken off.

    Raises:
        NotFoundError: no such file.
        ModelFileError: damaged, not plain tensors, or with NaN or infinity in them.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"{path}: weights: no such file")
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for _ in range(2):  # Lightning and trainers nest twice at most
        for key in _WRAPPERS:
            if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
                loaded = loaded[key]
                break
    if not isinstance(loaded, Mapping) or not loaded:
        raise ModelFileError(f"{path}: expected a dictionary of tensors, found {type(loaded).__name__}")
    state: State = {}
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            raise ModelFileError(f"{path}: {key!r}: expected a tensor, found {type(value).__name__}")
        tensor = value.detach().float() if value.is_floating_point() else value.detach()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelFileError(f"{path}: {key!r} holds NaN or infinity")
        state[key.removeprefix("module.")] = tensor
    return state


def _read_torch(path: Path) -> object:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise ModelFileError(f"{path}: expected stored tensors, found compressed ones")
        return torch.load(path, map_location="cpu", weights_only=True)
    except _BROKEN as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        if isinstance(error, pickle.UnpicklingError):  # PyTorch's own words advise to read it all the same
            reason = ["damaged, or it holds something else than tensors"]
        raise ModelFileError(f"{path}: not a readable checkpoint of plain tensors ({reason[0][:200]})") from error


def _read_safetensors(path: Path) -> State:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingExtraError("Reading .safetensors", "train") from error
    try:
        state: State = load_file(path)
    except (SafetensorError, *_BROKEN) as error:
        raise ModelFileError(f"{path}: not a readable safetensors file ({str(error)[:200]})") from error
    return state


def fit_state(network: nn.Module, state: State, *, source: str | Path) -> None:
    """Load tensors into a network: all names and shapes must fit; missing are only batch counters and idle layers.

    Raises:
        ModelFileError: names the source, and the names or shapes that do not fit. The network is unchanged then.
    """
    check_fit(network, state, source=source)
    network.load_state_dict(state, strict=False)


def check_fit(network: nn.Module, state: State, *, source: str | Path) -> None:
    """Raise ModelFileError, naming the source, unless `state` fits the network's names and shapes."""
    wanted, idle = network.state_dict(), tuple(getattr(network, "idle", ()))
    if any(key.startswith(idle) for key in state):
        idle = ()  # such a layer is there whole, or not at all
    missing = [key for key in wanted if key not in state and not key.endswith(_COUNTER) and not key.startswith(idle)]
    unknown = [key for key in state if key not in wanted]
    shapes = [
        f"{key} is {tuple(value.shape)} instead of {tuple(wanted[key].shape)}"
        for key, value in state.items()
        if key in wanted and wanted[key].shape != value.shape
    ]
    faults = [
        f"{len(found)} {what}: {', '.join(found[:_SHOWN])}{', ...' if len(found) > _SHOWN else ''}"
        for what, found in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if found
    ]
    if faults:
        raise ModelFileError(f"{source}: expected the weights of {_called(network)}; {'; '.join(faults)}")


def _called(network: nn.Module) -> str:
    return str(getattr(network, "name", type(network).__name__))
