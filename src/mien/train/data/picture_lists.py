"""Lists of picture files with labels: text, CSV, MXNet's, and those of `mien data`; refused where pictures are gone."""

from __future__ import annotations

import codecs
import csv
import itertools
import json
import os
import re
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mien.errors import InputError, NotFoundError
from mien.images import file_exists, is_image_name, person_name, source_name
from mien.train.data.picture_files import PictureFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

__all__ = ["files_of_list"]

_LONGEST_LINE: Final = 8192
_MANIFEST: Final = "manifest.jsonl"
_LONGEST_HEAD: Final = 1 << 20
_THREADS: Final = 16  # that ask whether files are there: on disks far away each waits for its answer
_CHUNK: Final = 4096
_SHOWN: Final = 3

# What columns are called, in lower case.
_PATH: Final = re.compile(r"(file|image|img|picture|photo)s?(_?(path|name))?|paths?")
_LABEL: Final = re.compile(r"(label|person|identity|class|subject)(_?(id|name))?|labels|people|target")
_WEAK_LABEL: Final = re.compile(r"ids?|names?")  # where no other column is the label
_FOLDERS: Final = (
    "a list of paths alone is read where mien data split wrote it, beside its manifest.jsonl; otherwise have the "
    "pictures placed (--place link), or write whose picture it is behind each path"
)


class _Row(NamedTuple):
    """A line that names a picture; `cut` is what stood between path and label ("" where it is a path alone)."""

    path: str
    label: str
    line: int
    cut: str


def files_of_list(path: Path) -> PictureFiles:
    """The pictures of a list: a line each, path and label with a tab, a comma or spaces between.

    Labels may be numbers or names. A ``.csv`` file may have quotes; a first line that names the columns chooses them,
    and is noted. MXNet's lists (id, label, path; tabs between) are read too, and those of paths alone that
    ``mien data split`` made. Relative paths begin at the list's folder, or at the folder that was split.

    Raises:
        NotFoundError: there is no such file, or pictures that it names are not there.
        InputError: it cannot be read, or a line is none.
    """
    people: list[str] = []
    placed = _split_folder(path)
    reading = _Reading(path, placed)
    root = os.fspath(path.parent) if placed is None else placed
    files = PictureFiles(root, reading.entries(people), people)
    if not len(files):
        raise InputError(f"{path}: no lines in it; expected a path and a label in each")
    reading.check(files)
    files.notes = tuple(reading.notes)
    return files


def _split_folder(path: Path) -> str | None:
    """The folder that this list's paths begin at, where `mien data` recorded that it made the list; else None."""
    try:
        with path.with_name(_MANIFEST).open("rb") as file:
            head = json.loads(file.readline(_LONGEST_HEAD))
            settings: Any = head["settings"]
            if settings["place"] != "list" or not isinstance(settings["source"], str):
                return None
            lines = (json.loads(line) for line in iter(lambda: file.readline(_LONGEST_HEAD), b""))
            listed = any(line["to"] == path.name for line in lines if line.get("decision") == "listed")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return str(settings["source"]) if listed else None


