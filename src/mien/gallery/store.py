"""The durable truth of an embedded gallery: subjects and their faces in one SQLite file."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import GalleryError, GalleryFileError, GalleryModelError, NotFoundError
from mien.gallery.names import close_names
from mien.gallery.records import Changes, Position
from mien.gallery.sqlite import connect, explained, locate, prepare, transaction
from mien.types import ModelIdentity, Subject

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from mien.gallery.records import FaceRecord, Ids
    from mien.types import Floats

__all__ = ["SqliteStore"]

_ROWS = 8192  # faces that are read at a time


class SqliteStore:
    """Subjects and faces in one file; what it has acknowledged survives a power cut.

    Thread-safe: writers take turns; readers do not wait for them, save in memory. Other processes may use the same
    file. Do not carry an open store over `os.fork`.

    Args:
        path: the file, or ":memory:".
        readonly: refuse to change anything.
        create: make the file where it is missing.

    Raises:
        GalleryFileError: the file cannot be used; says why and what to do.
        NotFoundError: it is missing and is not to be made.
    """

    def __init__(self, path: str | os.PathLike[str], *, readonly: bool = False, create: bool = True) -> None:
        self.file: Path | None = locate(path, readonly=readonly, create=create)
        self.source = str(self.file or path)
        self.readonly = readonly and self.file is not None
        self._read_lock = threading.RLock()
        self._write_lock = self._read_lock
        self._writes = 0
        with explained(self.source), contextlib.ExitStack() as undo:
            first = connect(self.file, readonly=self.readonly)
            undo.callback(first.close)
            prepare(first, self.source, readonly=self.readonly)
            self._reader = self._writer = first
            if self.file is not None and not self.readonly:
                self._write_lock = threading.RLock()
                self._reader = connect(self.file, readonly=False)
                self._reader.execute("PRAGMA query_only = ON")
            undo.pop_all()

    @property
    def identity(self) -> ModelIdentity | None:
        """The model whose embeddings are kept, or None while nothing was ever stored."""
        with self._reading() as db:
            return _identity(db)

    def pin(self, identity: ModelIdentity) -> None:
        """Bind the gallery to a model, for good.

        Raises:
            GalleryModelError: it is bound to another one.
        """
        pinned = self.identity
        if pinned is None and not self.readonly:
            with self._writing() as db:
                self._pin(db, identity)
        elif pinned != identity:
            raise self.other_model(pinned, identity)

    def add(
        self, people: Sequence[tuple[str, Sequence[FaceRecord]]], identity: ModelIdentity
    ) -> tuple[list[Subject], int]:
        """Store faces of any number of people, all or nothing; on return they are on the disk.

        A content that the subject already holds is left out.

        Args:
            people: (clean name, faces); a new name becomes a new subject.
            identity: the model that made the embeddings; pins a new gallery.

        Returns:
            The subjects, and how many faces were new.

        Raises:
            GalleryModelError: the gallery belongs to another model.
        """
        now = time.time()
        with self._writing() as db:
            self._pin(db, identity)
            before = db.total_changes
            db.executemany(
                "INSERT INTO subjects (name, created) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
                ((name, now) for name, _ in people),
            )
            created = db.total_changes - before
            ids = [_subject_id(db, name) for name, _ in people]
            db.executemany(
                "INSERT INTO faces (subject_id, picture, sha256, x0, y0, x1, y1, score, enrolled, embedding) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (subject_id, sha256) DO NOTHING",
                (_row(i, record, now) for i, (_, records) in zip(ids, people, strict=True) for record in records),
            )
            added = db.total_changes - before - created
            rows = db.execute(
                _SUBJECTS.format(where="WHERE s.id IN (SELECT value FROM json_each(?))"), (json.dumps(ids),)
            )
            subjects = {subject.id: subject for subject in _grouped(rows)}
            return [subjects[i] for i in ids], added

    def remove(self, name: str) -> Subject:
        """Forget a subject and its faces; returns what was forgotten. Raises NotFoundError."""
        with self._writing() as db:
            subject = _subject(db, self._id_of(db, name))
            db.execute("DELETE FROM subjects WHERE id = ?", (subject.id,))
            db.execute("INSERT INTO changes (subject_id) VALUES (?)", (subject.id,))
            return subject

    def rename(self, old: str, new: str) -> Subject:
        """Give a subject another name. Raises NotFoundError, and GalleryError when the name is taken."""
        with self._writing() as db:
            subject_id = self._id_of(db, old)
            if old != new and _subject_id(db, new):
                raise GalleryError(
                    f"{self.source}: {new!r} is already enrolled; choose another name or remove it first"
                )
            db.execute("UPDATE subjects SET name = ? WHERE id = ?", (new, subject_id))
            db.execute("INSERT INTO changes (subject_id) VALUES (?)", (subject_id,))
            return _subject(db, subject_id)

    def subjects(self) -> list[Subject]:
        """Everybody, in order of enrolment."""
        with self._reading() as db:
            return _grouped(db.execute(_SUBJECTS.format(where="")))

    def subject(self, name: str) -> Subject:
        """One subject. Raises NotFoundError, with similar names."""
        with self._reading() as db:
            return _subject(db, self._id_of(db, name))

    def counts(self) -> tuple[int, int]:
        """(subjects, faces)."""
        with self._reading() as db:
            row = db.execute("SELECT (SELECT count(*) FROM subjects), (SELECT count(*) FROM faces)").fetchone()
            return int(row[0]), int(row[1])

    def contents_of(self, name: str) -> set[str]:
        """Checksums of the pictures a subject holds; empty for a stranger."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT sha256 FROM faces JOIN subjects s ON s.id = subject_id WHERE s.name = ? AND sha256 NOT NULL",
                (name,),
            )
            return {row[0] for row in rows}

    def stamp(self) -> tuple[int, int]:
        """A value that is another one once anybody, here or in another process, has changed something."""
        with self._reading(consistent=False) as db:
            return db.execute("PRAGMA data_version").fetchone()[0], self._writes

    def changes_since(self, position: Position) -> Changes:
        """What a reader at `position` has missed.

        Raises:
            GalleryFileError: a stored embedding is damaged.
        """
        with self._reading() as db:
            identity = _identity(db)
            last_face, last_subject = (
                db.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0]  # noqa: S608 - our own words
                for table in ("faces", "subjects")
            )
            names = dict(db.execute("SELECT id, name FROM subjects WHERE id > ?", (position.subject,)))
            changed = db.execute(
                "SELECT max(seq), c.subject_id, s.name FROM changes c LEFT JOIN subjects s ON s.id = c.subject_id "
                "WHERE seq > ? GROUP BY c.subject_id",
                (position.change,),
            ).fetchall()
            names.update((i, name) for _, i, name in changed if name is not None)
            vectors, owners, pictures = self._faces_after(db, position.face, identity.dimension if identity else 0)
        return Changes(
            # Ids only grow, also where the newest row was removed again.
            Position(
                max(position.face, last_face),
                max(position.subject, last_subject),
                max([position.change, *(seq for seq, _, _ in changed)]),
            ),
            vectors,
            owners,
            pictures,
            names,
            {i for _, i, name in changed if name is None},
        )

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    def _faces_after(self, db: sqlite3.Connection, face_id: int, dimension: int) -> tuple[Floats, Ids, list[str]]:
        count = db.execute("SELECT count(*) FROM faces WHERE id > ?", (face_id,)).fetchone()[0]
        vectors = np.empty((count, dimension), np.float32)
        owners = np.empty(count, np.int64)
        pictures: list[str] = []
        cursor = db.execute("SELECT subject_id, picture, embedding FROM faces WHERE id > ? ORDER BY id", (face_id,))
        while rows := cursor.fetchmany(_ROWS):
            part = slice(len(pictures), len(pictures) + len(rows))
            owner, picture, blobs = zip(*rows, strict=True)
            if any(len(blob) != 4 * dimension for blob in blobs):
                raise GalleryFileError(f"{self.source}: holds an embedding of another length; restore a backup")
            vectors[part] = np.frombuffer(b"".join(blobs), "<f4").reshape(len(rows), dimension)
            lengths = np.einsum("nd,nd->n", vectors[part], vectors[part])
            if not (np.abs(lengths - 1) < 1e-2).all():  # a NaN would win every search
                raise GalleryFileError(f"{self.source}: holds a damaged embedding; restore a backup")
            owners[part] = owner
            pictures += picture
        return vectors, owners, pictures

    @contextlib.contextmanager
    def _reading(self, *, consistent: bool = True) -> Iterator[sqlite3.Connection]:
        with self._read_lock, explained(self.source):
            if consistent and not self._reader.in_transaction:
                with transaction(self._reader, write=False):
                    yield self._reader
            else:
                yield self._reader

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if self.readonly:
            raise GalleryError(f"{self.source}: was opened readonly; open it again without readonly to change it")
        with self._write_lock, explained(self.source), transaction(self._writer, write=True):
            self._writes += 1
            yield self._writer

    def _pin(self, db: sqlite3.Connection, identity: ModelIdentity) -> None:
        pinned = _identity(db)
        if pinned is None:
            db.execute(
                "INSERT INTO model (id, name, preset, sha256, dimension) VALUES (1, ?, ?, ?, ?)",
                (identity.name, identity.preset, identity.sha256, identity.dimension),
            )
        elif pinned != identity:
            raise self.other_model(pinned, identity)

    def other_model(self, pinned: ModelIdentity | None, identity: ModelIdentity) -> GalleryModelError:
        """The error for using `identity` on a gallery bound to `pinned`."""
        if pinned is None:
            return GalleryModelError(f"{self.source}: holds nothing yet and was opened readonly; enrol somebody first")
        return GalleryModelError(
            f"{self.source}: made with {pinned}, and embeddings of {identity} do not compare with it; "
            f"use {pinned.name} with preset {pinned.preset!r}, or enrol into a new gallery"
        )

    def _id_of(self, db: sqlite3.Connection, name: str) -> int:
        found = _subject_id(db, name)
        if found:
            return found
        close = close_names(name, (row[0] for row in db.execute("SELECT name FROM subjects")))
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "`mien people list` shows who is"
        raise NotFoundError(f"{self.source}: nobody named {name!r} is enrolled; {hint}")


