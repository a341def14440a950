"""Whether all is well with a gallery's file."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import GalleryFileError
from mien.gallery.audit import GENESIS, verify_chain
from mien.gallery.home import Counts
from mien.gallery.homes.sqlite import logs, schema
from mien.gallery.homes.sqlite.following import changes_since
from mien.gallery.homes.sqlite.reading import subject_rows
from mien.gallery.homes.sqlite.staged_rows import staged_problems
from mien.gallery.homes.sqlite.tables import identity_of
from mien.gallery.index import Snapshot
from mien.gallery.records import Position
from mien.gallery.upkeep import CheckReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mien.gallery.home import AuditEntry
    from mien.gallery.homes.sqlite.tables import Tables

__all__ = ["check"]

_WORST = 20  # problems of one kind that are told
_AT_ONCE = 4096


def check(t: Tables, index: Snapshot | None = None) -> CheckReport:
    """Look at every row, inside the caller's transaction or none. Never raises for what is wrong with the file.

    Args:
        t: the file.
        index: the index in memory, caught up; it is compared with the rows.
    """
    problems: list[str] = []
    head = [GENESIS, "0"]

    def attempt(what: Callable[[], Iterator[str]]) -> None:
        try:
            problems.extend(what())
        except sqlite3.DatabaseError as error:
            problems.append(f"the file is damaged: {error}")
        except GalleryFileError as error:
            problems.append(str(error).removeprefix(f"{t.source}: "))

    def structure() -> Iterator[str]:
        rows = [row[0] for row in t.db.execute(f"PRAGMA integrity_check({_WORST})")]
        yield from (f"the file's structure: {row}" for row in rows if row != "ok")
        for table, row, parent, _ in t.db.execute("PRAGMA foreign_key_check").fetchmany(_WORST):
            yield f"row {row} of {table} refers to what is not in {parent}"
        schema.verify(t.db, t.source)
        schema.verify_seal(t.db, t.source, t.sealer)

    def people() -> Iterator[str]:
        for subject, _ in subject_rows(t):
            found = t.db.execute("SELECT name_key FROM subjects WHERE id = ?", (subject.id,)).fetchone()
            if found is None or found[0] != t.sealer.lookup(subject.name):
                yield f"subject {subject.id} cannot be found by its name"

    def faces() -> Iterator[str]:
        if identity_of(t.db) is None and t.db.execute("SELECT 1 FROM faces LIMIT 1").fetchone():
            yield "there are faces, and no model is named"
            return
        fresh = Snapshot().follow(changes_since(t, Position()), t.source)
        if index is not None and index.position == fresh.position:  # else others have written meanwhile
            yield from _differences(index, fresh)

    def staged() -> Iterator[str]:
        yield from staged_problems(t)

    def log() -> Iterator[str]:
        found = verify_chain(_audit(t))
        head[:] = [found.head, str(found.entries)]
        if not found.whole:
            yield f"the audit log: {found.reason}"

    for part in (structure, people, faces, staged, log):
        attempt(part)
    return CheckReport(t.source, _counts(t), int(head[1]), head[0], tuple(problems))


def _differences(index: Snapshot, fresh: Snapshot) -> Iterator[str]:
    mine_known, known = index.people, fresh.people
    if not np.array_equal(mine_known.ids, known.ids) or (mine_known.ignored, mine_known.groups) != (
        known.ignored,
        known.groups,
    ):
        yield "the index in memory knows other people than the file"
        return
    (mine, my_owners), (theirs, their_owners) = index.all_faces(), fresh.all_faces()
    if not (np.array_equal(mine, theirs) and np.array_equal(my_owners, their_owners)):
        yield "the index in memory holds other faces than the file"


def _audit(t: Tables) -> Iterator[AuditEntry]:
    seq = 0
    while part := logs.audit_after(t, seq, _AT_ONCE):
        yield from part
        seq = part[-1].seq


def _counts(t: Tables) -> Counts | None:
    try:
        people = dict(t.db.execute("SELECT told, count(*) FROM subjects GROUP BY told").fetchall())
        faces = dict(t.db.execute("SELECT negative, count(*) FROM faces GROUP BY negative").fetchall())
    except sqlite3.DatabaseError:
        return None
    return Counts(people.get("person", 0), people.get("ignored", 0), faces.get(0, 0), faces.get(1, 0))
