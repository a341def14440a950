"""What a reader of a gallery's file has missed: the way from the rows to the index in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from mien.gallery.homes.sqlite.tables import identity_of
from mien.gallery.records import Changes, Known, Negatives, Position

if TYPE_CHECKING:
    from mien.gallery.homes.sqlite.tables import Tables
    from mien.gallery.records import Ids
    from mien.types import Floats

__all__ = ["changes_since"]

_ROWS = 8192  # faces that are read at a time


def changes_since(t: Tables, position: Position) -> Changes:
    """What a reader at `position` has missed, inside the caller's transaction.

    Raises:
        GalleryFileError: a stored embedding is damaged.
    """
    db = t.db
    row = db.execute("SELECT value FROM kept WHERE key = 'epoch'").fetchone()
    epoch = row[0].decode("ascii", "replace") if row else ""
    whole = position.epoch != epoch
    if whole:
        position = Position(epoch=epoch)
    last = dict(db.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    # A first reading starts from what is there, whatever became of what was there before.
    changed = {what: set() if whole else _changed(t, what, position.change) for what in ("subject", "face")}
    people = _people(t, position.subject, changed["subject"])
    there = _owners(t, changed["face"])
    faces, negatives = _faces_after(t, position.face)
    ids, vectors, owners = faces
    return Changes(
        # Ids only grow, also where the newest row was removed again.
        position=Position(
            max(position.face, last.get("faces", 0)),
            max(position.subject, last.get("subjects", 0)),
            max(position.change, last.get("changes", 0)),
            epoch,
        ),
        face_ids=ids,
        embeddings=vectors,
        subject_ids=owners,
        people=people,
        removed=changed["subject"] - people.keys(),
        removed_faces=changed["face"] - there.keys(),
        moved={i: owner for i, owner in there.items() if i <= position.face},
        negatives=negatives,
        whole=whole,
    )


def _changed(t: Tables, what: str, seq: int) -> set[int]:
    column = f"{what}_id"
    query = f"SELECT DISTINCT {column} FROM changes WHERE seq > ? AND {column} IS NOT NULL"  # noqa: S608 - our own words
    return {row[0] for row in t.db.execute(query, (seq,))}


def _owners(t: Tables, face_ids: set[int]) -> dict[int, int]:
    return dict(
        t.db.execute(
            "SELECT id, subject_id FROM faces WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(face_ids)),),
        ).fetchall()
    )


def _people(t: Tables, after: int, changed: set[int]) -> dict[int, Known]:
    """Subjects that are new or changed."""
    people: dict[int, Known] = {}
    plain = Known()  # almost everybody: one object for all of them
    for i, pseudonym, told, details in t.db.execute(
        "SELECT id, pseudonym, told, details FROM subjects WHERE id > ? OR id IN (SELECT value FROM json_each(?))",
        (after, json.dumps(list(changed))),
    ):
        known = Known(told, tuple(t.details(i, pseudonym, details).get("groups", ())))
        people[i] = plain if known == plain else known
    return people


def _faces_after(t: Tables, face_id: int) -> tuple[tuple[Ids, Floats, Ids], Negatives | None]:
    identity = identity_of(t.db)
    dimension = identity.dimension if identity else 0
    count = t.db.execute("SELECT count(*) FROM faces WHERE id > ? AND negative = 0", (face_id,)).fetchone()[0]
    vectors = np.empty((count, dimension), np.float32)
    ids, owners = np.empty(count, np.int64), np.empty(count, np.int64)
    filled = 0
    against: list[tuple[int, int, Floats]] = []
    cursor = t.db.execute(
        "SELECT f.id, f.subject_id, f.negative, f.embedding, s.pseudonym FROM faces f "
        "LEFT JOIN subjects s ON s.id = f.subject_id WHERE f.id > ? ORDER BY f.id",
        (face_id,),
    )
    while rows := cursor.fetchmany(_ROWS):
        if any(row[4] is None for row in rows):
            raise t.damaged("it holds faces that belong to nobody")
        part = t.vectors([t.vector(row[4], row[3], row[0]) for row in rows], dimension)
        positive = np.array([not row[2] for row in rows])
        here = slice(filled, filled + int(np.count_nonzero(positive)))
        filled = here.stop
        vectors[here] = part[positive]
        ids[here] = [row[0] for row in rows if not row[2]]
        owners[here] = [row[1] for row in rows if not row[2]]
        against += [(row[0], row[1], vector) for row, vector in zip(rows, part, strict=True) if row[2]]
    if not against:
        return (ids, vectors, owners), None
    negatives = Negatives(
        np.array([i for i, _, _ in against], np.int64),
        np.array([owner for _, owner, _ in against], np.int64),
        np.array([vector for *_, vector in against], np.float32).reshape(len(against), dimension),
    )
    return (ids, vectors, owners), negatives
