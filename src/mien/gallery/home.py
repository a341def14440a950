"""The plug point below a gallery: a home, where subjects, faces and all that is said of them live.

A gallery is the semantics (names, thresholds, decisions); a home keeps rows and finds near vectors. There are three:
a SQLite file, PostgreSQL with pgvector, and Milvus. They do not promise the same: `Capabilities` says what each does,
and asking a home for what it does not promise raises `UnsupportedError`, which names the home and what to do.

`tests/contract/test_home.py` is the suite that every home passes, by its capabilities.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mien.gallery.records import FaceRecord, Ids
    from mien.match import Candidate
    from mien.types import Face, Floats, ModelIdentity, Subject

__all__ = ["AuditEntry", "Batch", "Capabilities", "Counts", "Home", "Sighting", "StoredFace", "SubjectRow", "Told"]

Told: TypeAlias = Literal["person", "ignored"]
"""What a subject is: somebody to be named, or a known stranger (a poster, the postman) who is to stay unnamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a home promises.

    Attributes:
        home: "sqlite", "postgresql" or "milvus".
        transactions: an operation happens whole or not at all, also when the process is killed.
        durable: what a method has returned from survives a power cut.
        several_writers: several processes may write at the same time.
        exact: search is exact (up to a size that the documentation names); otherwise recall is measured, not promised.
        sightings: it keeps the log of who was seen.
        audit: it keeps the hash-chained log of what was done.
        encryption: it can keep everything that names or shows a person encrypted at rest.
        erasure_proof: it can show from its bytes that an erased person is gone.
        backup: it can copy itself while it is in use.
        migration: it can keep the embeddings of two models while it changes from one to the other.
    """

    home: str
    transactions: bool
    durable: bool
    several_writers: bool
    exact: bool
    sightings: bool
    audit: bool
    encryption: bool
    erasure_proof: bool
    backup: bool
    migration: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a home holds: people, known strangers, enrolled faces of both, and negative exemplars."""

    people: int
    ignored: int
    faces: int
    negatives: int


@dataclass(frozen=True, slots=True)
class StoredFace:
    """A face as it is kept.

    Attributes:
        id: stable number within the gallery.
        subject_id: whose it is.
        picture: name of the picture it comes from.
        sha256: checksum of the picture's content, or None.
        face: box and detection score, or None.
        quality: 0 to 1, or None where it was not judged.
        enrolled: seconds since the epoch.
        negative: whether it is an exemplar of who the subject is NOT.
        crop: whether an aligned crop is kept.
    """

    id: int
    subject_id: int
    picture: str
    sha256: str | None = None
    face: Face | None = None
    quality: float | None = None
    enrolled: float = 0.0
    negative: bool = False
    crop: bool = False


@dataclass(frozen=True, slots=True)
class Sighting:
    """Somebody was seen.

    Attributes:
        time: seconds since the epoch.
        subject_id: who, or None for a stranger.
        score: cosine.
        source: the picture, or the camera.
        name: the subject's name now; filled in when read.
    """

    time: float
    subject_id: int | None
    score: float
    source: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the append-only log. Subjects appear by pseudonym only, so that erasing somebody need not break it.

    Attributes:
        seq: 1, 2, 3, ...
        time: seconds since the epoch.
        action: "enrol", "remove", "rename", "merge", "move", "describe", "reject", "erase", "expire", "migrate", ...
        pseudonym: random hex of the subject, or None where the action concerns the whole gallery.
        count: faces concerned.
        digest: hex SHA-256 over the digest before and this entry's fields; see `mien.gallery.audit`.
    """

    seq: int
    time: float
    action: str
    pseudonym: str | None
    count: int
    digest: str


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """A subject as it moves between homes, with all that `Subject` says and its pseudonym."""

    subject: Subject
    pseudonym: str


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A part of a gallery on its way to another home; faces in order of id, with the subjects that they belong to.

    Attributes:
        subjects: every subject that a face here belongs to, and subjects without faces in the last batch.
        faces: the faces.
        embeddings: float32 (N, D), theirs.
        crops: id of a face -> its encoded crop, where one is kept.
    """

    subjects: tuple[SubjectRow, ...] = ()
    faces: tuple[StoredFace, ...] = ()
    embeddings: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    crops: Mapping[int, bytes] = field(default_factory=dict)


