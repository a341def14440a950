"""Gallery files of version 1, as the first mien wrote them: its tables, its rows, its pragmas."""

from __future__ import annotations

import contextlib
import sqlite3

TABLES = (
    """CREATE TABLE model (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        name TEXT NOT NULL,
        preset TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        dimension INTEGER NOT NULL CHECK (dimension BETWEEN 1 AND 65536)
    ) STRICT""",
    """CREATE TABLE subjects (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        created REAL NOT NULL
    ) STRICT""",
    """CREATE TABLE faces (
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
    """CREATE TABLE changes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        subject_id INTEGER NOT NULL
    ) STRICT""",
)


def write(path, identity, people, *, removed=()):
    """A file of version 1.

    Args:
        people: name -> list of (picture, sha256 or None, box or None, score or None, embedding).
        removed: names that are enrolled and removed again, so that numbers were given out that are gone.
    """
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("BEGIN")
        for statement in TABLES:
            db.execute(statement)
        db.execute("PRAGMA application_id = 0x6D69656E")
        db.execute("PRAGMA user_version = 1")
        db.execute(
            "INSERT INTO model VALUES (1, ?, ?, ?, ?)",
            (identity.name, identity.preset, identity.sha256, identity.dimension),
        )
        for number, (name, faces) in enumerate(people.items()):
            cursor = db.execute("INSERT INTO subjects (name, created) VALUES (?, ?)", (name, 1.7e9 + number))
            for picture, sha256, box, score, vector in faces:
                blob = vector.astype("<f4").tobytes()
                db.execute(
                    "INSERT INTO faces (subject_id, picture, sha256, x0, y0, x1, y1, score, enrolled, embedding) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (cursor.lastrowid, picture, sha256, *(box or [None] * 4), score, 1.7e9, blob),
                )
        for name in removed:
            (subject_id,) = db.execute("SELECT id FROM subjects WHERE name = ?", (name,)).fetchone()
            db.execute("DELETE FROM subjects WHERE id = ?", (subject_id,))
            db.execute("INSERT INTO changes (subject_id) VALUES (?)", (subject_id,))
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")
    return path
