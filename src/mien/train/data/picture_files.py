"""Pictures that lie in files of their own: a folder of people, or a list of files with labels."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError, NotFoundError
from mien.images import people_of, person_name, source_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

__all__ = ["PictureFiles", "files_of_folder", "files_of_list"]

_LONGEST_LINE: Final = 8192


class PictureFiles:
    """Picture files with labels. Paths are kept as one block of bytes. Safe to use from several threads at once.

    Args:
        root: what relative paths begin at.
        entries: (path, number of the person) of each picture, consumed once.
        people: the name of each person; may be filled while `entries` is consumed.
    """

    def __init__(self, root: str, entries: Iterable[tuple[str, int]], people: list[str]) -> None:
        self._root = root
        block, ends, labels = bytearray(), [0], []
        for path, label in entries:
            block += os.fsencode(path)
            ends.append(len(block))
            labels.append(label)
        self._paths = bytes(block)
        self._ends = np.array(ends, np.int64)
        self.labels: NDArray[np.int64] = np.array(labels, np.int64)
        self.people = tuple(people)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, i: int) -> str:
        """The file's path, as it can be printed."""
        return source_name(self.encoded(i))

    def encoded(self, i: int) -> str:
        """The file's path."""
        return os.path.join(self._root, os.fsdecode(self._paths[self._ends[i] : self._ends[i + 1]]))  # noqa: PTH118

    def stamp(self) -> str:
        """Checksum of all paths, labels, sizes and times of change."""
        digest = hashlib.blake2b(self._paths, digest_size=16)
        digest.update(self._ends.tobytes() + self.labels.tobytes())
        marks = np.zeros((len(self), 2), np.int64)
        for i in range(len(self)):
            try:
                status = os.stat(self.encoded(i))  # noqa: PTH116
                marks[i] = status.st_size, status.st_mtime_ns
            except (OSError, ValueError):  # told when it is read
                continue
        digest.update(marks.tobytes())
        return digest.hexdigest()


def files_of_folder(path: Path) -> PictureFiles:
    """The pictures of a folder with a sub-folder a person; people without pictures are left out.

    Raises:
        NotFoundError: there is no such folder.
        InputError: it cannot be read, or holds no pictures.
    """
    people = [(name, pictures) for name, pictures in people_of(path) if pictures]
    if not people:
        raise InputError(f"{path}: no pictures in it; expected a sub-folder of pictures for each person")
    start = len(os.path.join(path, ""))  # noqa: PTH118
    entries = ((os.fspath(p)[start:], label) for label, (_, pictures) in enumerate(people) for p in pictures)
    return PictureFiles(os.fspath(path), entries, [name for name, _ in people])


def files_of_list(path: Path) -> PictureFiles:
    """The pictures of a list: a line each, path and label with a tab, a comma or spaces between.

    Labels may be numbers or names. MXNet's lists (id, label, path; tabs between) are read too. Relative paths begin at
    the list's folder.

    Raises:
        NotFoundError: there is no such file.
        InputError: it cannot be read, or a line is none.
    """
    people: list[str] = []
    files = PictureFiles(os.fspath(path.parent), _entries(path, people), people)
    if not len(files):
        raise InputError(f"{path}: no lines in it; expected a path and a label in each")
    return files


def _entries(path: Path, people: list[str]) -> Iterator[tuple[str, int]]:
    numbers: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), 1):
                where = f"{path}, line {number}"
                if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                    raise InputError(f"{where}: longer than {_LONGEST_LINE} bytes; expected a path and a label")
                text = os.fsdecode(line).strip("\r\n ")
                if not text or text.startswith("#"):
                    continue
                picture, label = _cells(text, where)
                if label not in numbers:
                    numbers[label] = len(people)
                    people.append("" if label.isdecimal() else person_name(label))
                yield picture, numbers[label]
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: there is no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _cells(text: str, where: str) -> tuple[str, str]:
    cells = [cell.strip() for cell in text.split("\t")]
    if len(cells) == 3 and cells[0].isdecimal():  # MXNet writes labels as floats
        cells = [cells[2], cells[1].removesuffix(".000000").removesuffix(".0")]
    elif len(cells) == 1:
        cells = [cell.strip() for cell in (text.rsplit(",", 1) if "," in text else text.rsplit(None, 1))]
    if len(cells) != 2 or not all(cells) or "\0" in text:
        raise InputError(f"{where}: expected a path and a label, got {text!r:.80}")
    return cells[0], cells[1]
