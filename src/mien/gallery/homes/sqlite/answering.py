"""From what a search has found to an answer: names and pictures, read from the rows when they are needed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from mien.match import Candidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.gallery.homes.sqlite.tables import Tables
    from mien.gallery.index import Found
    from mien.gallery.records import Position
    from mien.types import Floats

__all__ = ["IndexWrongError", "answered"]

_OFF = 1e-4  # further than this from what the row says is no rounding


class IndexWrongError(Exception):
    """The index says of a face what its row does not."""


def answered(
    t: Tables, position: Position, probes: Floats, found: Sequence[Sequence[Found]], *, verify: bool
) -> list[list[Candidate]] | None:
    """The candidates, inside the caller's transaction.

    Args:
        t: the file.
        position: where the truth stood for who searched.
        probes: float32 (Q, D).
        found: of each probe.
        verify: compare every face that was found with its row: whose it is, and how near.

    Returns:
        One list a probe; None where a subject or face that was found has changed since `position`: search again.

    Raises:
        IndexWrongError: a face that was found is not as its row says.
    """
    subjects = json.dumps(sorted({one.subject_id for row in found for one in row}))
    faces = json.dumps(sorted({one.face_id for row in found for one in row}))
    changed = t.db.execute(
        "SELECT (SELECT value FROM kept WHERE key = 'epoch') IS NOT ?1 OR EXISTS (SELECT 1 FROM changes WHERE seq > ?2 "
        "AND (subject_id IN (SELECT value FROM json_each(?3)) OR face_id IN (SELECT value FROM json_each(?4))))",
        (position.epoch.encode(), position.change, subjects, faces),
    ).fetchone()[0]
    if changed:
        return None
    who = {
        i: (t.text(pseudonym, name, f"subjects.name/{i}"), told, pseudonym)
        for i, pseudonym, name, told in t.db.execute(
            "SELECT id, pseudonym, name, told FROM subjects WHERE id IN (SELECT value FROM json_each(?))", (subjects,)
        )
    }
    rows = {
        row[0]: row[1:]
        for row in t.db.execute(
            f"SELECT id, subject_id, origin{', embedding' if verify else ''} FROM faces "  # noqa: S608 - our own words
            "WHERE negative = 0 AND id IN (SELECT value FROM json_each(?))",
            (faces,),
        )
    }
    for probe, candidates in zip(probes, found, strict=True):
        for one in candidates:
            if one.subject_id not in who or one.face_id not in rows or rows[one.face_id][0] != one.subject_id:
                raise IndexWrongError(f"face {one.face_id}")
        if verify and candidates:
            blobs = [t.vector(who[one.subject_id][2], rows[one.face_id][2], one.face_id) for one in candidates]
            scores = t.vectors(blobs, len(probe)) @ probe
            if (np.abs(scores - [one.score for one in candidates]) > _OFF).any():
                raise IndexWrongError("a score")
    return [[_candidate(t, one, who[one.subject_id], rows[one.face_id][1]) for one in row] for row in found]


def _candidate(t: Tables, one: Found, who: tuple[str, str, str], origin: bytes) -> Candidate:
    name, told, pseudonym = who
    picture = t.origin(pseudonym, origin, one.face_id)[1]
    return Candidate(
        one.subject_id, name, one.score, picture, told=told, against=one.against, face_id=one.face_id
    )  # fmt: skip
