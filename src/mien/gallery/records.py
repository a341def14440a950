"""What passes between the gallery's truth (subjects and faces on disk) and its index (vectors in memory)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mien.types import Face, Floats

__all__ = ["Changes", "FaceRecord", "Ids", "Position"]

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
    """How far a reader has followed the truth: the last face, subject and change it knows."""

    face: int = 0
    subject: int = 0
    change: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What happened since a `Position`, as one consistent picture.

    Attributes:
        position: where the truth stands now.
        embeddings: float32 (N, D) of the new faces, in order of enrolment.
        subject_ids: int64 (N,), whose they are.
        pictures: names of their pictures.
        names: new and renamed subjects.
        removed: subjects that are gone.
    """

    position: Position
    embeddings: Floats
    subject_ids: Ids
    pictures: list[str]
    names: dict[int, str]
    removed: set[int]
