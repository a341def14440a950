"""A folder of people into one file, or a few, that trainers read fast."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final, Literal, TypeAlias, cast, get_args

from mien.data.parquet import write_parquet
from mien.data.recordio import write_recordio
from mien.data.samples import PackedSet, Sample, safe_key
from mien.data.shards import write_shard
from mien.data.tfrecord import write_tfrecord
from mien.errors import InputError
from mien.file_draft import draft_name
from mien.images import MAX_BYTES, people_of
from mien.models.session import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    Advance: TypeAlias = Callable[[int], None]

__all__ = ["PACK_FORMATS", "PEOPLE", "PackFormat", "format_of", "is_bin", "pack", "packed_files"]

PackFormat: TypeAlias = Literal["recordio", "tfrecord", "webdataset", "parquet"]
PACK_FORMATS: Final[tuple[PackFormat, ...]] = get_args(PackFormat)
_SUFFIXES: Final[dict[str, PackFormat]] = {
    ".rec": "recordio",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".tar": "webdataset",
    ".parquet": "parquet",
}
PEOPLE: Final = ".people.txt"
"""The end of the name of the file beside a packed one that holds the people's names, one a line."""

_SHARD: Final = "-[0-9][0-9][0-9][0-9][0-9]"  # no more, or NAME-masked-00000 would be one of NAME's
_MOST_SHARDS: Final = 100_000
_AHEAD: Final = 8  # pictures a thread that are re-encoded or wait for their turn


@dataclass(slots=True)
class _Source:
    """The pictures of a folder as samples, by person."""

    people: list[tuple[str, list[Path]]]
    root: Path
    change: Callable[[bytes, Path], tuple[bytes, str]] | None
    count: int = 0

    def __iter__(self) -> Iterator[Sample]:
        keys: set[str] = set()
        for label, person, path, data, suffix in self._read() if self.change is None else self._changed():
            key = self._key(path, suffix, keys)
            self.count += 1
            yield Sample(key, label, person, data)

    def sizes(self) -> Iterator[int]:
        """Bytes of each picture as it is, all checked but their content."""
        keys: set[str] = set()
        for _, _, path in self._pictures():
            self._key(path, None, keys)
            self.count += 1
            yield _size(path)

    def _key(self, path: Path, suffix: str | None, keys: set[str]) -> str:
        key = _key(path, self.root)
        if suffix is not None:
            key = str(PurePosixPath(key).with_suffix(suffix))
        if key in keys:
            raise InputError(f"{path}: another picture would be packed as {key} too; rename one of them")
        keys.add(key)
        return safe_key(key, str(path))

    def _pictures(self) -> Iterator[tuple[int, str, Path]]:
        for label, (person, pictures) in enumerate(self.people):
            for path in pictures:
                yield label, person, path

    def _read(self) -> Iterator[tuple[int, str, Path, bytes, str | None]]:
        return ((*picture, _read(picture[2]), None) for picture in self._pictures())

    def _changed(self) -> Iterator[tuple[int, str, Path, bytes, str | None]]:
        """Decoding and encoding let go of the interpreter: threads use all cores; some pictures a thread are held."""
        cores = available_cores()
        waiting: deque[tuple[tuple[int, str, Path], Future[tuple[bytes, str]]]] = deque()
        with ThreadPoolExecutor(cores, thread_name_prefix="mien") as pool:
            try:
                for picture in self._pictures():
                    waiting.append((picture, pool.submit(self._change, picture[2])))
                    if len(waiting) >= _AHEAD * cores:
                        first, done = waiting.popleft()
                        yield (*first, *done.result())
                while waiting:
                    first, done = waiting.popleft()
                    yield (*first, *done.result())
            finally:
                for _, future in waiting:  # one failed, or nobody wants the rest
                    future.cancel()

    def _change(self, path: Path) -> tuple[bytes, str]:
        change = cast("Callable[[bytes, Path], tuple[bytes, str]]", self.change)
        return change(_read(path), path)


