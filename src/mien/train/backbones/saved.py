"""Networks in folders: weights as safetensors, and what they are.

FOLDER/network.safetensors   the weights, and in its header everything needed to build the network again
FOLDER/network.json          the same facts, for people and other programs; reading needs only the first file
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from mien.errors import InputError, MienError, ModelError, ModelFileError, NotFoundError
from mien.train.backbones.base import WEIGHTS_FILE, Backbone
from mien.train.backbones.registry import build
from mien.train.backbones.spec import InputSpec
from mien.train.backbones.weights import check_fit, read_state

__all__ = ["NETWORK_JSON", "WEIGHTS_FILE", "load_network", "network_facts", "save_network"]

NETWORK_JSON: Final = "network.json"
_FORMAT: Final = 1
_HEADER: Final = "mien"
_FIELDS: Final = {"format", "name", "dim", "size", "options", "spec", "facts"}


def save_network(network: Backbone, folder: Path, *, facts: Mapping[str, Any] | None = None) -> None:
    """Write a network, replacing the one that is there in one step: a crash leaves the old or the new one.

    Args:
        network: on any device.
        folder: created if need be.
        facts: JSON-ready; kept beside it, such as the recipe, the data and the measured accuracy.

    Raises:
        ModelError: a weight is NaN or infinite: what is there stays.
        InputError: facts that are not plain values, or a folder that cannot be written.
    """
    from safetensors.torch import save

    state = {key: value.detach().to("cpu").contiguous() for key, value in network.state_dict().items()}
    broken = [key for key, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise ModelError(f"{network.name}: not saved, for {len(broken)} tensors hold NaN or infinity: {broken[0]}, ...")
    described = {
        "format": _FORMAT,
        "name": network.name,
        "dim": network.dim,
        "size": network.spec.size,
        "options": network.options,
        "spec": network.spec.to_dict(),
        "facts": dict(facts or {}),
    }
    try:
        text = json.dumps(described, allow_nan=False, ensure_ascii=False)
        shown = json.dumps(described, allow_nan=False, ensure_ascii=False, indent=2) + "\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"facts: expected plain JSON values ({error})") from error
    try:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / WEIGHTS_FILE, save(state, metadata={_HEADER: text}))
        _replace(folder / NETWORK_JSON, shown.encode())
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error


def _replace(target: Path, data: bytes) -> None:
    handle, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(target)
    finally:
        Path(draft).unlink(missing_ok=True)


def network_facts(folder: Path) -> dict[str, Any]:
    """What a saved network is: name, dim, size, options, spec and facts, without reading its weights.

    Args:
        folder: of `save_network`, or a copy of its weights' file, by any name.

    Raises:
        NotFoundError: there is none.
        ModelFileError: damaged, or not written by `save_network`.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(folder)
    path = path if path.is_file() else path / WEIGHTS_FILE
    if not path.is_file():
        raise NotFoundError(f"{path}: no saved network is there")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_HEADER, "")
        described = json.loads(text)
    except (SafetensorError, ValueError, OSError, RecursionError) as error:
        raise ModelFileError(f"{path}: damaged, or not saved by mien ({str(error)[:200]})") from error
    if not isinstance(described, dict) or set(described) != _FIELDS or described["format"] != _FORMAT:
        raise ModelFileError(f"{path}: expected the fields {', '.join(sorted(_FIELDS))} of format {_FORMAT}")
    if not isinstance(described["options"], dict) or not isinstance(described["facts"], dict):
        raise ModelFileError(f"{path}: options and facts: expected tables")
    return described


def load_network(folder: Path) -> Backbone:
    """Read what `save_network` wrote, in eval mode, on the CPU.

    The file's tensors are compared with the network's shapes before any memory is taken for it.

    Raises:
        NotFoundError: there is none.
        ModelFileError: damaged, of another network, or with NaN in it.
    """
    path = Path(folder) / WEIGHTS_FILE
    described = network_facts(folder)
    state = read_state(path)
    settings = {"dim": described["dim"], "size": described["size"], **described["options"]}
    if {"weights", "pretrained", "checkpoint_activations", "template"} & set(described["options"]):
        raise ModelFileError(f"{path}: options: holds a name that is none")
    try:
        spec = InputSpec.from_dict(described["spec"])
        with torch.device("meta"):
            shape = build(described["name"], **settings)
            if not set(older := shape.older(state)) <= set(settings):
                settings = {**older, **settings}
                shape = build(described["name"], **settings)
        if (spec.size, spec.channels) != (shape.spec.size, shape.spec.channels):
            raise ModelFileError(f"{path}: spec: expected pictures of {shape.spec.size} pixels, found {spec.size}")
        check_fit(shape, state, source=path)
        network = build(described["name"], **settings)
    except ModelError:
        raise
    except (MienError, TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{path}: {error}") from error
    network.load_state_dict(state, strict=False)
    network.spec = spec
    return network.eval()
