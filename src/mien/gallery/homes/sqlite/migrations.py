"""How a file of an older version is brought up to date: one transaction, so whole or not at all."""

from __future__ import annotations

import secrets
import sqlite3
import time
from typing import TYPE_CHECKING

from mien.errors import GalleryFileError
from mien.gallery.homes.sqlite import schema
from mien.gallery.homes.sqlite.connection import transaction, use_write_ahead_log
from mien.gallery.homes.sqlite.logs import append_audit
from mien.gallery.homes.sqlite.tables import Tables, origin_bytes
from mien.gallery.sealing import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mien.gallery.sealing import Sealer

__all__ = ["prepare"]


def prepare(connection: sqlite3.Connection, source: str, sealer: Sealer, *, readonly: bool) -> None:
    """Make or upgrade the tables where that is due, and check them.

    The tables come first and the write-ahead log second, so that a file cut off in between is still blank.

    Raises:
        GalleryFileError: not a gallery, of a version that is too new, or not sealed by `sealer`.
    """
    if not readonly and schema.is_blank(connection):
        with transaction(connection, write=True):
            if schema.is_blank(connection):  # another process may have been first
                schema.create(connection, sealer)
    version = schema.verify(connection, source)
    if version < schema.VERSION:
        if version > 1:
            schema.verify_seal(connection, source, sealer)
        elif sealer.encrypted:
            raise GalleryFileError(
                f"{source}: is not encrypted (of the older version {version}); open it once without a key to bring it "
                "up to date, then copy it into a new, encrypted gallery"
            )
        if readonly:
            raise GalleryFileError(
                f"{source}: is of the older version {version}, and bringing it up to date means to write; make a copy "
                "for safety, then open it once without readonly (any `mien people rename` or `mien enrol` does)"
            )
        with transaction(connection, write=True):
            _upgrade(connection, source, schema.verify(connection, source))
        schema.verify(connection, source)
    schema.verify_seal(connection, source, sealer)
    if not readonly:
        use_write_ahead_log(connection)


def _upgrade(connection: sqlite3.Connection, source: str, version: int) -> None:
    """Bring the tables from `version` up to date, inside the caller's transaction."""
    for step in range(version, schema.VERSION):
        try:
            _STEPS[step](connection, source)
        except (sqlite3.IntegrityError, UnicodeError) as error:
            raise GalleryFileError(f"{source}: is damaged ({error}); restore a backup") from error
        connection.execute(f"PRAGMA user_version = {step + 1}")


def _from_1_to_2(db: sqlite3.Connection, source: str) -> None:
    """Pseudonyms, sealed fields, kinds of subjects and faces, and the logs. Ids stay."""
    old = ("subjects", "faces", "changes")
    last = {name: _sequence(db, name) for name in old}
    for name in old:
        db.execute(f"ALTER TABLE {name} RENAME TO v1_{name}")
    model = db.execute("SELECT * FROM model").fetchall()
    db.execute("DROP TABLE model")
    schema.create(db, PLAIN, version=2)
    db.executemany("INSERT INTO model VALUES (?, ?, ?, ?, ?)", model)
    db.executemany(
        "INSERT INTO subjects (id, pseudonym, name_key, name, told, created) VALUES (?, ?, ?, ?, 'person', ?)",
        (
            (i, secrets.token_hex(16), PLAIN.lookup(name), name.encode(), created)
            for i, name, created in db.execute("SELECT id, name, created FROM v1_subjects ORDER BY id")
        ),
    )
    db.executemany(
        "INSERT INTO faces (id, subject_id, origin, content, x0, y0, x1, y1, score, enrolled, negative, embedding) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
        (
            (i, owner, origin_bytes(picture, sha256), PLAIN.lookup(sha256) if sha256 else None, *rest)
            for i, owner, picture, sha256, *rest in db.execute(
                "SELECT id, subject_id, picture, sha256, x0, y0, x1, y1, score, enrolled, embedding "
                "FROM v1_faces ORDER BY id"
            )
        ),
    )
    for name in ("faces", "subjects", "changes"):  # whom they refer to comes after
        db.execute(f"DROP TABLE v1_{name}")
        # The highest number that was ever given out, also where its row is gone.
        db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, last[name]))
    count = db.execute("SELECT count(*) FROM faces").fetchone()[0]
    append_audit(Tables(db, PLAIN, source), "upgrade", [(None, count)], time.time())


def _from_2_to_3(db: sqlite3.Connection, _source: str) -> None:
    """Room for a second model's embeddings; nothing that was there changes."""
    for name in ("staged_model", "staged"):
        db.execute(schema.TABLES[3][name])


def _sequence(db: sqlite3.Connection, table: str) -> int:
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) if row else 0


_STEPS: Mapping[int, Callable[[sqlite3.Connection, str], None]] = {1: _from_1_to_2, 2: _from_2_to_3}
"""From version n to n + 1, inside the caller's transaction."""
