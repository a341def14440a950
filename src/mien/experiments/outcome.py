"""What an experiment leaves behind: a picture, its numbers as JSON and CSV, and a short table for people."""

from __future__ import annotations

import csv
import io
import json
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from mien.errors import InputError
from mien.file_draft import draft_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["Outcome", "Watch", "quiet", "write_csv", "write_json", "write_whole"]

Watch: TypeAlias = "Callable[[int | None, str], AbstractContextManager[Callable[[int], None]]]"
"""Shows progress: given how much there is to do and what it is, a context that yields ``advance(n)``."""


@contextmanager
def quiet(_total: int | None, _label: str) -> Iterator[Callable[[int], None]]:
    """Progress that nobody sees."""
    yield lambda _n: None


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of an experiment. Immutable by agreement, so safe to share between threads.

    Attributes:
        name: of the experiment.
        record: everything that was measured, and how: what the JSON file holds.
        header, rows: the numbers worth a glance, as a table; right-hand columns are numbers.
        files: what was written.
    """

    name: str
    record: dict[str, Any]
    header: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    files: tuple[Path, ...]


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file that appears whole or not at all; its folder is made when it is not there.

    Raises:
        InputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft_beside(path) as draft:
            draft.write_bytes(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def write_json(path: Path, record: dict[str, Any]) -> Path:
    """Write a record as JSON, the same bytes for the same record.

    Raises:
        InputError: the file cannot be written.
    """
    return write_whole(path, (json.dumps(record, allow_nan=False, indent=2) + "\n").encode("ascii"))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[float | str]]) -> Path:
    """Write a table of numbers and fixed words as CSV; not for names that come from outside.

    Raises:
        InputError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return write_whole(path, text.getvalue().encode("utf-8"))
