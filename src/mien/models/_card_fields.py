"""Checks of single fields of a model card, and the layout of its TOML file. Every failure is a CardError."""

from __future__ import annotations

import math
import re
from pathlib import Path, PureWindowsPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mien.errors import CardError
from mien.types import EVENINGS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

MAX_FILE_BYTES = 16 * 1024**3

FLAT = (
    *("name", "title", "task", "family", "licence", "commercial_use"),
    *("licence_url", "licence_notes", "source", "paper"),
)
"""Fields at the top of the file."""

TABLES: Mapping[str, Mapping[str, str]] = {
    "input": {
        "size": "input_size",
        "colour": "colour",
        "mean": "mean",
        "std": "std",
        "batch": "batch",
        "evening": "evening",
    },
    "alignment": {"template": "template"},
    "output": {
        "kinds": "outputs",
        "strides": "strides",
        "anchors": "anchors",
        "dimension": "dimension",
        "metric": "metric",
    },
}
"""Tables of the file: key in the table -> field of the card."""

_REQUIRED = ("name", "title", "task", "family", "licence", "commercial_use", "files")
_FILE_FIELDS = ("name", "sha256", "size", "packaged", "url", "path")
_CARD_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_FILE_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _is_reserved(name: str) -> bool:
    """Whether Windows takes the name for a device."""
    stem = PureWindowsPath(name).name.split(".")[0].lower()
    return stem in {"con", "prn", "aux", "nul"} or re.fullmatch(r"(com|lpt)\d", stem) is not None


def card_name(where: str, value: object) -> None:
    """Check the name of a card: it becomes a folder."""
    if not isinstance(value, str) or not _CARD_NAME.fullmatch(value) or _is_reserved(value):
        raise CardError(f"{where}: expected lower-case letters, digits, dots and dashes (at most 64), got {value!r}")


def file_name(where: str, value: object) -> None:
    """Check a file name: no folder, nothing hidden."""
    if not isinstance(value, str) or not _FILE_NAME.fullmatch(value) or _is_reserved(value):
        raise CardError(f"{where}.name: expected a plain file name without folders, got {value!r}")


def sha256(where: str, value: object) -> None:
    """Check a checksum."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise CardError(f"{where}.sha256: expected 64 lower-case hex digits, got {value!r}")


def https(where: str, value: object) -> None:
    """Check a web address: https, with a host, without a password."""
    try:
        parts = urlsplit(value) if isinstance(value, str) and value.isprintable() and " " not in value else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise CardError(f"{where}: expected an https:// address, got {value!r}")


def text(where: str, value: object, *, required: bool = False) -> None:
    """Check a text for people."""
    if not isinstance(value, str) or (required and not value.strip()):
        raise CardError(f"{where}: expected text, got {value!r}")


def choice(where: str, value: object, known: Collection[str]) -> None:
    """Check one of several words."""
    if not isinstance(value, str) or value not in known:
        raise CardError(f"{where}: expected one of {', '.join(known)}; got {value!r}")


def whole(where: str, value: object, low: int, high: int) -> None:
    """Check a whole number in a closed range."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise CardError(f"{where}: expected a whole number from {low} to {high}, got {value!r}")


def numbers(
    where: str,
    value: object,
    count: int,
    *,
    low: float = -1e6,
    high: float = 1e6,
    whole_numbers: bool = False,
) -> None:
    """Check a tuple of `count` finite numbers in a closed range."""
    kinds = (int,) if whole_numbers else (int, float)
    good = isinstance(value, tuple) and len(value) == count
    if not good or not all(isinstance(v, kinds) and not isinstance(v, bool) and low <= v <= high for v in value):  # type: ignore[attr-defined]
        kind = "whole numbers" if whole_numbers else "numbers"
        raise CardError(f"{where}: expected {count} {kind} from {low:g} to {high:g}, got {value!r}")


def template(value: object, known: Collection[str]) -> None:
    """Check an alignment template: None, a known name, or five distinct points."""
    if value is None:
        return
    if isinstance(value, str):
        choice("alignment.template", value, known)
        return
    if not isinstance(value, tuple) or len(value) != 5:
        raise CardError(f"alignment.template: expected a name or five [x, y] points, got {value!r}")
    for point in value:
        numbers("alignment.template", point, 2)
    if len(set(value)) != 5:
        raise CardError(f"alignment.template: expected five different points, got {value!r}")


