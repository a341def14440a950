"""Pictures that lie in files of their own, and folders of people; lists of files are read in `picture_lists`."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.images import people_of, source_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["PictureFiles", "files_of_folder"]


class PictureFiles:
    """Picture files with labels. Paths are kept as one block of bytes. Safe to use from several threads at once.

    Args:
        root: what relative paths begin at.
        entries: (path, number of the person) of each picture, consumed once.
        people: the name of each person; may be filled while `entries` is consumed.

    Attributes:
        notes: what whoever trains on them should know of how they were read.
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
        self.notes: tuple[str, ...] = ()

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
