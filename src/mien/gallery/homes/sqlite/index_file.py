"""The index beside a gallery's file, "people.db.index": an instant start, and never more than that.

It holds the vectors of those who were enrolled when it was written and nothing of anybody else, and no name. It is used
if it fits the truth: the same gallery with the same history (the audit log's digest where the index was made, the
epoch, the model), no newer than it. Whatever does not fit is ignored, and the index is built from the rows.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import GalleryFileError
from mien.gallery.homes.sqlite.connection import connect, transaction
from mien.gallery.homes.sqlite.tables import identity_of
from mien.gallery.index import Snapshot
from mien.gallery.people import Column, People
from mien.gallery.records import Negatives, Position
from mien.gallery.search import read_index, save_index

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from mien.gallery.homes.sqlite.tables import Tables

__all__ = ["INDEX_FROM", "drop", "fits", "index_path", "load", "save"]

INDEX_FROM = 16_384
"""Faces from which on an index file is written; fewer are read as quickly."""

_BUSY_MS = 200  # a writer goes first
_ABANDONED = 600.0  # seconds after which a half-written file is nobody's

_log = logging.getLogger(__name__)


class _OutdatedError(Exception):
    """Somebody was removed or changed since the snapshot was taken."""


def index_path(file: Path) -> Path:
    """Where a gallery's index file is; `mien.gallery.privacy.gallery_files` finds it when somebody is erased."""
    return file.with_name(f"{file.name}.index")


def drop(file: Path, *, drafts: bool = False) -> None:
    """Remove a gallery's index file, if there is one, and with `drafts` those that are being written.

    It is not written over: others may have it mapped. Who is writing a draft finds it gone, and tries again later.
    """
    for path in [index_path(file), *(_drafts(file) if drafts else ())]:
        with contextlib.suppress(OSError):
            path.unlink()


def load(file: Path) -> tuple[Snapshot, Mapping[str, Any]] | None:
    """The snapshot in a gallery's index file and its note, to be compared by `fits`; None where there is none to use.

    Its owner must be the gallery's, and nobody else able to read or write it: who can write it can write the gallery.
    """
    path = index_path(file)
    if not path.exists():
        return None
    try:
        owner = file.stat().st_uid if os.name == "posix" else None
        opened = read_index(path, owner=owner)
        return _snapshot(opened.index, opened.note, opened.columns), opened.note
    except (OSError, GalleryFileError, ValueError, KeyError, TypeError) as error:
        _log.warning("the index beside %s is not used (%s); it is built from the gallery", file, error)
        return None