def format_of(path: Path) -> PackFormat:
    """The format that a file's suffix names. Raises InputError for another one."""
    found = _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise InputError(f"{path}: expected a name that ends in {', '.join(_SUFFIXES)}, or .bin for pairs")
    return found


def is_bin(path: Path) -> bool:
    """Whether a file's suffix is that of InsightFace's pairs, which `mien.prepare.pair_files` writes and reads."""
    return path.suffix.lower() == ".bin"


def packed_files(path: Path) -> list[Path]:
    """The files that are there of one packed set: `path` itself, and its shards (NAME-00000.tar, ...) in order."""
    whole = [path] if path.exists() or path.is_symlink() else []
    if is_bin(path) or format_of(path) == "recordio":  # one file each
        return whole
    stem = "".join(f"[{c}]" if c in "*?[" else c for c in path.stem)
    return whole + sorted(path.parent.glob(f"{stem}{_SHARD}{path.suffix}"))


def pack(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    shard_bytes: int | None = None,
    change: Callable[[bytes, Path], tuple[bytes, str]] | None = None,
    pairs: str | os.PathLike[str] | None = None,
    force: bool = False,
    dry_run: bool = False,
    advance: Advance | None = None,
) -> PackedSet:
    """Pack a folder of people (a sub-folder each) into `path`; its suffix names the format.

    Pictures are kept byte for byte unless `change` is given. People are numbered in the order of their names; the
    names are written beside, one a line (`NAME.people.txt`), for formats that hold numbers only.

    Args:
        folder: the people.
        path: .rec (with .idx and .lst beside it), .tfrecord, .tar (WebDataset), .parquet, or .bin (pairs).
        shard_bytes: begin a new file (NAME-00001.tar, ...) after about so many bytes of pictures; not for .rec.
        change: gives other bytes, and the suffix for them, in place of a picture's; see `mien.prepare.reencoding`. It
            is called from several threads at once.
        pairs: of a .bin: a list in LFW's format, see `mien.prepare.pair_files.pack_pairs`.
        force: remove what an earlier run packed as `path` and this one does not write over: shards beyond the last, or
            one file beside shards. They would be read along, or instead.
        dry_run: only look, and tell what would be written; how many files `change` leads to is not known then.
        advance: called with 1 after each picture.

    Raises:
        InputError: no pictures; a picture cannot be read; the files cannot be written, or others are there that would
            be read with them. Nothing is left half written.
        MissingExtraError: Parquet needs pyarrow.
    """
    root, target = Path(folder), Path(path)
    if is_bin(target):
        from mien.prepare.pair_files import pack_pairs

        if shard_bytes is not None:
            raise InputError(f"{target}: a .bin is one file, without shards")
        return pack_pairs(root, target, pairs=pairs, change=change, dry_run=dry_run, advance=advance)
    kind = format_of(target)
    if pairs is not None:
        raise InputError(f"{target}: only a .bin holds pairs")
    people = [(name, pictures) for name, pictures in people_of(root) if pictures]
    if not people:
        raise InputError(f"{root}: no pictures in it")
    if shard_bytes is not None and (kind == "recordio" or shard_bytes < 1):
        raise InputError(f"{target}: expected one file for RecordIO, and shards of at least 1 byte")
    source = _Source(people, root, change)
    names = tuple(name for name, _ in people)
    if dry_run:
        planned = _planned(source, target, shard_bytes)
        if change is None or shard_bytes is None:  # else how many shards there will be is not known
            _others(target, planned, force=force)
        more = [target.with_suffix(s) for s in ((".idx", ".lst") if kind == "recordio" else ())]
        return PackedSet(source.count, names, tuple(map(str, (*planned, *more, target.with_suffix(PEOPLE)))))
    samples = _watched(source, advance)
    try:
        with _Drafts() as drafts:
            if kind == "recordio":
                rec, idx, lst = (drafts.open(target.with_suffix(s)) for s in (".rec", ".idx", ".lst"))
                write_recordio(rec, idx, lst, samples)
            else:
                write = {"tfrecord": write_tfrecord, "webdataset": write_shard, "parquet": write_parquet}[kind]
                for shard, part in _shards(samples, target, shard_bytes):
                    write(drafts.open(shard), part)
            listed = drafts.open(target.with_suffix(PEOPLE))
            listed.write("".join(f"{name}\n" for name in names).encode("utf-8", "surrogatepass"))
            places = [place for _, place, _ in drafts.open_files]
            files = drafts.commit(_others(target, places, force=force))
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    return PackedSet(source.count, names, files)


