"""Subjects and faces as rows of Milvus, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError
from mien.gallery.home import StoredFace
from mien.gallery.homes.milvus.link import key_of
from mien.types import Face, Subject

if TYPE_CHECKING:
    from mien.gallery.homes.milvus.link import Row
    from mien.types import Floats

__all__ = ["FACE", "SUBJECT", "checked_json", "face_row", "stored_face", "subject_of", "subject_row"]

SUBJECT = ("id", "row")
FACE = ("id", "subject_id", "negative", "row")


def subject_row(subject: Subject, pseudonym: str) -> Row:
    """A subject on its way to Milvus; a JSON field keeps what is only read."""
    return {
        "id": subject.id,
        "name_key": key_of(subject.name),
        "external_key": key_of(subject.external_id),
        "told": subject.told,
        "group_keys": [key_of(group) for group in subject.groups],
        "row": {
            "name": subject.name,
            "pseudonym": pseudonym,
            "created": subject.created,
            "external_id": subject.external_id,
            "told": subject.told,
            "groups": list(subject.groups),
            "metadata": json.dumps(dict(subject.metadata)),
            "expires": subject.expires,
            "consent": subject.consent,
        },
    }


def subject_of(row: Row, pictures: tuple[str, ...]) -> Subject:
    """A subject from its row and the names of its pictures."""
    said = row["row"]
    return Subject(
        id=int(row["id"]),
        name=said["name"],
        faces=len(pictures),
        created=float(said["created"]),
        pictures=pictures,
        external_id=said["external_id"],
        told=said["told"],
        groups=tuple(said["groups"]),
        metadata=json.loads(said["metadata"]),
        expires=None if said["expires"] is None else float(said["expires"]),
        consent=said["consent"],
    )


def face_row(face: StoredFace, embedding: Floats, crop_parts: int) -> Row:
    """A face on its way to Milvus."""
    placed = None if face.face is None else [*(float(x) for x in face.face.box), float(face.face.score)]
    return {
        "id": face.id,
        "subject_id": face.subject_id,
        "negative": face.negative,
        "content_key": key_of(face.sha256),
        "row": {
            "picture": face.picture,
            "sha256": face.sha256,
            "placed": placed,
            "quality": None if face.quality is None else float(face.quality),
            "enrolled": face.enrolled,
            "crop": crop_parts,
        },
        "embedding": np.asarray(embedding, np.float32),
    }


def stored_face(row: Row) -> StoredFace:
    """A face from its row."""
    said = row["row"]
    placed = said["placed"]
    return StoredFace(
        id=int(row["id"]),
        subject_id=int(row["subject_id"]),
        picture=said["picture"],
        sha256=said["sha256"],
        face=None if placed is None else Face((placed[0], placed[1], placed[2], placed[3]), placed[4], ()),
        quality=said["quality"],
        enrolled=float(said["enrolled"]),
        negative=bool(row["negative"]),
        crop=bool(said["crop"]),
    )


def checked_json(value: Any) -> dict[str, Any]:  # noqa: ANN401 - it is what is checked
    """Metadata that JSON can hold. Raises InputError."""
    try:
        return dict(json.loads(json.dumps(dict(value), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise InputError(f"metadata: expected a JSON object ({error})") from error
