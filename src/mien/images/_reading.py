"""Bytes from paths and file objects: regular files only, bounded, and under either Unicode normal form of the name."""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mien.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["file_exists", "printable", "read_file", "read_stream"]

_CHUNK: Final = 1 << 20
_URL: Final = re.compile(r"(?i)([a-z][a-z0-9+.-]+://|data:|file:)")
_KINDS: Final = (
    (stat.S_ISDIR, "is a folder, expected a picture file"),
    (stat.S_ISFIFO, "is a named pipe, expected a regular file"),
    (stat.S_ISSOCK, "is a socket, expected a regular file"),
    (stat.S_ISCHR, "is a device, expected a regular file"),
    (stat.S_ISBLK, "is a device, expected a regular file"),
)
_ERRNOS: Final = {
    errno.ENOENT: "there is no such file",
    errno.ENOTDIR: "there is no such file (part of the path is not a folder)",
    errno.EACCES: "permission to read it is denied",
    errno.EPERM: "permission to read it is denied",
    errno.ELOOP: "its symbolic links form a loop",
    errno.ENAMETOOLONG: "the name is too long for a file",
}


def printable(name: str) -> str:
    """Return `name` with what cannot be written as UTF-8 (lone surrogates) escaped, so that it can be reported."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def read_file(path: str, name: str, max_bytes: int) -> tuple[bytes, os.stat_result]:
    """Read a regular file of at most `max_bytes`; its content, and what the system knew of it at that moment.

    Raises:
        ImageError: it is a URL, missing, not a regular file, unreadable, too large or empty.
    """
    if _URL.match(path):
        raise ImageError(name, "is a URL, and mien opens local files only; download it first")
    try:
        try:
            return _read_regular(path, name, max_bytes)
        except FileNotFoundError:
            other = _other_normal_form(path)
            if other is None:
                raise
            return _read_regular(other, name, max_bytes)
    except OSError as error:
        reason = _ERRNOS.get(error.errno or 0) or f"cannot be read ({error.strerror or error})"
        raise ImageError(name, reason) from error
    except ValueError as error:  # a NUL, or a surrogate that the file system's encoding lacks
        raise ImageError(name, f"is not a possible file name ({error})") from error


def _read_regular(path: str, name: str, max_bytes: int) -> tuple[bytes, os.stat_result]:
    # Look before opening, for opening a device may act on it; look again after, for it may have been exchanged.
    _refuse_unless_regular(os.stat(path), name)  # noqa: PTH116 (Path() would change the name)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb", buffering=0) as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        _refuse_unless_regular(status, name)
        if status.st_size > max_bytes:
            raise ImageError(name, f"holds {status.st_size} bytes, expected at most {max_bytes}")
        return _read_all(file.read, name, max_bytes, status.st_size + 1), status


def file_exists(path: str) -> bool:
    """Whether a file is at `path`, under either Unicode normal form, as `read_file` looks for it; a folder is none."""
    try:
        try:
            return not stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 - asked of every line of long lists
        except FileNotFoundError:
            other = _other_normal_form(path)
            return other is not None and not stat.S_ISDIR(os.stat(other).st_mode)  # noqa: PTH116
    except (OSError, ValueError):  # ValueError: NUL in it
        return False


def _refuse_unless_regular(status: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        reason = next((text for test, text in _KINDS if test(status.st_mode)), "is not a regular file")
        raise ImageError(name, reason)


def _other_normal_form(path: str) -> str | None:
    """Find `path` under other Unicode normal forms, which may differ from folder to folder; None if it is not there."""
    parts = Path(path).parts
    found = ""
    for part in parts:
        forms = dict.fromkeys([part, unicodedata.normalize("NFC", part), unicodedata.normalize("NFD", part)])
        candidates = (os.path.join(found, form) for form in forms)  # noqa: PTH118
        existing = next((candidate for candidate in candidates if os.path.lexists(candidate)), None)
        if existing is None:
            return None
        found = existing
    return found or None


def read_stream(read: Callable[[int], object], name: str, max_bytes: int) -> bytes:
    """Read what is left of a binary stream, at most `max_bytes`.

    Raises:
        ImageError: it is a text stream, it fails, or it holds too much or nothing.
    """
    try:
        return _read_all(read, name, max_bytes, _CHUNK)
    except ImageError:
        raise
    except Exception as error:  # a file object is the caller's code, and may raise anything
        raise ImageError(name, f"reading it failed ({type(error).__name__}: {error})") from error


def _read_all(read: Callable[[int], object], name: str, max_bytes: int, chunk: int) -> bytes:
    pieces: list[bytes] = []
    total = 0
    while True:
        piece = read(chunk)
        if isinstance(piece, str):
            raise ImageError(name, 'is open as text, expected a binary file: open it with mode "rb"')
        if not isinstance(piece, bytes):
            raise ImageError(name, f"read() returned {type(piece).__name__}, expected bytes")
        if not piece:
            break
        pieces.append(piece)
        total += len(piece)
        if total > max_bytes:
            raise ImageError(name, f"holds more than the allowed {max_bytes} bytes")
    if not total:
        raise ImageError(name, "is empty")
    return b"".join(pieces)