class _Drafts:
    """Files under other names until all of them are whole."""

    def __init__(self) -> None:
        self.open_files: list[tuple[Path, Path, IO[bytes]]] = []

    def __enter__(self) -> _Drafts:
        return self

    def open(self, place: Path) -> IO[bytes]:
        draft = draft_name(place)
        file = draft.open("xb")
        self.open_files.append((draft, place, file))
        return file

    def commit(self, others: Iterable[Path]) -> tuple[str, ...]:
        """Put them in their places, and remove others."""
        for _, _, file in self.open_files:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        for other in others:
            other.unlink()
        for draft, place, _ in self.open_files:
            draft.replace(place)
        return tuple(str(place) for _, place, _ in self.open_files)

    def __exit__(self, *exception: object) -> None:
        for draft, _, file in self.open_files:
            with contextlib.suppress(OSError):
                file.close()
            draft.unlink(missing_ok=True)


def _shards(samples: Iterator[Sample], target: Path, most: int | None) -> Iterator[tuple[Path, Iterable[Sample]]]:
    if most is None:
        yield target, samples
        return
    ahead = next(samples, None)
    number = 0
    while ahead is not None:
        first: Sample | None = ahead
        ahead = None

        def part() -> Iterator[Sample]:
            nonlocal first, ahead
            size = 0
            while first is not None:
                size += len(first.picture)
                yield first
                first = next(samples, None)
                if size >= most:
                    break
            ahead = first

        yield _shard(target, number), part()
        number += 1


def _planned(source: _Source, target: Path, most: int | None) -> list[Path]:
    """The files that pictures would be written to, as `_shards` cuts them."""
    sizes = source.sizes()
    if most is None:
        for _ in sizes:
            pass
        return [target]
    starts, filled = 0, most
    for size in sizes:
        if filled >= most:
            starts, filled = starts + 1, 0
        filled += size
    return [_shard(target, number) for number in range(starts)]


def _shard(target: Path, number: int) -> Path:
    if number >= _MOST_SHARDS:
        raise InputError(f"{target}: {_MOST_SHARDS:,} shards are the most; choose larger ones")
    return target.with_name(f"{target.stem}-{number:05d}{target.suffix}")


def _others(target: Path, places: Sequence[Path], *, force: bool) -> list[Path]:
    """Files of the same name that are not written over; raises InputError where they may not be removed."""
    known = set(places)
    others = [path for path in packed_files(target) if path not in known]
    if others and not force:
        more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
        raise InputError(f"{others[0]}{more}: would be read as part of {target.name}; choose another name, or --force")
    return others


def _watched(samples: Iterable[Sample], advance: Advance | None) -> Iterator[Sample]:
    for sample in samples:
        yield sample
        if advance:
            advance(1)


def _key(path: Path, root: Path) -> str:
    """The path below `root`, with forward slashes."""
    text, base = os.fspath(path), os.path.join(root, "")  # noqa: PTH118
    below = text[len(base) :] if text.startswith(base) else str(path.relative_to(root))
    return below if os.sep == "/" else below.replace(os.sep, "/")


def _size(path: Path) -> int:
    # Looked at before it is opened, for opening a device or a pipe may do something.
    try:
        status = os.stat(path)  # noqa: PTH116 (of thousands of small files, every call more is a good part of the time)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= MAX_BYTES:
        raise InputError(f"{path}: expected a picture of 1 to {MAX_BYTES:,} bytes")
    return status.st_size


def _read(path: Path) -> bytes:
    _size(path)
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
