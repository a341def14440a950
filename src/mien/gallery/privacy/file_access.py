"""Reading, writing, locking and wiping a small file so that a kill or a power cut at any point leaves it sound."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["locked", "read_at", "sync_folder", "wipe", "write_at", "write_new", "write_whole"]

_PART: Final = 1 << 20
_pread: Final[Callable[[int, int, int], bytes] | None] = getattr(os, "pread", None)  # not on Windows


@contextlib.contextmanager
def locked(descriptor: int) -> Iterator[None]:
    """Hold the file alone among processes; ends with the process, too. Threads need a lock of their own besides."""
    if os.name == "nt":  # pragma: no cover - msvcrt locks a byte far behind the end, where nobody reads
        import msvcrt

        os.lseek(descriptor, 1 << 40, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined, unused-ignore]
        try:
            yield
        finally:
            os.lseek(descriptor, 1 << 40, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # closed meanwhile, and so let go
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """Up to `count` bytes; fewer at the end of the file. The caller holds its thread lock."""
    if _pread is not None and count <= _PART:
        return _pread(descriptor, count, offset)  # a regular file gives what it has
    os.lseek(descriptor, offset, os.SEEK_SET)
    parts = []
    while count and (part := os.read(descriptor, count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def write_at(descriptor: int, content: bytes, offset: int, *, sync: bool = True) -> None:
    """Write bytes in place, and on to the disk; where that fails, the file is as long as it was."""
    size = os.fstat(descriptor).st_size
    os.lseek(descriptor, offset, os.SEEK_SET)
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if sync:
            os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def write_new(path: Path, content: bytes) -> None:
    """Make a file, mode 0600; a kill may leave a part of it. Raises FileExistsError when there is one."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        write_at(descriptor, content, 0)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes) -> None:
    """Make a file, mode 0600, whole or not at all. Raises FileExistsError when there is one."""
    part = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    write_new(part, content)
    try:
        try:
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without second names
            if path.exists():
                raise FileExistsError(path) from None
            part.rename(path)
        sync_folder(path)
    finally:
        part.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Make the name of a file as durable as its content, where the system can."""
    if os.name == "posix":
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def wipe(path: Path) -> None:
    """Overwrite a file with zeros and remove it; nothing where there is none."""
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        return
    try:
        size = os.fstat(descriptor).st_size
        for start in range(0, size, _PART):
            write_at(descriptor, bytes(min(_PART, size - start)), start, sync=False)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink(missing_ok=True)
