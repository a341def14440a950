"""Connections to a gallery's file, set up for safety, and SQLite's complaints turned into advice."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import GalleryError, GalleryFileError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MEMORY",
    "connect",
    "explained",
    "locate",
    "make_private",
    "transaction",
    "use_write_ahead_log",
]

MEMORY = ":memory:"
"""The path of a gallery that is gone when it is closed."""

BUSY_SECONDS = 30.0
_HEADER_BYTES = 100  # no SQLite file that holds anything is shorter
_OLDEST = (3, 37)  # the first with STRICT tables; some systems lend their older one to Python
_PRAGMAS = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "foreign_keys = ON",
    "secure_delete = ON",  # what is deleted is written over
    "synchronous = FULL",
    "fullfsync = ON",  # macOS: a plain fsync leaves the data in the drive's cache; elsewhere it does nothing
    "checkpoint_fullfsync = ON",
)
_making = threading.Lock()
_ADVICE = {
    sqlite3.SQLITE_BUSY: "is locked by another program; close that program or try again",
    sqlite3.SQLITE_LOCKED: "is locked by another program; close that program or try again",
    sqlite3.SQLITE_NOTADB: "is not a gallery; give another file name",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore a backup",
    sqlite3.SQLITE_READONLY: "cannot be written: check the permissions of the file and its folder, or open it readonly",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check that its folder exists and the permissions of both",
    sqlite3.SQLITE_PERM: "cannot be opened: check the permissions of the file and its folder",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full; nothing of this operation was kept",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk reports an error",
}


@contextlib.contextmanager
def explained(source: str) -> Iterator[None]:
    """Raise GalleryFileError, naming `source` and saying what to do, for what SQLite reports."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        if "closed" in str(error):
            raise GalleryError(f"{source}: the gallery is closed; open it again") from error
        raise
    except sqlite3.DatabaseError as error:
        advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "cannot be used")
        raise GalleryFileError(f"{source}: {advice} ({error})") from error


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, *, write: bool) -> Iterator[None]:
    """All or nothing: commit at the end, roll back on any exception."""
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            connection.execute("ROLLBACK")
        raise


def locate(path: str | os.PathLike[str], *, readonly: bool, create: bool) -> Path | None:
    """The gallery's file, made empty with mode 0600 where it is new; None for a gallery in memory.

    Raises:
        GalleryFileError: the path cannot hold a gallery; says why.
        NotFoundError: there is no such file and none is to be made.
    """
    name = os.fspath(path)
    if name == MEMORY:
        return None
    file = Path(name)
    try:
        if file.is_dir():
            raise GalleryFileError(f"{name}: is a folder; give a file in it, such as {file / 'people.db'}")
        # To close any descriptor of the file is to drop the locks that this process's other connections hold on it
        # (POSIX); another process could then throw away the log they write to. So it is never opened here once it is
        # there, not even to look at its first bytes: SQLite does that.
        with _making:
            if not file.exists():
                if readonly or not create:
                    raise NotFoundError(f"{name}: there is no such gallery; enrol somebody first or check the path")
                with contextlib.suppress(FileExistsError):  # made by another process in between
                    make_private(file)
                return file
        if not file.is_file():
            raise GalleryFileError(f"{name}: is not a regular file; give another file name")
        size = file.stat().st_size
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise GalleryFileError(f"{name}: cannot be opened ({reason}); check its folder and the permissions") from error
    if 0 < size < _HEADER_BYTES:  # SQLite would write over the smallest of them
        raise GalleryFileError(f"{name}: is not a gallery ({size} bytes are too few); give another file name")
    if not size and readonly:
        raise GalleryFileError(f"{name}: is empty; open it once for writing, or restore a backup")
    return file


def make_private(file: Path) -> None:
    """Make an empty file that only its owner may read. Raises FileExistsError."""
    os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def connect(file: Path | None, *, readonly: bool) -> sqlite3.Connection:
    """A connection in autocommit mode, set up for safety; several threads may share it under one lock."""
    if sqlite3.sqlite_version_info < _OLDEST:
        raise GalleryError(
            f"galleries need SQLite {'.'.join(map(str, _OLDEST))} or newer, and this Python was built with "
            f"{sqlite3.sqlite_version}; use a Python that brings a newer one"
        )
    if file is None:
        target = MEMORY
    else:
        where = file.absolute()
        # A write-ahead log needs a writable folder even to be read, unless nobody can be writing.
        sealed = readonly and not os.access(where.parent, os.W_OK) and not Path(f"{where}-wal").exists()
        target = f"{where.as_uri()}?mode={'ro' if readonly else 'rw'}{'&immutable=1' if sealed else ''}"
    connection = sqlite3.connect(
        target, uri=file is not None, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Readers then never wait for the writer. Kept in the file, so only the first time does anything."""
    for attempt in range(100):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:  # another process is opening the same new file; no busy handler covers this
            if attempt == 99:
                raise
            time.sleep(0.02)
        else:
            return
