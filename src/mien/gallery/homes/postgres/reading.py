"""Reading a gallery in PostgreSQL: rows as subjects, faces, embeddings and batches, in the caller's transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import NotFoundError
from mien.gallery.home import AuditEntry, Batch, Counts, Sighting, StoredFace, SubjectRow
from mien.gallery.homes.postgres.link import unpack
from mien.gallery.names import nobody_named
from mien.types import Face, ModelIdentity, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mien.gallery.homes.postgres.link import Connection, Link
    from mien.gallery.records import Ids
    from mien.types import Floats

__all__ = [
    "batch_after",
    "counts",
    "each_entry",
    "each_sighting",
    "embeddings",
    "faces_of",
    "identity",
    "owned",
    "subject",
    "subject_id",
    "subject_rows",
]

_PAGE = 5000  # rows of a log read at a time

_SUBJECTS = """SELECT s.id, s.name, s.created, s.external_id, s.told, s.groups, s.metadata, s.expires, s.consent,
    s.pseudonym, ARRAY(SELECT f.picture FROM faces f WHERE f.subject_id = s.id AND NOT f.negative ORDER BY f.id)
    FROM subjects s """

_FACES = """SELECT f.id, f.subject_id, f.picture, f.sha256, f.x0, f.y0, f.x1, f.y1, f.score, f.quality, f.enrolled,
    f.negative, EXISTS (SELECT 1 FROM crops c WHERE c.face_id = f.id)"""


def identity(db: Connection) -> ModelIdentity | None:
    """The model the gallery is bound to, or None."""
    row = db.execute("SELECT name, preset, sha256, dimension FROM model").fetchone()
    return None if row is None else ModelIdentity(*row)


def counts(db: Connection) -> Counts:
    """How much there is."""
    row = db.execute(
        "SELECT (SELECT count(*) FROM subjects WHERE told = 'person'), "
        "(SELECT count(*) FROM subjects WHERE told = 'ignored'), "
        "(SELECT count(*) FROM faces WHERE NOT negative), (SELECT count(*) FROM faces WHERE negative)"
    ).fetchone()
    assert row is not None
    return Counts(*row)


def subject_rows(db: Connection, where: str = "", values: Sequence[object] = ()) -> list[SubjectRow]:
    """Subjects in order of enrolment; `where` is our own SQL, never anything from outside."""
    rows = db.execute(f"{_SUBJECTS} {where} ORDER BY s.id", values)
    return [SubjectRow(_subject(row), row[9]) for row in rows]


def _subject(row: tuple[Any, ...]) -> Subject:
    number, name, created, external_id, told, groups, metadata, expires, consent, _, pictures = row
    return Subject(
        id=number,
        name=name,
        faces=len(pictures),
        created=created,
        pictures=tuple(pictures),
        external_id=external_id,
        told=told,
        groups=tuple(groups),
        metadata=json.loads(metadata),
        expires=expires,
        consent=consent,
    )


def subject(db: Connection, number: int) -> Subject:
    """The subject of an id that is known to be there."""
    return subject_rows(db, "WHERE s.id = %s", [number])[0].subject


def subject_id(db: Connection, name: str, source: str) -> int:
    """The subject's id. Raises NotFoundError, with similar names."""
    row = db.execute("SELECT id FROM subjects WHERE name = %s", [name]).fetchone()
    if row is not None:
        return int(row[0])
    raise nobody_named(source, name, (row[0] for row in db.execute("SELECT name FROM subjects LIMIT 50000")))


def contents_of(db: Connection, name: str) -> set[str]:
    """Checksums of the pictures that a subject holds; empty for a stranger."""
    rows = db.execute(
        "SELECT f.sha256 FROM faces f JOIN subjects s ON s.id = f.subject_id "
        "WHERE s.name = %s AND NOT f.negative AND f.sha256 IS NOT NULL",
        [name],
    )
    return {row[0] for row in rows}


def faces_of(db: Connection, number: int) -> list[StoredFace]:
    """A subject's faces and negative exemplars, in order of enrolment."""
    rows = db.execute(f"{_FACES} FROM faces f WHERE f.subject_id = %s ORDER BY f.id", [number])
    return [_face(row) for row in rows]