def evening(value: object, family: str) -> None:
    """Check how light is evened out: a list of known words, each once; only for embedders that do it."""
    good = isinstance(value, tuple) and all(isinstance(one, str) and one in EVENINGS for one in value)
    if not good or len(set(value)) < len(value):  # type: ignore[call-overload,arg-type]
        raise CardError(f"input.evening: expected a list of {', '.join(EVENINGS)}, each once; got {value!r}")
    if value and family != "aligned":
        raise CardError(f"input.evening: expected none for family {family!r}, which does not even light out")


def tables(where: str, value: Mapping[str, Any], *, required: Sequence[str]) -> None:
    """Check a table of tables that each hold the `required` keys."""
    for name, table in value.items():
        if not hasattr(table, "items"):
            raise CardError(f"{where}.{name}: expected a table, got {table!r}")
        for key in required:
            if key not in table:
                raise CardError(f"{where}.{name}: expected a field {key!r}, found {', '.join(table) or 'nothing'}")
            if key == "value":
                good = isinstance(table[key], (int, float)) and math.isfinite(table[key])
            else:
                good = isinstance(table[key], str) and bool(table[key].strip())
            if not good:
                raise CardError(f"{where}.{name}.{key}: expected {'a number' if key == 'value' else 'text'}")


def distinct_files(files: Sequence[Any]) -> None:
    """Check that there is a file, and that no two would overwrite each other."""
    names = [f.name.lower() for f in files]
    if not names or len(set(names)) != len(names):
        raise CardError(f"files: expected at least one file and different names, got {names}")


def _tuples(value: object) -> Any:  # noqa: ANN401 - any TOML value
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _refuse_unknown(where: str, found: Collection[str], known: Collection[str]) -> None:
    if unknown := [key for key in found if key not in known]:
        raise CardError(f"{where}{unknown[0]}: unknown field; known: {', '.join(known)}")


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """The card's fields from the tables of its file."""
    _refuse_unknown("", values, (*FLAT, *TABLES, "files", "accuracy", "presets"))
    for key in _REQUIRED:
        if key not in values:
            raise CardError(f"{key}: expected a value, found none")
    fields = {key: values[key] for key in FLAT if key in values}
    for table, names in TABLES.items():
        _refuse_unknown(f"{table}.", _table(table, values), names)
        fields |= {names[key]: _tuples(value) for key, value in _table(table, values).items()}
    fields |= {key: _table(key, values) for key in ("accuracy", "presets")}
    if not isinstance(values["files"], list):
        raise CardError("files: expected one [[files]] table a file")
    fields["files"] = values["files"]
    outputs = fields.get("outputs", ())
    if not isinstance(outputs, tuple) or not all(isinstance(o, str) for o in outputs):
        raise CardError(f"output.kinds: expected a list of words, got {outputs!r}")
    if not isinstance(fields.get("strides", ()), tuple):
        raise CardError(f"output.strides: expected a list of whole numbers, got {fields['strides']!r}")
    return fields


def _table(name: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    table = values.get(name, {})
    if not isinstance(table, dict):
        raise CardError(f"{name}: expected a table, got {table!r}")
    return table


def file_fields(values: object, folder: Path | None) -> dict[str, Any]:
    """The fields of one [[files]] table; its path made absolute."""
    if not isinstance(values, dict):
        raise CardError(f"files: expected [[files]] tables, got {values!r}")
    _refuse_unknown("files.", values, _FILE_FIELDS)
    if "name" not in values:
        raise CardError("files.name: expected a value, found none")
    fields = dict(values)
    for key in ("packaged", "path"):
        if key in fields:
            text(f"files ({fields['name']!r}).{key}", fields[key], required=True)
    if "path" in fields:
        if folder is None:
            raise CardError(f"files ({fields['name']!r}).path: expected a card in a file: the path is relative to it")
        fields["path"] = folder / fields["path"]
    return fields


def frozen(value: Any) -> Any:  # noqa: ANN401 - any TOML value
    """`value` with its tables read-only and its lists as tuples, all the way down."""
    if hasattr(value, "items"):
        return MappingProxyType({key: frozen(item) for key, item in value.items()})
    return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value


def plain(value: Any) -> Any:  # noqa: ANN401
    """`value` as dictionaries, lists, numbers and texts: the opposite of `frozen`."""
    if hasattr(value, "items"):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool)) else str(value)  # TOML dates become text
