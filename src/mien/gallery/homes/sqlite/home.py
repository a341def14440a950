"""The gallery in one SQLite file: the default home."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from mien.errors import GalleryError
from mien.gallery.home import Batch, Capabilities, Counts
from mien.gallery.homes.sqlite import backup, check, logs, moving, reading, writing
from mien.gallery.homes.sqlite.connection import connect, explained, transaction
from mien.gallery.homes.sqlite.staging import TwoModels
from mien.gallery.homes.sqlite.tables import Tables, identity_of
from mien.gallery.names import other_model
from mien.gallery.rules import means_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mien.gallery.home import AuditEntry, Sighting, StoredFace, Told
    from mien.gallery.records import FaceRecord, Ids
    from mien.gallery.search import RecallReport
    from mien.gallery.upkeep import CheckReport
    from mien.match import Candidate
    from mien.types import Floats, ModelIdentity, Subject

__all__ = ["SqliteHome"]

_AT_ONCE = 1024  # lines of a log that are read at a time


class SqliteHome(TwoModels):
    """Subjects and faces in one file, with exact search in memory; what it has acknowledged survives a power cut.

    Thread-safe: writers take turns; readers do not wait for them, save in memory. Other processes may use the same
    file. Do not carry an open home over `os.fork`.

    Args:
        path: the file, or ":memory:".
        readonly: refuse to change anything.
        create: make the file where it is missing.
        sealer: how fields that name or show a person are sealed; closed with the home.

    Raises:
        GalleryFileError: the file cannot be used; says why and what to do.
        NotFoundError: it is missing and is not to be made.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this home promises."""
        file = self.file is not None
        return Capabilities(
            home="sqlite",
            transactions=True,
            durable=file,
            several_writers=file,
            exact=self._likely.report is None,
            sightings=True,
            audit=True,
            encryption=True,
            erasure_proof=file,
            backup=file,
            migration=True,
        )

    @property
    def identity(self) -> ModelIdentity | None:
        """The model whose embeddings are kept, or None while nothing was ever stored."""
        with self._reading() as t:
            return identity_of(t.db)

    def pin(self, identity: ModelIdentity) -> None:
        """Bind the home to a model. Raises GalleryModelError when it is bound to another one, or was when opened."""
        pinned = self.identity
        if pinned is None and not self.readonly:
            with self._writing() as t:
                writing.pin(t, identity)
        elif pinned != identity:
            raise other_model(self.source, pinned, identity)
        else:
            self._keep_to(identity)

    # Reading

    def counts(self) -> Counts:
        """How much it holds."""
        index = self._current()
        ignored = len(index.people.ignored)
        negatives = 0 if index.negatives is None else len(index.negatives.face_ids)
        return Counts(len(index.people) - ignored, ignored, len(index), negatives)

    def subjects(self, *, group: str | None = None) -> list[Subject]:
        """Everybody, people and known strangers, in order of enrolment; only those of a group if one is given."""
        with self._reading() as t:
            found = reading.subject_rows(t)
            return [subject for subject, _ in found if group is None or group in subject.groups]

    def subject(self, name: str) -> Subject:
        """One subject. Raises NotFoundError, with similar names."""
        with self._reading() as t:
            return reading.subject_with(t, reading.whose(t, name)[0])

    def subject_of(self, external_id: str) -> Subject:
        """The subject that another system knows by this id. Raises NotFoundError."""
        with self._reading() as t:
            return reading.subject_by_external(t, external_id)

    def pseudonym_of(self, name: str) -> str:
        """What the audit log and the keys call a subject. Raises NotFoundError."""
        with self._reading() as t:
            return reading.whose(t, name)[1]

    def faces(self, name: str) -> list[StoredFace]:
        """A subject's faces and negative exemplars, in order of enrolment. Raises NotFoundError."""
        with self._reading() as t:
            return reading.faces_of(t, "WHERE f.subject_id = ?", (reading.whose(t, name)[0],))

    def embeddings(self, face_ids: Sequence[int]) -> Floats:
        """float32 (N, D) of these faces, in the order asked for. Raises NotFoundError for one that is gone."""
        with self._reading() as t:
            return reading.embeddings_of(t, face_ids)

    def crop(self, face_id: int) -> bytes | None:
        """The encoded crop kept of a face, or None. Raises NotFoundError."""
        with self._reading() as t:
            return reading.crop_of(t, face_id)

    def knows(self, name: str) -> bool:
        """Whether there is a subject of this name."""
        with self._reading() as t:
            return reading.find(t, name) is not None

    def contents_of(self, name: str) -> set[str]:
        """Checksums of the pictures a subject holds; empty for a stranger."""
        with self._reading() as t:
            return reading.contents_of(t, name)

    def owners_of(self, sha256: str) -> list[str]:
        """Names of the subjects that hold a picture of this content."""
        with self._reading() as t:
            return reading.owners_of(t, sha256)

    def search(self, probes: Floats, *, k: int, group: str | None = None) -> list[list[Candidate]]:
        """The k nearest subjects of each probe, best first; see `Home.search`. Exact; never waits for a writer."""
        return self._answered(probes, k=k, group=group)

    def approximate(self, recall: float) -> RecallReport:
        """Search approximately from now on; see `mien.gallery.upkeep.Approximates`."""
        return self._likely.build(self._current(), recall)

    def exact(self) -> None:
        """Search exactly again."""
        self._likely.drop()

    @property
    def recall(self) -> RecallReport | None:
        """What was measured of approximate search; None while searches are exact."""
        return self._likely.report

    def template_faces(self, subject_ids: Sequence[int]) -> tuple[Floats, Ids]:
        """All faces of some subjects, negatives left out: float32 (N, D), and int64 (N,) whose each is."""
        return self._current().faces_of(subject_ids)

    def mean_templates(self) -> tuple[Ids, Floats]:
        """Every subject's mean template, see `mien.gallery.rules`; computed once until something changes."""
        index = self._current()
        kept = self._means
        if kept is None or kept[0] is not index:
            kept = self._means = (index, *means_of(*index.all_faces()))
        return kept[1:]

    # Changing

    def add(
        self, people: Sequence[tuple[str, Sequence[FaceRecord]]], identity: ModelIdentity, *, told: Told = "person"
    ) -> tuple[list[Subject], int]:
        """Store faces of any number of subjects, all or nothing; on return they are on the disk. See `Home.add`."""
        with self._writing() as t:
            ids, added = writing.add(t, people, identity, told, time.time())
            return writing.with_ids(t, ids), added

    def reject(self, name: str, record: FaceRecord) -> StoredFace:
        """Keep a face as an exemplar of who a subject is not. Raises NotFoundError."""
        with self._writing() as t:
            return writing.reject(t, name, record, time.time())

    def describe(self, name: str, **changes: Any) -> Subject:  # noqa: ANN401 - see `Home.describe`
        """Change what is said of a subject; see `Home.describe`."""
        with self._writing() as t:
            return writing.describe(t, name, changes, time.time())

    def rename(self, old: str, new: str) -> Subject:
        """Give a subject another name. Raises NotFoundError, and GalleryError when the name is taken."""
        with self._writing() as t:
            return writing.rename(t, old, new, time.time())

    def merge(self, name: str, into: str) -> Subject:
        """Give all of a subject's faces, negative exemplars and sightings to another one and forget the first."""
        with self._writing() as t:
            return writing.merge(t, name, into, time.time())

    def move_faces(self, face_ids: Sequence[int], to: str) -> Subject:
        """Give faces to a subject, new or known; the ones they leave stay, also without faces. Raises NotFoundError."""
        with self._writing() as t:
            return writing.move_faces(t, face_ids, to, time.time())

    def remove_faces(self, face_ids: Sequence[int]) -> int:
        """Forget faces or negative exemplars; returns how many. Raises NotFoundError when one is not there."""
        with self._writing() as t:
            return writing.remove_faces(t, face_ids, time.time())

    def remove(self, name: str, *, action: str = "remove") -> Subject:
        """Forget a subject, its faces and sightings; returns what was forgotten. Raises NotFoundError.

        With every action but "remove", the subject's key is destroyed where the gallery is encrypted (a slip of the
        hand can be restored from a backup), and `vacuum` is noted as due; the next opening does it if nobody does.
        """
        erase = action != "remove"
        with self._writing() as t:
            subject, _ = writing.remove(t, name, action, time.time(), destroy=erase)
        if erase:
            self._destroy_keys()
        return subject

    # Kept beside

    def calibration(self) -> str | None:
        """The calibration kept with the gallery, as TOML, or None."""
        with self._reading() as t:
            row = t.db.execute("SELECT value FROM kept WHERE key = 'calibration'").fetchone()
            return None if row is None else t.text(None, row[0], "kept.calibration")

    def keep_calibration(self, toml: str | None) -> None:
        """Keep a calibration with the gallery, or none any more."""
        with self._writing() as t:
            t.db.execute("DELETE FROM kept WHERE key = 'calibration'")
            if toml is not None:
                sealed = t.sealer.seal(None, toml.encode(), "kept.calibration")
                t.db.execute("INSERT INTO kept VALUES ('calibration', ?)", (sealed,))
            logs.append_audit(t, "calibrate", [(None, 0)], time.time())

    def log(self, sightings: Sequence[Sighting]) -> None:
        """Append to the log of who was seen. What is said of a subject that is gone is not kept."""
        with self._writing() as t:
            logs.insert_sightings(t, sightings)

    def sightings(
        self, *, since: float | None = None, until: float | None = None, name: str | None = None
    ) -> Iterator[Sighting]:
        """The log, oldest first: since <= time < until, of one subject if named."""
        subject_id = None
        if name is not None:
            with self._reading() as t:
                subject_id = reading.whose(t, name)[0]
        at = (float("-inf") if since is None else since, 0)
        while True:
            with self._reading() as t:
                found = logs.sightings_after(t, at, _AT_ONCE, until=until, subject_id=subject_id)
            yield from (sighting for _, sighting in found)
            if not found:
                return
            at = (found[-1][1].time, found[-1][0])

    def audit(self) -> Iterator[AuditEntry]:
        """What was done, oldest first."""
        seq = 0
        while True:
            with self._reading() as t:
                found = logs.audit_after(t, seq, _AT_ONCE)
            yield from found
            if not found:
                return
            seq = found[-1].seq

    # Moving house

    def batches(self, *, after: int = 0, size: int = 4096) -> Iterator[Batch]:
        """Everything, in order of face id, from the first face behind `after` on; of a file, one consistent picture."""
        with contextlib.ExitStack() as stack:
            apart = None
            if self.file is not None:  # a connection of its own: its picture stays while others write
                stack.enter_context(explained(self.source))
                db = stack.enter_context(contextlib.closing(connect(self.file, readonly=self.readonly)))
                apart = Tables(db, self.sealer, self.source)
                stack.enter_context(transaction(db, write=False))
            while True:
                with contextlib.nullcontext(apart) if apart else self._reading() as t:
                    batch = moving.batch_after(t, after, size)
                    rest = moving.rest_batch(t) if batch is None else None
                if batch is None:
                    if rest is not None and rest.subjects:
                        yield rest
                    return
                yield batch
                after = batch.faces[-1].id

    def load(self, batch: Batch, identity: ModelIdentity) -> None:
        """Store rows with the ids they come with; rows that are there already stay. Pins a new home."""
        with self._writing() as t:
            moving.load(t, batch, identity)

    def load_beside(self, *, audit: Sequence[AuditEntry] = (), sightings: Sequence[Sighting] = ()) -> None:
        """Store the logs of another home, into a home whose own are empty."""
        with self._writing() as t:
            for table, rows in (("audit", audit), ("sightings", sightings)):
                if rows and t.db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():  # noqa: S608 - our own words
                    raise GalleryError(f"{self.source}: has a log of its own ({table}); copy into a new gallery")
            logs.insert_audit(t, audit)
            logs.insert_sightings(t, sightings)

    # Upkeep

    def backup(self, path: str | os.PathLike[str]) -> Path:
        """Write a verified copy to a new file, while the gallery is in use; whole or not at all, with mode 0600.

        Raises:
            GalleryFileError: there is something at `path` already, or it cannot be written.
        """
        with self._reading():  # so that a closed gallery says so
            pass
        return backup.backup(self.file, self.source, self.sealer, path)

    def check(self) -> CheckReport:
        """Look at every row: the file's structure, references, embeddings, the audit chain, and the index."""
        index = self._current()
        if self.file is None:
            with self._reading() as t:
                return check.check(t, index)
        # A connection of its own: a damaged page spoils the transaction that meets it.
        with explained(self.source), contextlib.closing(connect(self.file, readonly=self.readonly)) as db:
            db.execute("BEGIN")
            report = check.check(Tables(db, self.sealer, self.source), index)
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            return report
