"""Finding what is left of erased bytes in files, from fingerprints that do not give the bytes away.

A fingerprint is of a window of the erased bytes: 24 bits by which most of a file is passed over, and 64 bits of salted
SHA-256 that settle the rest. 24 bits of 128 leave a vector or a picture unguessable. A text is another matter: whoever
guesses it can confirm the guess, as with any checksum of a name.

Long bytes (vectors, crops): windows of 16 bytes at 8 successive offsets of every period, against every eighth offset
of a file. So anything in one piece of at least `period` + 23 bytes is found. Short ones (texts): the whole of it,
against every offset.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.gallery.privacy.file_access import read_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["SHORTEST", "Fingerprints", "Remains", "fingerprint_text", "fingerprint_windows", "search_file"]

WINDOW: Final = 16
STEP: Final = 8
SHORTEST: Final = 6  # bytes; anything shorter stands in every large file by chance
LONGEST: Final = 64  # bytes of a text that are compared
_BITS: Final = 24
DIGEST: Final = 8
ROW: Final = 3 + DIGEST
_BLOCK: Final = 1 << 18  # what a second-level cache holds
_DISTINCT: Final = 8  # values in a window; zeros and blanks say nothing
_MOST: Final = 100  # remains told of one file

_held: dict[tuple[int, int], int] = {}
_holding = threading.Lock()


@dataclass(frozen=True, slots=True)
class Remains:
    """Erased bytes that are still there.

    Attributes:
        file: where.
        offset: at which byte.
        kind: of what: "face vector", "crop", "name", ...
    """

    file: Path
    offset: int
    kind: str

    def __str__(self) -> str:
        return f"{self.file}: part of a {self.kind} at byte {self.offset}"


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What can be looked for.

    Attributes:
        salt: random; without it fingerprints of the same bytes cannot be told to be the same.
        windows: kind -> rows of 11 bytes (filter and digest) of windows of 16 bytes.
        texts: kind -> rows of (length, 11 bytes).
        unsearchable: kind -> how many texts or windows say too little to be looked for.
    """

    salt: bytes
    windows: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, tuple[tuple[int, bytes], ...]] = field(default_factory=dict)
    unsearchable: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many fingerprints there are."""
        return sum(len(rows) // ROW for rows in self.windows.values()) + sum(map(len, self.texts.values()))


def fingerprint_windows(salt: bytes, content: bytes, period: int) -> tuple[bytes, int]:
    """Rows of 11 bytes for the windows of long bytes, and how many windows say too little."""
    starts = [o for o in range(len(content) - WINDOW + 1) if o % period < STEP]
    if not starts:
        return b"", 1
    windows = [content[o : o + WINDOW] for o in starts]
    telling = [w for w in windows if len(set(w)) >= _DISTINCT]
    halves = np.frombuffer(b"".join(telling), "<u8").reshape(-1, 2)
    filters = _window_filter(salt, halves)
    rows = b"".join(
        int(f).to_bytes(3, "little") + _digest(salt, w) for f, w in zip(filters.tolist(), telling, strict=True)
    )
    return rows, len(windows) - len(telling)


def fingerprint_text(salt: bytes, text: bytes) -> tuple[int, bytes] | None:
    """(length, 11 bytes) of a text, or None where it is too short to be looked for."""
    if len(text) < SHORTEST or len(set(text)) < 3:
        return None
    kept = text[:LONGEST]
    first = np.frombuffer(kept[:SHORTEST].ljust(8, b"\0"), "<u8")
    return len(kept), int(_text_filter(salt, first)[0]).to_bytes(3, "little") + _digest(salt, kept)


def search_file(prints: Fingerprints, path: Path, *, live: bool = True) -> list[Remains]:
    """What is left in a file, in order; at most a hundred places.

    Args:
        prints: what to look for.
        path: the file.
        live: whether this process may have the file open as a gallery.

    Raises:
        OSError: the file cannot be read.
    """
    searches = [s for s in (_Windows(prints), _Texts(prints)) if s.kinds]
    found: dict[int, Remains] = {}
    for start, block in _blocks(path, live=live):
        for search in searches:
            for offset, kind in search.hits(block):
                found.setdefault(start + offset, Remains(path, start + offset, kind))
        if len(found) >= _MOST:
            break
    return [found[offset] for offset in sorted(found)][:_MOST]


class _Sieve:
    """Which filters of 24 bits belong to a fingerprint. Most fail by a table of their first bits that fits a cache."""

    def __init__(self, first_bits: int) -> None:
        self._rest = _BITS - first_bits
        self._first = np.zeros(1 << first_bits, np.bool_)
        self._whole = np.zeros(1 << _BITS, np.bool_)

    def let_pass(self, filter_: bytes) -> None:
        value = int.from_bytes(filter_, "little")
        self._first[value >> self._rest] = self._whole[value] = True

    def passing(self, filters: NDArray[np.int64]) -> list[int]:
        some = np.flatnonzero(self._first[filters >> self._rest])
        passing: list[int] = some[self._whole[filters[some]]].tolist()
        return passing


class _Windows:
    """Looks for windows of long bytes at every eighth offset."""

    def __init__(self, prints: Fingerprints) -> None:
        self.kinds: dict[bytes, str] = {}
        self._salt = prints.salt
        self._sieve = _Sieve(20)
        for kind, rows in prints.windows.items():
            for at in range(0, len(rows), ROW):
                self._sieve.let_pass(rows[at : at + 3])
                self.kinds[rows[at + 3 : at + ROW]] = kind

    def hits(self, block: bytes) -> Iterator[tuple[int, str]]:
        for shift in range(0, WINDOW, STEP):
            count = (len(block) - shift) // WINDOW
            if count <= 0:
                break
            halves = np.frombuffer(block, "<u8", 2 * count, shift).reshape(-1, 2)
            for i in self._sieve.passing(_window_filter(self._salt, halves)):
                offset = shift + i * WINDOW
                kind = self.kinds.get(_digest(self._salt, block[offset : offset + WINDOW]))
                if kind:
                    yield offset, kind


class _Texts:
    """Looks for short bytes at every offset."""

    def __init__(self, prints: Fingerprints) -> None:
        self.kinds: dict[tuple[int, bytes], str] = {}
        self._salt = prints.salt
        self._sieve = _Sieve(16)
        for kind, rows in prints.texts.items():
            for length, row in rows:
                self._sieve.let_pass(row[:3])
                self.kinds[length, row[3:]] = kind
        self._lengths = sorted({length for length, _ in self.kinds})

    def hits(self, block: bytes) -> Iterator[tuple[int, str]]:
        padded = block + bytes(8)
        for shift in range(min(8, len(block))):
            words = np.frombuffer(padded, "<u8", (len(block) - shift + 7) // 8, shift)
            for i in self._sieve.passing(_text_filter(self._salt, words)):
                offset = shift + 8 * i
                for length in self._lengths:
                    kind = self.kinds.get((length, _digest(self._salt, block[offset : offset + length])))
                    if kind and offset + length <= len(block):
                        yield offset, kind


def _multipliers(salt: bytes) -> tuple[np.uint64, ...]:
    words = np.frombuffer(hashlib.sha256(b"mien filter" + salt).digest(), "<u8") | np.uint64(1)
    return tuple(words)


def _window_filter(salt: bytes, halves: NDArray[np.uint64]) -> NDArray[np.int64]:
    one, two, three, _ = _multipliers(salt)
    h = halves[:, 0] * one
    h ^= halves[:, 1] * two
    h ^= h >> np.uint64(32)
    h *= three
    h >>= np.uint64(64 - _BITS)
    return h.view(np.int64)


def _text_filter(salt: bytes, words: NDArray[np.uint64]) -> NDArray[np.int64]:
    h = words & np.uint64((1 << 8 * SHORTEST) - 1)
    h *= _multipliers(salt)[3]
    h >>= np.uint64(64 - _BITS)
    return h.view(np.int64)


def _digest(salt: bytes, content: bytes) -> bytes:
    return hashlib.sha256(salt + content).digest()[:DIGEST]


def _blocks(path: Path, *, live: bool) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of overlapping blocks that begin at multiples of 16."""
    position, size = 0, _BLOCK + LONGEST + WINDOW
    with _opened(path, live=live) as descriptor:
        while True:
            block = read_at(descriptor, size, position)
            if block:
                yield position, block
            if len(block) < size:
                return
            position += _BLOCK


@contextlib.contextmanager
def _opened(path: Path, *, live: bool) -> Iterator[int]:
    """A descriptor to read from.

    POSIX: to close any descriptor of a file drops all locks that the process has on it, SQLite's too, and another
    process could then throw away the log that an open gallery writes to. So of the files of a gallery that may be
    open (`live`), one descriptor each stays open until the process ends.
    """
    if not live or os.name != "posix":
        with path.open("rb", buffering=0) as file:
            yield file.fileno()
        return
    with _holding:
        status = path.stat()
        descriptor = _held.get((status.st_dev, status.st_ino))
        if descriptor is None:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            status = os.fstat(descriptor)
            _held[status.st_dev, status.st_ino] = descriptor
    yield descriptor
