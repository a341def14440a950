"""Exact search over all enrolled faces: vectors in memory, derived from the truth and never the other way round."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import GalleryFileError, InputError
from mien.gallery.records import Negatives, Position
from mien.gallery.search import ExactIndex
from mien.match import Candidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.gallery.records import Changes, Ids, Known
    from mien.types import Floats

__all__ = ["Snapshot"]

_SPARSE = 4  # rebuilt without removed faces once they are one in this many


def _no_ids() -> Ids:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The gallery at one moment. Immutable to its readers, so any number of threads may search it.

    Snapshots share their buffers: `follow` writes only behind the rows that older snapshots can see, and into a buffer
    that still has room there only once. Call `follow` on the newest snapshot only, from one thread at a time.

    Attributes:
        index: the faces; an owner is a subject's id.
        people: subject id -> what is known of it.
        position: how far the truth was followed.
        negatives: exemplars of who subjects are not, or None.
    """

    index: ExactIndex = field(default_factory=ExactIndex)
    people: dict[int, Known] = field(default_factory=dict)
    position: Position = field(default_factory=Position)
    negatives: Negatives | None = None
    _ids: Ids = field(default_factory=_no_ids)  # ascending
    _pictures: list[str] = field(default_factory=list)

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
        people = self.people
        if changes.removed or any(i in people for i in changes.people):
            # Readers hold the old one; a new key alone does not disturb them.
            people = {i: known for i, known in people.items() if i not in changes.removed}
        people.update(changes.people)
        owned = set(np.unique(changes.subject_ids).tolist()) | set(changes.moved.values())
        if not owned <= people.keys():
            raise GalleryFileError(f"{source}: holds faces that belong to nobody; restore a backup")
        index = self.index
        known = np.array(sorted(changes.moved), np.int64)
        if len(moved := self._rows(known)):
            index = index.reassign(moved, np.array([changes.moved[i] for i in self._ids[moved].tolist()], np.int64))
        gone = self._rows(np.array(sorted(changes.removed_faces), np.int64))
        if changes.removed:
            gone = np.union1d(gone, np.flatnonzero(np.isin(index.owners, list(changes.removed))))
        try:
            grown = self._grown(changes, index.remove(gone), people)
        except InputError as error:
            raise GalleryFileError(f"{source}: {error}; restore a backup") from error
        return grown._without_gone() if grown.index.gone * _SPARSE > grown.index.count else grown

    def _rows(self, face_ids: Ids) -> Ids:
        """Rows of those of some faces that are here; `face_ids` ascend."""
        count = self.index.count
        if not len(face_ids) or not count:
            return _no_ids()
        ids = self._ids[:count]
        at = np.minimum(np.searchsorted(ids, face_ids), count - 1)
        return np.asarray(at[ids[at] == face_ids], np.int64)

    def _grown(self, changes: Changes, index: ExactIndex, people: dict[int, Known]) -> Snapshot:
        before, ids, pictures = index.count, self._ids, self._pictures
        if len(changes.embeddings):
            index = index.append(changes.embeddings, changes.subject_ids)
            if index.count > len(ids):  # doubling, as the index itself does
                ids = np.concatenate([ids[:before], np.empty(max(index.count, 2 * before) - before, np.int64)])
            ids[before : index.count] = changes.face_ids
            pictures[before:] = changes.pictures
        return Snapshot(index, people, changes.position, _followed(self.negatives, changes), ids, pictures)

    def _without_gone(self) -> Snapshot:
        index, rows = self.index.compacted()
        pictures = [self._pictures[i] for i in rows.tolist()]
        return Snapshot(index, self.people, self.position, self.negatives, self._ids[rows], pictures)

    def search(self, embeddings: Floats, *, k: int, group: str | None = None) -> list[list[Candidate]]:
        """The k best subjects of each probe, best first; a subject scores as its nearest face does.

        Exact. Of equal scores the face that was enrolled first wins.

        Args:
            embeddings: float32 (Q, D), unit norm.
            k: subjects wanted; fewer come back from a smaller gallery.
            group: only subjects of this group.

        Returns:
            One list a probe.
        """
        allowed = None
        if group is not None:
            members = [i for i, known in self.people.items() if group in known.groups]
            allowed = np.isin(self.index.owners, members)
        hits = self.index.search(embeddings, k=min(k, max(1, len(self.people))), allowed=allowed)
        table = zip(hits.rows.tolist(), hits.owners.tolist(), hits.scores.tolist(), strict=True)
        return [
            [self._candidate(probe, *hit) for hit in zip(*columns, strict=True) if hit[0] >= 0]
            for probe, columns in zip(embeddings, table, strict=True)
        ]

    def faces_of(self, subject_ids: Sequence[int]) -> tuple[Floats, Ids]:
        """All faces of some subjects: float32 (N, D), and int64 (N,) whose each is; by face id."""
        owners = self.index.owners
        rows = np.intersect1d(np.flatnonzero(np.isin(owners, np.asarray(subject_ids, np.int64))), self.index.kept())
        return self.index.read(rows), owners[rows]

    def _candidate(self, probe: Floats, row: int, owner: int, score: float) -> Candidate:
        known = self.people[owner]
        return Candidate(
            owner,
            known.name,
            min(1.0, max(-1.0, score)),
            self._pictures[row],
            told=known.told,
            against=self._against(probe, owner),
            face_id=int(self._ids[row]),
        )

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
