"""Packed files back into a folder of people, picture for picture, and never outside it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mien.data.parquet import read_parquet
from mien.data.recordio import read_recordio
from mien.data.samples import PackedSet
from mien.data.shards import read_shard
from mien.data.tfrecord import read_tfrecord
from mien.errors import InputError, NotFoundError
from mien.file_draft import draft_beside
from mien.images import person_name
from mien.prepare.packing import PEOPLE, format_of, is_bin, packed_files
from mien.prepare.putting import Below

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self, TypeAlias

    from mien.data.samples import Sample

    Advance: TypeAlias = Callable[[int], None]

__all__ = ["Unpacked", "read_packed", "unpack"]


def read_packed(path: str | os.PathLike[str]) -> Iterator[Sample]:
    """The samples of a packed file, or of all its shards (NAME-00000.tar, ... for NAME.tar), in order.

    Raises:
        NotFoundError: there is no such file.
        InputError: it cannot be read.
    """
    target = Path(path)
    kind = format_of(target)
    read: Callable[[Path], Iterator[Sample]] = {
        "recordio": read_recordio,
        "tfrecord": read_tfrecord,
        "webdataset": read_shard,
        "parquet": read_parquet,
    }[kind]
    files = packed_files(target)
    if not files:
        raise NotFoundError(f"{target}: there is no such file")
    for shard in [target] if target in files else files:
        yield from read(shard)


def unpack(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    advance: Advance = lambda _n: None,
) -> PackedSet:
    """Write the pictures of a packed file into a folder, a sub-folder a person, byte for byte.

    A picture goes where its key says; keys that climb out of the folder, and links in it, are refused. A picture that
    is there already is left alone if it is the same, and is an error if it is another. So a run that was stopped may
    be run again.

    Args:
        path: a packed file; see `read_packed`. A .bin holds pairs; see `mien.prepare.pair_files.unpack_pairs`.
        folder: where to; made when it is not there.
        dry_run: only read and check everything: the file, the folder, and that no two pictures have one place. Not
            checked are the room on the disk, a picture in the way of another's folder, and names that only some disks
            take for one (a.jpg, A.jpg).
        advance: called with 1 after each picture.

    Raises:
        InputError: the file cannot be read, or a picture not be written. What was written before stays, and is told.
    """
    source, target = Path(path), Path(folder)
    if is_bin(source):
        from mien.prepare.pair_files import unpack_pairs

        return unpack_pairs(source, target, dry_run=dry_run, advance=advance)
    known = _names_beside(source)
    people: dict[int, str] = {}
    with Unpacked(target, dry_run=dry_run) as written:
        root, below = Path(os.path.realpath(target)), Below(target)
        for sample in read_packed(source):
            name = sample.person or (known[sample.label] if sample.label < len(known) else "")
            if name and people.setdefault(sample.label, name) != name:
                raise InputError(f"{path}: the label {sample.label} is both {people[sample.label]!r} and {name!r}")
            place = root.joinpath(*PurePosixPath(sample.key).parts)
            below.check(place)
            if not dry_run:
                place.parent.mkdir(parents=True, exist_ok=True)
            written.put(place, bytes(sample.picture))
            advance(1)
        most = max(people, default=-1) + 1
        if most > 10 * len(people) + 1000:  # a hostile label would make a list of any length
            raise InputError(f"{path}: the label {most - 1} leaves too many numbers out")
    return PackedSet(written.count, tuple(people.get(label, "") for label in range(most)), (str(target),))


class Unpacked:
    """The folder that pictures are unpacked into. Used by one thread, in a `with`: an error tells what was written.

    Args:
        folder: made when it is not there.
        dry_run: only look what is there.
    """

    def __init__(self, folder: Path, *, dry_run: bool = False) -> None:
        self._folder = folder
        self._dry_run = dry_run
        self._would: dict[bytes, bytes] = {}  # of a dry run: place -> content, both as a few bytes
        self.count = 0

    def __enter__(self) -> Self:
        if not self._dry_run:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{self._folder}: cannot be made ({error.strerror or error})") from error
        return self

    def put(self, place: Path, content: bytes) -> None:
        """Write a file, whole or not at all; the same one may be there.

        Raises:
            InputError: another file is there.
            OSError: it cannot be written.
        """
        if place.is_symlink():
            raise InputError(f"{place}: a link leads out of the folder; remove it")
        if place.exists():
            if place.stat().st_size != len(content) or place.read_bytes() != content:
                raise InputError(f"{place}: another picture is there already; choose an empty folder")
        elif self._dry_run:
            if self._would.setdefault(_few(os.fsencode(place)), _few(content)) != _few(content):
                raise InputError(f"{place}: two pictures have this place")
        else:
            with draft_beside(place) as draft:
                draft.write_bytes(content)
        self.count += 1

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        left = (
            "" if self._dry_run or not self.count else f"; the first {self.count:,} files of it are in {self._folder}"
        )
        if isinstance(error, OSError):
            raise InputError(f"{self._folder}: cannot be written ({error.strerror or error}){left}") from error
        if isinstance(error, InputError) and left:
            raise InputError(f"{error}{left}") from error


def _few(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=12).digest()


def _names_beside(path: Path) -> Sequence[str]:
    """The people's names, one a line, where a file beside the packed one holds them."""
    beside = path.with_suffix(PEOPLE)
    try:
        if beside.stat().st_size > 1 << 30:
            return []
        return [person_name(line) if line.strip() else "" for line in beside.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError, InputError):
        return []
