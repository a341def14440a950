"""When the index beside a gallery's file is read, written and given up."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from mien.gallery.homes.sqlite import index_file
from mien.gallery.index import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mien.gallery.homes.sqlite.tables import Tables
    from mien.gallery.records import Position

__all__ = ["IndexKeeper"]

_NEW, _SHARE = 65_536, 4  # new faces, or one in so many, after which the file is written while the gallery is in use
_CHANGES = 1000  # changes after which it is
_BACKGROUND = True  # tests turn it off, to choose the moment themselves
_PAUSE = 30.0  # seconds between two tries
_TELL_FROM = 100_000  # faces whose first reading is worth a line in the log

_log = logging.getLogger(__name__)


class IndexKeeper:
    """The index file of one open gallery; none for one in memory, one that is encrypted, or where files cannot be
    replaced while they are mapped (Windows). Thread-safe.

    Args:
        file: the gallery's file, or None.
        encrypted: whether what it holds is sealed.
        readonly: use the index file, and never write it.
        adopt: called, from a thread of its own, once a new file is there.
    """  # noqa: D205 - one sentence

    def __init__(self, file: Path | None, *, encrypted: bool, readonly: bool, adopt: Callable[[], None]) -> None:
        self._file = None if encrypted or os.name != "posix" else file
        self._readonly = readonly
        self._adopt = adopt
        self._saved: Position | None = None
        self._not_before = 0.0
        self._thread: threading.Thread | None = None
        self._closing = False

    def begin(self, t: Tables) -> Snapshot | None:
        """The snapshot in the file if it is this gallery's, inside the caller's transaction; else it is removed."""
        if self._file is None:
            return None
        found = index_file.load(self._file)
        if found is not None and index_file.fits(t, *found):
            self._saved = found[0].position
            return found[0]
        if not self._readonly:
            self.give_up()
        faces = t.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'faces'").fetchone()
        if faces and faces[0] >= _TELL_FROM:
            _log.info("%s: building the index of about %d faces; the next opening is quick", t.source, faces[0])
        return None

    def give_up(self, *, drafts: bool = False) -> None:
        """Remove the file: it does not fit, or holds somebody who was erased; then with what is being written."""
        self._saved = None
        if self._file is not None and not self._readonly:
            index_file.drop(self._file, drafts=drafts)

    def consider(self, snapshot: Snapshot) -> None:
        """Write the file in the background if enough has happened since it was written."""
        if self._file is None or self._readonly or self._closing or not _BACKGROUND:
            return
        if self._thread is not None or time.monotonic() < self._not_before:
            return
        saved, now = self._saved, snapshot.position
        if len(snapshot) < index_file.INDEX_FROM or (
            saved is not None
            and saved.epoch == now.epoch
            and now.face - saved.face < max(_NEW, len(snapshot) // _SHARE)
            and now.change - saved.change < _CHANGES
        ):
            return
        self._not_before = time.monotonic() + _PAUSE
        self._thread = threading.Thread(target=self._write, args=(snapshot,), name="mien-index")
        self._thread.start()

    def wait(self) -> None:
        """Until nothing is being written."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def stop(self) -> None:
        """Begin nothing more in the background, and wait for what is being written."""
        self._closing = True
        self.wait()

    def due_at_close(self, t: Tables) -> bool:
        """Whether the file is to be written before the gallery is closed, inside the caller's transaction."""
        if self._file is None or self._readonly:
            return False
        faces = t.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'faces'").fetchone()
        last = int(faces[0]) if faces else 0
        saved = self._saved
        if saved is None:
            return last >= index_file.INDEX_FROM
        epoch = t.db.execute("SELECT value FROM kept WHERE key = 'epoch'").fetchone()
        gone = t.db.execute(
            "SELECT 1 FROM changes c WHERE seq > ? AND (face_id IS NOT NULL OR "
            "NOT EXISTS (SELECT 1 FROM subjects WHERE id = c.subject_id)) LIMIT 1",
            (saved.change,),
        ).fetchone()
        many = max(index_file.INDEX_FROM // 2, last // 50)
        return bool(gone) or last - saved.face >= many or not epoch or epoch[0] != saved.epoch.encode()

    def finish(self, snapshot: Snapshot) -> None:
        """Write the file, or remove it where there is too little for one or it cannot be written."""
        if self._file is None or self._readonly:
            return
        if len(snapshot) < index_file.INDEX_FROM or not index_file.save(self._file, snapshot):
            self.give_up()

    def _write(self, snapshot: Snapshot) -> None:
        try:
            if self._file is not None and index_file.save(self._file, snapshot):
                self._saved = snapshot.position
                self._adopt()
        except Exception:  # noqa: BLE001 - the index file is a convenience
            _log.exception("the index beside %s was not written", self._file)
        finally:
            self._thread = None
