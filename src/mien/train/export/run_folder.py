"""Reading what a training run left behind; every file of it may be broken, or come from a stranger."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mien.errors import InputError, NotFoundError
from mien.train.backbones import Backbone, load_network, network_facts
from mien.train.backbones.saved import WEIGHTS_FILE

__all__ = ["NETWORKS", "Run", "model_name", "read_run"]

NETWORKS: Final = ("best", "last")
"""Folders of a run that hold a network, the one that is taken first in front."""

_MAX_JSON: Final = 4 << 20
_MAX_LINES: Final = 256 << 20  # bytes of metrics that are read
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A training run.

    Attributes:
        folder: the run's.
        network: in eval mode.
        part: which network it is: "best", "last", or "" where the folder itself holds one.
        config: the run's settings; empty where there are none.
        metrics: the last value of each number that was measured, by name.
        facts: what was saved with the network.
    """

    folder: Path
    network: Backbone
    part: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def read_run(folder: Path, *, part: str | None = None) -> Run:
    """Read a run folder, or the folder of one saved network.

    Args:
        folder: a run with ``best`` or ``last``, or a folder that `save_network` wrote.
        part: "best" or "last"; None for the first that is there.

    Raises:
        NotFoundError: no such folder, or no network in it.
        ModelFileError: the network is damaged, or its weights are not finite.
        InputError: config.json or metrics.jsonl is not what a run writes.
    """
    folder = Path(folder)
    if part is not None and part not in NETWORKS:
        raise InputError(f"part: expected one of {', '.join(NETWORKS)}, got {part!r}")
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: there is no such training run")
    places = {name: folder / name for name in ((part,) if part else NETWORKS)} | ({} if part else {"": folder})
    found = next((name for name, place in places.items() if (place / WEIGHTS_FILE).is_file()), None)
    if found is None:
        wanted = ", ".join(f"{name}/" if name else "itself" for name in places)
        raise NotFoundError(f"{folder}: no trained network is there; looked for {WEIGHTS_FILE} in {wanted}")
    network = load_network(places[found])
    return Run(
        folder,
        network,
        found,
        _config(folder / "config.json"),
        _last_metrics(folder / "metrics.jsonl"),
        network_facts(places[found])["facts"],
    )


def model_name(run: Run) -> str:
    """A card's name made of the folder's: lower case, digits and dashes."""
    text = _NOT_IN_A_NAME.sub("-", run.folder.resolve().name.lower()).strip("-")[:48].strip("-")
    return text or "model"


def _config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        if path.stat().st_size > _MAX_JSON:
            raise InputError(f"{path}: expected the settings of a run, got {path.stat().st_size:,} bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a table of settings, got {type(values).__name__}")
    return values


def _last_metrics(path: Path) -> dict[str, float]:
    """The last finite number of each name; a line that a crash cut short is passed over."""
    found: dict[str, float] = {}
    if not path.exists():
        return found
    try:
        with path.open("rb") as file:
            read = 0
            for line in file:
                read += len(line)
                if read > _MAX_LINES:
                    raise InputError(f"{path}: expected at most {_MAX_LINES >> 20} MiB of metrics")
                found |= _numbers(line)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return found


def _numbers(line: bytes) -> dict[str, float]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    prefix = "".join(f"{values[key]}." for key in ("kind", "name") if isinstance(values.get(key), str))
    flat: dict[str, float] = {}
    for name, value in values.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        for key, number in inner:
            if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
                flat[f"{prefix}{name}.{key}" if key else f"{prefix}{name}"] = float(number)
    return flat
