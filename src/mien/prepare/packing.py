"""A folder of people into one file, or a few, that trainers read fast; and back, picture for picture."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final, Literal, TypeAlias, cast, get_args

from mien.data.parquet import read_parquet, write_parquet
from mien.data.recordio import read_recordio, write_recordio
from mien.data.samples import PackedSet, Sample, safe_key
from mien.data.shards import read_shard, write_shard
from mien.data.tfrecord import read_tfrecord, write_tfrecord
from mien.errors import InputError, NotFoundError
from mien.images import MAX_BYTES, people_of, person_name
from mien.models.session import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    Advance: TypeAlias = Callable[[int], None]

__all__ = ["PACK_FORMATS", "PackFormat", "format_of", "pack", "read_packed", "unpack"]

PackFormat: TypeAlias = Literal["recordio", "tfrecord", "webdataset", "parquet"]
PACK_FORMATS: Final[tuple[PackFormat, ...]] = get_args(PackFormat)
_SUFFIXES: Final[dict[str, PackFormat]] = {
    ".rec": "recordio",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".tar": "webdataset",
    ".parquet": "parquet",
}
_PEOPLE: Final = ".people.txt"
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
            key = _key(path, self.root)
            if suffix is not None:
                key = str(PurePosixPath(key).with_suffix(suffix))
            if key in keys:
                raise InputError(f"{path}: another picture would be packed as {key} too; rename one of them")
            keys.add(key)
            self.count += 1
            yield Sample(safe_key(key, str(path)), label, person, data)

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
        raise InputError(f"{path}: expected a name that ends in {', '.join(_SUFFIXES)}")
    return found


def pack(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    shard_bytes: int | None = None,
    change: Callable[[bytes, Path], tuple[bytes, str]] | None = None,
    advance: Advance | None = None,
) -> PackedSet:
    """Pack a folder of people (a sub-folder each) into `path`; its suffix names the format.

    Pictures are kept byte for byte unless `change` is given. People are numbered in the order of their names; the
    names are written beside, one a line (`NAME.people.txt`), for formats that hold numbers only.

    Args:
        folder: the people.
        path: .rec (with .idx and .lst beside it), .tfrecord, .tar (WebDataset), or .parquet.
        shard_bytes: begin a new file (NAME-00001.tar, ...) after about so many bytes of pictures; not for .rec.
        change: gives other bytes, and the suffix for them, in place of a picture's; see `mien.prepare.reencoding`. It
            is called from several threads at once.
        advance: called with 1 after each picture.

    Raises:
        InputError: no pictures; a picture cannot be read; the files cannot be written. Nothing is left half written.
        MissingExtraError: Parquet needs pyarrow.
    """
    root, target = Path(folder), Path(path)
    kind = format_of(target)
    people = [(name, pictures) for name, pictures in people_of(root) if pictures]
    if not people:
        raise InputError(f"{root}: no pictures in it")
    if shard_bytes is not None and (kind == "recordio" or shard_bytes < 1):
        raise InputError(f"{target}: expected one file for RecordIO, and shards of at least 1 byte")
    source = _Source(people, root, change)
    samples = _watched(source, advance)
    names = tuple(name for name, _ in people)
    try:
        with _Drafts() as drafts:
            if kind == "recordio":
                rec, idx, lst = (drafts.open(target.with_suffix(s)) for s in (".rec", ".idx", ".lst"))
                write_recordio(rec, idx, lst, samples)
            else:
                write = {"tfrecord": write_tfrecord, "webdataset": write_shard, "parquet": write_parquet}[kind]
                for shard, part in _shards(samples, target, shard_bytes):
                    write(drafts.open(shard), part)
            listed = drafts.open(target.with_suffix(_PEOPLE))
            listed.write("".join(f"{name}\n" for name in names).encode("utf-8", "surrogatepass"))
            files = drafts.commit()
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    return PackedSet(source.count, names, files)


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
    shards = [target] if target.exists() else sorted(target.parent.glob(f"{_escaped(target.stem)}-*{target.suffix}"))
    if not shards:
        raise NotFoundError(f"{target}: there is no such file")
    for shard in shards:
        yield from read(shard)


def unpack(
    path: str | os.PathLike[str], folder: str | os.PathLike[str], *, advance: Advance | None = None
) -> PackedSet:
    """Write the pictures of a packed file into a folder, a sub-folder a person, byte for byte.

    A picture goes where its key says; keys that climb out of the folder, and links in it, are refused. A picture that
    is there already is left alone if it is the same, and is an error if it is another. So a run that was stopped may
    be run again.

    Args:
        path: a packed file; see `read_packed`.
        folder: where to; made when it is not there.
        advance: called with 1 after each picture.

    Raises:
        InputError: the file cannot be read, or a picture not be written.
    """
    target = Path(folder)
    known = _names_beside(Path(path))
    people: dict[int, str] = {}
    count = 0
    try:
        target.mkdir(parents=True, exist_ok=True)
        root = target.resolve()
        for sample in read_packed(path):
            name = sample.person or (known[sample.label] if sample.label < len(known) else "")
            if name and people.setdefault(sample.label, name) != name:
                raise InputError(f"{path}: the label {sample.label} is both {people[sample.label]!r} and {name!r}")
            _place(root, sample)
            count += 1
            if advance:
                advance(1)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    most = max(people, default=-1) + 1
    if most > 10 * len(people) + 1000:  # a hostile label would make a list of any length
        raise InputError(f"{path}: the label {most - 1} leaves too many numbers out")
    return PackedSet(count, tuple(people.get(label, "") for label in range(most)), (str(target),))


def _place(root: Path, sample: Sample) -> None:
    place = root.joinpath(*PurePosixPath(sample.key).parts)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.parent.resolve().is_relative_to(root) or place.is_symlink():
        raise InputError(f"{place}: a link leads out of the folder; remove it")
    content = bytes(sample.picture)
    if place.exists():
        if _read(place) != content:
            raise InputError(f"{place}: another picture is there already; choose an empty folder")
        return
    draft = place.with_name(f".mien-{secrets.token_hex(8)}.part")
    try:
        draft.write_bytes(content)
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)


class _Drafts:
    """Files under other names until all of them are whole."""

    def __init__(self) -> None:
        self._open: list[tuple[Path, Path, IO[bytes]]] = []

    def __enter__(self) -> _Drafts:
        return self

    def open(self, place: Path) -> IO[bytes]:
        draft = place.with_name(f".mien-{secrets.token_hex(8)}.part")
        file = draft.open("xb")
        self._open.append((draft, place, file))
        return file

    def commit(self) -> tuple[str, ...]:
        for _, _, file in self._open:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        for draft, place, _ in self._open:
            draft.replace(place)
        return tuple(str(place) for _, place, _ in self._open)

    def __exit__(self, *exception: object) -> None:
        for draft, _, file in self._open:
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

        yield target.with_name(f"{target.stem}-{number:05d}{target.suffix}"), part()
        number += 1


def _watched(samples: Iterable[Sample], advance: Advance | None) -> Iterator[Sample]:
    for sample in samples:
        yield sample
        if advance:
            advance(1)


def _names_beside(path: Path) -> Sequence[str]:
    """The people's names, one a line, where a file beside the packed one holds them."""
    beside = path.with_suffix(_PEOPLE)
    try:
        if beside.stat().st_size > 1 << 30:
            return []
        return [person_name(line) if line.strip() else "" for line in beside.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError, InputError):
        return []


def _key(path: Path, root: Path) -> str:
    """The path below `root`, with forward slashes."""
    text, base = os.fspath(path), os.path.join(root, "")  # noqa: PTH118
    below = text[len(base) :] if text.startswith(base) else str(path.relative_to(root))
    return below if os.sep == "/" else below.replace(os.sep, "/")


def _read(path: Path) -> bytes:
    try:
        # Looked at before it is opened, for opening a device or a pipe may do something.
        status = os.stat(path)  # noqa: PTH116 (of thousands of small files, every call more is a good part of the time)
        if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= MAX_BYTES:
            raise InputError(f"{path}: expected a picture of 1 to {MAX_BYTES:,} bytes")
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _escaped(stem: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in stem)
