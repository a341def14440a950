"""Attributes of pictures or people from a CSV that somebody else made: checked cell by cell, by the line."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from mien.errors import InputError
from mien.images import source_name

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["AttributeTable", "Key", "folded", "read_attributes"]

Key: TypeAlias = Literal["image", "subject"]
"""What the rows of a file speak of."""

MAX_BYTES: Final = 256 << 20
MAX_COLUMNS: Final = 100
MAX_CELL: Final = 200
"""Characters of a value, at most; a longer one is no category."""

MAX_KEY: Final = 4096

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_SIGNED: Final = re.compile(r"[+-](\d|\.\d)[\d.,]*\Z")


@dataclass(frozen=True, slots=True)
class AttributeTable:
    """What a file says.

    Attributes:
        source: the file's name.
        key: what its rows speak of.
        columns: names of the attributes.
        rows: the values of each key, one a column; an empty one is not known.
        lines: the line of each key.
    """

    source: str
    key: Key
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]]
    lines: Mapping[str, int]

    def column(self, name: str) -> dict[str, str]:
        """The values of one attribute that are known, by key.

        Raises:
            InputError: there is no such column.
        """
        if name not in self.columns:
            raise InputError(f"{self.source}: expected a column {name!r}, got {', '.join(self.columns)}")
        at = self.columns.index(name)
        return {key: row[at] for key, row in self.rows.items() if row[at]}


def folded(key: str) -> str:
    """A key as it is compared: composed characters, forward slashes, no leading ``./``."""
    return unicodedata.normalize("NFC", key.strip().replace("\\", "/")).removeprefix("./")


def read_attributes(path: str | os.PathLike[str]) -> AttributeTable:
    """Read a CSV with a header, of which one column is named ``image`` or ``subject``; of both, ``image`` is the key.

    Raises:
        InputError: it cannot be read, is not UTF-8, has no key or no attribute, or a line is not what it has to be;
            the message names the line.
    """
    shown = source_name(path)
    reader = csv.reader(io.StringIO(_text(path, shown), newline=""), strict=True)
    try:
        header = next(reader, None)
        key, columns = _header(shown, header)
        wanted = [i for i, name in enumerate(columns) if name not in ("image", "subject")]
        at = columns.index(key)
        rows: dict[str, tuple[str, ...]] = {}
        lines: dict[str, int] = {}
        before = reader.line_num
        for cells in reader:
            line, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            where = f"{shown}, line {line}"
            if len(cells) != len(columns):
                raise InputError(f"{where}: expected {len(columns)} cells as in the header, got {len(cells)}")
            who = folded(cells[at])
            if not who or len(who) > MAX_KEY or _CONTROL.search(who):
                raise InputError(
                    f"{where}: expected the name of {'an' if key == 'image' else 'a'} {key}, got {cells[at][:80]!r}"
                )
            values = tuple(_value(cells[i], f"{where}, column {columns[i]}") for i in wanted)
            if rows.setdefault(who, values) != values:
                raise InputError(f"{where}: {who[:80]!r} has other values than in line {lines[who]}")
            lines.setdefault(who, line)
    except csv.Error as error:
        raise InputError(f"{shown}, line {reader.line_num}: not CSV ({error})") from error
    if not rows:
        raise InputError(f"{shown}: expected a row for each {key}, got a header only")
    return AttributeTable(shown, key, tuple(columns[i] for i in wanted), rows, lines)


def _text(path: str | os.PathLike[str], shown: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{shown}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{shown}: expected at most {MAX_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{shown}, line {line}: expected UTF-8; save the file as CSV in UTF-8") from error


def _header(shown: str, header: list[str] | None) -> tuple[Key, list[str]]:
    where = f"{shown}, line 1"
    if not header or len(header) > MAX_COLUMNS:
        raise InputError(f"{where}: expected a header of at most {MAX_COLUMNS} columns, got {len(header or ())}")
    columns = [_value(cell, f"{where}, column {i}") for i, cell in enumerate(header, start=1)]
    columns = [name.lower() if name.lower() in ("image", "subject") else name for name in columns]
    for i, name in enumerate(columns):
        if not name or name in columns[:i]:
            raise InputError(f"{where}: expected a name of its own for every column, got {name!r} in column {i + 1}")
    key: Key | None = "image" if "image" in columns else "subject" if "subject" in columns else None
    if key is None:
        raise InputError(f"{where}: expected a column named image or subject, got {', '.join(columns)[:200]}")
    if set(columns) <= {"image", "subject"}:
        raise InputError(f"{where}: expected a column of an attribute besides {key}")
    return key, columns


def _value(cell: str, where: str) -> str:
    value = unicodedata.normalize("NFC", cell.strip())
    if len(value) > MAX_CELL:
        raise InputError(f"{where}: expected at most {MAX_CELL} characters, got {len(value)}")
    if _CONTROL.search(value):
        raise InputError(f"{where}: expected text without control characters, got {value[:80]!r}")
    if value.lower() == "nan":
        raise InputError(f"{where}: got {value!r}; leave the cell empty where the value is not known")
    if value.startswith(("=", "@")) or (value.startswith(("+", "-")) and not _SIGNED.match(value)):
        raise InputError(f"{where}: expected a value, got what a spreadsheet takes for a formula, {value[:80]!r}")
    return value
