"""The list between finding and doing: a CSV file with a verdict for each picture, which a person looks through."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from mien.errors import InputError
from mien.file_draft import draft_beside
from mien.images import is_image_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MOVES", "VERDICTS", "Row", "read_evidence", "read_list", "write_list"]

MOVES: Final = frozenset({"wrong", "second", "duplicate"})
"""Verdicts that move a picture when the list is applied."""

VERDICTS: Final = frozenset({"keep", "review"}) | MOVES
"""All verdicts: a person may write any of them in the list."""

_COLUMNS: Final = ("picture", "verdict", "reason", "score", "group")
_MOST: Final = 1 << 30  # bytes of a list
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list.

    Attributes:
        picture: path below the folder, with forward slashes.
        verdict: one of `VERDICTS`.
        reason: why, in words.
        score: what it rests on; None where there is none.
        group: pictures that belong together, such as copies of one; empty for none.
    """

    picture: str
    verdict: str
    reason: str = ""
    score: float | None = None
    group: str = ""


def write_list(path: Path, rows: Iterable[Row]) -> int:
    """Write a list; the file appears whole. Returns the number of rows.

    A name that a spreadsheet would take for a formula begins with ``./``, which names the same file.

    Raises:
        InputError: it cannot be written.
    """
    n = 0
    try:
        with (
            draft_beside(path) as draft,
            draft.open("x", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            for row in rows:
                score = "" if row.score is None or not math.isfinite(row.score) else f"{row.score:.4f}"
                writer.writerow((_safe(row.picture), row.verdict, _text(row.reason), score, _text(row.group)))
                n += 1
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return n


def read_list(path: Path) -> Iterator[Row]:
    """The rows of a list, lazily; only `picture` and `verdict` are needed.

    Raises:
        InputError: the file cannot be read, is no list, or names something that is no picture below a folder.
    """
    for number, line in _lines(path, ("picture", "verdict")):
        verdict = line["verdict"].strip().lower()
        if verdict not in VERDICTS:
            raise InputError(
                f"{path}, line {number}: verdict: expected one of {', '.join(sorted(VERDICTS))}, got {verdict!r:.60}"
            )
        yield Row(
            _relative(line["picture"], path, number),
            verdict,
            line.get("reason") or "",
            _number(line.get("score") or "", path, number),
            line.get("group") or "",
        )


def read_evidence(path: Path) -> dict[str, float]:
    """Extra evidence by picture: a CSV with the columns `picture` and `score`, 0 (belongs there) to 1 (wrong).

    Raises:
        InputError: the file cannot be read, or a value is none.
    """
    found: dict[str, float] = {}
    for number, line in _lines(path, ("picture", "score")):
        value = _number(line["score"], path, number)
        if value is None or not 0 <= value <= 1:
            raise InputError(f"{path}, line {number}: score: expected a number from 0 to 1, got {line['score']!r:.60}")
        found[_relative(line["picture"], path, number)] = value
    return found


def _lines(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        if path.stat().st_size > _MOST:
            raise InputError(f"{path}: expected a list of at most 1 GiB")
        # A spreadsheet may have put a byte order mark before it.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: expected CSV with the columns {', '.join(needed)}; {missing[0]} is missing")
            for line in reader:
                if any(line[name] is None for name in needed):
                    raise InputError(f"{path}, line {reader.line_num}: too few columns")
                yield reader.line_num, line
    except csv.Error as error:
        raise InputError(f"{path}: not CSV ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _relative(text: str, path: Path, number: int) -> str:
    relative = PurePosixPath(text)
    if "\0" in text or relative.is_absolute() or ".." in relative.parts or not is_image_name(str(relative)):
        raise InputError(f"{path}, line {number}: expected a picture below the folder, got {text!r:.200}")
    return str(relative)


def _number(text: str, path: Path, number: int) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}, line {number}: score: expected a number, got {text!r:.60}")
    return value


def _safe(name: str) -> str:
    return f"./{name}" if name.startswith(_FORMULA) else name


def _text(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
