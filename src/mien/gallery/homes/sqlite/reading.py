"""Subjects and faces out of a gallery's file. All of it inside the caller's transaction."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import NotFoundError
from mien.gallery.homes.sqlite.tables import FACE_COLUMNS, identity_of
from mien.gallery.names import nobody_named
from mien.types import Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mien.gallery.home import StoredFace
    from mien.gallery.homes.sqlite.tables import Tables
    from mien.types import Floats

__all__ = [
    "contents_of",
    "crop_of",
    "embeddings_of",
    "faces_of",
    "find",
    "known_names",
    "known_names_of",
    "no_face",
    "owners_of",
    "pseudonyms_of",
    "subject_by_external",
    "subject_rows",
    "subject_with",
    "subjects_where",
    "whose",
]

_SUBJECTS = (
    "SELECT s.id, s.pseudonym, s.name, s.external_id, s.told, s.details, s.created, s.expires, f.id, f.origin "
    "FROM subjects s LEFT JOIN faces f ON f.subject_id = s.id AND f.negative = 0 {where} ORDER BY s.id, f.id"
)
_BY_IDS = "WHERE s.id IN (SELECT value FROM json_each(?))"


def find(t: Tables, name: str) -> tuple[int, str] | None:
    """A subject's id and pseudonym, or None for a stranger."""
    row = t.db.execute("SELECT id, pseudonym FROM subjects WHERE name_key = ?", (t.sealer.lookup(name),)).fetchone()
    return None if row is None else (int(row[0]), str(row[1]))


def known_names(t: Tables) -> Iterator[str]:
    """Everybody's name, as far as anybody asks."""
    for i, pseudonym, name in t.db.execute("SELECT id, pseudonym, name FROM subjects"):
        yield t.text(pseudonym, name, f"subjects.name/{i}")


def known_names_of(t: Tables, ids: Iterable[int]) -> dict[int, str]:
    """Names of subjects."""
    rows = t.db.execute(
        "SELECT id, pseudonym, name FROM subjects WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(ids)),),
    )
    return {i: t.text(pseudonym, name, f"subjects.name/{i}") for i, pseudonym, name in rows}


def whose(t: Tables, name: str) -> tuple[int, str]:
    """A subject's id and pseudonym. Raises NotFoundError, with similar names."""
    found = find(t, name)
    if found is None:
        raise nobody_named(t.source, name, known_names(t))
    return found


def subject_rows(t: Tables, where: str = "", values: Sequence[object] = ()) -> Iterator[tuple[Subject, str]]:
    """Subjects and their pseudonyms, in order of enrolment."""
    rows = t.db.execute(_SUBJECTS.format(where=where), values)
    for key, group in itertools.groupby(rows, key=lambda row: row[:8]):
        yield _subject(t, key, group), key[1]


def subjects_where(t: Tables, ids: Iterable[int]) -> dict[int, Subject]:
    """Subjects by their ids."""
    found = subject_rows(t, _BY_IDS, (json.dumps(list(ids)),))
    return {subject.id: subject for subject, _ in found}


def subject_with(t: Tables, subject_id: int) -> Subject:
    """The subject of an id that is there."""
    return next(subject_rows(t, "WHERE s.id = ?", (subject_id,)))[0]


def subject_by_external(t: Tables, external_id: str) -> Subject:
    """The subject that another system knows by this id. Raises NotFoundError."""
    key = t.sealer.lookup(external_id)
    found = next(subject_rows(t, "WHERE s.external_key = ?", (key,)), None)
    if found is None:
        raise NotFoundError(f"{t.source}: nobody has the external id {external_id!r}")
    return found[0]