@runtime_checkable
class Home(Protocol):
    """Rows and near vectors. Thread-safe; names arrive cleaned (`mien.images.person_name`), embeddings checked.

    Every method that changes something raises GalleryError when the home was opened readonly, and, where `capabilities`
    says so, is all or nothing and on the disk when it returns. Subjects are named by their name.
    """

    source: str
    readonly: bool

    @property
    def capabilities(self) -> Capabilities:
        """What this home promises."""
        ...

    @property
    def identity(self) -> ModelIdentity | None:
        """The model whose embeddings are kept, or None while nothing was ever stored."""
        ...

    def pin(self, identity: ModelIdentity) -> None:
        """Bind the home to a model; one that is bound to it already may be readonly.

        Raises GalleryModelError when it is bound to another one, or was when it was opened.
        """
        ...

    def size_on_disk(self) -> int:
        """Bytes, as far as the home can tell; 0 in memory."""
        ...

    def close(self) -> None:
        """Let go; a second call does nothing, any other method raises GalleryError afterwards."""
        ...

    # Reading

    def counts(self) -> Counts:
        """How much it holds."""
        ...

    def subjects(self, *, group: str | None = None) -> list[Subject]:
        """Everybody, people and known strangers, in order of enrolment; only those of a group if one is given."""
        ...

    def subject(self, name: str) -> Subject:
        """One subject. Raises NotFoundError, with similar names."""
        ...

    def subject_of(self, external_id: str) -> Subject:
        """The subject that another system knows by this id. Raises NotFoundError."""
        ...

    def faces(self, name: str) -> list[StoredFace]:
        """A subject's faces and negative exemplars, in order of enrolment. Raises NotFoundError."""
        ...

    def embeddings(self, face_ids: Sequence[int]) -> Floats:
        """float32 (N, D) of these faces, in the order asked for. Raises NotFoundError for one that is gone."""
        ...

    def crop(self, face_id: int) -> bytes | None:
        """The encoded crop kept of a face, or None. Raises NotFoundError."""
        ...

    def knows(self, name: str) -> bool:
        """Whether there is a subject of this name; quick for strangers, too."""
        ...

    def contents_of(self, name: str) -> set[str]:
        """Checksums of the pictures a subject holds; empty for a stranger."""
        ...

    def owners_of(self, sha256: str) -> list[str]:
        """Names of the subjects that hold a picture of this content."""
        ...

    def search(self, probes: Floats, *, k: int, group: str | None = None) -> list[list[Candidate]]:
        """The k nearest subjects of each probe, best first; a subject scores as its nearest face does.

        Known strangers take part. Negative exemplars are no faces: each candidate's `against` is the highest cosine to
        the subject's negative exemplars. Of equal scores the lower face id wins.

        Args:
            probes: float32 (Q, D), unit norm.
            k: subjects wanted, at least 1; fewer come back from a smaller gallery.
            group: only subjects of this group.
        """
        ...

    def template_faces(self, subject_ids: Sequence[int]) -> tuple[Floats, Ids]:
        """All faces of some subjects, negatives left out: float32 (N, D), and int64 (N,) whose each is."""
        ...

    # Changing

    def add(
        self, people: Sequence[tuple[str, Sequence[FaceRecord]]], identity: ModelIdentity, *, told: Told = "person"
    ) -> tuple[list[Subject], int]:
        """Store faces of any number of subjects; new names become new subjects, of the kind `told`.

        A content that the subject already holds is left out. Pins a new home.

        Returns:
            The subjects, and how many faces were new.

        Raises:
            GalleryModelError: the home belongs to another model.
        """
        ...

    def reject(self, name: str, record: FaceRecord) -> StoredFace:
        """Keep a face as an exemplar of who a subject is not. Raises NotFoundError."""
        ...

    def describe(self, name: str, **changes: Any) -> Subject:  # noqa: ANN401 - see Args
        """Change what is said of a subject; see `Register.describe`, which checks it.

        Raises:
            NotFoundError: there is no such subject.
            GalleryError: the external id belongs to somebody else.
        """
        ...

    def rename(self, old: str, new: str) -> Subject:
        """Give a subject another name. Raises NotFoundError, and GalleryError when the name is taken."""
        ...

    def merge(self, name: str, into: str) -> Subject:
        """Give all of a subject's faces and negative exemplars to another one and forget the first.

        A content that both hold is kept once. Raises NotFoundError.
        """
        ...

    def move_faces(self, face_ids: Sequence[int], to: str) -> Subject:
        """Give faces to a subject, new or known; the ones they leave stay, also without faces. Raises NotFoundError."""
        ...

    def remove_faces(self, face_ids: Sequence[int]) -> int:
        """Forget faces or negative exemplars; returns how many. Raises NotFoundError when one is not there."""
        ...

    def remove(self, name: str, *, action: str = "remove") -> Subject:
        """Forget a subject, its faces and sightings; returns what was forgotten. Raises NotFoundError.

        `action` is what the audit log calls it: "remove", "expire" or "erase".
        """
        ...

    # Kept beside

    def calibration(self) -> str | None:
        """The calibration kept with the gallery, as TOML, or None."""
        ...

    def keep_calibration(self, toml: str | None) -> None:
        """Keep a calibration with the gallery, or none any more."""
        ...

    def log(self, sightings: Sequence[Sighting]) -> None:
        """Append to the log of who was seen."""
        ...

    def sightings(
        self, *, since: float | None = None, until: float | None = None, name: str | None = None
    ) -> Iterator[Sighting]:
        """The log, oldest first: since <= time < until, of one subject if named."""
        ...

    def audit(self) -> Iterator[AuditEntry]:
        """What was done, oldest first."""
        ...

    # Moving house

    def batches(self, *, after: int = 0, size: int = 4096) -> Iterator[Batch]:
        """Everything, in order of face id, from the first face behind `after` on: one consistent picture if it can."""
        ...

    def load(self, batch: Batch, identity: ModelIdentity) -> None:
        """Store rows with the ids they come with; rows that are there already stay. Pins a new home."""
        ...

    def load_beside(self, *, audit: Sequence[AuditEntry] = (), sightings: Sequence[Sighting] = ()) -> None:
        """Store the logs of another home, into a home whose own are empty."""
        ...