def fits(t: Tables, snapshot: Snapshot, note: Mapping[str, Any]) -> bool:
    """Whether a snapshot from a file is of this gallery as it was at some time. Inside the caller's transaction."""
    position = snapshot.position
    last = dict(t.db.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    identity = identity_of(t.db)
    found = t.db.execute("SELECT digest FROM audit WHERE seq = ?", (note["audit"],)).fetchone()
    return (
        position.epoch == _epoch(t.db)
        and position.face <= last.get("faces", 0)
        and position.subject <= last.get("subjects", 0)
        and position.change <= last.get("changes", 0)
        and found is not None
        and found[0] == note.get("digest")
        and identity is not None
        and note.get("model") == [identity.sha256, identity.dimension]
        and snapshot.index.dimension == identity.dimension
    )


def save(file: Path, snapshot: Snapshot) -> bool:
    """Write a snapshot to the gallery's index file; False where it is out of date, or cannot be written.

    All or nothing, private, and without anybody who was removed: the file is put in its place while nobody can write
    to the gallery, and only if nobody was removed since. The lock is held for the renaming alone.
    """
    snapshot = snapshot.purged()
    _drop_abandoned(file)
    try:
        with contextlib.closing(connect(file, readonly=False)) as db:
            db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")

            @contextlib.contextmanager
            def guard() -> Iterator[None]:
                with transaction(db, write=True):
                    _need_current(db, snapshot.position)
                    yield

            with guard():
                last = db.execute("SELECT seq, digest FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
                identity = identity_of(db)
            if identity is None or last is None:  # such a file could not be told from another gallery's
                return False
            note = {
                "position": asdict(snapshot.position),
                "audit": last[0],
                "digest": last[1],
                "model": [identity.sha256, identity.dimension],
            }
            save_index(snapshot.index, index_path(file), note, columns=_columns(snapshot), guard=guard)
    except _OutdatedError:
        return False
    except (GalleryFileError, sqlite3.Error, OSError) as error:
        _log.info("the index beside %s was not written (%s)", file, error)
        return False
    return True


def _need_current(db: sqlite3.Connection, position: Position) -> None:
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
    if (_epoch(db), row[0] if row else 0) != (position.epoch, position.change):
        raise _OutdatedError


def _epoch(db: sqlite3.Connection) -> str:
    row = db.execute("SELECT value FROM kept WHERE key = 'epoch'").fetchone()
    return row[0].decode("ascii", "replace") if row else ""


def _columns(snapshot: Snapshot) -> dict[str, NDArray[Any]]:
    people, negatives = snapshot.people, snapshot.negatives
    groups = json.dumps([[i, list(which)] for i, which in people.groups.items()]).encode()
    columns: dict[str, NDArray[Any]] = {
        "face ids": snapshot.face_ids.values,
        "people": people.ids,
        "ignored": np.array(sorted(people.ignored), np.int64),
        "groups": np.frombuffer(groups, np.uint8),
    }
    if negatives is not None:
        columns["negative ids"], columns["negative owners"] = negatives.face_ids, negatives.subject_ids
        columns["negatives"] = negatives.embeddings
    return columns


def _snapshot(index: Any, note: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> Snapshot:  # noqa: ANN401
    """Raises ValueError, KeyError or TypeError where something does not go together."""
    position = Position(**note["position"])
    numbers = position.face, position.subject, position.change, note["audit"]
    if any(type(n) is not int or not 0 <= n < 1 << 63 for n in numbers):
        raise ValueError("its position")
    face_ids, people, ignored = (_ids(columns[name], name) for name in ("face ids", "people", "ignored"))
    owners = index.owners
    if len(face_ids) != index.count or (len(face_ids) and face_ids[-1] > position.face):
        raise ValueError("its face ids")
    if (len(people) and people[-1] > position.subject) or (len(owners) and owners.min() < 0):
        raise ValueError("its people")
    groups = {int(i): tuple(map(str, which)) for i, which in json.loads(columns["groups"].tobytes())}
    negatives = None
    if "negatives" in columns:
        ids, whose = _ids(columns["negative ids"], "negative ids"), columns["negative owners"]
        rows = columns["negatives"]
        if rows.dtype != np.float32 or rows.shape != (len(ids), index.dimension) or not np.isfinite(rows).all():
            raise ValueError("its negatives")
        if whose.dtype != np.int64 or whose.shape != ids.shape:
            raise ValueError("its negatives' owners")
        negatives = Negatives(ids, whose, rows)
    known = People(Column.of(people), frozenset(ignored.tolist()), groups)
    return Snapshot(index, known, position, negatives, Column.of(face_ids))


def _ids(column: NDArray[Any], name: str) -> NDArray[np.int64]:
    if column.dtype != np.int64 or column.ndim != 1 or (len(column) and column[0] < 1) or (np.diff(column) <= 0).any():
        raise ValueError(f"{name}: not ascending numbers")
    return column


def _drop_abandoned(file: Path) -> None:
    """Remove what a killed process has left; what another one is writing now is younger."""
    for path in _drafts(file):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - _ABANDONED:
                path.unlink()


def _drafts(file: Path) -> Iterable[Path]:
    return file.parent.glob(f".{_escaped(index_path(file).name)}.*")


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
