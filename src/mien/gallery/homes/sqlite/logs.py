"""The two logs of a gallery's file: what was done (hash-chained), and who was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.gallery.audit import GENESIS, digest
from mien.gallery.home import AuditEntry, Sighting
from mien.gallery.homes.sqlite.tables import bytes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mien.gallery.homes.sqlite.tables import Tables

__all__ = ["append_audit", "audit_after", "insert_audit", "insert_sightings", "sightings_after"]


def append_audit(t: Tables, action: str, what: Iterable[tuple[str | None, int]], now: float) -> None:
    """Continue the chain by (pseudonym, faces), inside the transaction that does what it tells."""
    row = t.db.execute("SELECT seq, digest FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    seq, previous = row or (0, GENESIS)
    rows = []
    for pseudonym, count in what:
        seq += 1
        try:
            previous = digest(previous, seq, now, action, pseudonym, count)
        except ValueError as error:
            raise t.damaged(f"the audit log's entry {seq - 1} has no digest to go on from") from error
        rows.append((seq, now, action, pseudonym, count, previous))
    t.db.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)", rows)


def insert_audit(t: Tables, entries: Iterable[AuditEntry]) -> None:
    """Store the chain of another home as it is."""
    t.db.executemany(
        "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)",
        ((e.seq, e.time, e.action, e.pseudonym, e.count, e.digest) for e in entries),
    )


def audit_after(t: Tables, seq: int, limit: int) -> list[AuditEntry]:
    """The next entries behind one."""
    rows = t.db.execute(
        "SELECT seq, time, action, pseudonym, count, digest FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit)
    )
    return [AuditEntry(*row) for row in rows]


def insert_sightings(t: Tables, sightings: Sequence[Sighting]) -> None:
    """Append to the log of who was seen. Sightings of a subject that is gone meanwhile are dropped."""
    wanted = sorted({s.subject_id for s in sightings if s.subject_id is not None})
    pseudonyms: dict[int | None, str | None] = {None: None}
    for subject_id in wanted:
        row = t.db.execute("SELECT pseudonym FROM subjects WHERE id = ?", (subject_id,)).fetchone()
        if row:
            pseudonyms[subject_id] = row[0]
    first = t.db.execute("SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'sightings'").fetchone()[0]
    kept = [s for s in sightings if s.subject_id in pseudonyms]
    t.db.executemany(
        "INSERT INTO sightings VALUES (?, ?, ?, ?, ?)",
        (
            (
                i,
                s.time,
                s.subject_id,
                s.score,
                t.sealer.seal(pseudonyms[s.subject_id], bytes_of(s.source), f"sightings.source/{i}"),
            )
            for i, s in enumerate(kept, first)
        ),
    )


def sightings_after(
    t: Tables,
    after: tuple[float, int],
    limit: int,
    *,
    until: float | None,
    subject_id: int | None,
) -> list[tuple[int, Sighting]]:
    """The next sightings behind (time, id), with their ids, oldest first."""
    rows = t.db.execute(
        "SELECT g.id, g.time, g.subject_id, g.score, g.source, s.pseudonym, s.name FROM sightings g "
        "LEFT JOIN subjects s ON s.id = g.subject_id "
        "WHERE (g.time, g.id) > (?, ?) AND g.time < ? AND (? IS NULL OR g.subject_id = ?) "
        "ORDER BY g.time, g.id LIMIT ?",
        (*after, float("inf") if until is None else until, subject_id, subject_id, limit),
    )
    found = []
    for i, time, owner, score, source, pseudonym, sealed_name in rows:
        name = None if owner is None else t.text(pseudonym, sealed_name, f"subjects.name/{owner}")
        text = t.text(pseudonym, source, f"sightings.source/{i}")
        found.append((i, Sighting(time, owner, score, text, name)))
    return found
