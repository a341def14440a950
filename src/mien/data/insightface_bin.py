"""InsightFace's verification files (`lfw.bin`, `cfp_fp.bin`, `agedb_30.bin` ...): aligned faces in pairs.

Such a file is a pickle of (list of 2P encoded pictures, list of P booleans): pictures 2i and 2i + 1 are pair i. It is
read without unpickling, and without copying the pictures: each is a view of the file mapped into memory.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from mien.errors import InputError, NotFoundError
from mien.file_draft import draft_beside
from mien.images import MAX_BYTES, source_name
from mien.models.readers.pickled_values import PickledValues, PickleFault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["MAX_PAIRS", "InsightFaceBin", "read_bin", "write_bin"]

MAX_PAIRS: Final = 1_000_000
"""Most pairs of a file; the largest published one has 7,000."""

_MOST_STEPS: Final = 8_000_000  # opcodes, of which a pair needs 5 to 25
_BATCH: Final = 1000  # items after which pickle starts a new batch
_ENCODE: Final = ("_codecs", "encode")
_BYTES: Final = frozenset({("__builtin__", "bytes"), ("builtins", "bytes")})


@dataclass(frozen=True, slots=True, eq=False)
class InsightFaceBin:
    """The content of a file. Immutable, so safe to use from several threads at once.

    Attributes:
        source: the file's name.
        pictures: the 2P encoded pictures (JPEG or PNG), as views of the mapped file; they keep the mapping open, and
            the file must not be cut short meanwhile.
        same: bool (P,), read-only: whether pictures 2i and 2i + 1 show the same person.
    """

    source: str
    pictures: tuple[memoryview, ...]
    same: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.same)


class _Reader(PickledValues):
    """Plain values, and the way in which Python 3 writes bytes for Python 2: text and a call that encodes it."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        super().__init__(data, most_steps=_MOST_STEPS)
        self._left = len(data)  # encoded text may be as long as the file, but not be repeated beyond it

    def named(self, module: object, name: object) -> object:
        if (module, name) != _ENCODE and not (isinstance(module, str) and (module, name) in _BYTES):
            return super().named(module, name)
        return module, name

    def called(self, function: object, args: object) -> memoryview:
        if isinstance(function, tuple) and function in _BYTES and args == ():
            return memoryview(b"")
        if function != _ENCODE or not isinstance(args, tuple) or len(args) != 2 or args[1] not in ("latin1", "latin-1"):
            raise PickleFault("calls something other than the encoding of bytes")
        text = args[0]
        if not isinstance(text, str) or len(text) > self._left:
            raise PickleFault("encodes something other than the text of a picture")
        self._left -= len(text)
        try:
            return memoryview(text.encode("latin-1"))
        except UnicodeEncodeError:
            raise PickleFault("holds text where bytes are expected") from None


def read_bin(path: str | os.PathLike[str]) -> InsightFaceBin:
    """Read a file of any pickle protocol (0 to 5) and of either Python; see `InsightFaceBin`.

    Raises:
        NotFoundError: there is no such file.
        InputError: it cannot be read, is not such a file, is damaged, or asks for more than values.
    """
    shown = source_name(path)
    data = _mapped(Path(path), shown)
    try:
        pictures, same = _halves(_Reader(data).run())
    except PickleFault as error:
        expected = "a pickle of (list of pictures, list of booleans)"
        raise InputError(f"{shown}: expected an InsightFace .bin file, {expected}, but it {error}") from error
    flags = np.array(same, dtype=np.bool_)
    flags.flags.writeable = False
    return InsightFaceBin(shown, tuple(pictures), flags)


def _mapped(path: Path, shown: str) -> mmap.mmap:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe or a device may never end
            raise InputError(f"{shown}: expected a regular file")
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise NotFoundError(f"{shown}: there is no such file") from error
    except (OSError, ValueError) as error:  # ValueError: empty, or a NUL in the name
        raise InputError(f"{shown}: cannot be read ({error})") from error


