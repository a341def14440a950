"""From a file to a gallery."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mien.errors import GalleryError
from mien.gallery.exchange.formats import format_of
from mien.gallery.records import FaceRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mien.gallery.exchange.rows import Row
    from mien.gallery.home import Home
    from mien.types import ModelIdentity

    Advance: TypeAlias = Callable[[int], None]

__all__ = ["ImportReport", "import_gallery"]

_AT_ONCE = 4096  # rows that are stored in one step


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        rows: rows read.
        added: faces that were new.
        rejected: negative exemplars that were new.
        people: subjects in the file.
    """

    rows: int
    added: int
    rejected: int
    people: int


def import_gallery(
    home: Home,
    path: str | os.PathLike[str],
    *,
    identity: ModelIdentity | None = None,
    advance: Advance | None = None,
) -> ImportReport:
    """Enrol every row of an exported file; a second run adds nothing, so one that was stopped may be run again.

    The file is read and checked whole before anything is stored. Subjects are matched by name; what the file says of
    them (external id, groups, metadata, expiry, consent) is taken over where it says something.

    Args:
        home: where to.
        path: a .csv, .npz or .parquet file from `export_gallery`, or one like it.
        identity: the model that made the embeddings, where the file does not say.
        advance: called with the number of rows stored since the last call.

    Raises:
        InputError: the file cannot be read, or a row of it not be used; nothing was stored.
        GalleryModelError: the gallery belongs to another model.
    """
    source = Path(path)
    read = format_of(source).read
    count, found = 0, None
    for found_identity, _ in read(source, identity):  # the whole file is looked at first
        found, count = found_identity, count + 1
    if found is None:
        return ImportReport(0, 0, 0, 0)
    home.pin(found)
    added = rejected = 0
    people: set[str] = set()
    rows = (row for _, row in read(source, identity))
    while part := list(itertools.islice(rows, _AT_ONCE)):
        more, negatives = _store(home, part, found, described=people)
        added, rejected = added + more, rejected + negatives
        if advance:
            advance(len(part))
    return ImportReport(count, added, rejected, len(people))


def _store(home: Home, rows: Sequence[Row], identity: ModelIdentity, *, described: set[str]) -> tuple[int, int]:
    by_told: dict[str, dict[str, list[FaceRecord]]] = {}
    for row in rows:
        records = by_told.setdefault(row.told, {}).setdefault(row.name, [])
        if row.embedding is not None and not row.negative:
            records.append(_record(row))
    added = 0
    for told, people in by_told.items():
        added += home.add(list(people.items()), identity, told="ignored" if told == "ignored" else "person")[1]
    for row in rows:
        if row.name not in described:
            described.add(row.name)
            if said := _said(row):
                home.describe(row.name, **said)
    rejected = 0
    for name, of_one in itertools.groupby(
        (r for r in rows if r.negative and r.embedding is not None), lambda r: r.name
    ):
        there = {face.sha256 for face in home.faces(name) if face.negative}
        for row in of_one:
            if row.content not in there:
                home.reject(name, _record(row))
                there.add(row.content)
                rejected += 1
    return added, rejected


def _record(row: Row) -> FaceRecord:
    if row.embedding is None:
        raise GalleryError(f"{row.name}: expected an embedding, got none")
    return FaceRecord(row.embedding, row.picture or "<imported>", row.content, row.face, row.quality)


def _said(row: Row) -> dict[str, Any]:
    said = {
        "external_id": row.external_id,
        "groups": row.groups,
        "metadata": row.metadata,
        "expires": row.expires,
        "consent": row.consent,
    }
    return {key: value for key, value in said.items() if value}
