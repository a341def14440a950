"""What changes a gallery's file. All of it inside the caller's transaction, the audit log included."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import GalleryError
from mien.gallery.homes.sqlite.keys import note_due
from mien.gallery.homes.sqlite.logs import append_audit
from mien.gallery.homes.sqlite.reading import faces_of, find, no_face, subject_with, subjects_where, whose
from mien.gallery.homes.sqlite.tables import identity_of, next_id
from mien.gallery.names import other_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mien.gallery.home import StoredFace, Told
    from mien.gallery.homes.sqlite.tables import Tables
    from mien.gallery.records import FaceRecord
    from mien.types import ModelIdentity, Subject

__all__ = [
    "add",
    "describe",
    "merge",
    "move_faces",
    "pin",
    "reject",
    "remove",
    "remove_faces",
    "rename",
    "with_ids",
]

_SAME = 0.9999  # cosine from which two embeddings are one face of one picture


def pin(t: Tables, identity: ModelIdentity) -> None:
    """Bind the file to a model. Raises GalleryModelError when it is bound to another one."""
    pinned = identity_of(t.db)
    if pinned is None:
        t.db.execute(
            "INSERT INTO model (id, name, preset, sha256, dimension) VALUES (1, ?, ?, ?, ?)",
            (identity.name, identity.preset, identity.sha256, identity.dimension),
        )
    elif pinned != identity:
        raise other_model(t.source, pinned, identity)


def add(
    t: Tables, people: Sequence[tuple[str, Sequence[FaceRecord]]], identity: ModelIdentity, told: Told, now: float
) -> tuple[list[int], int]:
    """Store faces of any number of subjects; returns whose they are and how many were new."""
    pin(t, identity)
    known: dict[str, tuple[int, str]] = {}
    for name, _ in people:
        if name not in known and (found := find(t, name)):
            known[name] = found
    made = _new_subjects(t, dict.fromkeys(name for name, _ in people if name not in known), told, now)
    known.update(made)
    first = next_id(t.db, "faces")
    crops: list[tuple[int, str, bytes]] = []

    def rows() -> Iterable[tuple[object, ...]]:
        face_id = first
        for name, records in people:
            subject_id, pseudonym = known[name]
            for record in records:
                if record.crop is not None:
                    crops.append((face_id, pseudonym, record.crop))
                yield t.face_values(face_id, subject_id, pseudonym, record, now, negative=False)
                face_id += 1

    t.insert_faces(rows())
    t.insert_crops(crops)
    added = dict(
        t.db.execute("SELECT subject_id, count(*) FROM faces WHERE id >= ? GROUP BY subject_id", (first,)).fetchall()
    )
    touched = [(who[1], added.get(who[0], 0)) for name, who in known.items() if who[0] in added or name in made]
    append_audit(t, "enrol", touched, now)
    return [known[name][0] for name, _ in people], sum(added.values())


def _new_subjects(t: Tables, names: Iterable[str], told: str, now: float) -> dict[str, tuple[int, str]]:
    """Make subjects of new names; their ids and pseudonyms."""
    first = next_id(t.db, "subjects")
    made = {name: (i, secrets.token_hex(16)) for i, name in enumerate(names, first)}
    if made:
        t.sealer.new_subject(*(pseudonym for _, pseudonym in made.values()))  # all keys in one step
    t.db.executemany(
        "INSERT INTO subjects (id, pseudonym, name_key, name, told, created) VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                i,
                who,
                t.sealer.lookup(name),
                t.sealer.seal(who, name.encode(), f"subjects.name/{i}"),
                told,
                now,
            )
            for name, (i, who) in made.items()
        ),
    )
    return made


def reject(t: Tables, name: str, record: FaceRecord, now: float) -> StoredFace:
    """Keep a face as an exemplar of who a subject is not."""
    subject_id, pseudonym = whose(t, name)
    face_id = next_id(t.db, "faces")
    t.insert_faces([t.face_values(face_id, subject_id, pseudonym, record, now, negative=True)])
    if record.crop is not None:
        t.insert_crops([(face_id, pseudonym, record.crop)])
    append_audit(t, "reject", [(pseudonym, 1)], now)
    return faces_of(t, "WHERE f.id = ?", (face_id,))[0]


def describe(t: Tables, name: str, changes: Mapping[str, Any], now: float) -> Subject:
    """Change what is said of a subject."""
    subject_id, pseudonym = whose(t, name)
    row = t.db.execute("SELECT details, told, expires FROM subjects WHERE id = ?", (subject_id,)).fetchone()
    said = {**t.details(subject_id, pseudonym, row[0])}
    for key in ("groups", "metadata", "consent"):
        if key in changes:
            said[key] = changes[key]
    t.db.execute(
        "UPDATE subjects SET details = ?, told = ?, expires = ? WHERE id = ?",
        (
            t.sealed_details(subject_id, pseudonym, said),
            changes.get("told", row[1]),
            changes.get("expires", row[2]),
            subject_id,
        ),
    )
    if "external_id" in changes:
        _set_external_id(t, subject_id, pseudonym, changes["external_id"])
    t.changed_subjects([subject_id])
    append_audit(t, "describe", [(pseudonym, 0)], now)
    return subject_with(t, subject_id)


def _set_external_id(t: Tables, subject_id: int, pseudonym: str, external_id: str | None) -> None:
    key = sealed = None
    if external_id is not None:
        key = t.sealer.lookup(external_id)
        sealed = t.sealer.seal(pseudonym, external_id.encode(), f"subjects.external_id/{subject_id}")
        row = t.db.execute("SELECT id FROM subjects WHERE external_key = ?", (key,)).fetchone()
        if row is not None and row[0] != subject_id:
            owner = subject_with(t, row[0]).name
            raise GalleryError(f"{t.source}: the external id {external_id!r} belongs to {owner!r}; give another one")
    t.db.execute("UPDATE subjects SET external_key = ?, external_id = ? WHERE id = ?", (key, sealed, subject_id))


def rename(t: Tables, old: str, new: str, now: float) -> Subject:
    """Give a subject another name."""
    subject_id, pseudonym = whose(t, old)
    if old != new and find(t, new):
        raise GalleryError(f"{t.source}: {new!r} is already enrolled; choose another name or remove it first")
    sealed = t.sealer.seal(pseudonym, new.encode(), f"subjects.name/{subject_id}")
    t.db.execute("UPDATE subjects SET name_key = ?, name = ? WHERE id = ?", (t.sealer.lookup(new), sealed, subject_id))
    t.changed_subjects([subject_id])
    append_audit(t, "rename", [(pseudonym, 0)], now)
    return subject_with(t, subject_id)


def merge(t: Tables, name: str, into: str, now: float) -> Subject:
    """Give all that a subject has to another one and forget the first."""
    source, target = whose(t, name), whose(t, into)
    if source == target:
        raise GalleryError(f"{t.source}: {name!r} cannot be merged into itself; name two people")
    ids = [row[0] for row in t.db.execute("SELECT id FROM faces WHERE subject_id = ? ORDER BY id", (source[0],))]
    _move(t, ids, *target)
    for i, seen in t.db.execute("SELECT id, source FROM sightings WHERE subject_id = ?", (source[0],)).fetchall():
        sealed = _resealed(t, source[1], target[1], seen, f"sightings.source/{i}")
        t.db.execute("UPDATE sightings SET subject_id = ?, source = ? WHERE id = ?", (target[0], sealed, i))
    t.db.execute("DELETE FROM subjects WHERE id = ?", (source[0],))
    t.changed_subjects([source[0]])
    append_audit(t, "merge", [(source[1], len(ids)), (target[1], len(ids))], now)
    return subject_with(t, target[0])


def move_faces(t: Tables, face_ids: Sequence[int], to: str, now: float) -> Subject:
    """Give faces to a subject, new or known."""
    target = find(t, to)
    owners = _owners(t, face_ids)  # before a new subject is made: those that are not there make none
    if target is None:
        target = _new_subjects(t, [to], "person", now)[to]
    moving = [i for i in face_ids if owners[i] != target[1]]
    _move(t, moving, *target)
    append_audit(t, "move", [(target[1], len(moving))], now)
    return subject_with(t, target[0])


def remove_faces(t: Tables, face_ids: Sequence[int], now: float) -> int:
    """Forget faces or negative exemplars."""
    owners = _owners(t, face_ids)
    _delete(t, list(owners))
    counts: dict[str | None, int] = {}
    for pseudonym in owners.values():
        counts[pseudonym] = counts.get(pseudonym, 0) + 1
    append_audit(t, "remove", counts.items(), now)
    return len(owners)


def remove(t: Tables, name: str, action: str, now: float, *, destroy: bool) -> tuple[Subject, str]:
    """Forget a subject and all that is its; returns it and its pseudonym.

    With `destroy`, a note is left that its key is to be destroyed once this is committed; see `keys`.
    """
    subject_id, pseudonym = whose(t, name)
    subject = subject_with(t, subject_id)
    count = t.db.execute("SELECT count(*) FROM faces WHERE subject_id = ?", (subject_id,)).fetchone()[0]
    t.db.execute("DELETE FROM subjects WHERE id = ?", (subject_id,))
    t.changed_subjects([subject_id])
    append_audit(t, action, [(pseudonym, count)], now)
    if destroy:
        note_due(t, pseudonym)
    return subject, pseudonym


def _owners(t: Tables, face_ids: Sequence[int]) -> dict[int, str]:
    """Face -> pseudonym of whose it is. Raises NotFoundError for a face that is not there."""
    rows = t.db.execute(
        "SELECT f.id, s.pseudonym FROM faces f JOIN subjects s ON s.id = f.subject_id "
        "WHERE f.id IN (SELECT value FROM json_each(?))",
        (json.dumps([int(i) for i in face_ids]),),
    )
    found = dict(rows.fetchall())
    for i in face_ids:
        if i not in found:
            raise no_face(t, i)
    return found


def _delete(t: Tables, face_ids: Sequence[int]) -> None:
    t.db.executemany("DELETE FROM faces WHERE id = ?", ((i,) for i in face_ids))
    t.changed_faces(face_ids)


def _resealed(t: Tables, old: str, new: str, sealed: bytes, context: str) -> bytes:
    return t.sealer.seal(new, t.sealer.open(old, sealed, context), context)


def _move(t: Tables, face_ids: Sequence[int], subject_id: int, pseudonym: str) -> None:
    """Give faces to another subject, sealed with its key; a content that it already holds is dropped."""
    held = {
        row[0]
        for row in t.db.execute(
            "SELECT content FROM faces WHERE subject_id = ? AND negative = 0 AND content IS NOT NULL", (subject_id,)
        )
    }
    drop = []
    for i in face_ids:
        origin, content, negative, vector, crop, staged, owner = t.db.execute(
            "SELECT f.origin, f.content, f.negative, f.embedding, c.crop, g.embedding, s.pseudonym FROM faces f "
            "JOIN subjects s ON s.id = f.subject_id LEFT JOIN crops c ON c.face_id = f.id "
            "LEFT JOIN staged g ON g.face_id = f.id WHERE f.id = ?",
            (i,),
        ).fetchone()
        if not negative and content is not None:
            if content in held:
                drop.append(i)
                continue
            held.add(content)
        t.db.execute(
            "UPDATE faces SET subject_id = ?, origin = ?, embedding = ? WHERE id = ?",
            (
                subject_id,
                _resealed(t, owner, pseudonym, origin, f"faces.origin/{i}"),
                _resealed(t, owner, pseudonym, vector, f"faces.embedding/{i}"),
                i,
            ),
        )
        if crop is not None:
            sealed = _resealed(t, owner, pseudonym, crop, f"crops.crop/{i}")
            t.db.execute("UPDATE crops SET crop = ? WHERE face_id = ?", (sealed, i))
        if staged is not None:
            sealed = _resealed(t, owner, pseudonym, staged, f"staged.embedding/{i}")
            t.db.execute("UPDATE staged SET embedding = ? WHERE face_id = ?", (sealed, i))
    dropped = set(drop)
    t.changed_faces(i for i in face_ids if i not in dropped)
    _delete(t, drop)
    _delete(t, _contradicted(t, subject_id, pseudonym))


def _contradicted(t: Tables, subject_id: int, pseudonym: str) -> list[int]:
    """Negative exemplars of a subject that are now among its faces: whoever moved them has changed their mind."""
    rows = t.db.execute("SELECT id, negative, embedding FROM faces WHERE subject_id = ?", (subject_id,)).fetchall()
    identity = identity_of(t.db)
    negatives = [row for row in rows if row[1]]
    faces = [row for row in rows if not row[1]]
    if not negatives or not faces or identity is None:
        return []
    against, own = (
        t.vectors([t.vector(pseudonym, blob, i) for i, _, blob in part], identity.dimension)
        for part in (negatives, faces)
    )
    same = (against @ own.T).max(axis=1) >= _SAME
    return [negatives[i][0] for i in np.flatnonzero(same).tolist()]


def with_ids(t: Tables, ids: Sequence[int]) -> list[Subject]:
    """The subjects of ids that are there, in that order."""
    found = subjects_where(t, set(ids))
    return [found[i] for i in ids]