class _Reading:
    """One reading of a list: its rows, and where they stood. Belongs to one thread.

    Args:
        path: the list.
        root: the folder that its lines' paths begin at, where they are paths alone; None for paths and labels.

    Attributes:
        notes: what is to be told of it.
    """

    def __init__(self, path: Path, root: str | None) -> None:
        self._path, self._root = path, root
        self._numbers, self._cuts = array("q"), bytearray()
        self._exists: Callable[[str], bool] = lambda name: file_exists(os.path.join(path.parent, name))  # noqa: PTH118
        self.notes = [] if root is None else [f"{path}: paths of {root}, whose folders are the people"]

    def entries(self, people: list[str]) -> Iterator[tuple[str, int]]:
        """(path, number of the person) of each picture; names are added to `people`."""
        numbers: dict[str, int] = {}  # by label, as it stands there
        named: dict[str, int] = {}
        try:
            with self._path.open("rb") as file:
                for row in self._rows(_Lines(file, self._path, plain=self._root is not None)):
                    if row.label not in numbers:
                        name = self._name(row)
                        number = named.setdefault(name, len(people)) if name else len(people)
                        numbers[row.label] = number
                        if number == len(people):
                            people.append(name)
                    self._numbers.append(row.line)
                    self._cuts += row.cut.encode() or b"\0"
                    yield row.path, numbers[row.label]
        except FileNotFoundError as error:
            raise NotFoundError(f"{self._path}: there is no such file") from error
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read ({error.strerror or error})") from error

    def _name(self, row: _Row) -> str:
        if row.label.isdecimal() and self._root is None:
            return ""
        try:
            return person_name(row.label)
        except InputError as error:
            raise InputError(f"{self._path}, line {row.line}: {error} (is the list UTF-8?)") from error

    def _rows(self, lines: _Lines) -> Iterator[_Row]:
        if self._root is not None:
            for text in lines:
                parts = PurePosixPath(text).parts
                # As `people_of` names them: a picture that lies in no folder is a person of its own.
                yield _Row(text, parts[0] if len(parts) > 1 else PurePosixPath(text).stem, lines.number, "")
            return
        split = self._cells_of_csv if self._path.suffix.lower() == ".csv" else _cells_of_text
        columns: tuple[int, int] | None = None
        for first, (cells, cut) in enumerate(split(lines)):
            where = f"{self._path}, line {lines.number}"
            if not first and (columns := self._header(cells, where)) is not None:
                named = f"{cells[columns[0]]!r} and {cells[columns[1]]!r}"
                self.notes.append(f"{where}: read as the names of columns; path and label are {named}")
                continue
            yield _row(cells, columns, lines.number, cut, where)

    def _cells_of_csv(self, lines: _Lines) -> Iterator[tuple[list[str], str]]:
        texts = iter(lines)
        head = next(texts, None)
        if head is None:
            return
        whole = itertools.chain([head], texts)
        delimiter = next((sign for sign in "\t,;" if sign in head), None)
        if delimiter is None:  # a CSV by name alone
            yield from _cells_of_text(whole)
            return
        rows = csv.reader((f"{text}\n" for text in whole), delimiter=delimiter, skipinitialspace=True, strict=True)
        try:
            for cells in rows:
                yield [cell.strip() for cell in cells], delimiter
        except csv.Error as error:
            raise InputError(f"{self._path}, line {lines.number}: no CSV ({error})") from error

    def _header(self, cells: list[str], where: str) -> tuple[int, int] | None:
        """Columns of path and label, where these cells are names of columns and not a picture that is there."""
        words = [cell.strip("\"'").lower().replace(" ", "_") for cell in cells]
        paths, labels, weak = (
            [i for i, word in enumerate(words) if names.fullmatch(word)] for names in (_PATH, _LABEL, _WEAK_LABEL)
        )
        labels = labels or weak
        if not paths or not labels or self._exists(cells[paths[0]]):
            return None
        if len(paths) > 1 or len(labels) > 1:
            raise InputError(f"{where}: several columns may be path or label ({', '.join(cells)}); keep one of each")
        return paths[0], labels[0]

    def check(self, files: PictureFiles) -> None:
        """Refuse a list that names what is not there.

        A training would show other pictures in their place, and people could be lost by it.
        """

        def missing(start: int) -> list[int]:
            return [i for i in range(start, min(start + _CHUNK, len(files))) if not file_exists(files.encoded(i))]

        with ThreadPoolExecutor(_THREADS) as pool:
            gone = [i for found in pool.map(missing, range(0, len(files), _CHUNK)) for i in found]
        if not gone:
            return
        shown = ", ".join(f"line {self._numbers[i]}: {files.name(i)}" for i in gone[:_SHOWN])
        more = f" and {len(gone) - _SHOWN:,} more" if len(gone) > _SHOWN else ""
        raise NotFoundError(
            f"{self._path}: {len(gone):,} of {len(files):,} pictures are not there ({shown}{more}); "
            f"{self._advice(files, gone[0])}"
        )

    def _advice(self, files: PictureFiles, i: int) -> str:
        name, cut = files.name(i), chr(self._cuts[i])
        if self._root is not None:
            return f"its paths begin at {self._root}, as {_MANIFEST} beside it says: split again if the folder moved"
        if is_image_name(files.people[int(files.labels[i])]):
            return f"what was read as the label looks like a picture: {_FOLDERS}"
        if '"' in name:
            return "quotes are understood in a file that ends in .csv"
        if cut == " " and " " in name:
            return "where a path or a label has spaces, put a tab between the two"
        if cut == "," and "," in name:
            return "where a path or a label has commas, put a tab between the two, or quote both in a .csv file"
        return "correct these lines or take them out"


class _Lines:
    """A list's lines without byte-order mark, empty ones and comments. Belongs to one thread.

    Args:
        file: the list, open.
        path: its name in messages.
        plain: whether lines are paths alone, in which # and spaces may be parts of names.

    Attributes:
        number: of the latest line, from 1.
    """

    def __init__(self, file: BinaryIO, path: Path, *, plain: bool) -> None:
        self._file, self._path, self._plain, self.number = file, path, plain, 0

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(iter(lambda: self._file.readline(_LONGEST_LINE), b""), 1):
            self.number, where = number, f"{self._path}, line {number}"
            if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise InputError(f"{where}: UTF-16; save the list as UTF-8")
            if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                raise InputError(f"{where}: longer than {_LONGEST_LINE} bytes; expected a path and a label")
            text = os.fsdecode(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip("\r\n")
            text = text if self._plain else text.strip(" ")
            if "\0" in text:
                raise InputError(f"{where}: expected a path and a label, got {text!r:.80}")
            if text and (self._plain or not text.startswith("#")):
                yield text


def _cells_of_text(lines: Iterable[str]) -> Iterator[tuple[list[str], str]]:
    """The cells of each line, and what stood between them."""
    for text in lines:
        if "\t" in text:
            yield [cell.strip() for cell in text.split("\t")], "\t"
        elif "," in text:
            yield [cell.strip() for cell in text.rsplit(",", 1)], ","
        else:
            yield [cell.strip() for cell in text.rsplit(None, 1)], " "


def _row(cells: list[str], columns: tuple[int, int] | None, line: int, cut: str, where: str) -> _Row:
    if columns is not None:
        cells = [cells[i] for i in columns] if len(cells) > max(columns) else []
    elif len(cells) == 3 and cut == "\t" and cells[0].isdecimal():  # MXNet writes labels as floats
        cells = [cells[2], cells[1].removesuffix(".000000").removesuffix(".0")]
    elif len(cells) > 2 and cut == ",":  # in the path, without quotes
        cells = [",".join(cells[:-1]), cells[-1]]
    if len(cells) == 1 and is_image_name(cells[0]):
        raise InputError(f"{where}: expected a path and a label, got only {source_name(cells[0])[:80]!r}; {_FOLDERS}")
    if len(cells) != 2 or not all(cells):
        raise InputError(f"{where}: expected a path and a label, got {' '.join(cells)!r:.80}")
    return _Row(cells[0], cells[1], line, cut)
