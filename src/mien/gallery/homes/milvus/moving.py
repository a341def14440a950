"""A gallery in Milvus as batches on their way to another home."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.gallery.home import Batch, SubjectRow
from mien.gallery.homes.milvus.rows import FACE, SUBJECT, stored_face, subject_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mien.gallery.homes.milvus.link import Link, Row
    from mien.gallery.homes.milvus.tables import Tables

__all__ = ["batches"]


def batches(link: Link, tables: Tables, after: int, size: int) -> Iterator[Batch]:
    """Everything behind a face id, in order, then the subjects without faces."""
    page: list[Row] = []
    for row in link.rows("faces", "id > 0", (*FACE, "embedding"), after=int(after)):
        page.append(row)
        if len(page) == size:
            yield _batch(link, tables, page)
            page = []
    if page:
        yield _batch(link, tables, page)
    owners = {int(row["subject_id"]) for row in link.rows("faces", "id > 0", ("id", "subject_id"))}
    alone = [row for row in link.rows("subjects", "id > 0", SUBJECT) if int(row["id"]) not in owners]
    if alone:
        yield Batch(tuple(SubjectRow(subject_of(row, ()), row["row"]["pseudonym"]) for row in alone))


def _batch(link: Link, tables: Tables, page: list[Row]) -> Batch:
    owners = sorted({int(row["subject_id"]) for row in page})
    rows = link.rows_in("subjects", "id", owners, SUBJECT)
    said = {int(row["id"]): row["row"]["pseudonym"] for row in rows}
    faces = [row for row in page if int(row["subject_id"]) in said]  # a change cut off may leave a face to nobody
    crops = {int(f["id"]): tables.crop(int(f["id"]), f["row"]["crop"]) for f in faces if f["row"]["crop"]}
    subjects = tuple(SubjectRow(subject, said[subject.id]) for subject in tables.subjects(rows))
    return Batch(subjects, tuple(map(stored_face, faces)), tables.vectors(faces), crops)
