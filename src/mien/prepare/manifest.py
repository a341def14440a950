"""What became of every source: a line each, beside the output, so that a run may be stopped anywhere and go on.

The file is JSON Lines. The first line says which verb made it and how; every other is one source, with at least
`source` (relative to the source folder, forward slashes), `size` and `modified` (of its file) and `decision`. A line is
written after the output it tells of, and the outputs of a source have names that depend on the source alone: so a run
that was killed does again what was in flight, over the same names, and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from mien.errors import InputError
from mien.file_lock import file_lock
from mien.prepare.last_lines import LastLines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from io import BufferedReader, FileIO
    from typing import Self

__all__ = [
    "Entry",
    "Line",
    "Manifest",
    "as_json",
    "check_head",
    "done_before",
    "entry_at",
    "file_of",
    "key_of",
    "line_of",
    "located",
    "marks_of",
    "read_manifest",
    "stamp",
    "write_whole",
]

Entry: TypeAlias = dict[str, Any]
"""One line: plain JSON values."""


class Line(NamedTuple):
    """An entry as it will be written: made in any thread, and nothing that a garbage collector would have to follow.

    Attributes:
        content: with its line end.
        source: what it is about, see `key_of`; None for a line about no source.
        file: the source as the file that it was, see `file_of`.
    """

    content: bytes
    source: int | None
    file: int


_VERSION: Final = 1
_LONGEST_LINE: Final = 16 << 20
NAME: Final = "manifest.jsonl"
as_json: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""A plain value as it stands in a manifest. Made once: `json.dumps` with options makes an encoder at each call."""


def stamp(path: Path) -> dict[str, int]:
    """Size and time of change of a file (nanoseconds): when both are as they were, the file is taken to be the same.

    Raises:
        OSError: there is no such file.
    """
    return marks_of(os.stat(path))  # noqa: PTH116 - half the time of Path.stat, once a photo


def marks_of(status: os.stat_result) -> dict[str, int]:
    """As `stamp`, of a file that was looked at."""
    return {"size": status.st_size, "modified": status.st_mtime_ns}


