"""The embedded gallery's tables, their version, and how an older file is brought up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.errors import GalleryFileError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

__all__ = ["APPLICATION_ID", "VERSION", "create", "is_blank", "upgrade", "verify"]

APPLICATION_ID = 0x6D69656E  # "mien"
VERSION = 1

# Ids are never used again (AUTOINCREMENT): that is what lets a reader catch up by asking for what is newer.
# `changes` names the subjects that were renamed or removed; a subject that is no longer there was removed.
_TABLES = {
    "model": """CREATE TABLE model (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        name TEXT NOT NULL,
        preset TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        dimension INTEGER NOT NULL CHECK (dimension BETWEEN 1 AND 65536)
    ) STRICT""",
    "subjects": """CREATE TABLE subjects (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        created REAL NOT NULL
    ) STRICT""",
    "faces": """CREATE TABLE faces (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        subject_id INTEGER NOT NULL REFERENCES subjects (id) ON DELETE CASCADE,
        picture TEXT NOT NULL,
        sha256 TEXT,
        x0 REAL, y0 REAL, x1 REAL, y1 REAL,
        score REAL,
        enrolled REAL NOT NULL,
        embedding BLOB NOT NULL,
        UNIQUE (subject_id, sha256)
    ) STRICT""",
    "changes": """CREATE TABLE changes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        subject_id INTEGER NOT NULL
    ) STRICT""",
}

_MIGRATIONS: Mapping[int, Callable[[sqlite3.Connection], None]] = {}
"""From version n to n + 1, inside the caller's transaction. Empty while there is one version."""


def is_blank(connection: sqlite3.Connection) -> bool:
    """Whether the file holds nothing yet: new, or its making was cut off before it was committed."""
    objects = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return not objects and connection.execute("PRAGMA application_id").fetchone()[0] == 0


def create(connection: sqlite3.Connection) -> None:
    """Make the tables, inside the caller's transaction."""
    for statement in _TABLES.values():
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def verify(connection: sqlite3.Connection, source: str) -> int:
    """Check that a file is a gallery this version of mien can work with; returns its schema version.

    Raises:
        GalleryFileError: another program's database, a newer version, or tables that are not the gallery's.
    """
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise GalleryFileError(f"{source}: a SQLite database, but not a mien gallery; give another file name")
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise GalleryFileError(
            f"{source}: a gallery of version {version}, and this mien knows versions up to {VERSION}; upgrade mien"
        )
    if version < VERSION and not all(v in _MIGRATIONS for v in range(version, VERSION)):
        raise GalleryFileError(f"{source}: a gallery of the unknown version {version}; expected 1 to {VERSION}")
    if version == VERSION:
        # Exact, for a file from elsewhere could bring a trigger or a view that acts on our own statements.
        found = dict(
            connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
        )
        if found != _TABLES:
            odd = sorted(name for name in {*found, *_TABLES} if found.get(name) != _TABLES.get(name))
            raise GalleryFileError(f"{source}: not the tables of a gallery (see {', '.join(odd)}); restore a backup")
    return version


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables from `version` up to `VERSION`, inside the caller's transaction."""
    for step in range(version, VERSION):
        _MIGRATIONS[step](connection)
        connection.execute(f"PRAGMA user_version = {step + 1}")
