"""The tables of a gallery's file, their version, and whether a file has exactly them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from mien.errors import GalleryFileError

if TYPE_CHECKING:
    import sqlite3

    from mien.gallery.sealing import Sealer

__all__ = ["APPLICATION_ID", "TABLES", "VERSION", "create", "is_blank", "new_epoch", "verify", "verify_seal"]

APPLICATION_ID = 0x6D69656E  # "mien"
VERSION = 3

_MODEL = """CREATE TABLE model (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        name TEXT NOT NULL,
        preset TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        dimension INTEGER NOT NULL CHECK (dimension BETWEEN 1 AND 65536)
    ) STRICT"""

_VERSION_1 = {
    "model": _MODEL,
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

# Ids are never used again (AUTOINCREMENT): that is what lets a reader catch up by asking for what is newer.
# Blobs are sealed, or (`*_key`, `content`) what a sealed text is found by; see `mien.gallery.sealing`.
# `changes` names the subjects and faces that are not as they were; one that is no longer there was removed.
_VERSION_2 = {
    "model": _MODEL,
    "kept": """CREATE TABLE kept (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT""",
    "subjects": """CREATE TABLE subjects (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        pseudonym TEXT NOT NULL UNIQUE,
        name_key BLOB NOT NULL UNIQUE,
        name BLOB NOT NULL,
        external_key BLOB UNIQUE,
        external_id BLOB,
        told TEXT NOT NULL CHECK (told IN ('person', 'ignored')),
        details BLOB,
        created REAL NOT NULL,
        expires REAL
    ) STRICT""",
    "faces": """CREATE TABLE faces (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        subject_id INTEGER NOT NULL REFERENCES subjects (id) ON DELETE CASCADE,
        origin BLOB NOT NULL,
        content BLOB,
        x0 REAL, y0 REAL, x1 REAL, y1 REAL,
        score REAL,
        quality REAL,
        enrolled REAL NOT NULL,
        negative INTEGER NOT NULL CHECK (negative IN (0, 1)),
        embedding BLOB NOT NULL
    ) STRICT""",
    "faces_by_content": """CREATE UNIQUE INDEX faces_by_content ON faces (content, subject_id)
        WHERE negative = 0 AND content IS NOT NULL""",
    "faces_by_subject": "CREATE INDEX faces_by_subject ON faces (subject_id)",
    "crops": """CREATE TABLE crops (
        face_id INTEGER PRIMARY KEY REFERENCES faces (id) ON DELETE CASCADE,
        crop BLOB NOT NULL
    ) STRICT""",
    "changes": """CREATE TABLE changes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        subject_id INTEGER,
        face_id INTEGER,
        CHECK ((subject_id IS NULL) <> (face_id IS NULL))
    ) STRICT""",
    "sightings": """CREATE TABLE sightings (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time REAL NOT NULL,
        subject_id INTEGER REFERENCES subjects (id) ON DELETE CASCADE,
        score REAL NOT NULL,
        source BLOB NOT NULL
    ) STRICT""",
    "sightings_by_time": "CREATE INDEX sightings_by_time ON sightings (time)",
    "sightings_by_subject": "CREATE INDEX sightings_by_subject ON sightings (subject_id)",
    "audit": """CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        time REAL NOT NULL,
        action TEXT NOT NULL,
        pseudonym TEXT,
        count INTEGER NOT NULL,
        digest TEXT NOT NULL
    ) STRICT""",
}

# A second set of embeddings, while the gallery changes from one model to another; see `mien.gallery.migration`.
_VERSION_3 = {
    **_VERSION_2,
    "staged_model": """CREATE TABLE staged_model (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        name TEXT NOT NULL,
        preset TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        dimension INTEGER NOT NULL CHECK (dimension BETWEEN 1 AND 65536),
        role TEXT NOT NULL CHECK (role IN ('new', 'old'))
    ) STRICT""",
    "staged": """CREATE TABLE staged (
        face_id INTEGER PRIMARY KEY REFERENCES faces (id) ON DELETE CASCADE,
        embedding BLOB NOT NULL
    ) STRICT""",
}

TABLES = {1: _VERSION_1, 2: _VERSION_2, 3: _VERSION_3}
"""Everything that a file of each version holds, by name: tables and indexes."""

_SEAL = b"mien"  # a known text, sealed: a wrong key shows at once
_SEAL_CONTEXT = "kept.seal"


def is_blank(connection: sqlite3.Connection) -> bool:
    """Whether the file holds nothing yet: new, or its making was cut off before it was committed."""
    objects = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return not objects and connection.execute("PRAGMA application_id").fetchone()[0] == 0


def create(connection: sqlite3.Connection, sealer: Sealer, *, version: int = VERSION) -> None:
    """Make the tables of a version, inside the caller's transaction."""
    for statement in TABLES[version].values():
        connection.execute(statement)
    connection.execute("INSERT INTO kept VALUES ('seal', ?)", (sealer.seal(None, _SEAL, _SEAL_CONTEXT),))
    new_epoch(connection)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")


def new_epoch(connection: sqlite3.Connection) -> None:
    """Tell every reader to begin anew, inside the caller's transaction."""
    connection.execute("INSERT OR REPLACE INTO kept VALUES ('epoch', ?)", (secrets.token_hex(16).encode(),))


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
    tables = TABLES.get(version)
    if tables is None:
        raise GalleryFileError(f"{source}: a gallery of the unknown version {version}; expected 1 to {VERSION}")
    # Exact, for a file from elsewhere could bring a trigger or a view that acts on our own statements.
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"))
    if found != tables:
        odd = sorted(name for name in {*found, *tables} if found.get(name) != tables.get(name))
        raise GalleryFileError(f"{source}: not the tables of a gallery (see {', '.join(odd)}); restore a backup")
    return version


def verify_seal(connection: sqlite3.Connection, source: str, sealer: Sealer) -> None:
    """Check that a file is sealed as `sealer` seals.

    Raises:
        GalleryFileError: it is encrypted and the sealer is not, or the other way round, or with another key.
    """
    row = connection.execute("SELECT value FROM kept WHERE key = 'seal'").fetchone()
    if row is None:
        raise GalleryFileError(f"{source}: is damaged (it does not say how it is sealed); restore a backup")
    if (row[0] == _SEAL) == sealer.encrypted:
        raise GalleryFileError(
            f"{source}: is not encrypted; open it without a key, or copy it into a new, encrypted gallery"
            if sealer.encrypted
            else f"{source}: is encrypted; open it with its key"
        )
    if sealer.open(None, row[0], _SEAL_CONTEXT) != _SEAL:
        raise GalleryFileError(f"{source}: is encrypted with another key")
