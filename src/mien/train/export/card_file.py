"""The exported model's card as TOML; checked by reading it back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.embed.views import CHIP, DETECTOR_TEMPLATE
from mien.models.card import load_card

if TYPE_CHECKING:
    from pathlib import Path

    from mien.models.card import ModelCard
    from mien.train.backbones import InputSpec

__all__ = ["card_values", "looks_as_default", "to_toml", "write_card"]

BATCH: Final = 32
_SCALES: Final = (0.9, 1.2)
_SAME_PLACE: Final = 0.5  # pixels
_ALIGNED: Final = {
    "fast": "One aligned view of each face.",
    "accurate": "The aligned view and its mirror image, averaged.",
}
_LOOKS: Final = {
    "fast": "Two looks at each face, aligned by the detector's landmarks; one is a mirror image.",
    "accurate": "Four looks at each face, aligned by the detector's and by dlib's own landmarks; two are mirrored.",
}


def looks_as_default(spec: InputSpec) -> bool:
    """Whether a network sees faces as the default embedder does, so that the same looks can be averaged.

    The default's looks differ in how large they draw the face, so the size of the face does not matter here. Their
    light is never evened out.
    """
    if spec.size != CHIP or spec.channels != 3 or spec.evening:
        return False
    middle = (CHIP - 1) / 2
    default, own = DETECTOR_TEMPLATE - middle, np.array(spec.template, np.float64) - middle
    scale = float((default * own).sum() / (default * default).sum())
    low, high = _SCALES
    return low <= scale <= high and bool(np.abs(own - scale * default).max() < _SAME_PLACE)


def card_values(
    spec: InputSpec,
    *,
    name: str,
    title: str,
    dimension: int,
    file: str,
    sha256: str,
    size: int,
    licence: str,
    commercial: bool,
    source: str,
    accuracy: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The values of a card, in the layout of its file."""
    looks = looks_as_default(spec)
    values: dict[str, Any] = {
        "name": name,
        "title": title,
        "task": "embedder",
        "family": "dlib-resnet" if looks else "aligned",
        "licence": licence,
        "commercial_use": commercial,
        "source": source,
        "input": {
            "size": [spec.size, spec.size],
            "colour": "rgb" if looks else spec.colour,
            "mean": [float(v) for v in spec.mean],
            "std": [float(v) for v in spec.std],
            "batch": BATCH,
            **({"evening": list(spec.evening)} if spec.evening else {}),
        },
        "alignment": {"template": [[float(np.float32(x)), float(np.float32(y))] for x, y in spec.template]},
        "output": {"dimension": dimension, "metric": "cosine"},
        "presets": {key: {"description": text} for key, text in (_LOOKS if looks else _ALIGNED).items()},
        "accuracy": {key: dict(table) for key, table in accuracy.items()},
        "files": [{"name": file, "path": file, "size": size, "sha256": sha256}],
    }
    if looks and spec.colour == "bgr":  # the graph turns the channels round; the card tells what it is given
        values["input"]["mean"] = values["input"]["mean"][::-1]
        values["input"]["std"] = values["input"]["std"][::-1]
    return values


def write_card(path: Path, values: Mapping[str, Any]) -> ModelCard:
    """Write a card and read it back. Raises CardError for values that are none."""
    path.write_text(to_toml(values), encoding="utf-8", newline="\n")
    return load_card(path)


def to_toml(values: Mapping[str, Any]) -> str:
    """Values, tables of values, tables of tables and lists of tables as TOML.

    >>> print(to_toml({"a": 1, "t": {"x": {"y": [1.5]}}}), end="")
    a = 1
    <BLANKLINE>
    [t.x]
    y = [1.5]
    """
    lines: list[str] = []
    _table(values, (), lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def _table(values: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    plain = {key: value for key, value in values.items() if not _is_table(value)}
    if path and plain:
        lines += ["", f"[{'.'.join(map(_key, path))}]"]
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in values.items():
        if isinstance(value, Mapping):
            _table(value, (*path, key), lines)
        elif _is_table(value):
            for row in value:
                lines += ["", f"[[{'.'.join(map(_key, (*path, key)))}]]"]
                lines += [f"{_key(name)} = {_value(item)}" for name, item in row.items()]


def _is_table(value: object) -> bool:
    many = isinstance(value, list | tuple) and bool(value) and all(isinstance(row, Mapping) for row in value)
    return isinstance(value, Mapping) or many


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("-", "").replace("_", "").isalnum() else _value(name)


def _value(value: Any) -> str:  # noqa: ANN401 - any plain value
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        value = value.encode("utf-8", "replace").decode()
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
