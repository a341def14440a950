"""The places of pictures in packed files, learnt in one pass of each format's own reader, which checks everything."""

from __future__ import annotations

import mmap
import re
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.data.parquet import read_parquet
from mien.data.recordio import read_recordio
from mien.data.shards import read_shard
from mien.data.tfrecord import read_tfrecord
from mien.errors import InputError, NotFoundError
from mien.train.data.packed_pictures import PackedPictures, files_stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from mien.data.samples import Sample
    from mien.train.data.sources import Kind

__all__ = ["packed_files", "packed_pictures"]

_READERS: Final[dict[str, Callable[[Path], Iterator[Sample]]]] = {
    "rec": read_recordio,
    "tfrecord": read_tfrecord,
    "webdataset": read_shard,
    "parquet": read_parquet,
}
_KEPT: Final = 256 << 20  # bytes of pictures that may be kept in memory, of those that lie in pieces in their file
_HEAD: Final = 64 << 10  # more than any format puts between two pictures that follow each other
_COLUMNS: Final = 4 << 20  # Parquet has its other columns between


def packed_files(path: Path) -> list[Path]:
    """The file, or its shards (NAME-00000.tar, ... for NAME.tar). Raises NotFoundError."""
    if path.exists():
        return [path]
    shard = re.compile(re.escape(path.stem) + r"-\d+(-of-\d+)?" + re.escape(path.suffix))
    try:
        shards = [p for p in path.parent.iterdir() if shard.fullmatch(p.name)]
    except OSError:
        shards = []
    if not shards:
        raise NotFoundError(f"{path}: there is no such file")
    return sorted(shards)


def packed_pictures(path: Path, kind: Kind, *, cache: Path | None = None) -> PackedPictures:
    """Open a packed set; with `cache`, the places are kept there, and a set that did not change is not read again.

    Raises:
        NotFoundError: there is no such file.
        InputError: a file is damaged or holds no pictures.
        MissingExtraError: Parquet needs pyarrow.
    """
    if path.suffix.lower() == ".idx":
        path = path.with_suffix(".rec")
    files = packed_files(path)
    index = None if cache is None else cache / f"index-{files_stamp(files)}"
    if index is not None and (found := PackedPictures.load(index, files)):
        return found
    pictures = _indexed(files, kind)
    if not len(pictures):
        raise InputError(f"{path}: no pictures in it")
    if index is not None:
        pictures.save(index)
    return pictures


def _indexed(files: list[Path], kind: Kind) -> PackedPictures:
    shards, places, labels = array("i"), array("q"), array("q")
    numbers: dict[int, int] = {}
    people: list[str] = []
    kept: dict[int, bytes] = {}
    kept_bytes = 0
    for shard, file in enumerate(files):
        with _Finder(file, _COLUMNS if kind == "parquet" else _HEAD) as finder:
            for sample in _READERS[kind](file):
                picture = bytes(sample.picture)
                at = finder.find(picture)
                if at < 0:
                    kept[len(labels)] = picture
                    kept_bytes += len(picture)
                    if kept_bytes > _KEPT:
                        raise InputError(
                            f"{file}: its pictures are compressed once more, so they cannot be read in any order; "
                            "write the file without compression, as mien data pack does"
                        )
                if sample.label not in numbers:
                    numbers[sample.label] = len(people)
                    people.append(sample.person)
                shards.append(shard)
                places.extend((at, len(picture)))
                labels.append(numbers[sample.label])
    return PackedPictures(
        tuple(map(str, files)),
        shards=np.array(shards, np.int32),
        places=np.array(places, np.int64).reshape(-1, 2),
        labels=np.array(labels, np.int64),
        people=tuple(people),
        kept=kept,
    )


class _Finder:
    """Where pictures lie in a file, asked for in the file's order."""

    def __init__(self, path: Path, between: int) -> None:
        self._path, self._between, self._at = path, between, 0
        self._map: mmap.mmap | None = None

    def __enter__(self) -> Self:
        try:
            with self._path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise NotFoundError(f"{self._path}: there is no such file") from error
        except ValueError as error:
            raise InputError(f"{self._path}: is empty") from error
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read ({error.strerror or error})") from error
        return self

    def __exit__(self, *exception: object) -> None:
        if self._map is not None:
            self._map.close()

    def find(self, picture: bytes) -> int:
        """Where the picture begins, or -1."""
        if self._map is None:
            raise ValueError("the file is closed")
        at = self._map.find(picture, self._at, self._at + len(picture) + self._between)
        if at >= 0:
            self._at = at + len(picture)
        return at
