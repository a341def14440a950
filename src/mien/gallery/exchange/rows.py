"""One row of an exchanged gallery: a face and all that is said of whose it is."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mien.errors import InputError
from mien.images import person_name
from mien.types import Face

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mien.gallery.home import Batch
    from mien.types import Floats

    Cells: TypeAlias = Mapping[str, Any]

__all__ = ["COLUMNS", "Row", "cells_of", "row_of", "rows_of"]

COLUMNS = (
    "name", "external_id", "told", "groups", "metadata", "expires", "consent",
    "picture", "sha256", "x0", "y0", "x1", "y1", "score", "quality", "negative",
)  # fmt: skip
"""The columns beside the embedding, in the order in which a file has them. Empty cells are None."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A face with its subject; a subject without faces is a row without an embedding.

    Attributes:
        name, external_id, told, groups, metadata, expires, consent: as in `mien.types.Subject`.
        picture, sha256, face, quality, negative: as in `mien.gallery.home.StoredFace`.
        embedding: float32 (D,), unit norm, or None.
    """

    name: str
    external_id: str | None = None
    told: str = "person"
    groups: tuple[str, ...] = ()
    metadata: Mapping[str, Any] | None = None
    expires: float | None = None
    consent: str = ""
    picture: str = ""
    sha256: str | None = None
    face: Face | None = None
    quality: float | None = None
    negative: bool = False
    embedding: Floats | None = None

    @property
    def content(self) -> str | None:
        """What makes importing the row twice add it once: the picture's checksum, or else the embedding's."""
        if self.sha256 or self.embedding is None:
            return self.sha256
        return hashlib.sha256(np.asarray(self.embedding, "<f4").tobytes()).hexdigest()


def rows_of(batch: Batch) -> Iterator[Row]:
    """The rows of a part of a gallery: its faces, then its subjects without any."""
    subjects = {row.subject.id: row.subject for row in batch.subjects}
    seen = {face.subject_id for face in batch.faces}

    def of(subject_id: int, **face: Any) -> Row:  # noqa: ANN401 - the fields of a row
        s = subjects[subject_id]
        return Row(
            s.name, s.external_id, s.told, s.groups, dict(s.metadata) or None, s.expires, s.consent, **face
        )  # fmt: skip

    for stored, embedding in zip(batch.faces, batch.embeddings, strict=True):
        yield of(
            stored.subject_id,
            picture=stored.picture,
            sha256=stored.sha256,
            face=stored.face,
            quality=stored.quality,
            negative=stored.negative,
            embedding=embedding,
        )
    for subject_id, subject in subjects.items():
        if subject_id not in seen and not subject.faces:
            yield of(subject_id)


def cells_of(row: Row) -> dict[str, Any]:
    """A row as plain cells, the embedding left out; groups and metadata as JSON text."""
    box: tuple[float | None, ...] = row.face.box if row.face else (None,) * 4
    return {
        "name": row.name,
        "external_id": row.external_id,
        "told": row.told,
        "groups": json.dumps(row.groups, ensure_ascii=False) if row.groups else None,
        "metadata": json.dumps(row.metadata, ensure_ascii=False, allow_nan=False) if row.metadata else None,
        "expires": row.expires,
        "consent": row.consent or None,
        "picture": row.picture or None,
        "sha256": row.sha256,
        **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
        "score": row.face.score if row.face else None,
        "quality": row.quality,
        "negative": row.negative,
    }


def row_of(cells: Cells, embedding: Floats | None, where: str) -> Row:
    """A row from the cells of a file, checked.

    Args:
        cells: by column; any but `name` may be missing, None, empty or NaN.
        embedding: unit norm, checked by the caller.
        where: names the file and the row in messages.

    Raises:
        InputError: a cell cannot be used.
    """

    def text(column: str) -> str | None:
        value = cells.get(column)
        return None if value is None or value == "" or value != value else str(value)  # noqa: PLR0124 - NaN

    def number(column: str, top: float = math.inf) -> float | None:
        value = text(column)
        try:
            found = None if value is None else float(value)
        except ValueError:
            found = math.nan
        if found is not None and not (math.isfinite(found) and (top == math.inf or 0 <= found <= top)):
            kind = "a number" if top == math.inf else f"a number from 0 to {top:g}"
            raise InputError(f"{where}: {column}: expected {kind}, got {value!r:.60}")
        return found

    def parsed(column: str, ok: Callable[[Any], bool], expected: str) -> Any:  # noqa: ANN401 - any JSON
        value = text(column)
        try:
            found = None if value is None else json.loads(value)
        except (ValueError, RecursionError):
            found = value
        if found is not None and not ok(found):
            raise InputError(f"{where}: {column}: expected {expected}, got {value!r:.60}")
        return found

    try:
        name = person_name(text("name") or "")
    except InputError as error:
        raise InputError(f"{where}: name: {error}") from error
    told = text("told") or "person"
    if told not in ("person", "ignored"):
        raise InputError(f"{where}: told: expected person or ignored, got {told!r:.60}")
    sha256 = text("sha256")
    if sha256 is not None and (len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef")):
        raise InputError(f"{where}: sha256: expected 64 lower-case hex digits, got {sha256!r:.60}")
    groups = parsed("groups", lambda v: isinstance(v, list) and all(isinstance(g, str) for g in v), "a JSON list")
    box = [number(column) for column in ("x0", "y0", "x1", "y1")]
    x0, y0, x1, y1 = (v or 0.0 for v in box)
    return Row(
        name=name,
        external_id=text("external_id"),
        told=told,
        groups=tuple(groups or ()),
        metadata=parsed("metadata", lambda v: isinstance(v, dict), "a JSON object"),
        expires=number("expires"),
        consent=text("consent") or "",
        picture=text("picture") or "",
        sha256=sha256,
        face=None if None in box else Face((x0, y0, x1, y1), number("score", 1) or 0.0, ()),
        quality=number("quality", 1),
        negative=(text("negative") or "false").lower() in ("true", "1"),
        embedding=embedding,
    )
