"""A gallery's file, opened: its connections, their locks, and the index in memory that follows them."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

from mien.errors import GalleryError, GalleryModelError
from mien.gallery.homes.sqlite import keys
from mien.gallery.homes.sqlite.answering import IndexWrongError, answered
from mien.gallery.homes.sqlite.connection import connect, explained, locate, transaction
from mien.gallery.homes.sqlite.following import changes_since
from mien.gallery.homes.sqlite.index_keeping import IndexKeeper
from mien.gallery.homes.sqlite.likely import Likely
from mien.gallery.homes.sqlite.migrations import prepare
from mien.gallery.homes.sqlite.tables import Tables, identity_of
from mien.gallery.index import Snapshot
from mien.gallery.sealing import PLAIN
from mien.gallery.search import BehindError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from mien.gallery.records import Ids
    from mien.gallery.sealing import Sealer
    from mien.match import Candidate
    from mien.types import Floats, ModelIdentity

__all__ = ["OpenFile"]

_TRIES = 4  # searches without a lock; the next one lets nobody write here meanwhile

_log = logging.getLogger(__name__)


class OpenFile:
    """What `SqliteHome` stands on. Thread-safe.

    Locks are taken in one order: refreshing, writing, reading.

    Args:
        path, readonly, create, sealer: see `SqliteHome`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, readonly: bool = False, create: bool = True, sealer: Sealer = PLAIN
    ) -> None:
        self.file: Path | None = locate(path, readonly=readonly, create=create)
        self.source = str(self.file or path)
        self.readonly = readonly and self.file is not None
        self.sealer = sealer
        self._read_lock = threading.RLock()
        self._write_lock = self._read_lock
        self._writes = 0
        self._refreshing = threading.Lock()
        self._snapshot = Snapshot()
        self._stamp: tuple[int, int] | None = None
        self._model: ModelIdentity | None = None  # whose embeddings this home was opened on
        self._keeper = IndexKeeper(self.file, encrypted=sealer.encrypted, readonly=self.readonly, adopt=self._adopt)
        self._likely = Likely()
        self._means: tuple[Snapshot, Ids, Floats] | None = None
        with explained(self.source), contextlib.ExitStack() as undo:
            first = connect(self.file, readonly=self.readonly)
            undo.callback(first.close)
            prepare(first, self.source, sealer, readonly=self.readonly)
            second = first
            if self.file is not None and not self.readonly:
                self._write_lock = threading.RLock()
                second = connect(self.file, readonly=False)
                undo.callback(second.close)
                second.execute("PRAGMA query_only = ON")
            self._writer, self._reader = (Tables(db, sealer, self.source) for db in (first, second))
            if not self.readonly:
                self._finish_erasures()
            self._adopt()
            self._current()
            undo.pop_all()

    def size_on_disk(self) -> int:
        """Bytes of the file and its write-ahead log; 0 in memory."""
        file = self.file
        return 0 if file is None else sum(map(_size, (file, file.with_name(f"{file.name}-wal"))))

    def close(self) -> None:
        """Let go of the file; a second call does nothing, any other method raises GalleryError afterwards.

        A large gallery's index file is written first if there is much that is not in it.
        """
        self._keeper.stop()
        with contextlib.suppress(GalleryError):  # closed already, or changed to another model
            with self._reading() as t:
                due = self._keeper.due_at_close(t)
            if due:
                self._keeper.finish(self._current())
        with self._write_lock, self._read_lock:
            self._reader.db.close()
            self._writer.db.close()
            self.sealer.close()

    def stamp(self) -> tuple[int, int]:
        """A value that is another one once anybody, here or in another process, has changed something."""
        with self._read_lock, explained(self.source):
            return self._reader.db.execute("PRAGMA data_version").fetchone()[0], self._writes

    def vacuum(self) -> None:
        """Rewrite the file and empty its log, so that no byte of what was deleted is left in either.

        Raises:
            GalleryError: another program is reading the file; the rewriting is done, and the log is left.
        """
        due = self._destroy_keys()
        with self._writing(single=False) as t:
            t.db.execute("VACUUM")
            busy = t.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if due:
            self._keeper.give_up(drafts=True)
        if busy:
            raise GalleryError(f"{self.source}: another program is reading it, so its log cannot be emptied; try again")
        if due:
            with self._writing() as t:
                keys.strike_out(t, due)

    def _destroy_keys(self) -> list[str]:
        """Destroy the keys that are noted as due, for what they sealed is gone; `vacuum` strikes out the notes."""
        with self._reading() as t:
            due = keys.due(t)
        if due:
            self.sealer.destroy(*due)
        return due

    def _finish_erasures(self) -> None:
        """Do what an erasure that was cut off has left, and be rid of what a restored backup has brought back."""
        if self.sealer.encrypted:
            with self._writing() as t:
                keys.remove_destroyed(t, time.time())
                erased = keys.erased(t)
            if back := erased - self.sealer.destroyed(erased):
                self.sealer.destroy(*back)
        if self._destroy_keys():
            with contextlib.suppress(GalleryError):  # somebody is reading: it stays noted
                self.vacuum()

    def _current(self) -> Snapshot:
        """The index, caught up with everything that anybody has committed."""
        with self._refreshing:
            return self._caught_up()

    def _caught_up(self) -> Snapshot:
        stamp = self.stamp()
        if stamp != self._stamp:
            with self._reading() as t:
                self._keep_to(identity_of(t.db))
                changes = changes_since(t, self._snapshot.position)
            if changes.whole and self._snapshot.position.epoch:
                self._keeper.give_up()
            self._snapshot = self._snapshot.follow(changes, self.source)
            self._stamp = stamp
            self._keeper.consider(self._snapshot)
        return self._snapshot

    def _adopt(self) -> None:
        """Go on with the index file, if there is one that fits."""
        with self._refreshing:
            with self._reading() as t:
                found = self._keeper.begin(t)
            if found is not None:
                self._snapshot, self._stamp = found, None

    def _answered(self, probes: Floats, *, k: int, group: str | None) -> list[list[Candidate]]:
        """What a search finds, as it was at one moment; nobody who searches waits for others' searches."""
        for _ in range(_TRIES):
            snapshot = self._current()
            try:
                answer = self._told(snapshot, probes, k, group)
            except IndexWrongError as error:
                self._distrust(snapshot, error)
            else:
                if answer is not None:
                    return answer
        with self._refreshing, self._reading() as t:
            try:
                answer = self._told(self._caught_up(), probes, k, group)
            except IndexWrongError as error:
                raise t.damaged(f"{error} is not as the index has it") from error
            if answer is None:
                raise t.damaged("it changes while nobody can change it")
            return answer

    def _told(self, snapshot: Snapshot, probes: Floats, k: int, group: str | None) -> list[list[Candidate]] | None:
        try:
            found = snapshot.search(probes, k=k, group=group, likely=self._likely.of(snapshot))
        except BehindError:  # somebody else's search has gone on meanwhile
            found = snapshot.search(probes, k=k, group=group)
        with self._reading() as t:
            return answered(t, snapshot.position, probes, found, verify=snapshot.index.mapped)

    def _distrust(self, snapshot: Snapshot, error: Exception) -> None:
        """Give up an index that says what the rows do not; it is built from them by whoever asks next."""
        with self._refreshing:
            if self._snapshot.lineage is snapshot.lineage:
                _log.warning("%s: the index beside it is wrong (%s); it is built anew", self.source, error)
                self._snapshot, self._stamp = Snapshot(), None
                self._keeper.give_up()

    def _keep_to(self, found: ModelIdentity | None) -> None:
        """Refuse to go on once the gallery has changed to another model: embeddings in use here do not compare."""
        if self._model is None:
            self._model = found
        elif found is not None and found != self._model:
            raise GalleryModelError(f"{self.source}: has changed from {self._model} to {found}; open it again")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Tables]:
        with self._read_lock, explained(self.source):
            if self._reader.db.in_transaction:
                yield self._reader
            else:
                with transaction(self._reader.db, write=False):
                    yield self._reader

    @contextlib.contextmanager
    def _writing(self, *, single: bool = True, any_model: bool = False) -> Iterator[Tables]:
        if self.readonly:
            raise GalleryError(f"{self.source}: was opened readonly; open it again without readonly to change it")
        with self._write_lock, explained(self.source), contextlib.ExitStack() as stack:
            if single:
                stack.enter_context(transaction(self._writer.db, write=True))
                if not any_model:
                    self._keep_to(identity_of(self._writer.db))
            self._writes += 1
            yield self._writer


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # SQLite makes the log and takes it away as it needs it
        return 0