class Manifest:
    """The manifest of one output folder, open for appending; one run at a time. Belongs to one thread.

    Attributes:
        found: bytes that were there at first; 0 for a new one.

    Args:
        folder: the output folder; made when it is not there.
        verb: which verb writes.
        settings: what decides the output; a manifest made with other settings is refused.
        fresh: forget what an earlier run did.
        more: what the first line of a new manifest says besides; never compared.

    Raises:
        InputError: another run is at work there, another verb or other settings made the folder, or the manifest
            cannot be read or written.
    """

    def __init__(
        self,
        folder: Path,
        verb: str,
        settings: Mapping[str, Any],
        *,
        fresh: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = folder / NAME
        self.found = 0
        self._last = LastLines()
        self._file: FileIO | None = None
        head = {"mien_manifest": _VERSION, "verb": verb, "settings": dict(settings)}
        self._undo = contextlib.ExitStack()
        busy = InputError(f"{folder}: another run is writing there; wait for it to end or choose another folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._undo.enter_context(file_lock(folder / f".{NAME}.lock", wait_s=0, busy=busy))
            if fresh:
                self.path.unlink(missing_ok=True)
            there = self._follow(head) if self.path.exists() else False
            # Without a buffer, or closing would try once more to write what had no room, and raise over its error.
            self._file = self.path.open("ab", buffering=0)
            self._undo.callback(self._file.close)
            if not there:
                self._file.truncate(0)
                self.add([{**head, **(more or {})}])
        except OSError as error:
            self._undo.close()
            raise InputError(f"{self.path}: cannot be used ({error.strerror or error})") from error
        except BaseException:
            self._undo.close()
            raise

    def _follow(self, head: Mapping[str, Any]) -> bool:
        """Learn what was done; a last line that was cut off is cut away. Returns whether there was a first line."""
        self._last, good = _read(self.path, head)
        self.found = self.path.stat().st_size
        if good < self.found:
            with self.path.open("r+b") as file:
                file.truncate(good)
        return good > 0

    def __len__(self) -> int:
        """Sources that it tells of."""
        return len(self._last)

    def done(self, source: str, marks: Mapping[str, int]) -> bool:
        """Whether the last line about a source is of the file that it is now; see `stamp`."""
        return self._last.get(key_of(source)) == file_of(marks)

    def add(self, entries: Iterable[Entry | Line]) -> None:
        """Append lines; they are on the disk when this returns, and none of them is when it raises.

        Raises:
            InputError: they cannot be written, or one is too long to be read again.
        """
        if self._file is None:
            raise ValueError("the manifest is closed")
        lines = [entry if isinstance(entry, Line) else line_of(entry) for entry in entries]
        if any(len(line.content) > _LONGEST_LINE for line in lines):
            raise InputError(f"{self.path}: cannot be written (a line of more than {_LONGEST_LINE >> 20} MiB)")
        end = self._file.seek(0, os.SEEK_END)
        try:
            write_whole(self._file, b"".join([line.content for line in lines]))
            os.fsync(self._file.fileno())
        except BaseException as error:  # Ctrl-C too
            with contextlib.suppress(OSError):  # half a line would spoil the one after it
                self._file.truncate(end)
            if isinstance(error, OSError):
                raise InputError(f"{self.path}: cannot be written ({error.strerror or error})") from error
            raise
        for line in lines:
            if line.source is not None:
                self._last.put(line.source, line.file)

    def close(self) -> None:
        """Let go of the folder."""
        self._file = None
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_manifest(folder: Path) -> Iterator[Entry]:
    """The lines of a folder's manifest, in order, without the first; a cut-off last line is left out.

    A source that was done again, because its file had changed, has several lines: the last one counts.

    Raises:
        InputError: there is no manifest, or it is damaged.
    """
    return (entry for _, entry in located(folder))


def located(folder: Path) -> Iterator[tuple[int, Entry]]:
    """As `read_manifest`, each line with the byte at which it begins; see `entry_at`."""
    path, at = folder / NAME, 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_whole_lines(file, path), 1):
                entry = _parsed(line, path, number)
                if number > 1:
                    yield at, entry
                at += len(line)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def entry_at(folder: Path, at: int) -> Entry:
    """The line that begins at a byte that `located` told of. Raises InputError where it cannot be read."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            file.seek(at)
            return _parsed(file.readline(_LONGEST_LINE), path, 0)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def write_whole(file: FileIO, content: bytes) -> None:
    """Write to a file without a buffer, which may take less at a time than it is given. Raises OSError."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def done_before(folder: Path, verb: str, settings: Mapping[str, Any]) -> Callable[[str, Mapping[str, int]], bool]:
    """As `Manifest.done` of a folder, without making or changing anything: for a dry run.

    Raises:
        InputError: another verb or other settings made the folder, or the manifest cannot be read.
    """
    path = folder / NAME
    head = {"mien_manifest": _VERSION, "verb": verb, "settings": dict(settings)}
    try:
        last = _read(path, head)[0] if path.exists() else LastLines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return lambda source, marks: last.get(key_of(source)) == file_of(marks)


def check_head(folder: Path, verb: str, settings: Mapping[str, Any]) -> None:
    """As `done_before`, by the first line alone: for those who read the others in their own way.

    Raises:
        InputError: another verb or other settings made the folder, or the manifest cannot be read.
    """
    path = folder / NAME
    head = {"mien_manifest": _VERSION, "verb": verb, "settings": dict(settings)}
    try:
        with path.open("rb") as file:
            for line in itertools.islice(_whole_lines(file, path), 1):
                _same_head(_parsed(line, path, 1), json.loads(json.dumps(head)), path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read(path: Path, head: Mapping[str, Any]) -> tuple[LastLines, int]:
    """What a manifest tells of last, and the bytes of its whole lines; its first line must be as expected."""
    last, good = LastLines(), 0
    with path.open("rb") as file:
        for number, line in enumerate(_whole_lines(file, path), 1):
            entry = _parsed(line, path, number)
            if number == 1:
                _same_head(entry, json.loads(json.dumps(head)), path)
            elif "source" in entry:
                last.put(key_of(entry["source"]), file_of(entry))
            good += len(line)
    return last, good


def _whole_lines(file: BufferedReader, path: Path) -> Iterator[bytes]:
    """The lines without a last one that was cut off, which is shorter than the longest that `Manifest` writes."""
    for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), 1):
        if line.endswith(b"\n"):
            yield line
        elif len(line) == _LONGEST_LINE:
            raise InputError(f"{path}, line {number}: too long; the manifest is damaged")
        else:
            return


def line_of(entry: Entry, **more: str) -> Line:
    """An entry, ready to be written; `more` of it, by name, as JSON text already."""
    key = key_of(entry["source"]) if "source" in entry else None
    members = "".join([f',"{name}":{text}' for name, text in more.items()])
    return Line(f"{as_json(entry)[:-1]}{members}}}\n".encode("utf-8", "surrogatepass"), key, file_of(entry))


def _parsed(line: bytes, path: Path, number: int) -> Entry:
    try:
        entry = json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}, line {number}: not JSON; the manifest is damaged") from error
    if not isinstance(entry, dict):
        raise InputError(f"{path}, line {number}: expected an object; the manifest is damaged")
    return entry


def _same_head(found: Entry, head: Mapping[str, Any], path: Path) -> None:
    if found.get("mien_manifest") != _VERSION:
        raise InputError(f"{path}: not a manifest of this version of mien; choose another folder")
    if found.get("verb") != head["verb"]:
        raise InputError(f"{path}: the folder was made by {found.get('verb')!r}; choose another one")
    before, now = found.get("settings", {}), head["settings"]
    other = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
    if other:
        listed = ", ".join(f"{k} was {before.get(k)!r:.60}, is {now.get(k)!r:.60}" for k in other)
        raise InputError(
            f"{path}: the folder was made with other settings ({listed}); choose another one, or begin anew"
        )


def key_of(source: object) -> int:
    """64 bits of a source's name: two of a million meet once in 37 million manifests."""
    text = str(source).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def file_of(marks: Mapping[str, Any]) -> int:
    """64 bits of a file's size and time of change, in this process: equal when both are; see `stamp`."""
    size, modified = marks.get("size"), marks.get("modified")
    if type(size) is int and type(modified) is int:
        return hash((size, modified)) & 0xFFFF_FFFF_FFFF_FFFF  # a tenth of the time of a digest
    return key_of(f"{size}\0{modified}")  # by somebody's hand
