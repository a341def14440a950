"""A connection with what opens and seals its rows, and how rows become subjects and faces."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import GalleryFileError
from mien.gallery.home import StoredFace
from mien.types import Face, ModelIdentity

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

    from mien.gallery.records import FaceRecord
    from mien.gallery.sealing import Sealer
    from mien.types import Floats

__all__ = ["FACE_COLUMNS", "Tables", "bytes_of", "identity_of", "next_id", "origin_bytes", "text_of"]

FACE_COLUMNS = "id, subject_id, origin, x0, y0, x1, y1, score, quality, enrolled, negative"


def bytes_of(text: str) -> bytes:
    """UTF-8, also of file names that are not Unicode."""
    return text.encode("utf-8", "surrogatepass")


def text_of(raw: bytes) -> str:
    """The text that `bytes_of` was given. Raises UnicodeDecodeError."""
    return raw.decode("utf-8", "surrogatepass")


def origin_bytes(picture: str, sha256: str | None) -> bytes:
    """Where a face comes from, as one field: the checksum of the content, NUL, and the picture's name."""
    return bytes_of(f"{sha256 or ''}\0{picture}")


@dataclass(frozen=True, slots=True)
class Tables:
    """One connection of one home. Its user holds the lock of the connection.

    Attributes:
        db: the connection.
        sealer: seals and opens fields.
        source: the home's name, for messages.
    """

    db: sqlite3.Connection
    sealer: Sealer
    source: str

    def text(self, pseudonym: str | None, sealed: bytes, context: str) -> str:
        """Open a field that holds text."""
        plain = self.sealer.open(pseudonym, sealed, context)
        try:
            return text_of(plain)
        except UnicodeDecodeError as error:
            raise self.damaged(f"{context} is not text") from error

    def damaged(self, what: str) -> GalleryFileError:
        """The error for a row that cannot be."""
        return GalleryFileError(f"{self.source}: is damaged ({what}); restore a backup")

    def origin(self, pseudonym: str, sealed: bytes, face_id: int) -> tuple[str | None, str]:
        """A face's checksum (or None) and picture."""
        sha256, mark, picture = self.text(pseudonym, sealed, f"faces.origin/{face_id}").partition("\0")
        if not mark:
            raise self.damaged(f"face {face_id} does not say which picture it comes from")
        return sha256 or None, picture

    def vector(self, pseudonym: str, sealed: bytes, face_id: int) -> bytes:
        """A face's embedding, as float32 little-endian bytes."""
        return self.sealer.open(pseudonym, sealed, f"faces.embedding/{face_id}")

    def vectors(self, blobs: Sequence[bytes], dimension: int) -> Floats:
        """Rows of embeddings, checked. Raises GalleryFileError: of another length, or not of unit norm (NaN, too)."""
        if any(len(blob) != 4 * dimension for blob in blobs):
            raise GalleryFileError(f"{self.source}: holds an embedding of another length; restore a backup")
        rows = np.frombuffer(b"".join(blobs), "<f4").reshape(len(blobs), dimension).astype(np.float32, copy=False)
        lengths = np.einsum("nd,nd->n", rows, rows)
        if not (np.abs(lengths - 1) < 1e-2).all():  # a NaN would win every search
            raise GalleryFileError(f"{self.source}: holds a damaged embedding; restore a backup")
        return rows

    def face_values(
        self, face_id: int, subject_id: int, pseudonym: str, record: FaceRecord, enrolled: float, *, negative: bool
    ) -> tuple[object, ...]:
        """A row of the table faces."""
        box = record.face.box if record.face else (None,) * 4
        score = record.face.score if record.face else None
        seal = self.sealer.seal
        origin = seal(pseudonym, origin_bytes(record.picture, record.sha256), f"faces.origin/{face_id}")
        vector = seal(pseudonym, np.asarray(record.embedding, "<f4").tobytes(), f"faces.embedding/{face_id}")
        content = self.sealer.lookup(record.sha256) if record.sha256 else None
        quality = record.quality
        return (face_id, subject_id, origin, content, *box, score, quality, enrolled, int(negative), vector)

    def face(self, row: Sequence[Any], pseudonym: str, *, crop: bool) -> StoredFace:
        """A face from a row of `FACE_COLUMNS`."""
        face_id, subject_id, origin, x0, y0, x1, y1, score, quality, enrolled, negative = row
        sha256, picture = self.origin(pseudonym, origin, face_id)
        face = None if x0 is None else Face((x0, y0, x1, y1), 0.0 if score is None else score, ())
        return StoredFace(face_id, subject_id, picture, sha256, face, quality, enrolled, bool(negative), crop)

    def details(self, subject_id: int, pseudonym: str, sealed: bytes | None) -> Mapping[str, Any]:
        """What else is said of a subject: `groups`, `metadata` and `consent`, those that are not empty."""
        if sealed is None:
            return {}
        try:
            found = json.loads(self.text(pseudonym, sealed, f"subjects.details/{subject_id}"))
        except ValueError as error:
            raise self.damaged(f"what is said of subject {subject_id} is not JSON") from error
        if not isinstance(found, dict):
            raise self.damaged(f"what is said of subject {subject_id} is not an object")
        return found

    def sealed_details(self, subject_id: int, pseudonym: str, details: Mapping[str, Any]) -> bytes | None:
        """The field that `details` reads."""
        said = {key: value for key, value in details.items() if value}
        if not said:
            return None
        return self.sealer.seal(pseudonym, json.dumps(said).encode(), f"subjects.details/{subject_id}")

    def insert_faces(self, rows: Iterable[tuple[object, ...]]) -> None:
        """Add rows of the table faces, save where the subject already holds the content, or the id is taken."""
        self.db.executemany(
            "INSERT INTO faces (id, subject_id, origin, content, x0, y0, x1, y1, score, quality, enrolled, negative, "
            "embedding) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            rows,
        )

    def insert_crops(self, crops: Iterable[tuple[int, str, bytes]]) -> None:
        """Add (face id, pseudonym, crop) of those faces that are there."""
        self.db.executemany(
            "INSERT INTO crops SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM faces WHERE id = ?1) ON CONFLICT DO NOTHING",
            ((i, self.sealer.seal(pseudonym, crop, f"crops.crop/{i}")) for i, pseudonym, crop in crops),
        )

    def changed_subjects(self, ids: Iterable[int]) -> None:
        """Tell readers that subjects are not as they were."""
        self.db.executemany("INSERT INTO changes (subject_id) VALUES (?)", ((i,) for i in ids))

    def changed_faces(self, ids: Iterable[int]) -> None:
        """Tell readers that faces have moved or are gone."""
        self.db.executemany("INSERT INTO changes (face_id) VALUES (?)", ((i,) for i in ids))


def identity_of(db: sqlite3.Connection) -> ModelIdentity | None:
    """The model that a file is bound to, or None."""
    row = db.execute("SELECT name, preset, sha256, dimension FROM model").fetchone()
    return None if row is None else ModelIdentity(*row)


def next_id(db: sqlite3.Connection, table: str) -> int:
    """The number that the next row of a table gets; its user holds the write lock."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) + 1 if row else 1
