"""Exact search over all enrolled faces: vectors in memory, derived from the truth and never the other way round."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import GalleryFileError, InputError
from mien.gallery.owner_rows import OwnerRows
from mien.gallery.people import Column, People
from mien.gallery.records import Negatives, Position
from mien.gallery.search import ExactIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.gallery.records import Changes, Ids
    from mien.gallery.search import ApproximateIndex
    from mien.types import Floats

__all__ = ["Found", "Snapshot"]

_SPARSE = 4  # rebuilt without removed faces once they are one in this many


@dataclass(frozen=True, slots=True)
class Found:
    """A subject that a search has found.

    Attributes:
        subject_id: who.
        face_id: the nearest face.
        score: cosine to it.
        against: the highest cosine to the subject's negative exemplars, -1 without any.
    """

    subject_id: int
    face_id: int
    score: float
    against: float = -1.0


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The gallery at one moment. Immutable to its readers, so any number of threads may search it.

    Snapshots share their buffers: `follow` writes only behind the rows that older snapshots can see, and into a buffer
    that still has room there only once. Call `follow` on the newest snapshot only, from one thread at a time.

    Attributes:
        index: the faces; an owner is a subject's id.
        people: who they are.
        position: how far the truth was followed.
        negatives: exemplars of who subjects are not, or None.
        face_ids: of the rows, ascending.
        lineage: the same for snapshots in which a face has the same place.
    """

    index: ExactIndex = field(default_factory=ExactIndex)
    people: People = field(default_factory=People)
    position: Position = field(default_factory=Position)
    negatives: Negatives | None = None
    face_ids: Column = field(default_factory=Column)
    lineage: object = field(default_factory=object)
    _whose: OwnerRows = field(default_factory=OwnerRows)

    def __len__(self) -> int:
        """Number of enrolled faces."""
        return len(self.index)

    def follow(self, changes: Changes, source: str = "gallery") -> Snapshot:
        """The snapshot after `changes`; this one stays as it is.

        Raises:
            GalleryFileError: a face belongs to nobody, or is no unit vector; `source` names the gallery.
        """
        if changes.whole and self.position != Position():
            return Snapshot().follow(changes, source)
        people = self.people.follow(changes.people, changes.removed)
        owned = np.union1d(changes.subject_ids, np.array(sorted(changes.moved.values()), np.int64))
        if not people.holds(owned):
            raise GalleryFileError(f"{source}: holds faces that belong to nobody; restore a backup")
        index, whose = self.index, self._whose
        moved = self.face_ids.places(np.array(sorted(changes.moved), np.int64))
        if len(moved):
            to = [changes.moved[i] for i in self.face_ids.values[moved].tolist()]
            index, whose = index.reassign(moved, np.array(to, np.int64)), OwnerRows()
        gone = self.face_ids.places(np.array(sorted(changes.removed_faces), np.int64))
        if changes.removed:
            gone = np.union1d(gone, whose.rows(index, np.array(sorted(changes.removed), np.int64)))
        try:
            index = index.remove(gone)
            if len(changes.embeddings):
                index = index.append(changes.embeddings, changes.subject_ids)
        except InputError as error:
            raise GalleryFileError(f"{source}: {error}; restore a backup") from error
        grown = replace(
            self,
            index=index,
            people=people,
            position=changes.position,
            negatives=_followed(self.negatives, changes),
            face_ids=self.face_ids.append(changes.face_ids),
            _whose=whose,
        )
        return grown._without_gone() if index.gone * _SPARSE > index.count else grown

    def purged(self) -> Snapshot:
        """The same snapshot in memory of its own, where nothing is left of removed faces but their places."""
        return replace(self, index=self.index.purged(), _whose=OwnerRows()) if self.index.gone else self

    def _without_gone(self) -> Snapshot:
        index, rows = self.index.compacted()
        face_ids = Column.of(self.face_ids.values[rows])
        return replace(self, index=index, face_ids=face_ids, lineage=object(), _whose=OwnerRows())

    def search(
        self, embeddings: Floats, *, k: int, group: str | None = None, likely: ApproximateIndex | None = None
    ) -> list[list[Found]]:
        """The k best subjects of each probe, best first; a subject scores as its nearest face does.

        Exact. Of equal scores the face that was enrolled first wins.

        Args:
            embeddings: float32 (Q, D), unit norm.
            k: subjects wanted; fewer come back from a smaller gallery.
            group: only subjects of this group.
            likely: of this `lineage`; search approximately with it.

        Returns:
            One list a probe.
        """
        allowed = None
        if group is not None:
            allowed = np.isin(self.index.owners, np.array(self.people.of_group(group), np.int64))
        k = min(k, max(1, len(self.people)))
        if likely is None:
            hits = self.index.search(embeddings, k=k, allowed=allowed)
        else:
            hits = likely.search(self.index, embeddings, k=k, allowed=allowed)
        face_ids = self.face_ids.values[hits.rows] if len(self) else hits.rows
        table = zip(hits.rows.tolist(), face_ids.tolist(), hits.owners.tolist(), hits.scores.tolist(), strict=True)
        return [
            [
                Found(owner, face_id, min(1.0, max(-1.0, score)), self._against(probe, owner))
                for row, face_id, owner, score in zip(*columns, strict=True)
                if row >= 0
            ]
            for probe, columns in zip(embeddings, table, strict=True)
        ]

    def faces_of(self, subject_ids: Sequence[int]) -> tuple[Floats, Ids]:
        """All faces of some subjects: float32 (N, D), and int64 (N,) whose each is; by face id."""
        rows = self._whose.rows(self.index, np.asarray(subject_ids, np.int64))
        return self.index.read(rows), self.index.owners_at(rows)

    def all_faces(self) -> tuple[Floats, Ids]:
        """All faces: float32 (N, D), and int64 (N,) whose each is; by face id."""
        rows = self.index.kept()
        return self.index.read(rows), self.index.owners_at(rows)

    def _against(self, probe: Floats, owner: int) -> float:
        if self.negatives is None:
            return -1.0
        rows = self.negatives.embeddings[self.negatives.subject_ids == owner]
        return min(1.0, max(-1.0, float((rows @ probe).max()))) if len(rows) else -1.0


def _followed(before: Negatives | None, changes: Changes) -> Negatives | None:
    """The negative exemplars after `changes`; they are few, so they are copied."""
    kept = before
    if before is not None and (changes.moved or changes.removed or changes.removed_faces):
        owners = np.array(
            [
                changes.moved.get(i, o)
                for i, o in zip(before.face_ids.tolist(), before.subject_ids.tolist(), strict=True)
            ],
            np.int64,
        )
        keep = ~(np.isin(owners, list(changes.removed)) | np.isin(before.face_ids, list(changes.removed_faces)))
        kept = Negatives(before.face_ids[keep], owners[keep], before.embeddings[keep])
    new = changes.negatives
    if kept is None or new is None or not len(new.face_ids):
        return new if kept is None else kept
    return Negatives(
        np.concatenate([kept.face_ids, new.face_ids]),
        np.concatenate([kept.subject_ids, new.subject_ids]),
        np.concatenate([kept.embeddings, new.embeddings]),
    )
