"""A lock between processes (and threads), held on a small file; the system frees it when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import sys
import time
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mien.errors import MienError

__all__ = ["file_lock"]

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)  # by somebody else, as systems say it

if sys.platform == "win32":
    import msvcrt

    def _try(stream: IO[bytes]) -> None:
        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)

    def _free(stream: IO[bytes]) -> None:
        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try(stream: IO[bytes]) -> None:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _free(stream: IO[bytes]) -> None:
        fcntl.flock(stream, fcntl.LOCK_UN)


@contextlib.contextmanager
def file_lock(path: Path, *, wait_s: float, busy: MienError) -> Iterator[None]:
    """Hold the lock on `path`, which is created and stays.

    Args:
        path: a small file of its own.
        wait_s: how long to wait for another holder, in seconds.
        busy: raised when it is held still.

    Raises:
        OSError: the file cannot be made, or the file system has no locks.
    """
    deadline = time.monotonic() + wait_s
    with path.open("ab") as stream:
        while True:
            try:
                _try(stream)
                break
            except OSError as error:
                if error.errno not in _HELD:
                    raise
                if time.monotonic() >= deadline:
                    raise busy from error
                time.sleep(0.05)
        try:
            yield
        finally:
            _free(stream)