def _face(row: tuple[Any, ...]) -> StoredFace:
    number, owner, picture, sha256, x0, y0, x1, y1, score, quality, enrolled, negative, crop = row[:13]
    face = None if x0 is None else Face((x0, y0, x1, y1), score, ())
    return StoredFace(number, owner, picture, sha256, face, quality, enrolled, negative, crop)


def embeddings(db: Connection, face_ids: Sequence[int], source: str) -> Floats:
    """float32 (N, D) in the order asked for. Raises NotFoundError for a face that is not there."""
    if not len(face_ids):
        return np.zeros((0, _dimension(db)), np.float32)
    rows = db.execute(
        "SELECT id, vector_send(embedding) FROM faces WHERE id = ANY(%s::bigint[])",
        [[int(i) for i in face_ids]],
        binary=True,
    )
    found: dict[int, bytes] = dict(rows.fetchall())
    missing = [i for i in face_ids if int(i) not in found]
    if missing:
        raise NotFoundError(f"{source}: there is no face {missing[0]}; it may have been removed")
    return unpack([found[int(i)] for i in face_ids], _dimension(db), source)


def owned(db: Connection, subject_ids: Sequence[int], source: str, *, negative: bool) -> tuple[Floats, Ids]:
    """All faces, or all negative exemplars, of some subjects: float32 (N, D), and int64 (N,) whose each is."""
    rows = db.execute(
        "SELECT subject_id, vector_send(embedding) FROM faces WHERE subject_id = ANY(%s::bigint[]) "
        "AND negative = %s ORDER BY id",
        [[int(i) for i in subject_ids], negative],
        binary=True,
    ).fetchall()
    found = unpack([row[1] for row in rows], _dimension(db), source)
    return found, np.array([row[0] for row in rows], np.int64)


def batch_after(db: Connection, after: int, size: int, source: str) -> Batch:
    """The next faces behind an id, with the subjects they belong to."""
    rows = db.execute(
        f"{_FACES}, vector_send(f.embedding), c.crop FROM faces f LEFT JOIN crops c ON c.face_id = f.id "
        "WHERE f.id > %s ORDER BY f.id LIMIT %s",
        [after, size],
        binary=True,
    ).fetchall()
    faces = tuple(_face(row) for row in rows)
    owners = sorted({face.subject_id for face in faces})
    subjects = subject_rows(db, "WHERE s.id = ANY(%s::bigint[])", [owners]) if owners else []
    kept = {row[0]: bytes(row[14]) for row in rows if row[14] is not None}
    return Batch(tuple(subjects), faces, unpack([row[13] for row in rows], _dimension(db), source), kept)


def each_sighting(
    link: Link, behind: tuple[float, int], *, until: float | None, subject: int | None
) -> Iterator[Sighting]:
    """The log of who was seen behind a (time, id), oldest first, a page a transaction."""
    conditions, values = ["(g.time, g.id) > (%s, %s)"], [until, subject]
    conditions += [
        text for text, value in (("g.time < %s", until), ("g.subject_id = %s", subject)) if value is not None
    ]
    query = (
        "SELECT g.id, g.time, g.subject_id, g.score, g.source, s.name FROM sightings g "  # noqa: S608 - our own words
        "LEFT JOIN subjects s ON s.id = g.subject_id "
        f"WHERE {' AND '.join(conditions)} ORDER BY g.time, g.id LIMIT %s"
    )
    while True:
        with link.reading() as db:
            page = db.execute(query, [*behind, *(value for value in values if value is not None), _PAGE]).fetchall()
        yield from (Sighting(*row[1:]) for row in page)
        if len(page) < _PAGE:
            return
        behind = (page[-1][1], page[-1][0])


def each_entry(link: Link) -> Iterator[AuditEntry]:
    """The log of what was done, a page a transaction."""
    behind = 0
    while True:
        with link.reading() as db:
            page = db.execute(
                "SELECT seq, time, action, pseudonym, count, digest FROM audit WHERE seq > %s ORDER BY seq LIMIT %s",
                [behind, _PAGE],
            ).fetchall()
        yield from (AuditEntry(*row) for row in page)
        if len(page) < _PAGE:
            return
        behind = page[-1][0]


def _dimension(db: Connection) -> int:
    found = identity(db)
    return found.dimension if found else 0