def _subject(t: Tables, key: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Subject:
    subject_id, pseudonym, name, external_id, told, details, created, expires = key
    said = t.details(subject_id, pseudonym, details)
    pictures = tuple(t.origin(pseudonym, origin, i)[1] for *_, i, origin in rows if i is not None)
    return Subject(
        subject_id,
        t.text(pseudonym, name, f"subjects.name/{subject_id}"),
        len(pictures),
        created,
        pictures,
        external_id=None
        if external_id is None
        else t.text(pseudonym, external_id, f"subjects.external_id/{subject_id}"),
        told=told,
        groups=tuple(said.get("groups", ())),
        metadata=said.get("metadata", {}),
        expires=expires,
        consent=said.get("consent", ""),
    )


def faces_of(t: Tables, where: str, values: Sequence[object]) -> list[StoredFace]:
    """Faces and negative exemplars, in order of enrolment."""
    columns = ", ".join(f"f.{column}" for column in FACE_COLUMNS.split(", "))
    rows = t.db.execute(
        f"SELECT {columns}, s.pseudonym, EXISTS (SELECT 1 FROM crops WHERE face_id = f.id) "  # noqa: S608 - our own words
        f"FROM faces f JOIN subjects s ON s.id = f.subject_id {where} ORDER BY f.id",
        values,
    )
    return [t.face(row[:-2], row[-2], crop=bool(row[-1])) for row in rows]


def embeddings_of(t: Tables, face_ids: Sequence[int]) -> Floats:
    """float32 (N, D), in the order asked for. Raises NotFoundError for a face that is gone."""
    identity = identity_of(t.db)
    rows = t.db.execute(
        "SELECT f.id, s.pseudonym, f.embedding FROM faces f JOIN subjects s ON s.id = f.subject_id "
        "WHERE f.id IN (SELECT value FROM json_each(?))",
        (json.dumps([int(i) for i in face_ids]),),
    )
    blobs = {i: t.vector(pseudonym, blob, i) for i, pseudonym, blob in rows}
    for i in face_ids:
        if i not in blobs:
            raise no_face(t, i)
    dimension = identity.dimension if identity else 0
    return t.vectors([blobs[i] for i in face_ids], dimension) if len(face_ids) else np.zeros((0, dimension), np.float32)


def crop_of(t: Tables, face_id: int) -> bytes | None:
    """A face's encoded crop, or None. Raises NotFoundError."""
    row = t.db.execute(
        "SELECT s.pseudonym, c.crop FROM faces f JOIN subjects s ON s.id = f.subject_id "
        "LEFT JOIN crops c ON c.face_id = f.id WHERE f.id = ?",
        (face_id,),
    ).fetchone()
    if row is None:
        raise no_face(t, face_id)
    return None if row[1] is None else t.sealer.open(row[0], row[1], f"crops.crop/{face_id}")


def contents_of(t: Tables, name: str) -> set[str]:
    """Checksums of the pictures that a subject holds; empty for a stranger."""
    found = find(t, name)
    if found is None:
        return set()
    rows = t.db.execute(
        "SELECT id, origin FROM faces WHERE subject_id = ? AND negative = 0 AND content IS NOT NULL", (found[0],)
    )
    return {sha256 for i, origin in rows if (sha256 := t.origin(found[1], origin, i)[0])}


def owners_of(t: Tables, sha256: str) -> list[str]:
    """Names of the subjects that hold a picture of this content, in order of enrolment."""
    rows = t.db.execute(
        "SELECT s.id, s.pseudonym, s.name FROM faces f JOIN subjects s ON s.id = f.subject_id "
        "WHERE f.content = ? AND f.negative = 0 ORDER BY s.id",
        (t.sealer.lookup(sha256),),
    )
    return [t.text(pseudonym, name, f"subjects.name/{i}") for i, pseudonym, name in rows]


def pseudonyms_of(t: Tables, ids: Iterable[int]) -> dict[int, str]:
    """Pseudonyms of subjects."""
    rows = t.db.execute(
        "SELECT id, pseudonym FROM subjects WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(ids)),)
    )
    return dict(rows.fetchall())


def no_face(t: Tables, face_id: int) -> NotFoundError:
    """The error for a face that is not there."""
    return NotFoundError(f"{t.source}: there is no face {face_id}; it may have been removed")
