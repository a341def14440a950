"""A second model's embeddings in a gallery's file, row by row. All of it inside the caller's transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import GalleryError, GalleryModelError
from mien.gallery.homes.sqlite.logs import append_audit
from mien.gallery.homes.sqlite.reading import faces_of, known_names_of
from mien.gallery.homes.sqlite.schema import new_epoch
from mien.gallery.homes.sqlite.tables import identity_of
from mien.gallery.two_models import Staged, Swapped, WhoseFace
from mien.types import ModelIdentity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mien.gallery.homes.sqlite.tables import Tables
    from mien.gallery.two_models import Role
    from mien.types import Floats

__all__ = ["begin", "drop", "need", "put", "staged_of", "staged_problems", "swap", "unstaged_faces", "vectors_of"]

_AT_ONCE = 4096
_CALIBRATION = "calibration"
_ASIDE = "staged.calibration"


def staged_of(t: Tables) -> Staged | None:
    """The second set, or None."""
    row = t.db.execute("SELECT name, preset, sha256, dimension, role FROM staged_model").fetchone()
    if row is None:
        return None
    faces, everyone = (t.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("staged", "faces"))  # noqa: S608 - our own words
    return Staged(ModelIdentity(*row[:4]), row[4], faces, everyone - faces)


def begin(t: Tables, identity: ModelIdentity) -> None:
    """Make room for a model's embeddings; nothing where there is already."""
    live, there = identity_of(t.db), staged_of(t)
    if live is None:
        raise GalleryError(f"{t.source}: holds nothing yet, so there is nothing to migrate; enrol with the new model")
    if live == identity:
        raise GalleryModelError(f"{t.source}: is made with {live} already; name another model or preset")
    if there is None:
        t.db.execute(
            "INSERT INTO staged_model VALUES (1, ?, ?, ?, ?, 'new')",
            (identity.name, identity.preset, identity.sha256, identity.dimension),
        )
    elif there.identity != identity:
        raise GalleryModelError(f"{t.source}: {_in_the_way(there)}")


def unstaged_faces(t: Tables) -> list[WhoseFace]:
    """Faces without an embedding in the second set."""
    faces = faces_of(t, "WHERE NOT EXISTS (SELECT 1 FROM staged WHERE face_id = f.id)", ())
    names = known_names_of(t, {face.subject_id for face in faces})
    return [WhoseFace(names[face.subject_id], face) for face in faces]


def put(t: Tables, rows: Sequence[tuple[int, Floats]], identity: ModelIdentity) -> int:
    """Store embeddings in the second set, sealed for whoever has the face now."""
    there = staged_of(t)
    if there is None or there.identity != identity:
        found = "none any more" if there is None else str(there.identity)
        raise GalleryModelError(f"{t.source}: the embeddings being made are of {identity}, wanted are {found}")
    owners = dict(
        t.db.execute(
            "SELECT f.id, s.pseudonym FROM faces f JOIN subjects s ON s.id = f.subject_id "
            "WHERE f.id IN (SELECT value FROM json_each(?))",
            (json.dumps([i for i, _ in rows]),),
        ).fetchall()
    )
    sealed = [
        (i, t.sealer.seal(owners[i], np.asarray(vector, "<f4").tobytes(), f"staged.embedding/{i}"))
        for i, vector in rows
        if i in owners
    ]
    t.db.executemany("INSERT OR REPLACE INTO staged VALUES (?, ?)", sealed)
    return len(sealed)


def vectors_of(t: Tables, face_ids: Sequence[int]) -> dict[int, Floats]:
    """What these faces have in the second set."""
    there = staged_of(t)
    if there is None:
        return {}
    rows = t.db.execute(
        "SELECT g.face_id, s.pseudonym, g.embedding FROM staged g JOIN faces f ON f.id = g.face_id "
        "JOIN subjects s ON s.id = f.subject_id WHERE g.face_id IN (SELECT value FROM json_each(?))",
        (json.dumps([int(i) for i in face_ids]),),
    ).fetchall()
    opened = [t.sealer.open(pseudonym, blob, f"staged.embedding/{i}") for i, pseudonym, blob in rows]
    return dict(zip((row[0] for row in rows), t.vectors(opened, there.identity.dimension), strict=True))