def _identity(db: sqlite3.Connection) -> ModelIdentity | None:
    row = db.execute("SELECT name, preset, sha256, dimension FROM model").fetchone()
    return None if row is None else ModelIdentity(*row)


def _subject_id(db: sqlite3.Connection, name: str) -> int:
    """The subject's id; 0 for a stranger (ids begin at 1)."""
    row = db.execute("SELECT id FROM subjects WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


_SUBJECTS = (
    "SELECT s.id, s.name, s.created, f.picture FROM subjects s LEFT JOIN faces f ON f.subject_id = s.id "
    "{where} ORDER BY s.id, f.id"
)


def _subject(db: sqlite3.Connection, subject_id: int) -> Subject:
    return _grouped(db.execute(_SUBJECTS.format(where="WHERE s.id = ?"), (subject_id,)))[0]


def _grouped(rows: Iterable[tuple[int, str, float, str | None]]) -> list[Subject]:
    """Subjects from rows of (id, name, created, picture) that are ordered by id."""
    subjects = []
    for (subject_id, name, created), group in itertools.groupby(rows, key=lambda row: row[:3]):
        pictures = tuple(picture for *_, picture in group if picture is not None)
        subjects.append(Subject(subject_id, name, len(pictures), created, pictures))
    return subjects


def _row(subject_id: int, record: FaceRecord, now: float) -> tuple[object, ...]:
    box = record.face.box if record.face else (None,) * 4
    score = record.face.score if record.face else None
    blob = np.asarray(record.embedding, "<f4").tobytes()
    return (subject_id, record.picture, record.sha256, *box, score, now, blob)
