"""Tables that other programs write: CSV whose columns go by several names, read a row at a time and never trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mien.errors import InputError
from mien.evaluate.protocols.lists import Line, read_lines
from mien.images import source_name

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

__all__ = ["MAX_ROWS", "PICTURE", "Column", "Row", "read_columns"]

MAX_ROWS: Final = 2_000_000
"""Most rows of a table; they are kept in memory in one form or another."""

_FORMULA: Final = ("=", "+", "-", "@")


@dataclass(frozen=True, slots=True)
class Column:
    """A column and the names that it may have, whatever their case.

    Attributes:
        name: the name that `Row` knows it by, which is also one that it may have.
        others: other names.
        needed: whether a table without it is refused.
    """

    name: str
    others: tuple[str, ...] = ()
    needed: bool = True

    def place(self, header: Sequence[str]) -> int | None:
        """Where it is in a header of lower-case names."""
        return next((header.index(name) for name in (self.name, *self.others) if name in header), None)


PICTURE: Final = Column("picture", ("image", "file", "filename", "path", "source"))
"""The column of a picture's name."""


class Row:
    """One row: the fields of the columns that were asked for. Belongs to one thread."""

    __slots__ = ("_cells", "_places", "line")

    def __init__(self, line: Line, cells: list[str], places: dict[str, int | None]) -> None:
        self.line, self._cells, self._places = line, cells, places

    def text(self, name: str) -> str:
        """A field as text; empty where there is no such column.

        The quote is taken off that spreadsheet-safe CSV, such as mien's own, puts before what looks like a formula.
        """
        place = self._places[name]
        found = "" if place is None else self._cells[place]
        return found[1:] if found.startswith("'") and found[1:].lstrip().startswith(_FORMULA) else found

    def number(self, name: str) -> float:
        """A field as a finite number of moderate size. Raises InputError with the line's number."""
        text = self.text(name)
        try:
            value = float(text) if text.isascii() and "_" not in text else math.nan
        except ValueError:
            value = math.nan
        if not abs(value) <= 1e30:  # written so that NaN is refused, and squares stay finite
            raise InputError(f"{self.line.where}: {name}: expected a finite number, got {text[:40]!r}")
        return value


def read_columns(path: str | os.PathLike[str], columns: Sequence[Column]) -> Iterator[Row]:
    """The rows of a CSV file with a header; columns that nobody asked for are passed over.

    Raises:
        InputError: the file cannot be read, is too long, has no rows, lacks a column or names one twice, or a row is
            shorter or longer than the header. Messages name the line.
    """
    lines = read_lines(path)
    shown = source_name(path)
    first = next(lines, None)
    if first is None:
        raise InputError(f"{shown}: expected a header with {', '.join(c.name for c in columns)}, got an empty file")
    header = [name.lower() for name in first.cells()]
    places = {column.name: column.place(header) for column in columns}
    for column in columns:
        if places[column.name] is None and column.needed:
            names = " or ".join((column.name, *column.others))
            raise first.wrong(f"a comma-separated header with a column {names}")
    if twice := next((name for i, name in enumerate(header) if name and name in header[:i]), None):
        raise first.wrong(f"every column once, but {twice[:40]!r} is there twice:")
    count = 0
    for line in lines:
        cells = line.cells()
        if len(cells) != len(header):
            raise line.wrong(f"{len(header)} fields as in the header, not {len(cells)}")
        count += 1
        if count > MAX_ROWS:
            raise InputError(f"{line.where}: expected at most {MAX_ROWS:,} rows")
        yield Row(line, cells, places)
    if not count:
        raise InputError(f"{shown}: expected rows below the header, got none")
