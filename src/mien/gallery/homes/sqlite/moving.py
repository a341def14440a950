"""A gallery's file as a source and a destination of a move between homes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mien.errors import GalleryError
from mien.gallery.home import Batch, SubjectRow
from mien.gallery.homes.sqlite.reading import embeddings_of, faces_of, pseudonyms_of, subject_rows
from mien.gallery.homes.sqlite.schema import new_epoch
from mien.gallery.homes.sqlite.tables import next_id
from mien.gallery.homes.sqlite.writing import pin
from mien.gallery.records import FaceRecord
from mien.match import unit_embeddings

if TYPE_CHECKING:
    from mien.gallery.home import StoredFace
    from mien.gallery.homes.sqlite.tables import Tables
    from mien.types import Floats, ModelIdentity

__all__ = ["batch_after", "load", "rest_batch"]


def batch_after(t: Tables, after: int, size: int) -> Batch | None:
    """The next faces behind one, with whom they belong to; None where there is none."""
    faces = faces_of(t, "WHERE f.id IN (SELECT id FROM faces WHERE id > ? ORDER BY id LIMIT ?)", (after, size))
    if not faces:
        return None
    owners = json.dumps(sorted({face.subject_id for face in faces}))
    rows = subject_rows(t, "WHERE s.id IN (SELECT value FROM json_each(?))", (owners,))
    subjects = tuple(SubjectRow(subject, pseudonym) for subject, pseudonym in rows)
    pseudonyms = {row.subject.id: row.pseudonym for row in subjects}
    crops = t.db.execute(
        "SELECT face_id, crop FROM crops WHERE face_id BETWEEN ? AND ?", (faces[0].id, faces[-1].id)
    ).fetchall()
    whose = {face.id: pseudonyms[face.subject_id] for face in faces}
    opened = {i: t.sealer.open(whose[i], crop, f"crops.crop/{i}") for i, crop in crops}
    return Batch(subjects, tuple(faces), embeddings_of(t, [face.id for face in faces]), opened)


def rest_batch(t: Tables) -> Batch:
    """The subjects without faces."""
    rows = subject_rows(t, "WHERE NOT EXISTS (SELECT 1 FROM faces WHERE subject_id = s.id)")
    return Batch(tuple(SubjectRow(subject, pseudonym) for subject, pseudonym in rows))


def load(t: Tables, batch: Batch, identity: ModelIdentity) -> None:
    """Store rows with the ids they come with; rows that are there already stay.

    Raises:
        GalleryError: a name, an external id or an id here belongs to somebody else; nothing of the batch was kept.
    """
    pin(t, identity)
    last_subject, last_face = next_id(t.db, "subjects") - 1, next_id(t.db, "faces") - 1
    vectors = unit_embeddings(batch.embeddings, dimension=identity.dimension) if batch.faces else batch.embeddings
    there = pseudonyms_of(t, [row.subject.id for row in batch.subjects])
    new = [row.pseudonym for row in batch.subjects if row.subject.id not in there]
    if new:
        t.sealer.new_subject(*new)
    for row in batch.subjects:
        if row.subject.id not in there:
            _insert_subject(t, row)
        elif there[row.subject.id] != row.pseudonym:
            raise GalleryError(f"{t.source}: holds other people already; copy into a new gallery")
    owners = pseudonyms_of(t, {face.subject_id for face in batch.faces})
    t.insert_faces(_face(t, face, vector, owners) for face, vector in zip(batch.faces, vectors, strict=True))
    t.insert_crops(
        (i, owners[face.subject_id], batch.crops[i]) for face in batch.faces if (i := face.id) in batch.crops
    )
    early = any(row.subject.id <= last_subject and row.subject.id not in there for row in batch.subjects)
    if early or any(face.id <= last_face for face in batch.faces):
        new_epoch(t.db)  # a reader looks for what is new behind the highest number it knows


def _face(t: Tables, face: StoredFace, vector: Floats, owners: dict[int, str]) -> tuple[object, ...]:
    pseudonym = owners.get(face.subject_id)
    if pseudonym is None:
        raise GalleryError(f"{t.source}: face {face.id} of the batch belongs to nobody")
    record = FaceRecord(vector, face.picture, face.sha256, face.face, face.quality)
    return t.face_values(face.id, face.subject_id, pseudonym, record, face.enrolled, negative=face.negative)


def _insert_subject(t: Tables, row: SubjectRow) -> None:
    s, pseudonym = row.subject, row.pseudonym
    details = {"groups": s.groups, "metadata": dict(s.metadata), "consent": s.consent}
    external = s.external_id
    cursor = t.db.execute(
        "INSERT INTO subjects (id, pseudonym, name_key, name, external_key, external_id, told, details, created, "
        "expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            s.id,
            pseudonym,
            t.sealer.lookup(s.name),
            t.sealer.seal(pseudonym, s.name.encode(), f"subjects.name/{s.id}"),
            None if external is None else t.sealer.lookup(external),
            None if external is None else t.sealer.seal(pseudonym, external.encode(), f"subjects.external_id/{s.id}"),
            s.told,
            t.sealed_details(s.id, pseudonym, details),
            s.created,
            s.expires,
        ),
    )
    if not cursor.rowcount:
        raise GalleryError(f"{t.source}: holds {s.name!r} already, as somebody else; copy into a new gallery")