def swap(t: Tables, role: Role, calibration: str | None, now: float) -> Swapped:
    """Exchange both sets; every face is in the second one."""
    live, there = identity_of(t.db), need(t, role)
    assert live is not None  # what is staged has a model
    count = 0
    for part in _pairs(t):
        owners = [pseudonym for _, pseudonym, *_ in part]
        opened = [
            (t.vector(owner, old, i), t.sealer.open(owner, new, f"staged.embedding/{i}"))
            for (i, _, old, new), owner in zip(part, owners, strict=True)
        ]
        t.vectors([new for _, new in opened], there.identity.dimension)  # a damaged one must not come into use
        for (i, owner, *_), (old, new) in zip(part, opened, strict=True):
            sealed = (
                t.sealer.seal(owner, new, f"faces.embedding/{i}"),
                t.sealer.seal(owner, old, f"staged.embedding/{i}"),
            )
            t.db.execute("UPDATE faces SET embedding = ? WHERE id = ?", (sealed[0], i))
            t.db.execute("UPDATE staged SET embedding = ? WHERE face_id = ?", (sealed[1], i))
        count += len(part)
    _name(t, "model", there.identity)
    _name(t, "staged_model", live)
    t.db.execute("UPDATE staged_model SET role = ?", ("old" if role == "new" else "new",))
    aside = _kept(t, _ASIDE)
    _keep(t, _ASIDE, _kept(t, _CALIBRATION))
    _keep(t, _CALIBRATION, calibration if role == "new" else aside)
    new_epoch(t.db)  # every reader begins anew, or finds that the model is another one
    append_audit(t, "migrate" if role == "new" else "rollback", [(None, count)], now)
    return Swapped(live, there.identity, count, 0)


def drop(t: Tables, role: Role, now: float) -> int:
    """Drop the second set."""
    found = need(t, role)
    for table in ("staged", "staged_model"):
        t.db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own words
    _keep(t, _ASIDE, None)
    append_audit(t, "forget", [(None, found.faces)], now)
    return found.faces


def need(t: Tables, role: Role) -> Staged:
    """The second set, which must be what is expected. Raises GalleryError."""
    found = staged_of(t)
    if found is None:
        raise GalleryError(f"{t.source}: no second model's embeddings are kept; `mien gallery migrate` makes them")
    if found.role != role:
        raise GalleryError(f"{t.source}: {_in_the_way(found)}")
    return found


def staged_problems(t: Tables) -> Iterator[str]:
    """What is wrong with the second set."""
    there = staged_of(t)
    if there is None:
        if t.db.execute("SELECT 1 FROM staged LIMIT 1").fetchone():
            yield "there are embeddings of a second model, and no such model is named"
        return
    if there.identity == identity_of(t.db):
        yield "both models of the gallery are one"
    for part in _pairs(t):
        opened = [t.sealer.open(owner, new, f"staged.embedding/{i}") for i, owner, _, new in part]
        t.vectors(opened, there.identity.dimension)


def _in_the_way(there: Staged) -> str:
    if there.role == "old":
        return (
            f"has changed its model, and still keeps the embeddings of {there.identity}; take the change back "
            "(rollback), or forget the old model (forget-old)"
        )
    return f"is about to change to {there.identity}; confirm that, or abandon it"


def _pairs(t: Tables) -> Iterator[list[tuple[int, str, bytes, bytes]]]:
    """(face, pseudonym, embedding in use, embedding of the second set), some at a time: they may be changed between."""
    last = 0
    while part := t.db.execute(
        "SELECT f.id, s.pseudonym, f.embedding, g.embedding FROM staged g JOIN faces f ON f.id = g.face_id "
        "JOIN subjects s ON s.id = f.subject_id WHERE f.id > ? ORDER BY f.id LIMIT ?",
        (last, _AT_ONCE),
    ).fetchall():
        yield part
        last = part[-1][0]


def _name(t: Tables, table: str, identity: ModelIdentity) -> None:
    t.db.execute(
        f"UPDATE {table} SET name = ?, preset = ?, sha256 = ?, dimension = ?",  # noqa: S608 - our own words
        (identity.name, identity.preset, identity.sha256, identity.dimension),
    )


def _kept(t: Tables, key: str) -> str | None:
    row = t.db.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
    return None if row is None else t.text(None, row[0], f"kept.{key}")


def _keep(t: Tables, key: str, text: str | None) -> None:
    t.db.execute("DELETE FROM kept WHERE key = ?", (key,))
    if text is not None:
        t.db.execute("INSERT INTO kept VALUES (?, ?)", (key, t.sealer.seal(None, text.encode(), f"kept.{key}")))
