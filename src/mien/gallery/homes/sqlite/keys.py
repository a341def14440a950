"""The order of keys and rows: a key is destroyed after the rows it sealed are gone, and no crash forgets to.

See `mien.gallery.sealing.Sealer`. What is due is noted in the transaction that removes the rows.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mien.gallery.homes.sqlite.logs import append_audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.gallery.homes.sqlite.tables import Tables

__all__ = ["due", "erased", "note_due", "remove_destroyed", "strike_out"]

_DUE = "destroy/"


def note_due(t: Tables, pseudonym: str) -> None:
    """Note that a subject's key is to be destroyed."""
    t.db.execute("INSERT OR REPLACE INTO kept VALUES (?, x'')", (_DUE + pseudonym,))


def due(t: Tables) -> list[str]:
    """Subjects whose keys are to be destroyed."""
    rows = t.db.execute("SELECT key FROM kept WHERE substr(key, 1, ?) = ?", (len(_DUE), _DUE))
    return [row[0].removeprefix(_DUE) for row in rows]


def erased(t: Tables) -> set[str]:
    """Subjects who were erased, by the audit log: a restored key file may have their keys again."""
    rows = t.db.execute("SELECT DISTINCT pseudonym FROM audit WHERE action IN ('erase', 'expire')")
    return {row[0] for row in rows if row[0] is not None}


def strike_out(t: Tables, pseudonyms: Sequence[str]) -> None:
    """Note no longer what has been done."""
    t.db.executemany("DELETE FROM kept WHERE key = ?", ((_DUE + pseudonym,) for pseudonym in pseudonyms))


def remove_destroyed(t: Tables, now: float) -> None:
    """Remove subjects whose keys were destroyed: a restored backup still has them, and nobody can read them."""
    owners = {pseudonym: i for i, pseudonym in t.db.execute("SELECT id, pseudonym FROM subjects")}
    gone = sorted(t.sealer.destroyed(owners))
    if not gone:
        return
    ids = [owners[pseudonym] for pseudonym in gone]
    counts = dict(
        t.db.execute(
            "SELECT subject_id, count(*) FROM faces WHERE subject_id IN (SELECT value FROM json_each(?)) "
            "GROUP BY subject_id",
            (json.dumps(ids),),
        ).fetchall()
    )
    t.db.executemany("DELETE FROM subjects WHERE id = ?", ((i,) for i in ids))
    t.changed_subjects(ids)
    append_audit(t, "erase", [(p, counts.get(owners[p], 0)) for p in gone], now)
