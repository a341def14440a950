"""What Milvus has no word for: numbers that only grow, long texts, and subjects with their pictures."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import GalleryFileError, NotFoundError
from mien.gallery.homes.milvus.link import key_of
from mien.gallery.homes.milvus.rows import FACE, SUBJECT, subject_of
from mien.gallery.names import nobody_named
from mien.types import ModelIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mien.gallery.homes.milvus.link import Link, Row
    from mien.types import Floats, Subject

__all__ = ["Tables"]

_PART = 16_000  # characters of a text in one row: at most 64,000 bytes
_CROP_PART = 45_000  # bytes of a crop in one row


class Tables:
    """The gallery's collections, a little above Milvus's own words. Thread-safe for reading; one writer at a time."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._identity: ModelIdentity | None = None

    # Kept

    def text(self, key: str) -> str | None:
        """A text that was kept, or None."""
        head = self._link.rows_in("kept", "key", [key], ("key", "value"))
        if not head:
            return None
        parts = [f"{key}/{i}" for i in range(int(head[0]["value"]))]
        found = {row["key"]: row["value"] for row in self._link.rows_in("kept", "key", parts, ("key", "value"))}
        if len(found) != len(parts):
            raise GalleryFileError(f"{self._link.source}: {key!r} was cut off while it was written; write it again")
        return "".join(found[part] for part in parts)

    def keep(self, key: str, text: str | None) -> None:
        """Keep a text, or none any more."""
        head = self._link.rows_in("kept", "key", [key], ("key", "value"))
        before = int(head[0]["value"]) if head else 0
        parts = [] if text is None else [text[i : i + _PART] for i in range(0, max(1, len(text)), _PART)]
        if text is None:
            self._link.drop("kept", [key] if head else [])
        else:
            self._link.put("kept", [{"key": f"{key}/{i}", "value": part} for i, part in enumerate(parts)])
            self._link.put("kept", [{"key": key, "value": str(len(parts))}])
        self._link.drop("kept", [f"{key}/{i}" for i in range(len(parts), before)])

    def keep_crops(self, crops: dict[int, bytes]) -> dict[int, int]:
        """Keep crops; returns in how many parts each is."""
        rows: list[Row] = []
        parts: dict[int, int] = {}
        for number, crop in crops.items():
            pieces = [crop[i : i + _CROP_PART] for i in range(0, max(1, len(crop)), _CROP_PART)]
            rows += [
                {"key": f"crop/{number}/{i}", "value": base64.b64encode(piece).decode()}
                for i, piece in enumerate(pieces)
            ]
            parts[number] = len(pieces)
        self._link.put("kept", rows)
        return parts

    def crop(self, number: int, parts: int) -> bytes:
        """A crop that was kept in so many parts."""
        keys = [f"crop/{number}/{i}" for i in range(parts)]
        found = {row["key"]: row["value"] for row in self._link.rows_in("kept", "key", keys, ("key", "value"))}
        if len(found) != parts:
            raise GalleryFileError(f"{self._link.source}: the crop of face {number} is gone; enrol the picture again")
        return b"".join(base64.b64decode(found[key]) for key in keys)

    def drop_faces(self, rows: Iterable[Row]) -> None:
        """Delete faces, and their crops."""
        rows = list(rows)
        self._link.drop("faces", [int(row["id"]) for row in rows])
        self._link.drop("kept", [f"crop/{row['id']}/{i}" for row in rows for i in range(row["row"]["crop"])])

    # Numbers

    def identity(self) -> ModelIdentity | None:
        """The model the gallery is bound to, or None."""
        if self._identity is None and (said := self.text("model")) is not None:
            self._identity = ModelIdentity(**json.loads(said))
        return self._identity

    def pin(self, identity: ModelIdentity) -> None:
        """Bind a new gallery to a model."""
        self._link.make_faces(identity.dimension)
        names = ("name", "preset", "sha256", "dimension")
        self.keep("model", json.dumps({name: getattr(identity, name) for name in names}))

    def numbers(self, kind: str, count: int) -> range:
        """Numbers that were never given out before. The counter moves first: a crash wastes some."""
        first = int(self.text(f"next {kind}") or 1)
        if count:
            self.keep(f"next {kind}", str(first + count))
        return range(first, first + count)

    def numbers_past(self, kind: str, last: int) -> None:
        """Never give out this number or a lower one."""
        if last >= int(self.text(f"next {kind}") or 1):
            self.keep(f"next {kind}", str(last + 1))

    # Subjects and faces

    def named(self, names: Sequence[str]) -> dict[str, Row]:
        """Name -> row, of those that are there."""
        rows = self._link.rows_in("subjects", "name_key", [key_of(name) for name in names], SUBJECT)
        return {row["row"]["name"]: row for row in rows}

    def row_of(self, name: str) -> Row:
        """A subject's row. Raises NotFoundError, with similar names."""
        found = self.named([name]).get(name)
        if found is not None:
            return found
        known = (row["row"]["name"] for row in self._link.rows("subjects", "id > 0", SUBJECT))
        raise nobody_named(self._link.source, name, known)

    def faces_in(self, subject_ids: Sequence[int], *more: str, also: str = "") -> list[Row]:
        """All faces of some subjects, in order of enrolment."""
        rows = self._link.rows_in("faces", "subject_id", list(subject_ids), (*FACE, *more), also=also)
        return sorted(rows, key=lambda row: int(row["id"]))

    def faces_by_id(self, face_ids: Sequence[int], *more: str) -> list[Row]:
        """Faces in the order asked for. Raises NotFoundError when one is not there."""
        wanted = [int(i) for i in face_ids]
        rows = self._link.rows_in("faces", "id", list(dict.fromkeys(wanted)), (*FACE, *more))
        found = {int(row["id"]): row for row in rows}
        for number in wanted:
            if number not in found:
                raise NotFoundError(f"{self._link.source}: there is no face {number}; it may have been removed")
        return [found[number] for number in wanted]

    def subjects(self, rows: Sequence[Row], *, everybody: bool = False) -> list[Subject]:
        """Subjects from their rows, with the names of their pictures."""
        pictures: dict[int, list[str]] = {int(row["id"]): [] for row in rows}
        if everybody:
            faces = iter(sorted(self._link.rows("faces", "negative == false", FACE), key=lambda row: int(row["id"])))
        else:
            faces = iter(self.faces_in(list(pictures), also="negative == false"))
        for face in faces:
            if (owned := pictures.get(int(face["subject_id"]))) is not None:
                owned.append(face["row"]["picture"])
        ordered = sorted(rows, key=lambda row: int(row["id"]))
        return [subject_of(row, tuple(pictures[int(row["id"])])) for row in ordered]

    def vectors(self, rows: Sequence[Row]) -> Floats:
        """float32 (N, D) of rows that were read with their embedding."""
        identity = self.identity()
        found = np.array([row["embedding"] for row in rows], np.float32)
        found = found.reshape(len(rows), identity.dimension if identity else 0)
        if not np.isfinite(found).all():
            raise GalleryFileError(f"{self._link.source}: holds a damaged embedding; restore a backup")
        return found
