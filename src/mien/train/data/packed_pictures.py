"""Packed sets (RecordIO, TFRecord, WebDataset, Parquet) read in any order, through where each picture lies in its file.

All these formats keep encoded pictures as they are, so that a picture is one read of its bytes, and no set needs to
fit into memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError
from mien.images import MAX_BYTES

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray


__all__ = ["PackedPictures", "files_stamp"]


class PackedPictures:
    """Encoded pictures in packed files. Safe to use from several threads at once; can be pickled.

    Args:
        files: the shards.
        shards: int32 (N,): the number of each picture's file.
        places: int64 (N, 2): where its bytes begin, and how many there are; begin -1 for those in `kept`.
        labels: int64 (N,).
        people: the name of each label.
        kept: pictures that are in no file in one piece.
    """

    def __init__(
        self,
        files: tuple[str, ...],
        *,
        shards: NDArray[np.int32],
        places: NDArray[np.int64],
        labels: NDArray[np.int64],
        people: tuple[str, ...],
        kept: dict[int, bytes],
    ) -> None:
        self._files, self._shards, self._places, self._kept = files, shards, places, kept
        self.labels, self.people = labels, people
        self._first = np.searchsorted(shards, np.arange(len(files)))
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, i: int) -> str:
        """The file, and the picture's number in it."""
        shard = int(self._shards[i])
        return f"{self._files[shard]}, picture {i - int(self._first[shard])}"

    def encoded(self, i: int) -> bytes:
        """The picture's bytes. Raises InputError when the file has gone or shrunk."""
        at, size = self._places[i].tolist()
        if at < 0:
            return self._kept[i]
        try:
            data = self._read(int(self._shards[i]), at, size)
        except OSError as error:
            raise InputError(f"{self.name(i)}: cannot be read ({error.strerror or error})") from error
        if len(data) < size:
            raise InputError(f"{self.name(i)}: the file was cut short since it was opened")
        return data

    def stamp(self) -> str:
        """Checksum of the files' names, sizes and times of change."""
        return files_stamp([Path(file) for file in self._files])

    def save(self, path: Path) -> None:
        """Keep the places in a file, whole or not at all; not those of sets with pictures in pieces."""
        if self._kept:
            return
        people = np.frombuffer(json.dumps(self.people).encode(), np.uint8)
        draft = path.with_name(f".{path.name}-{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                np.savez(file, shards=self._shards, places=self._places, labels=self.labels, people=people)
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error

    @classmethod
    def load(cls, path: Path, files: list[Path]) -> Self | None:
        """What `save` kept; None when it is not there or damaged."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                shards, places, labels = kept["shards"], kept["places"], kept["labels"]
                people = json.loads(kept["people"].tobytes())
            count = len(labels)
            sound = (
                (shards.dtype, places.dtype, labels.dtype) == (np.int32, np.int64, np.int64)
                and (shards.shape, places.shape, labels.shape) == ((count,), (count, 2), (count,))
                and (shards.min() >= 0 and shards.max() < len(files) and (np.diff(shards) >= 0).all())
                and (labels.min() >= 0 and labels.max() < len(people))
                and (places[:, 0].min() >= 0 and places[:, 1].min() > 0 and places[:, 1].max() <= MAX_BYTES)
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None
        if not sound:
            return None
        names = tuple(map(str, people))
        return cls(tuple(map(str, files)), shards=shards, places=places, labels=labels, people=names, kept={})

    def close(self) -> None:
        """Close the files; they are opened again when a picture is asked for."""
        with self._lock:
            for number in self._open.values():
                os.close(number)
            self._open.clear()

    def _read(self, shard: int, at: int, size: int) -> bytes:
        with self._lock:
            number = self._open.get(shard)
            if number is None:
                number = os.open(self._files[shard], os.O_RDONLY | getattr(os, "O_BINARY", 0))
                self._open[shard] = number
            if not hasattr(os, "pread"):
                os.lseek(number, at, os.SEEK_SET)
                return os.read(number, size)
        return os.pread(number, size, at)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def __del__(self) -> None:
        for number in getattr(self, "_open", {}).values():
            os.close(number)


def files_stamp(files: list[Path]) -> str:
    """Checksum of the files' paths, sizes and times of change. Raises InputError for one that is not there."""
    marks = []
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
        marks.append([str(file.resolve()), status.st_size, status.st_mtime_ns])
    return hashlib.blake2b(json.dumps(marks).encode(), digest_size=16).hexdigest()
