"""A lock between processes (and threads), held on a small file; the system frees it when its holder dies."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import IO, TYPE_CHECKING

from mien.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["file_lock"]

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
def file_lock(path: Path, *, wait_s: float) -> Iterator[None]:
    """Hold the lock on `path`, which is created and stays.

    Raises:
        ModelFileError: another holder kept it for `wait_s` seconds.
    """
    deadline = time.monotonic() + wait_s
    with path.open("ab") as stream:
        while True:
            try:
                _try(stream)
                break
            except OSError as error:  # held by somebody else
                if time.monotonic() >= deadline:
                    raise ModelFileError(f"{path}: another process has been at work on this model for long") from error
                time.sleep(0.05)
        try:
            yield
        finally:
            _free(stream)
