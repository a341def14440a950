"""A gallery's home in PostgreSQL with pgvector."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mien.errors import GalleryError, NotFoundError
from mien.gallery.home import Batch, Capabilities
from mien.gallery.homes.postgres import indexing, reading, searching, writing
from mien.gallery.homes.postgres.address import Settings, parse
from mien.gallery.homes.postgres.link import Link
from mien.gallery.names import other_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mien.gallery.home import AuditEntry, Counts, Sighting, StoredFace, Told
    from mien.gallery.records import FaceRecord, Ids
    from mien.match import Candidate
    from mien.types import Floats, ModelIdentity, Subject

__all__ = ["PostgresHome"]


class PostgresHome:
    """Subjects and faces in one schema of a PostgreSQL database; see `Home` for the methods.

    Every change is one transaction and on the server's disk when it returns; writers in any number of processes take
    turns. Searches are exact up to `Settings.exact_below` faces; above, pgvector's HNSW index is made (by the change
    that passes the size, after it is committed) and asked, and what it finds is ranked in float32.

    Thread-safe: threads share a pool of connections. A restart of the server costs one error at most. Not for forks.

    Args:
        url: ``postgresql://user:password@host:port/database?schema=...``; see `Settings` for what else the query takes.
        readonly: refuse to change anything.
        create: make the extension and the tables where they are missing.
        schema: the schema that holds the tables, where the URL does not say.

    Raises:
        MissingExtraError: psycopg is not installed.
        InputError: the URL is none.
        NotFoundError: there is no gallery, and none is to be made.
        GalleryFileError: the server cannot be reached, has no pgvector, or the schema is not a gallery's.
    """

    def __init__(self, url: str, *, readonly: bool = False, create: bool = True, schema: str = "mien") -> None:
        address = parse(url, Settings(schema=schema))
        self.source = address.source
        self.readonly = readonly
        self._settings = address.settings
        self._pinned = False
        self._large = indexing.Largeness(address.settings.exact_below)
        self._link = Link(address, readonly=readonly, create=create)

    @property
    def capabilities(self) -> Capabilities:
        """What this home promises."""
        return Capabilities(
            home="postgresql",
            transactions=True,
            durable=True,
            several_writers=True,
            exact=True,
            sightings=True,
            audit=True,
            encryption=False,
            erasure_proof=False,
            backup=False,
        )

    @property
    def identity(self) -> ModelIdentity | None:
        """The model whose embeddings are kept, or None."""
        with self._link.reading() as db:
            return reading.identity(db)

    def pin(self, identity: ModelIdentity) -> None:
        """Bind the home to a model."""
        if (pinned := self.identity) is None and not self.readonly:
            with self._link.writing() as db:
                writing.pin(db, identity, self.source)
        elif pinned != identity:
            raise other_model(self.source, pinned, identity)

    def size_on_disk(self) -> int:
        """Bytes of the gallery's tables and indexes on the server."""
        with self._link.reading() as db:
            row = db.execute(
                "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c "
                "WHERE c.relnamespace = to_regnamespace(current_schema()) AND c.relkind = 'r'"
            ).fetchone()
            return int(row[0]) if row else 0

    def close(self) -> None:
        """Close the connections."""
        self._link.close()

    def __enter__(self) -> PostgresHome:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<PostgresHome {self.source}>"

    # Reading

    def counts(self) -> Counts:
        """How much it holds."""
        with self._link.reading() as db:
            return reading.counts(db)

    def subjects(self, *, group: str | None = None) -> list[Subject]:
        """Everybody, or everybody of a group, in order of enrolment."""
        where = ("", ()) if group is None else ("WHERE s.groups @> ARRAY[%s]", (group,))
        with self._link.reading() as db:
            return [row.subject for row in reading.subject_rows(db, *where)]

    def subject(self, name: str) -> Subject:
        """One subject."""
        with self._link.reading() as db:
            return reading.subject(db, reading.subject_id(db, name, self.source))

    def subject_of(self, external_id: str) -> Subject:
        """The subject that another system knows by this id."""
        with self._link.reading() as db:
            rows = reading.subject_rows(db, "WHERE s.external_id = %s", [external_id])
        if not rows:
            raise NotFoundError(f"{self.source}: nobody has the external id {external_id!r}")
        return rows[0].subject

    def faces(self, name: str) -> list[StoredFace]:
        """A subject's faces and negative exemplars."""
        with self._link.reading() as db:
            return reading.faces_of(db, reading.subject_id(db, name, self.source))

    def embeddings(self, face_ids: Sequence[int]) -> Floats:
        """float32 (N, D) of these faces."""
        with self._link.reading() as db:
            return reading.embeddings(db, face_ids, self.source)

    def crop(self, face_id: int) -> bytes | None:
        """The encoded crop kept of a face, or None."""
        with self._link.reading() as db:
            row = db.execute(
                "SELECT c.crop FROM faces f LEFT JOIN crops c ON c.face_id = f.id WHERE f.id = %s",
                [face_id],
                binary=True,
            ).fetchone()
        if row is None:
            raise NotFoundError(f"{self.source}: there is no face {face_id}; it may have been removed")
        return None if row[0] is None else bytes(row[0])

    def knows(self, name: str) -> bool:
        """Whether there is a subject of this name."""
        with self._link.reading() as db:
            return db.execute("SELECT 1 FROM subjects WHERE name = %s", [name]).fetchone() is not None

    def contents_of(self, name: str) -> set[str]:
        """Checksums of the pictures a subject holds."""
        with self._link.reading() as db:
            return reading.contents_of(db, name)

    def owners_of(self, sha256: str) -> list[str]:
        """Names of the subjects that hold a picture of this content."""
        with self._link.reading() as db:
            rows = db.execute(
                "SELECT s.name FROM subjects s WHERE EXISTS "
                "(SELECT 1 FROM faces f WHERE f.subject_id = s.id AND f.sha256 = %s AND NOT f.negative) ORDER BY s.id",
                [sha256],
            )
            return [row[0] for row in rows]

    def search(self, probes: Floats, *, k: int, group: str | None = None) -> list[list[Candidate]]:
        """The k nearest subjects of each probe."""
        if not len(probes):
            return []
        with self._link.reading() as db:
            if not self._pinned:
                self._pinned = reading.identity(db) is not None  # once bound, bound for good
            if not self._pinned:
                return [[] for _ in probes]
            return searching.search(
                db,
                probes,
                k=k,
                group=group,
                indexed=self._large(db) and indexing.is_ready(db),
                settings=self._settings,
                source=self.source,
            )

    def template_faces(self, subject_ids: Sequence[int]) -> tuple[Floats, Ids]:
        """All faces of some subjects, negatives left out."""
        with self._link.reading() as db:
            return reading.owned(db, subject_ids, self.source, negative=False)

    # Changing

    def add(
        self, people: Sequence[tuple[str, Sequence[FaceRecord]]], identity: ModelIdentity, *, told: Told = "person"
    ) -> tuple[list[Subject], int]:
        """Store faces of any number of subjects."""
        with self._link.writing() as db:
            writing.pin(db, identity, self.source)
            ids, added = writing.add(db, people, told=told)
            rows = reading.subject_rows(db, "WHERE s.id = ANY(%s::bigint[])", [ids])
            # Only a batch that may have passed the size looks at it.
            grown = added > 0 and self._large(db) and not indexing.is_ready(db)
        if grown:
            indexing.build_in_passing(self._link, self._settings)
        known = {row.subject.id: row.subject for row in rows}
        return [known[i] for i in ids], added

    def reject(self, name: str, record: FaceRecord) -> StoredFace:
        """Keep a face as an exemplar of who a subject is not."""
        with self._link.writing() as db:
            number = reading.subject_id(db, name, self.source)
            writing.add_negative(db, number, record)
            return reading.faces_of(db, number)[-1]

    def describe(self, name: str, **changes: Any) -> Subject:  # noqa: ANN401 - see Home
        """Change what is said of a subject."""
        with self._link.writing() as db:
            number = reading.subject_id(db, name, self.source)
            writing.describe(db, number, changes, self.source)
            return reading.subject(db, number)

    def rename(self, old: str, new: str) -> Subject:
        """Give a subject another name."""
        with self._link.writing() as db:
            number = reading.subject_id(db, old, self.source)
            if old != new:
                if db.execute("SELECT 1 FROM subjects WHERE name = %s", [new]).fetchone():
                    raise GalleryError(
                        f"{self.source}: {new!r} is already enrolled; choose another name or remove it first"
                    )
                db.execute("UPDATE subjects SET name = %s WHERE id = %s", [new, number])
            found = reading.subject_rows(db, "WHERE s.id = %s", [number])[0]
            if old != new:
                writing.record(db, "rename", (found.pseudonym, 0))
            return found.subject

    def merge(self, name: str, into: str) -> Subject:
        """Give all of a subject's faces to another one and forget the first."""
        with self._link.writing() as db:
            number = reading.subject_id(db, name, self.source)
            to = reading.subject_id(db, into, self.source)
            if number == to:
                raise GalleryError(f"{self.source}: {name!r} cannot be merged into itself; name two subjects")
            writing.merge(db, number, to)
            return reading.subject(db, to)

    def move_faces(self, face_ids: Sequence[int], to: str) -> Subject:
        """Give faces to a subject, new or known."""
        with self._link.writing() as db:
            return reading.subject(db, writing.move(db, face_ids, to, self.source))

    def remove_faces(self, face_ids: Sequence[int]) -> int:
        """Forget faces or negative exemplars."""
        with self._link.writing() as db:
            return writing.remove_faces(db, face_ids, self.source)

    def remove(self, name: str, *, action: str = "remove") -> Subject:
        """Forget a subject and all of its faces, and its part in the log of who was seen."""
        with self._link.writing() as db:
            number = reading.subject_id(db, name, self.source)
            row = reading.subject_rows(db, "WHERE s.id = %s", [number])[0]
            db.execute("DELETE FROM subjects WHERE id = %s", [number])
            writing.record(db, action, (row.pseudonym, row.subject.faces))
            return row.subject

    # Kept beside

    def calibration(self) -> str | None:
        """The calibration kept with the gallery, as TOML, or None."""
        with self._link.reading() as db:
            row = db.execute("SELECT value FROM about WHERE key = 'calibration'").fetchone()
            return None if row is None else str(row[0])

    def keep_calibration(self, toml: str | None) -> None:
        """Keep a calibration with the gallery, or none any more."""
        with self._link.writing() as db:
            db.execute("DELETE FROM about WHERE key = 'calibration'")
            if toml is not None:
                db.execute("INSERT INTO about VALUES ('calibration', %s)", [toml])
            writing.record(db, "calibrate", (None, 0))

    def log(self, sightings: Sequence[Sighting]) -> None:
        """Append to the log of who was seen."""
        with self._link.writing() as db:
            writing.see(db, sightings)

    def sightings(
        self, *, since: float | None = None, until: float | None = None, name: str | None = None
    ) -> Iterator[Sighting]:
        """The log, oldest first."""
        subject = None
        if name is not None:
            with self._link.reading() as db:
                subject = reading.subject_id(db, name, self.source)
        behind = (-math.inf if since is None else since, 0)
        return reading.each_sighting(self._link, behind, until=until, subject=subject)

    def audit(self) -> Iterator[AuditEntry]:
        """What was done, oldest first."""
        return reading.each_entry(self._link)

    # Moving house

    def batches(self, *, after: int = 0, size: int = 4096) -> Iterator[Batch]:
        """Everything as one consistent picture, in order of face id; keeps a connection until it is done or closed."""
        with self._link.reading() as db:
            db.execute(
                "SET LOCAL idle_in_transaction_session_timeout = 0"
            )  # whoever takes the batches takes their time
            while (batch := reading.batch_after(db, after, size, self.source)).faces:
                yield batch
                after = batch.faces[-1].id
            alone = "WHERE NOT EXISTS (SELECT 1 FROM faces f WHERE f.subject_id = s.id)"
            if rest := reading.subject_rows(db, alone):
                yield Batch(tuple(rest))

    def load(self, batch: Batch, identity: ModelIdentity) -> None:
        """Store rows with the ids they come with. Makes no index: see `build_index`."""
        with self._link.writing() as db:
            writing.pin(db, identity, self.source)
            writing.load(db, batch, self.source)

    def load_beside(self, *, audit: Sequence[AuditEntry] = (), sightings: Sequence[Sighting] = ()) -> None:
        """Store the logs of another home."""
        with self._link.writing() as db:
            writing.copy_logs(db, audit, sightings, self.source)

    # The index

    def build_index(self) -> bool:
        """Make the HNSW index if the gallery has passed the size for it, and tell the planner what there is.

        Changes do this by themselves, `load` excepted. Writers and searches go on meanwhile.

        Returns:
            Whether the index is there.
        """
        if self.readonly:
            raise GalleryError(f"{self.source}: was opened readonly; open it again without readonly to change it")
        return indexing.build(self._link, self._settings)
