"""Pictures ready for training, in one flat file on the disk: no decoding, and no more memory than is looked at.

A store is made once, and may be stopped at any moment: its journal says after every piece of work how far it got, and
what lies beyond that is cut off and made again. Files: `pictures.u8` (rows of size x size x C bytes), `rows.i64` (the
number of each row's picture in its source), `journal.jsonl`.
"""

from __future__ import annotations

import itertools
import json
import os
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from mien.errors import InputError
from mien.file_lock import file_lock
from mien.train.data.training_set import LeftOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from mien.train.data.sources import PictureRecords
    from mien.types import Pixels

    Made: TypeAlias = Pixels | str
    """A picture, or why it is left out."""

__all__ = ["Stored", "open_store"]

PIECE: Final = 256  # pictures between two lines of the journal
_WAIT_S: Final = 7 * 86400.0  # another process makes the same store: it is waited for
_LONGEST_LINE: Final = 16 << 20


class Stored:
    """The rows of a finished store. Safe to use from several threads at once; can be pickled."""

    def __init__(
        self, folder: Path, records: PictureRecords, shape: tuple[int, int, int], left_out: tuple[LeftOut, ...]
    ) -> None:
        self._folder, self._records, self._shape, self.left_out = folder, records, shape, left_out
        self._open()

    def _open(self) -> None:
        self.rows: NDArray[np.int64] = np.fromfile(self._folder / "rows.i64", np.int64)
        self._pictures: Any = None
        if len(self.rows):
            self._pictures = np.memmap(
                self._folder / "pictures.u8", np.uint8, "r", shape=(len(self.rows), *self._shape)
            )

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, i: int) -> str:
        """The picture's name in its source."""
        return self._records.name(int(self.rows[i]))

    def picture(self, i: int) -> Pixels:
        """uint8 (size, size, C), read-only: a view of the file."""
        return np.asarray(self._pictures[i])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pictures": None, "rows": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def open_store(
    folder: Path,
    records: PictureRecords,
    shape: tuple[int, int, int],
    made: Callable[[range], Iterator[Made]],
    *,
    head: Mapping[str, Any],
    progress: Callable[[int, int], None] | None = None,
) -> Stored:
    """Open a store; make it first, or the rest of it, where it is not finished.

    Args:
        folder: the store's own folder.
        records: the source.
        shape: of a picture.
        made: gives the pictures of a range of the source, in order.
        head: facts that decide what the pictures are.
        progress: called with (pictures done, pictures in all).

    Raises:
        InputError: the folder cannot be used.
    """
    busy = InputError(f"{folder}: another process has been making this for a week; end it and try again")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(folder / ".lock", wait_s=_WAIT_S, busy=busy):
            journal = _Journal(folder, {"mien_store": 1, "shape": list(shape), "pictures": len(records), **head})
            if journal.done < len(records):
                journal.make(made, records, progress)
        return Stored(folder, records, shape, tuple(LeftOut(records.name(i), why) for i, why in journal.left_out))
    except OSError as error:
        raise InputError(f"{folder}: cannot be used ({error.strerror or error})") from error


class _Journal:
    """How far a store got. Holds its lock while it is used."""

    def __init__(self, folder: Path, head: Mapping[str, Any]) -> None:
        self._folder, self._head = folder, json.loads(json.dumps(head))
        self._path = folder / "journal.jsonl"
        self._row_bytes = int(np.prod(self._head["shape"]))
        self.done, self.rows, self._length = 0, 0, 0
        self.left_out: list[tuple[int, str]] = []
        if not self._read() or not self._fits():
            self.done, self.rows, self._length = 0, 0, 0
            self.left_out = []

    def _read(self) -> bool:
        """Learn from the lines; one that was cut off is ignored. Returns whether there is a head like this one's."""
        if not self._path.exists():
            return False
        with self._path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b"")):
                try:
                    entry = json.loads(line) if line.endswith(b"\n") else None
                    if number == 0 and entry != self._head:
                        return False
                    if entry is None:
                        return True
                    if number:
                        self.done, self.rows = int(entry["done"]), int(entry["rows"])
                        self.left_out += [(int(i), str(why)) for i, why in entry["left_out"]]
                except (ValueError, KeyError, TypeError, RecursionError):
                    return False
                self._length += len(line)
        return self._length > 0

    def _fits(self) -> bool:
        sizes = [_size(self._folder / name) for name in ("pictures.u8", "rows.i64")]
        return (
            0 <= self.rows <= self.done <= self._head["pictures"]
            and all(0 <= i < self.done for i, _ in self.left_out)
            and sizes[0] >= self.rows * self._row_bytes
            and sizes[1] >= self.rows * 8
        )

    def make(
        self,
        made: Callable[[range], Iterator[Made]],
        records: PictureRecords,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Make what is missing."""
        count = len(records)
        with (
            _cut(self._folder / "pictures.u8", self.rows * self._row_bytes) as pictures,
            _cut(self._folder / "rows.i64", self.rows * 8) as rows,
            _cut(self._path, self._length) as lines,
        ):
            if not self._length:
                lines.write(json.dumps(self._head).encode() + b"\n")
            stream = zip(range(self.done, count), made(range(self.done, count)), strict=True)
            while piece := list(itertools.islice(stream, PIECE)):
                kept = [(i, each) for i, each in piece if not isinstance(each, str)]
                out = [(i, each) for i, each in piece if isinstance(each, str)]
                for _, pixels in kept:
                    pictures.write(np.ascontiguousarray(pixels).data)
                rows.write(np.array([i for i, _ in kept], np.int64).tobytes())
                for file in (pictures, rows):
                    file.flush()
                    os.fsync(file.fileno())
                self.done, self.rows = piece[-1][0] + 1, self.rows + len(kept)
                self.left_out += out
                entry = {"done": self.done, "rows": self.rows, "left_out": out}
                lines.write(json.dumps(entry).encode() + b"\n")
                lines.flush()
                os.fsync(lines.fileno())
                if progress is not None:
                    progress(self.done, count)


def _cut(path: Path, size: int) -> Any:  # noqa: ANN401 - a binary file
    """The file, open for writing at its end, cut to `size`."""
    path.touch()
    file = path.open("r+b")
    file.truncate(size)
    file.seek(size)
    return file


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
