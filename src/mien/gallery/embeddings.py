"""A gallery of embeddings: known people, kept for good, and exact open-set search among their faces."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mien.errors import GalleryError, InputError
from mien.gallery.index import Snapshot
from mien.gallery.records import FaceRecord
from mien.images import person_name
from mien.match import (
    IDENTIFY_FPIR,
    Calibration,
    calibration_for,
    check_threshold,
    decide,
    unit_embeddings,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import Self

    from numpy.typing import ArrayLike

    from mien.gallery.store import SqliteStore
    from mien.match import Candidate
    from mien.types import Face, Floats, Match, ModelIdentity, Subject

__all__ = ["EmbeddingGallery", "GalleryStats"]


@dataclass(frozen=True, slots=True)
class GalleryStats:
    """How much a gallery holds.

    Attributes:
        path: its file, or ":memory:".
        subjects: enrolled people.
        faces: enrolled faces.
        file_bytes: size on disk, the write-ahead log included; 0 in memory.
        identity: the model it is bound to, or None while it is new.
    """

    path: str
    subjects: int
    faces: int
    file_bytes: int
    identity: ModelIdentity | None


class EmbeddingGallery:
    """Known people and their embeddings; knows nothing of pictures. `Gallery` adds them.

    A subject scores as its nearest enrolled face does: one good picture of a person is enough to be known by. What a
    method has returned from is on the disk.

    Thread-safe: any number of threads may call any method; searches do not wait for writers. Other processes may open
    the same file at the same time, and every search sees what they have committed. Do not carry it over `os.fork`.

    Args:
        store: the durable truth; closed with the gallery.
        identity: the model whose embeddings will be used; None for the one that the gallery is bound to.
        calibration: thresholds for this model, in place of the shipped ones.

    Raises:
        GalleryModelError: the gallery is bound to another model.
        GalleryFileError: what it holds is damaged.
    """

    def __init__(
        self, store: SqliteStore, *, identity: ModelIdentity | None = None, calibration: Calibration | None = None
    ) -> None:
        self._store = store
        self._identity: ModelIdentity | None = None
        self._bound = False
        self._calibration = calibration
        self._snapshot = Snapshot()
        self._stamp: tuple[int, int] | None = None
        self._refreshing = threading.Lock()
        if identity is not None:
            self._agree(identity)
        self._current()

    def close(self) -> None:
        """Let go of the file. A second call does nothing; any other method raises GalleryError afterwards."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Number of enrolled people."""
        return self._store.counts()[0]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._store.source}>"

    @property
    def identity(self) -> ModelIdentity | None:
        """The model that the gallery is bound to, or will be by the first enrolment; None while nobody has said.

        Raises:
            GalleryModelError: another process has bound it to another model since it was opened.
        """
        if not self._bound:
            pinned = self._store.identity  # another process, or an enrolment here, may have bound it meanwhile
            if pinned is not None:
                if self._identity not in (None, pinned):
                    raise self._store.other_model(pinned, self._identity)
                self._identity, self._bound = pinned, True
        return self._identity

    @property
    def stats(self) -> GalleryStats:
        """How much the gallery holds."""
        subjects, faces = self._store.counts()
        file = self._store.file
        parts = [] if file is None else [file, file.with_name(f"{file.name}-wal")]
        return GalleryStats(self._store.source, subjects, faces, sum(map(_size, parts)), self._store.identity)

    @property
    def calibration(self) -> Calibration:
        """Where thresholds for a rate come from.

        Raises:
            GalleryError: nobody has said which model made the embeddings.
            InputError: the model has no calibration.
        """
        return self._calibrated()

    # People

    def subjects(self) -> list[Subject]:
        """Everybody who is enrolled, in order of enrolment."""
        return self._store.subjects()

    def subject(self, name: str) -> Subject:
        """One person. Raises NotFoundError, which suggests similar names."""
        return self._store.subject(person_name(name))

    def remove(self, name: str) -> Subject:
        """Forget a person and all their faces; returns what was forgotten.

        Raises:
            NotFoundError: nobody has this name; similar ones are suggested.
        """
        return self._store.remove(person_name(name))

    def rename(self, old: str, new: str) -> Subject:
        """Give a person another name.

        Raises:
            NotFoundError: nobody is named `old`; similar names are suggested.
            GalleryError: somebody is named `new` already.
        """
        return self._store.rename(person_name(old), person_name(new))

    # Faces

    def add(
        self,
        name: str,
        embeddings: ArrayLike,
        *,
        pictures: Sequence[str] = (),
        sha256: Sequence[str | None] = (),
        faces: Sequence[Face | None] = (),
    ) -> Subject:
        """Enrol faces of one person, new or known, all or nothing.

        Args:
            name: the person's name; made NFC and stripped.
            embeddings: (N, D) of unit norm, N at least 1.
            pictures: names of the N pictures; made up when left out.
            sha256: checksums of the pictures' contents; a content that the person already has is left out.
            faces: box and detection score of each.

        Returns:
            The person as now enrolled.

        Raises:
            InputError: the name or the embeddings cannot be used.
            GalleryError: nobody has said which model made the embeddings.
        """
        identity = self._need_identity()
        records = _records(embeddings, identity.dimension, pictures, sha256, faces)
        subjects, _ = self._store.add([(person_name(name), records)], identity)
        return subjects[0]

    def add_many(self, people: Iterable[tuple[str, ArrayLike]]) -> int:
        """Enrol many people's embeddings (name, (N, D)) in one step, all or nothing: the fast way to fill a gallery.

        Returns:
            How many faces were added.

        Raises:
            InputError: a name or an embedding cannot be used; nobody was enrolled.
        """
        identity = self._need_identity()
        checked = [(person_name(name), _records(rows, identity.dimension)) for name, rows in people]
        return self._store.add(checked, identity)[1] if checked else 0

    def search(self, embeddings: ArrayLike, *, k: int = 5) -> list[list[Candidate]]:
        """The k most similar people of each probe, best first, whatever their score.

        Args:
            embeddings: (Q, D) of unit norm.
            k: people wanted; fewer come back from a smaller gallery.

        Raises:
            InputError: the embeddings cannot be used, or k is below 1.
        """
        if k < 1:
            raise InputError(f"k: expected at least 1, got {k}")
        return self._current().search(self._probes(embeddings), k=k)

    def identify_embeddings(
        self, embeddings: ArrayLike, *, fpir: float = IDENTIFY_FPIR, threshold: float | None = None
    ) -> list[Match]:
        """Name each probe, or call it unknown.

        Args:
            embeddings: (Q, D) of unit norm.
            fpir: the share of strangers who may be named; the threshold follows from it, the number of enrolled faces
                and the model's calibration.
            threshold: name from this score on instead.

        Returns:
            One match a probe, with the runner-up, the nearest picture, and the reason.

        Raises:
            InputError: the embeddings cannot be used, or the model has no calibration and no threshold was given.
        """
        check_threshold(threshold)
        probes = self._probes(embeddings)
        snapshot = self._current()
        extrapolated = False
        rate: float | None = None
        if threshold is None:
            rate = fpir
            calibration = self._calibrated()
            threshold = calibration.threshold_for(fpir=fpir, gallery_size=len(snapshot))
            extrapolated = not calibration.supports_fpir(fpir=fpir, gallery_size=len(snapshot))
        return [
            decide(found, threshold=threshold, fpir=rate, extrapolated=extrapolated)
            for found in snapshot.search(probes, k=2)
        ]

    # Inside

    def _current(self) -> Snapshot:
        """The index, caught up with everything that anybody has committed."""
        with self._refreshing:
            stamp = self._store.stamp()
            if stamp != self._stamp:
                changes = self._store.changes_since(self._snapshot.position)
                self._snapshot = self._snapshot.follow(changes, self._store.source)
                self._stamp = stamp
            return self._snapshot

    def _probes(self, embeddings: ArrayLike) -> Floats:
        identity = self.identity
        return unit_embeddings(embeddings, dimension=identity.dimension if identity else None, what="probes")

    def _calibrated(self) -> Calibration:
        if self._calibration is None:
            identity = self._need_identity()
            self._calibration = calibration_for(identity)
        elif (bound := self.identity) is not None:
            self._calibration.need_for(bound)
        return self._calibration

    def _agree(self, identity: ModelIdentity) -> None:
        """Refuse a model other than the gallery's; a new gallery is bound to it by its first enrolment."""
        pinned = self.identity
        if pinned is None:
            self._identity = identity
        elif pinned != identity:
            raise self._store.other_model(pinned, identity)

    def _need_identity(self) -> ModelIdentity:
        identity = self.identity
        if identity is None:
            raise GalleryError(
                f"{self._store.source}: it is not said which model makes the embeddings; open with identity=... "
                "or recognizer=..."
            )
        return identity


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # SQLite makes the log and takes it away as it needs it
        return 0


def _records(
    embeddings: ArrayLike,
    dimension: int,
    pictures: Sequence[str] = (),
    sha256: Sequence[str | None] = (),
    faces: Sequence[Face | None] = (),
) -> list[FaceRecord]:
    rows = unit_embeddings(embeddings, dimension=dimension)
    if not len(rows):
        raise InputError("embeddings: expected at least one row, got none")
    columns = []
    for what, values, default in (
        ("pictures", pictures, "<embedding>"),
        ("sha256", sha256, None),
        ("faces", faces, None),
    ):
        if values and (isinstance(values, str) or len(values) != len(rows)):
            raise InputError(f"{what}: expected {len(rows)}, one an embedding, got {values!r:.60}")
        columns.append(values or [default] * len(rows))
    return [FaceRecord(row, *rest) for row, *rest in zip(rows, *columns, strict=True)]
