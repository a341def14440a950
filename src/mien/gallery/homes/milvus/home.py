"""A gallery's home in Milvus."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from mien.errors import GalleryError, InputError, NotFoundError, UnsupportedError
from mien.gallery.home import Batch, Capabilities, Counts, StoredFace
from mien.gallery.homes.milvus.address import parse
from mien.gallery.homes.milvus.link import Link, key_of
from mien.gallery.homes.milvus.moving import batches
from mien.gallery.homes.milvus.rows import FACE, SUBJECT, checked_json, face_row, stored_face, subject_row
from mien.gallery.homes.milvus.searching import search
from mien.gallery.homes.milvus.tables import Tables
from mien.gallery.homes.milvus.writing import Writing
from mien.gallery.names import other_model
from mien.types import Subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mien.gallery.home import AuditEntry, Sighting, Told
    from mien.gallery.records import FaceRecord, Ids
    from mien.match import Candidate
    from mien.types import Floats, ModelIdentity

__all__ = ["MilvusHome"]


class MilvusHome:
    """Subjects and faces in three collections of a Milvus server, or of a Milvus Lite in a folder; see `Home`.

    Milvus has no transactions and no unique columns: a change that is cut off may be half done, and only one process
    may write at a time. It keeps no logs. Reads see every write that was acknowledged.

    Thread-safe: changes take turns within the process. Do not carry it over `os.fork`.

    Args:
        url: ``milvus://user:password@host:port/database`` or ``milvus:///path/file.db``.
        readonly: refuse to change anything.
        create: make the collections where they are missing.

    Raises:
        MissingExtraError: pymilvus is not installed.
        InputError: the URL is none.
        NotFoundError: there is no gallery, and none is to be made.
        GalleryFileError: the server cannot be reached.
    """

    def __init__(self, url: str, *, readonly: bool = False, create: bool = True) -> None:
        self._address = parse(url)
        self.source = self._address.source
        self.readonly = readonly
        self._lock = threading.RLock()
        self._link = Link(self._address, readonly=readonly, create=create)
        self._tables = Tables(self._link)
        self._writing = Writing(self._link, self._tables)

    @property
    def capabilities(self) -> Capabilities:
        """What this home promises."""
        return Capabilities(
            home="milvus",
            transactions=False,
            durable=self._address.path is None,
            several_writers=False,
            exact=self._address.index == "FLAT",
            sightings=False,
            audit=False,
            encryption=False,
            erasure_proof=False,
            backup=False,
        )

    @property
    def identity(self) -> ModelIdentity | None:
        """The model whose embeddings are kept, or None."""
        return self._tables.identity()

    def pin(self, identity: ModelIdentity) -> None:
        """Bind the home to a model."""
        pinned = self.identity  # read first: who only looks does not wait for who writes
        if pinned is None:
            with self._lock:
                pinned = self.identity
                if pinned is None:
                    self._link.check_writable()
                    self._tables.pin(identity)
        if pinned not in (None, identity):
            raise other_model(self.source, pinned, identity)

    def size_on_disk(self) -> int:
        """Bytes of a Milvus Lite's folder; a server does not tell, so 0."""
        path = self._address.path
        return 0 if path is None else sum(file.stat().st_size for file in path.rglob("*") if file.is_file())

    def close(self) -> None:
        """Let go of the connection."""
        self._link.close()

    def __enter__(self) -> MilvusHome:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<MilvusHome {self.source}>"

    # Reading

    def counts(self) -> Counts:
        """How much it holds."""
        people, ignored = (self._link.count("subjects", f'told == "{told}"') for told in ("person", "ignored"))
        faces, negatives = (self._link.count("faces", f"negative == {value}") for value in ("false", "true"))
        return Counts(people, ignored, faces, negatives)

    def subjects(self, *, group: str | None = None) -> list[Subject]:
        """Everybody, or everybody of a group, in order of enrolment."""
        if group is None:
            return self._tables.subjects(list(self._link.rows("subjects", "id > 0", SUBJECT)), everybody=True)
        where = f'array_contains(group_keys, "{key_of(group)}")'
        return self._tables.subjects(list(self._link.rows("subjects", where, SUBJECT)))

    def subject(self, name: str) -> Subject:
        """One subject."""
        return self._tables.subjects([self._tables.row_of(name)])[0]

    def subject_of(self, external_id: str) -> Subject:
        """The subject that another system knows by this id."""
        rows = self._link.rows_in("subjects", "external_key", [key_of(external_id)], SUBJECT)
        if not rows:
            raise NotFoundError(f"{self.source}: nobody has the external id {external_id!r}")
        return self._tables.subjects(rows)[0]

    def faces(self, name: str) -> list[StoredFace]:
        """A subject's faces and negative exemplars."""
        return [stored_face(row) for row in self._tables.faces_in([int(self._tables.row_of(name)["id"])])]

    def embeddings(self, face_ids: Sequence[int]) -> Floats:
        """float32 (N, D) of these faces."""
        return self._tables.vectors(self._tables.faces_by_id(face_ids, "embedding"))

    def crop(self, face_id: int) -> bytes | None:
        """The encoded crop kept of a face, or None."""
        (row,) = self._tables.faces_by_id([face_id])
        return self._tables.crop(int(face_id), row["row"]["crop"]) if row["row"]["crop"] else None

    def knows(self, name: str) -> bool:
        """Whether there is a subject of this name."""
        return name in self._tables.named([name])

    def contents_of(self, name: str) -> set[str]:
        """Checksums of the pictures a subject holds."""
        row = self._tables.named([name]).get(name)
        faces = self._tables.faces_in([int(row["id"])], also="negative == false") if row else []
        return {face["row"]["sha256"] for face in faces if face["row"]["sha256"] is not None}

    def owners_of(self, sha256: str) -> list[str]:
        """Names of the subjects that hold a picture of this content."""
        faces = self._link.rows_in("faces", "content_key", [key_of(sha256)], FACE, also="negative == false")
        rows = self._link.rows_in("subjects", "id", sorted({int(face["subject_id"]) for face in faces}), SUBJECT)
        return [row["row"]["name"] for row in sorted(rows, key=lambda row: int(row["id"]))]

    def search(self, probes: Floats, *, k: int, group: str | None = None) -> list[list[Candidate]]:
        """The k nearest subjects of each probe."""
        if not len(probes) or self.identity is None:
            return [[] for _ in probes]
        return search(self._link, self._tables, probes, k=k, group=group)

    def template_faces(self, subject_ids: Sequence[int]) -> tuple[Floats, Ids]:
        """All faces of some subjects, negatives left out."""
        rows = self._tables.faces_in([int(i) for i in subject_ids], "embedding", also="negative == false")
        return self._tables.vectors(rows), np.array([int(row["subject_id"]) for row in rows], np.int64)

    # Changing

    def add(
        self, people: Sequence[tuple[str, Sequence[FaceRecord]]], identity: ModelIdentity, *, told: Told = "person"
    ) -> tuple[list[Subject], int]:
        """Store faces of any number of subjects."""
        self._link.check_writable()
        for _, records in people:
            self._writing.check(records, identity)
        with self._lock:
            self.pin(identity)
            known, added = self._writing.add(people, told)
            ids = {name: int(row["id"]) for name, row in known.items()}
            subjects = {subject.id: subject for subject in self._tables.subjects(list(known.values()))}
            return [subjects[ids[name]] for name, _ in people], added

    def reject(self, name: str, record: FaceRecord) -> StoredFace:
        """Keep a face as an exemplar of who a subject is not."""
        self._link.check_writable()
        with self._lock:
            row = self._tables.row_of(name)
            identity = self.identity
            if identity is None:
                raise GalleryError(
                    f"{self.source}: it is not said which model makes the embeddings; enrol a face first"
                )
            self._writing.check([record], identity)
            return self._writing.store([(int(row["id"]), record)], negative=True)[0]

    def describe(self, name: str, **changes: Any) -> Subject:  # noqa: ANN401 - see Home
        """Change what is said of a subject."""
        self._link.check_writable()
        unknown = changes.keys() - {"external_id", "told", "groups", "metadata", "expires", "consent"}
        if unknown:
            raise InputError(f"describe: nothing is known of {min(unknown)!r:.60}")
        with self._lock:
            row = self._tables.row_of(name)
            if "groups" in changes:
                changes["groups"] = tuple(sorted({str(group) for group in changes["groups"]}))
            if "metadata" in changes:
                changes["metadata"] = checked_json(changes["metadata"])
            if (external_id := changes.get("external_id")) is not None:
                others = self._link.rows_in("subjects", "external_key", [key_of(external_id)], SUBJECT)
                if any(other["id"] != row["id"] for other in others):
                    owner = others[0]["row"]["name"]
                    raise GalleryError(f"{self.source}: the external id {external_id!r} belongs to {owner!r}")
            return self._writing.changed(row, **changes)

    def rename(self, old: str, new: str) -> Subject:
        """Give a subject another name."""
        self._link.check_writable()
        with self._lock:
            row = self._tables.row_of(old)
            if old != new and self._tables.named([new]):
                raise GalleryError(
                    f"{self.source}: {new!r} is already enrolled; choose another name or remove it first"
                )
            return self._writing.changed(row, name=new)

    def merge(self, name: str, into: str) -> Subject:
        """Give all of a subject's faces to another one and forget the first."""
        self._link.check_writable()
        with self._lock:
            gone, kept = self._tables.row_of(name), self._tables.row_of(into)
            if gone["id"] == kept["id"]:
                raise GalleryError(f"{self.source}: {name!r} cannot be merged into itself; name two subjects")
            self._writing.give(self._tables.faces_in([int(gone["id"])], "embedding", "content_key"), int(kept["id"]))
            self._link.drop("subjects", [int(gone["id"])])
            return self._tables.subjects([kept])[0]

    def move_faces(self, face_ids: Sequence[int], to: str) -> Subject:
        """Give faces to a subject, new or known."""
        self._link.check_writable()
        with self._lock:
            faces = self._tables.faces_by_id(list(dict.fromkeys(face_ids)), "embedding", "content_key")
            row = self._writing.made([to], "person")[to]
            self._writing.give(faces, int(row["id"]))
            return self._tables.subjects([row])[0]

    def remove_faces(self, face_ids: Sequence[int]) -> int:
        """Forget faces or negative exemplars."""
        self._link.check_writable()
        with self._lock:
            faces = self._tables.faces_by_id(list(dict.fromkeys(face_ids)))
            self._tables.drop_faces(faces)
            return len(faces)

    def remove(self, name: str, *, action: str = "remove") -> Subject:
        """Forget a subject and all of its faces. There is no log to say the action in."""
        self._link.check_writable()
        with self._lock:
            row = self._tables.row_of(name)
            (subject,) = self._tables.subjects([row])
            self._tables.drop_faces(self._tables.faces_in([subject.id]))
            self._link.drop("subjects", [subject.id])
            return subject

    # Kept beside

    def calibration(self) -> str | None:
        """The calibration kept with the gallery, as TOML, or None."""
        return self._tables.text("calibration")

    def keep_calibration(self, toml: str | None) -> None:
        """Keep a calibration with the gallery, or none any more."""
        self._link.check_writable()
        with self._lock:
            self._tables.keep("calibration", toml)

    def log(self, sightings: Sequence[Sighting]) -> None:
        """Refused: Milvus keeps no logs."""
        self._link.check_writable()
        self._refuse("log of who was seen")

    def sightings(
        self, *, since: float | None = None, until: float | None = None, name: str | None = None
    ) -> Iterator[Sighting]:
        """Refused: Milvus keeps no logs."""
        self._refuse("log of who was seen")

    def audit(self) -> Iterator[AuditEntry]:
        """Refused: Milvus keeps no logs."""
        self._refuse("log of what was done")

    def _refuse(self, what: str) -> NoReturn:
        raise UnsupportedError(
            f"{self.source}: a gallery in milvus keeps no {what}; `mien gallery copy` moves it to a file or to "
            "PostgreSQL, which do"
        )

    # Moving house

    def batches(self, *, after: int = 0, size: int = 4096) -> Iterator[Batch]:
        """Everything, in order of face id; what others change meanwhile may or may not be in it."""
        return batches(self._link, self._tables, after, size)

    def load(self, batch: Batch, identity: ModelIdentity) -> None:
        """Store rows with the ids they come with."""
        self._link.check_writable()
        with self._lock:
            self.pin(identity)
            ids = [row.subject.id for row in batch.subjects]
            there = {
                int(row["id"]): row["row"]["pseudonym"] for row in self._link.rows_in("subjects", "id", ids, SUBJECT)
            }
            if any(there.get(row.subject.id, row.pseudonym) != row.pseudonym for row in batch.subjects):
                raise GalleryError(f"{self.source}: holds other people already; copy into a new gallery")
            new = [row for row in batch.subjects if row.subject.id not in there]
            self._tables.numbers_past("subject", max((row.subject.id for row in new), default=0))
            self._tables.numbers_past("face", max((face.id for face in batch.faces), default=0))
            self._link.put("subjects", [subject_row(row.subject, row.pseudonym) for row in new])
            held = {
                int(row["id"]) for row in self._link.rows_in("faces", "id", [face.id for face in batch.faces], ("id",))
            }
            parts = self._tables.keep_crops({i: crop for i, crop in batch.crops.items() if i not in held})
            self._link.put(
                "faces",
                [
                    face_row(face, row, parts.get(face.id, 0))
                    for face, row in zip(batch.faces, batch.embeddings, strict=True)
                    if face.id not in held
                ],
            )

    def load_beside(self, *, audit: Sequence[AuditEntry] = (), sightings: Sequence[Sighting] = ()) -> None:
        """Refused, where there is anything: Milvus keeps no logs."""
        self._link.check_writable()
        if audit:
            self._refuse("log of what was done")
        if sightings:
            self._refuse("log of who was seen")
