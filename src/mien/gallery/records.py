"""What passes between the gallery's truth (subjects and faces on disk) and its index (vectors in memory)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mien.types import Face, Floats

__all__ = ["Changes", "FaceRecord", "Ids", "Known", "Negatives", "Position"]

Ids: TypeAlias = NDArray[np.int64]
"""int64 ids; the shape is given where it is used."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceRecord:
    """A face to be stored.

    Attributes:
        embedding: float32 (D,), unit norm.
        picture: name of the picture it comes from.
        sha256: checksum of the picture's content, or None; a subject holds each content once.
        face: box and detection score, or None.
        quality: 0 to 1, or None where it was not judged.
        crop: the face cut out with some of its surroundings, encoded (JPEG or PNG), where it is to be kept.
    """

    embedding: Floats
    picture: str
    sha256: str | None = None
    face: Face | None = None
    quality: float | None = None
    crop: bytes | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """How far a reader has followed the truth: the last face, subject and change it knows.

    Attributes:
        face, subject, change: the highest numbers that were given out.
        epoch: changes when the truth is replaced as a whole (a restored backup); a reader then begins anew.
    """

    face: int = 0
    subject: int = 0
    change: int = 0
    epoch: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What an index knows of a subject besides its faces; its name is looked up where an answer needs it."""

    told: str = "person"
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Negatives:
    """Exemplars of who subjects are not: float32 (N, D), and whose they are.

    Attributes:
        face_ids: int64 (N,).
        subject_ids: int64 (N,).
        embeddings: float32 (N, D).
    """

    face_ids: Ids
    subject_ids: Ids
    embeddings: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What happened since a `Position`, as one consistent picture.

    Attributes:
        position: where the truth stands now.
        whole: this is everything, and what was known before is void.
        removed_faces: faces and negative exemplars that are gone; some of subjects that are gone too may be missing.
        moved: face or negative exemplar that was known before -> the subject it now belongs to.
        face_ids: int64 (N,) of the new faces, ascending.
        embeddings: float32 (N, D), theirs.
        subject_ids: int64 (N,), whose they are.
        negatives: the new negative exemplars.
        people: new and changed subjects.
        removed: subjects that are gone.
    """

    position: Position
    face_ids: Ids
    embeddings: Floats
    subject_ids: Ids
    people: dict[int, Known]
    removed: set[int] = field(default_factory=set)
    removed_faces: set[int] = field(default_factory=set)
    moved: dict[int, int] = field(default_factory=dict)
    negatives: Negatives | None = None
    whole: bool = False