def _halves(value: object) -> tuple[list[memoryview], list[bool]]:
    if not isinstance(value, tuple | list) or len(value) != 2 or not all(isinstance(half, list) for half in value):
        raise PickleFault("holds something else")
    pictures, same = value
    if not same or len(pictures) != 2 * len(same):
        raise PickleFault(f"holds {len(pictures)} pictures for {len(same)} pairs")
    if len(same) > MAX_PAIRS:
        raise PickleFault(f"holds more than {MAX_PAIRS} pairs")
    for i, picture in enumerate(pictures):
        if not isinstance(picture, memoryview) or not 0 < len(picture) <= MAX_BYTES:
            raise PickleFault(f"has no bytes of a picture at place {i}")
    for i, flag in enumerate(same):
        if not isinstance(flag, int) or flag not in (0, 1):
            raise PickleFault(f"has neither true nor false for pair {i}")
    return pictures, same


def write_bin(
    path: str | os.PathLike[str],
    pictures: Iterable[bytes | memoryview | str | os.PathLike[str]],
    same: Iterable[bool],
) -> Path:
    """Write pairs in InsightFace's layout (pickle protocol 3, which every Python 3 reads), whole or not at all.

    Pictures are written one at a time, so that a file may be larger than memory.

    Args:
        path: where to; its folder must exist.
        pictures: 2P encoded pictures, as bytes or as files, whose content is kept as it is.
        same: P booleans: whether pictures 2i and 2i + 1 show the same person.

    Returns:
        The path.

    Raises:
        InputError: the counts do not fit, a picture is empty or too large, or a file cannot be read or written.
    """
    target = Path(path)
    flags = [bool(flag) for flag in islice(same, MAX_PAIRS + 1)]
    if not 0 < len(flags) <= MAX_PAIRS:
        raise InputError(f"{source_name(path)}: expected 1 to {MAX_PAIRS} pairs, got {len(flags)}")
    try:
        with draft_beside(target) as draft:
            with draft.open("xb") as file:
                count = _write(file, pictures, flags)
            if count != 2 * len(flags):
                raise InputError(f"{source_name(path)}: expected {2 * len(flags)} pictures, got {count}")
    except (OSError, ValueError) as error:
        raise InputError(f"{source_name(path)}: cannot be written ({error})") from error
    return target


def _write(file: BinaryIO, pictures: Iterable[bytes | memoryview | str | os.PathLike[str]], flags: list[bool]) -> int:
    count = 0
    file.write(b"\x80\x03]")
    rest = islice(pictures, 2 * len(flags) + 1)  # one too many is found out
    while batch := list(islice(rest, 1)):
        file.write(b"(")
        for picture in (*batch, *islice(rest, _BATCH - 1)):
            data = _content(picture, count)
            file.write(b"B" + struct.pack("<I", len(data)))
            file.write(data)
            count += 1
        file.write(b"e")
    file.write(b"]")
    for start in range(0, len(flags), _BATCH):
        file.write(b"(" + b"".join(b"\x88" if flag else b"\x89" for flag in flags[start : start + _BATCH]) + b"e")
    file.write(b"\x86.")
    return count


def _content(picture: bytes | memoryview | str | os.PathLike[str], place: int) -> bytes | memoryview:
    if not isinstance(picture, bytes | memoryview):
        try:
            found = Path(picture)
            if not stat.S_ISREG(found.stat().st_mode) or found.stat().st_size > MAX_BYTES:
                raise InputError(f"{source_name(picture)}: expected a regular file of at most {MAX_BYTES} bytes")
            picture = found.read_bytes()
        except (OSError, ValueError) as error:
            raise InputError(f"{source_name(picture)}: cannot be read ({error})") from error
    data = memoryview(picture).cast("B")
    if not 0 < len(data) <= MAX_BYTES:
        raise InputError(f"picture {place}: holds {len(data)} bytes, expected 1 to {MAX_BYTES}")
    return data
