"""A gallery's home in Milvus."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from mien.errors import GalleryError, InputError, NotFoundError, UnsupportedError
from mien.gallery.home import Batch, Capabilities, Counts, StoredFace, SubjectRow
from mien.gallery.homes.milvus.address import parse
from mien.gallery.homes.milvus.link import Link, key_of
from mien.gallery.homes.milvus.rows import FACE, SUBJECT, checked_json, face_row, stored_face, subject_of, subject_row
from mien.gallery.homes.milvus.searching import search
from mien.gallery.homes.milvus.tables import Tables
from mien.gallery.names import other_model
from mien.types import Subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mien.gallery.home import AuditEntry, Sighting, Told
    from mien.gallery.homes.milvus.link import Row
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
        with self._lock:
            pinned = self.identity
            if pinned is None:
                self._link.check_writable()
                self._tables.pin(identity)
            elif pinned != identity:
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
            self._check(records, identity)
        with self._lock:
            self.pin(identity)
            known = self._made([name for name, _ in people], told)
            ids = {name: int(row["id"]) for name, row in known.items()}
            contents = sorted({key_of(r.sha256) for _, records in people for r in records if r.sha256 is not None})
            held = {
                (int(row["subject_id"]), row["content_key"])
                for row in self._link.rows_in(
                    "faces", "content_key", contents, ("subject_id", "content_key"), also="negative == false"
                )
            }
            new: list[tuple[int, FaceRecord]] = []
            for name, records in people:
                for one in records:
                    content = (ids[name], key_of(one.sha256))
                    if one.sha256 is None or content not in held:
                        held.add(content)
                        new.append((ids[name], one))
            self._store(new)
            subjects = {subject.id: subject for subject in self._tables.subjects(list(known.values()))}
            return [subjects[ids[name]] for name, _ in people], len(new)

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
            self._check([record], identity)
            return self._store([(int(row["id"]), record)], negative=True)[0]

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
            return self._changed(row, **changes)

    def rename(self, old: str, new: str) -> Subject:
        """Give a subject another name."""
        self._link.check_writable()
        with self._lock:
            row = self._tables.row_of(old)
            if old != new and self._tables.named([new]):
                raise GalleryError(
                    f"{self.source}: {new!r} is already enrolled; choose another name or remove it first"
                )
            return self._changed(row, name=new)

    def merge(self, name: str, into: str) -> Subject:
        """Give all of a subject's faces to another one and forget the first."""
        self._link.check_writable()
        with self._lock:
            gone, kept = self._tables.row_of(name), self._tables.row_of(into)
            if gone["id"] == kept["id"]:
                raise GalleryError(f"{self.source}: {name!r} cannot be merged into itself; name two subjects")
            self._give(self._tables.faces_in([int(gone["id"])], "embedding", "content_key"), int(kept["id"]))
            self._link.drop("subjects", [int(gone["id"])])
            return self._tables.subjects([kept])[0]

    def move_faces(self, face_ids: Sequence[int], to: str) -> Subject:
        """Give faces to a subject, new or known."""
        self._link.check_writable()
        with self._lock:
            faces = self._tables.faces_by_id(list(dict.fromkeys(face_ids)), "embedding", "content_key")
            row = self._made([to], "person")[to]
            self._give(faces, int(row["id"]))
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

    def _check(self, records: Sequence[FaceRecord], identity: ModelIdentity) -> None:
        for one in records:  # before anything is written, for nothing can be taken back
            if np.shape(one.embedding) != (identity.dimension,):
                raise InputError(f"embeddings: expected shape ({identity.dimension},), got {np.shape(one.embedding)}")

    def _made(self, names: Sequence[str], told: str) -> dict[str, Row]:
        known = self._tables.named(names)
        new = [name for name in dict.fromkeys(names) if name not in known]
        now = time.time()
        rows = [
            subject_row(Subject(number, name, 0, now, told=told), secrets.token_hex(16))
            for number, name in zip(self._tables.numbers("subject", len(new)), new, strict=True)
        ]
        self._link.put("subjects", rows)
        return known | {row["row"]["name"]: row for row in rows}

    def _store(self, faces: Sequence[tuple[int, FaceRecord]], *, negative: bool = False) -> list[StoredFace]:
        now = time.time()
        ids = self._tables.numbers("face", len(faces))
        parts = self._tables.keep_crops({i: r.crop for i, (_, r) in zip(ids, faces, strict=True) if r.crop is not None})
        stored = [
            StoredFace(i, owner, r.picture, r.sha256, r.face, r.quality, now, negative, i in parts)
            for i, (owner, r) in zip(ids, faces, strict=True)
        ]
        rows = [face_row(s, r.embedding, parts.get(s.id, 0)) for s, (_, r) in zip(stored, faces, strict=True)]
        self._link.put("faces", rows)
        return stored

    def _changed(self, row: Row, **changes: Any) -> Subject:  # noqa: ANN401 - fields of a Subject
        (subject,) = self._tables.subjects([row])
        after = replace(subject, **changes)
        if after != subject:
            self._link.put("subjects", [subject_row(after, row["row"]["pseudonym"])])
        return after

    def _give(self, faces: Sequence[Row], into: int) -> None:
        held = {
            face["content_key"]
            for face in self._tables.faces_in([into], "content_key", also="negative == false")
            if face["content_key"]
        }
        given: list[Row] = []
        twice: list[Row] = []
        for face in sorted(faces, key=lambda face: int(face["id"])):
            if int(face["subject_id"]) == into:
                continue
            content = "" if face["negative"] else face["content_key"]
            (twice if content and content in held else given).append({**face, "subject_id": into})
            held.add(content)
        self._link.put("faces", given)
        self._tables.drop_faces(twice)

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
        page: list[Row] = []
        rows = self._link.rows("faces", "id > 0", (*FACE, "embedding"), after=int(after))
        for row in rows:
            page.append(row)
            if len(page) == size:
                yield self._batch(page)
                page = []
        if page:
            yield self._batch(page)
        owners = {int(row["subject_id"]) for row in self._link.rows("faces", "id > 0", ("subject_id",))}
        alone = [row for row in self._link.rows("subjects", "id > 0", SUBJECT) if int(row["id"]) not in owners]
        if alone:
            yield Batch(tuple(SubjectRow(subject_of(row, ()), row["row"]["pseudonym"]) for row in alone))

    def _batch(self, page: list[Row]) -> Batch:
        owners = sorted({int(row["subject_id"]) for row in page})
        rows = self._link.rows_in("subjects", "id", owners, SUBJECT)
        said = {int(row["id"]): row["row"]["pseudonym"] for row in rows}
        faces = [row for row in page if int(row["subject_id"]) in said]  # a change cut off may leave a face to nobody
        crops = {int(f["id"]): self._tables.crop(int(f["id"]), f["row"]["crop"]) for f in faces if f["row"]["crop"]}
        subjects = tuple(SubjectRow(subject, said[subject.id]) for subject in self._tables.subjects(rows))
        return Batch(subjects, tuple(map(stored_face, faces)), self._tables.vectors(faces), crops)

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
