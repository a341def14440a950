"""Reading the text files of protocols: bounded, strict, and with the line's number in every complaint."""

from __future__ import annotations

import csv
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError, NotFoundError
from mien.images import source_name

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["MAX_LIST_BYTES", "Line", "count_of", "integer_table", "person_folder", "read_lines", "read_table"]

MAX_LIST_BYTES: Final = 256 << 20
"""Most bytes of a list; a list of a million pictures has 60 MB."""

_MAX_TABLE_BYTES: Final = 1 << 30  # IJB-C has 15.7 million pairs of templates in 230 MB
_MAX_COUNT: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not empty, and where it is.

    Attributes:
        text: the line without space at its ends.
        where: the list's name and the line's number, for messages.
    """

    text: str
    where: str

    def fields(self) -> list[str]:
        """Its fields: between tabs where there are any, else between spaces."""
        return [part.strip() for part in self.text.split("\t")] if "\t" in self.text else self.text.split()

    def cells(self) -> list[str]:
        """Its comma-separated fields, without space at their ends. Raises InputError where they are not such."""
        try:
            return [cell.strip() for cell in next(csv.reader([self.text], strict=True))]
        except csv.Error as error:  # an open quote, or a field of more than 128 KiB
            raise self.wrong(f"comma-separated fields ({error})") from error

    def wrong(self, expected: str) -> InputError:
        """The error that says what was expected instead of this line."""
        return InputError(f"{self.where}: expected {expected}, got {self.text[:80]!r}")


def _check(path: str | os.PathLike[str], most: int) -> str:
    """Look at a file before it is opened, for opening a pipe may never end; return its name for messages."""
    shown = source_name(path)
    try:
        status = Path(path).stat()
    except FileNotFoundError as error:
        raise NotFoundError(f"{shown}: there is no such file") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{shown}: cannot be read ({error})") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{shown}: expected a text file")
    if status.st_size > most:
        raise InputError(f"{shown}: expected a list of at most {most} bytes, got {status.st_size}")
    return shown


def _head(path: str | os.PathLike[str], most: int, shown: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise InputError(f"{shown}: cannot be read ({error})") from error


def read_lines(path: str | os.PathLike[str]) -> Iterator[Line]:
    """The lines of a UTF-8 list that are not empty; a byte order mark and any line ends are fine.

    Raises:
        NotFoundError: there is no such file.
        InputError: it cannot be read, is too large, or is not UTF-8.
    """
    shown = _check(path, MAX_LIST_BYTES)
    try:
        text = _head(path, MAX_LIST_BYTES, shown).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{shown}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x}") from error
    # Only real line ends: str.splitlines also cuts at characters that a name may hold. One at a time: a list of all
    # lines of a large file would take many times its size.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    start, number = 0, 0
    while start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        number += 1
        if stripped := text[start:end].strip():
            yield Line(stripped, f"{shown}, line {number}")
        start = end + 1


def read_table(path: str | os.PathLike[str], columns: tuple[str, ...]) -> Iterator[tuple[Line, dict[str, str]]]:
    """The rows of a CSV file with a header, as upper-case column name to field.

    Raises:
        InputError: the file cannot be read, one of `columns` is missing, or a row is shorter or longer than the header.
    """
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        raise InputError(f"{source_name(path)}: expected a header with {', '.join(columns)}, got an empty file")
    header = [name.upper() for name in first.cells()]
    if missing := [name for name in columns if name not in header]:
        raise first.wrong(f"a header with {', '.join(missing)}")
    for line in lines:
        cells = line.cells()
        if len(cells) != len(header):
            raise line.wrong(f"{len(header)} fields")
        yield line, dict(zip(header, cells, strict=True))


def count_of(line: Line, text: str, what: str, *, least: int = 1) -> int:
    """A whole number of `least` or more. Raises InputError with the line's number."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= _MAX_COUNT):
        raise line.wrong(what)
    return int(text)


def person_folder(line: Line, name: str) -> str:
    """A person's name as a list gives it, which is also the name of a folder. Raises InputError where it cannot be."""
    if name in ("", ".", "..") or len(name) > 255 or any(c in "/\\" or ord(c) < 32 for c in name):
        raise line.wrong("the name of a person's folder")
    return name


def integer_table(path: str | os.PathLike[str], columns: int) -> NDArray[np.int64]:
    """Whole numbers in rows of `columns`, between commas or spaces, with or without a header: int64 (R, columns).

    Made for many millions of rows.

    Raises:
        InputError: the file cannot be read, is too large, or a row is not such numbers.
    """
    shown = _check(path, _MAX_TABLE_BYTES)
    wrong = f"{shown}: expected {columns} whole numbers a row"
    lines = _head(path, 4096, shown).removeprefix(b"\xef\xbb\xbf").split(b"\n")
    header = lines[0].replace(b'"', b"").strip()[:1].isalpha()
    if not any(line.strip() for line in lines[header:]):  # numpy only warns
        raise InputError(f"{wrong}, got none")
    delimiter = "," if b"," in lines[header] else None
    with Path(path).open("r", encoding="utf-8-sig", newline=None) as file:
        try:
            table: NDArray[np.int64] = np.loadtxt(
                file, np.int64, comments=None, delimiter=delimiter, skiprows=int(header), ndmin=2
            )
        except (ValueError, OverflowError) as error:
            raise InputError(f"{wrong} ({error})") from error
    if table.shape[1] != columns:
        raise InputError(f"{wrong}, got {table.shape[1]}")
    return table
