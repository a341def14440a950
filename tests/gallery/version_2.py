"""Gallery files of version 2, as the mien of that version wrote them: its tables, its rows, its pragmas."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3

TABLES = (
    """CREATE TABLE model (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        name TEXT NOT NULL,
        preset TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        dimension INTEGER NOT NULL CHECK (dimension BETWEEN 1 AND 65536)
    ) STRICT""",
    """CREATE TABLE kept (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE subjects (
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
    """CREATE TABLE faces (
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
    """CREATE UNIQUE INDEX faces_by_content ON faces (content, subject_id)
        WHERE negative = 0 AND content IS NOT NULL""",
    "CREATE INDEX faces_by_subject ON faces (subject_id)",
    """CREATE TABLE crops (
        face_id INTEGER PRIMARY KEY REFERENCES faces (id) ON DELETE CASCADE,
        crop BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE changes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        subject_id INTEGER,
        face_id INTEGER,
        CHECK ((subject_id IS NULL) <> (face_id IS NULL))
    ) STRICT""",
    """CREATE TABLE sightings (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time REAL NOT NULL,
        subject_id INTEGER REFERENCES subjects (id) ON DELETE CASCADE,
        score REAL NOT NULL,
        source BLOB NOT NULL
    ) STRICT""",
    "CREATE INDEX sightings_by_time ON sightings (time)",
    "CREATE INDEX sightings_by_subject ON sightings (subject_id)",
    """CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        time REAL NOT NULL,
        action TEXT NOT NULL,
        pseudonym TEXT,
        count INTEGER NOT NULL,
        digest TEXT NOT NULL
    ) STRICT""",
)


def write(path, identity, people, *, sealer):
    """A file of version 2; people: name -> list of (picture, sha256 or None, embedding)."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("BEGIN")
        for statement in TABLES:
            db.execute(statement)
        db.execute("INSERT INTO kept VALUES ('seal', ?)", (sealer.seal(None, b"mien", "kept.seal"),))
        db.execute("INSERT INTO kept VALUES ('epoch', ?)", (secrets.token_hex(16).encode(),))
        db.execute("PRAGMA application_id = 0x6D69656E")
        db.execute("PRAGMA user_version = 2")
        fields = (identity.name, identity.preset, identity.sha256, identity.dimension)
        db.execute("INSERT INTO model VALUES (1, ?, ?, ?, ?)", fields)
        face_id = 0
        for subject_id, (name, faces) in enumerate(people.items(), 1):
            pseudonym = f"{subject_id:032x}"
            sealer.new_subject(pseudonym)
            sealed = sealer.seal(pseudonym, name.encode(), f"subjects.name/{subject_id}")
            db.execute(
                "INSERT INTO subjects (id, pseudonym, name_key, name, told, created) VALUES (?, ?, ?, ?, 'person', ?)",
                (subject_id, pseudonym, sealer.lookup(name), sealed, 1.7e9),
            )
            for picture, sha256, vector in faces:
                face_id += 1
                origin = sealer.seal(pseudonym, f"{sha256 or ''}\0{picture}".encode(), f"faces.origin/{face_id}")
                content = sealer.lookup(sha256) if sha256 else None
                blob = sealer.seal(pseudonym, vector.astype("<f4").tobytes(), f"faces.embedding/{face_id}")
                db.execute(
                    "INSERT INTO faces (id, subject_id, origin, content, enrolled, negative, embedding) "
                    "VALUES (?, ?, ?, ?, ?, 0, ?)",
                    (face_id, subject_id, origin, content, 1.7e9, blob),
                )
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")
    return path
