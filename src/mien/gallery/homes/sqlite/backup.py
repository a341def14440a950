"""Copies of a gallery's file: made while it is in use, verified, and put back."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import GalleryError, GalleryFileError, NotFoundError, UnsupportedError
from mien.gallery.homes.sqlite import keys, schema
from mien.gallery.homes.sqlite.check import check
from mien.gallery.homes.sqlite.connection import connect, explained, locate, make_private, transaction
from mien.gallery.homes.sqlite.migrations import prepare
from mien.gallery.homes.sqlite.tables import Tables
from mien.gallery.sealing import PLAIN

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from mien.gallery.sealing import Sealer

__all__ = ["backup", "restore"]

_PAGES = 4096  # copied between two looks at Ctrl-C; all of them are of one moment


def backup(file: Path | None, source: str, sealer: Sealer, path: str | os.PathLike[str]) -> Path:
    """Copy a gallery's file to a new one; whole or not at all, verified, with mode 0600.

    Raises:
        GalleryFileError: there is something at `path` already, it cannot be written, or the gallery is damaged.
        UnsupportedError: the gallery lives in memory.
    """
    if file is None:
        raise UnsupportedError(f"{source}: lives in memory and cannot be backed up; copy it into a file")
    target = Path(path)
    if os.path.lexists(target):
        raise GalleryFileError(f"{target}: there is something already; give another name for the backup")
    with _draft(target, file.name) as draft:
        with explained(source), contextlib.closing(connect(file, readonly=True)) as original:
            _copy(original, draft, source, sealer, str(target))
        try:
            os.link(draft, target)  # unlike a rename it never takes the place of another file
        except FileExistsError as error:
            raise GalleryFileError(f"{target}: there is something already; give another name") from error
        except OSError:  # a file system without links
            draft.rename(target)
        _flush_folder(target.parent)
    return target


def restore(backup: str | os.PathLike[str], path: str | os.PathLike[str], *, sealer: Sealer = PLAIN) -> None:
    """Put a backup in the place of a gallery, or where none is; whole or not at all.

    The gallery may be open, here and in other processes: it is replaced in one transaction, and every search after
    that sees the backup's people. What it held is gone; a backup of it first is a good habit.

    Raises:
        NotFoundError: there is no such backup.
        GalleryFileError: the backup is damaged or no gallery, or the gallery cannot be written.
    """
    name = os.fspath(backup)
    origin = locate(name, readonly=True, create=False)
    if origin is None:
        raise NotFoundError(f"{name}: lives in memory; expected the file of a backup")
    target = locate(path, readonly=False, create=True)
    if target is None:
        raise GalleryError(f"{path}: lives in memory; expected the file of a gallery")
    if os.path.samefile(origin, target):  # noqa: PTH121 - Path.samefile is the same
        raise GalleryFileError(f"{name}: is the gallery itself; expected a backup of it")
    with _draft(target, target.name) as draft:
        with explained(name), contextlib.closing(connect(origin, readonly=True)) as original:
            _copy(original, draft, name, sealer, str(target))
        shown = str(target)
        with (
            explained(shown),
            contextlib.closing(connect(draft, readonly=False)) as ready,
            contextlib.closing(connect(target, readonly=False)) as live,
        ):
            if not schema.is_blank(live):
                schema.verify(live, shown)
            with transaction(ready, write=True):
                schema.new_epoch(ready)
            ready.backup(live)  # one transaction of the live file; others see it whole or not at all
            prepare(live, shown, sealer, readonly=False)


@contextlib.contextmanager
def _draft(target: Path, gallery: str) -> Iterator[Path]:
    """An empty private file beside the target, named after the gallery it copies, taken away at the end."""
    draft = target.with_name(f".{gallery[:100]}-{secrets.token_hex(8)}.part")
    try:
        make_private(draft)
        yield draft
    except OSError as error:
        raise GalleryFileError(f"{target}: cannot be written ({error.strerror or error}); check its folder") from error
    finally:
        for end in ("", "-journal", "-wal", "-shm"):
            draft.with_name(draft.name + end).unlink(missing_ok=True)


def _copy(original: sqlite3.Connection, draft: Path, source: str, sealer: Sealer, shown: str) -> None:
    """Fill the draft, on the disk and verified, as one file without a log."""
    with explained(shown), contextlib.closing(connect(draft, readonly=False)) as copy:
        with transaction(original, write=False):  # so that all steps copy one moment
            original.execute("SELECT count(*) FROM sqlite_master").fetchone()
            original.backup(copy, pages=_PAGES)
        copy.execute("PRAGMA journal_mode = DELETE")
        prepare(copy, source, sealer, readonly=False)
        if sealer.encrypted:  # an older backup still has who was erased since, and nobody can read them
            with transaction(copy, write=True):
                keys.remove_destroyed(Tables(copy, sealer, source), time.time())
        problems = check(Tables(copy, sealer, source)).problems
        if problems:
            raise GalleryFileError(f"{source}: is damaged ({problems[0]}); it was not copied")
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        copy.execute("PRAGMA journal_mode = DELETE")


def _flush_folder(folder: Path) -> None:
    """Make a new name in a folder durable, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
