"""Exact search over all enrolled faces: vectors in memory, derived from the store and never the other way round."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import GalleryFileError
from mien.gallery.records import Position
from mien.match import Candidate, similarity_blocks

if TYPE_CHECKING:
    from mien.gallery.records import Changes, Ids
    from mien.types import Floats

__all__ = ["Snapshot"]

_GONE = np.float32(-2)  # below every cosine
_SPARSE = 4  # rebuilt without removed faces once they are one in this many


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The gallery at one moment. Immutable to its readers, so any number of threads may search it.

    Snapshots share their buffers: `follow` writes only behind the rows that older snapshots can see, and into a buffer
    that still has room there only once. Call `follow` on the newest snapshot only, from one thread at a time.

    Attributes:
        count: rows in use, removed ones included.
        gone: rows of removed subjects, ascending.
        names: subject id -> name.
        position: how far the store was followed.
    """

    count: int = 0
    gone: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    names: dict[int, str] = field(default_factory=dict)
    position: Position = field(default_factory=Position)
    _vectors: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    _owners: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    _pictures: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of enrolled faces."""
        return self.count - len(self.gone)

    def follow(self, changes: Changes, source: str = "gallery") -> Snapshot:
        """The snapshot after `changes`; this one stays as it is.

        Raises:
            GalleryFileError: a face belongs to nobody; `source` names the gallery.
        """
        names = self.names
        renamed = any(i in names for i in changes.names)
        if renamed or changes.removed:  # readers hold the old one; a new key alone does not disturb them
            names = {i: name for i, name in names.items() if i not in changes.removed}
        names.update(changes.names)
        if not set(np.unique(changes.subject_ids).tolist()) <= names.keys():
            raise GalleryFileError(f"{source}: holds faces that belong to nobody; restore a backup")
        vectors, owners, pictures, count = self._grown(changes)
        gone = self.gone
        if changes.removed:
            lost = np.flatnonzero(np.isin(owners[: self.count], list(changes.removed)))
            gone = np.union1d(gone, lost)
        grown = Snapshot(count, gone, names, changes.position, vectors, owners, pictures)
        return grown._without_gone() if len(gone) * _SPARSE > count else grown

    def _grown(self, changes: Changes) -> tuple[Floats, Ids, list[str], int]:
        new = len(changes.embeddings)
        count = self.count + new
        vectors, owners, pictures = self._vectors, self._owners, self._pictures
        if new and (count > len(vectors) or vectors.shape[1] != changes.embeddings.shape[1]):
            # Doubling keeps the cost of n additions proportional to n; a first load takes what it needs.
            room = max(count, 2 * self.count)
            vectors = np.empty((room, changes.embeddings.shape[1]), np.float32)
            owners = np.empty(room, np.int64)
            if self.count:
                vectors[: self.count] = self._vectors[: self.count]
            owners[: self.count] = self._owners[: self.count]
        if new:
            vectors[self.count : count] = changes.embeddings
            owners[self.count : count] = changes.subject_ids
            pictures[self.count :] = changes.pictures
        return vectors, owners, pictures, count

    def _without_gone(self) -> Snapshot:
        keep = np.ones(self.count, bool)
        keep[self.gone] = False
        rows = np.flatnonzero(keep)
        return Snapshot(
            count=len(rows),
            names=self.names,
            position=self.position,
            _vectors=self._vectors[rows],
            _owners=self._owners[rows],
            _pictures=[self._pictures[i] for i in rows.tolist()],
        )

    def search(self, embeddings: Floats, *, k: int) -> list[list[Candidate]]:
        """The k best subjects of each probe, best first; a subject scores as its nearest face does.

        Exact. Of equal scores the face that was enrolled first wins. All probes of a block share one matrix product.

        Args:
            embeddings: float32 (Q, D), unit norm.
            k: subjects wanted; fewer come back from a smaller gallery.

        Returns:
            One list a probe.
        """
        if not len(self):
            return [[] for _ in range(len(embeddings))]
        owners = self._owners[: self.count]
        found: list[list[Candidate]] = []
        for _, scores in similarity_blocks(embeddings, self._vectors[: self.count]):
            scores[:, self.gone] = _GONE
            found.extend(self._best(row, owners, k) for row in scores)
        return found

    def _best(self, scores: Floats, owners: Ids, k: int) -> list[Candidate]:
        best: list[Candidate] = []
        while True:
            at = int(scores.argmax())
            score = float(scores[at])
            if score <= _GONE:
                return best
            owner = int(owners[at])
            best.append(Candidate(owner, self.names[owner], min(1.0, max(-1.0, score)), self._pictures[at]))
            if len(best) == k:
                return best
            scores[owners == owner] = _GONE
