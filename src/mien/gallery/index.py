"""Exact search over all enrolled faces: vectors in memory, derived from the truth and never the other way round."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import GalleryFileError
from mien.gallery.records import Negatives, Position
from mien.match import Candidate, similarity_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.gallery.records import Changes, Ids, Known
    from mien.types import Floats

__all__ = ["Snapshot"]

_GONE = np.float32(-2)  # below every cosine
_SPARSE = 4  # rebuilt without removed faces once they are one in this many


def _no_ids() -> Ids:
    return np.zeros(0, np.int64)


def _no_rows() -> Floats:
    return np.zeros((0, 0), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The gallery at one moment. Immutable to its readers, so any number of threads may search it.

    Snapshots share their buffers: `follow` writes only behind the rows that older snapshots can see, and into a buffer
    that still has room there only once. Call `follow` on the newest snapshot only, from one thread at a time.

    Attributes:
        count: rows in use, removed ones included.
        gone: rows of removed faces, ascending.
        people: subject id -> what is known of it.
        position: how far the truth was followed.
        negatives: exemplars of who subjects are not, or None.
    """

    count: int = 0
    gone: Ids = field(default_factory=_no_ids)
    people: dict[int, Known] = field(default_factory=dict)
    position: Position = field(default_factory=Position)
    negatives: Negatives | None = None
    _vectors: Floats = field(default_factory=_no_rows)
    _owners: Ids = field(default_factory=_no_ids)
    _ids: Ids = field(default_factory=_no_ids)  # ascending
    _pictures: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of enrolled faces."""
        return self.count - len(self.gone)

    def follow(self, changes: Changes, source: str = "gallery") -> Snapshot:
        """The snapshot after `changes`; this one stays as it is.

        Raises:
            GalleryFileError: a face belongs to nobody; `source` names the gallery.
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
        owners = self._owners
        known = np.array(sorted(changes.moved), np.int64)
        if len(moved := self._rows(known)):
            owners = owners.copy()
            owners[moved] = [changes.moved[i] for i in self._ids[moved].tolist()]
        gone = np.union1d(self.gone, self._rows(np.array(sorted(changes.removed_faces), np.int64)))
        if changes.removed:
            gone = np.union1d(gone, np.flatnonzero(np.isin(owners[: self.count], list(changes.removed))))
        grown = self._grown(changes, owners, people, gone)
        return grown._without_gone() if len(gone) * _SPARSE > grown.count else grown

    def _rows(self, face_ids: Ids) -> Ids:
        """Rows of those of some faces that are here; `face_ids` ascend."""
        if not len(face_ids) or not self.count:
            return _no_ids()
        ids = self._ids[: self.count]
        at = np.minimum(np.searchsorted(ids, face_ids), self.count - 1)
        return np.asarray(at[ids[at] == face_ids], np.int64)

    def _grown(self, changes: Changes, owners: Ids, people: dict[int, Known], gone: Ids) -> Snapshot:
        new = len(changes.embeddings)
        count = self.count + new
        vectors, ids, pictures = self._vectors, self._ids, self._pictures
        if new and (count > len(vectors) or vectors.shape[1] != changes.embeddings.shape[1]):
            # Doubling keeps the cost of n additions proportional to n; a first load takes what it needs.
            room = max(count, 2 * self.count)
            vectors = np.empty((room, changes.embeddings.shape[1]), np.float32)
            owners, ids = (np.concatenate([column[: self.count], np.empty(room - self.count, np.int64)])
                           for column in (owners, ids))  # fmt: skip
            if self.count:
                vectors[: self.count] = self._vectors[: self.count]
        if new:
            vectors[self.count : count] = changes.embeddings
            owners[self.count : count] = changes.subject_ids
            ids[self.count : count] = changes.face_ids
            pictures[self.count :] = changes.pictures
        against = _followed(self.negatives, changes)
        return Snapshot(count, gone, people, changes.position, against, vectors, owners, ids, pictures)

    def _without_gone(self) -> Snapshot:
        keep = np.ones(self.count, bool)
        keep[self.gone] = False
        rows = np.flatnonzero(keep)
        return Snapshot(
            count=len(rows),
            people=self.people,
            position=self.position,
            negatives=self.negatives,
            _vectors=self._vectors[rows],
            _owners=self._owners[rows],
            _ids=self._ids[rows],
            _pictures=[self._pictures[i] for i in rows.tolist()],
        )

    def search(self, embeddings: Floats, *, k: int, group: str | None = None) -> list[list[Candidate]]:
        """The k best subjects of each probe, best first; a subject scores as its nearest face does.

        Exact. Of equal scores the face that was enrolled first wins. All probes of a block share one matrix product.

        Args:
            embeddings: float32 (Q, D), unit norm.
            k: subjects wanted; fewer come back from a smaller gallery.
            group: only subjects of this group.

        Returns:
            One list a probe.
        """
        if not len(self):
            return [[] for _ in range(len(embeddings))]
        owners, hidden = self._owners[: self.count], self.gone
        if group is not None:
            members = [i for i, known in self.people.items() if group in known.groups]
            hidden = np.union1d(hidden, np.flatnonzero(~np.isin(owners, members)))
        found: list[list[Candidate]] = []
        for start, scores in similarity_blocks(embeddings, self._vectors[: self.count]):
            scores[:, hidden] = _GONE
            found.extend(self._best(embeddings[start + i], row, owners, k) for i, row in enumerate(scores))
        return found

    def faces_of(self, subject_ids: Sequence[int]) -> tuple[Floats, Ids]:
        """All faces of some subjects: float32 (N, D), and int64 (N,) whose each is; by face id."""
        wanted = np.isin(self._owners[: self.count], np.asarray(subject_ids, np.int64))
        wanted[self.gone] = False
        rows = np.flatnonzero(wanted)
        return self._vectors[rows], self._owners[rows]

    def _best(self, probe: Floats, scores: Floats, owners: Ids, k: int) -> list[Candidate]:
        best: list[Candidate] = []
        while True:
            at = int(scores.argmax())
            score = float(scores[at])
            if score <= _GONE:
                return best
            owner = int(owners[at])
            known = self.people[owner]
            best.append(
                Candidate(
                    owner,
                    known.name,
                    min(1.0, max(-1.0, score)),
                    self._pictures[at],
                    told=known.told,
                    against=self._against(probe, owner),
                    face_id=int(self._ids[at]),
                )
            )
            if len(best) == k:
                return best
            scores[owners == owner] = _GONE

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
