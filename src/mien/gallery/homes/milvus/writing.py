"""Changing a gallery in Milvus, one step after the other, for there are no transactions; the caller holds the lock."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError
from mien.gallery.home import StoredFace
from mien.gallery.homes.milvus.link import key_of
from mien.gallery.homes.milvus.rows import face_row, subject_row
from mien.types import Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.gallery.homes.milvus.link import Link, Row
    from mien.gallery.homes.milvus.tables import Tables
    from mien.gallery.records import FaceRecord
    from mien.types import ModelIdentity

__all__ = ["Writing"]


class Writing:
    """The steps of which changes are made. Subjects are written before their faces, and go after them."""

    def __init__(self, link: Link, tables: Tables) -> None:
        self._link = link
        self._tables = tables

    def add(self, people: Sequence[tuple[str, Sequence[FaceRecord]]], told: str) -> tuple[dict[str, Row], int]:
        """Store faces; returns the subjects' rows by name, and how many faces were new."""
        known = self.made([name for name, _ in people], told)
        contents = sorted({key_of(r.sha256) for _, records in people for r in records if r.sha256 is not None})
        fields = ("subject_id", "content_key")
        rows = self._link.rows_in("faces", "content_key", contents, ("id", *fields), also="negative == false")
        held = {(int(row["subject_id"]), row["content_key"]) for row in rows}
        new: list[tuple[int, FaceRecord]] = []
        for name, records in people:
            owner = int(known[name]["id"])
            for one in records:
                content = (owner, key_of(one.sha256))
                if one.sha256 is None or content not in held:
                    held.add(content)
                    new.append((owner, one))
        self.store(new)
        return known, len(new)

    def check(self, records: Sequence[FaceRecord], identity: ModelIdentity) -> None:
        """Raise InputError for embeddings of another length."""
        for one in records:  # before anything is written, for nothing can be taken back
            if np.shape(one.embedding) != (identity.dimension,):
                raise InputError(f"embeddings: expected shape ({identity.dimension},), got {np.shape(one.embedding)}")

    def made(self, names: Sequence[str], told: str) -> dict[str, Row]:
        """The rows of these names, made where they are new."""
        known = self._tables.named(names)
        new = [name for name in dict.fromkeys(names) if name not in known]
        now = time.time()
        rows = [
            subject_row(Subject(number, name, 0, now, told=told), secrets.token_hex(16))
            for number, name in zip(self._tables.numbers("subject", len(new)), new, strict=True)
        ]
        self._link.put("subjects", rows)
        return known | {row["row"]["name"]: row for row in rows}

    def store(self, faces: Sequence[tuple[int, FaceRecord]], *, negative: bool = False) -> list[StoredFace]:
        """Store faces with new numbers."""
        now = time.time()
        ids = self._tables.numbers("face", len(faces))
        parts = self._tables.keep_crops({i: r.crop for i, (_, r) in zip(ids, faces, strict=True) if r.crop is not None})
        stored = [
            StoredFace(i, owner, r.picture, r.sha256, r.face, r.quality, now, negative, i in parts)
            for i, (owner, r) in zip(ids, faces, strict=True)
        ]
        rows = [face_row(s, r.embedding, parts.get(s.id, 0)) for s, (_, r) in zip(stored, faces, strict=True)]
        self._link.put("faces", rows)
        return stored

    def changed(self, row: Row, **changes: Any) -> Subject:  # noqa: ANN401 - fields of a Subject
        """Write a subject's row anew."""
        (subject,) = self._tables.subjects([row])
        after = replace(subject, **changes)
        if after != subject:
            self._link.put("subjects", [subject_row(after, row["row"]["pseudonym"])])
        return after

    def give(self, faces: Sequence[Row], into: int) -> None:
        """Give faces, read with their embedding and content key, to a subject; a content that it holds is dropped."""
        held = {
            face["content_key"]
            for face in self._tables.faces_in([into], "content_key", also="negative == false")
            if face["content_key"]
        }
        given: list[Row] = []
        twice: list[Row] = []
        for face in sorted(faces, key=lambda face: int(face["id"])):
            if int(face["subject_id"]) == into:
                continue
            content = "" if face["negative"] else face["content_key"]
            (twice if content and content in held else given).append({**face, "subject_id": into})
            held.add(content)
        self._link.put("faces", given)
        self._tables.drop_faces(twice)
