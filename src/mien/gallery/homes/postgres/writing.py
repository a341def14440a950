"""Changing a gallery in PostgreSQL, in the caller's transaction, which holds the gallery's lock."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from mien.errors import GalleryError, InputError, NotFoundError
from mien.gallery.audit import GENESIS, digest
from mien.gallery.homes.postgres import reading
from mien.gallery.homes.postgres.link import pack
from mien.gallery.homes.postgres.schema import fit_dimension
from mien.gallery.names import other_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mien.gallery.home import AuditEntry, Batch, Sighting, Told
    from mien.gallery.homes.postgres.link import Connection, Packed
    from mien.gallery.records import FaceRecord
    from mien.types import Face, ModelIdentity

__all__ = [
    "add",
    "add_negative",
    "copy_logs",
    "describe",
    "load",
    "merge",
    "move",
    "pin",
    "record",
    "remove_faces",
    "see",
]

_FACE_COLUMNS = {
    "id": "int8", "subject_id": "int8", "picture": "text", "sha256": "text", "x0": "float8", "y0": "float8",
    "x1": "float8", "y1": "float8", "score": "float8", "quality": "float8", "enrolled": "float8",
    "negative": "bool", "embedding": "vector",
}  # fmt: skip


def pin(db: Connection, identity: ModelIdentity, source: str) -> None:
    """Bind the gallery to a model. Raises GalleryModelError when it is bound to another one."""
    pinned = reading.identity(db)
    if pinned is None:
        fit_dimension(db, identity.dimension)
        db.execute(
            "INSERT INTO model VALUES (1, %s, %s, %s, %s)",
            [identity.name, identity.preset, identity.sha256, identity.dimension],
        )
    elif pinned != identity:
        raise other_model(source, pinned, identity)


def record(db: Connection, action: str, *who: tuple[str | None, int]) -> None:
    """Append to the audit log: (pseudonym, faces concerned) of one action."""
    last = db.execute("SELECT seq, digest FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    seq, head = last or (0, GENESIS)
    now = time.time()
    with db.cursor() as cursor, cursor.copy("COPY audit (seq, time, action, pseudonym, count, digest) FROM STDIN") as c:
        for pseudonym, count in who:
            seq += 1
            head = digest(head, seq, now, action, pseudonym, count)
            c.write_row((seq, now, action, pseudonym, count, head))


def _subjects_named(db: Connection, names: Sequence[str], told: Told) -> tuple[dict[str, tuple[int, str]], set[str]]:
    """Of each name (id, pseudonym), made where new; and the names that are."""
    distinct = list(dict.fromkeys(names))
    made = db.execute(
        "INSERT INTO subjects (name, pseudonym, created, told) SELECT n, p, %s, %s FROM "
        "unnest(%s::text[], %s::text[]) WITH ORDINALITY AS t (n, p, i) "
        "WHERE NOT EXISTS (SELECT 1 FROM subjects s WHERE s.name = n) ORDER BY i "
        "ON CONFLICT (name) DO NOTHING RETURNING name",
        [time.time(), told, distinct, [secrets.token_hex(16) for _ in distinct]],
    ).fetchall()
    rows = db.execute("SELECT name, id, pseudonym FROM subjects WHERE name = ANY(%s::text[])", [distinct]).fetchall()
    return {name: (number, pseudonym) for name, number, pseudonym in rows}, {row[0] for row in made}


def add(db: Connection, people: Sequence[tuple[str, Sequence[FaceRecord]]], *, told: Told) -> tuple[list[int], int]:
    """Store faces; returns the subjects' ids, and how many faces were new."""
    known, made = _subjects_named(db, [name for name, _ in people], told)
    contents = {r.sha256 for _, records in people for r in records if r.sha256 is not None}
    held: set[tuple[int, str]] = set()
    if contents:
        held = set(
            db.execute(
                "SELECT subject_id, sha256 FROM faces WHERE NOT negative AND subject_id = ANY(%s::bigint[]) "
                "AND sha256 = ANY(%s::text[])",
                [[number for number, _ in known.values()], list(contents)],
            ).fetchall()
        )
    new: list[tuple[int, FaceRecord]] = []
    added = dict.fromkeys((pseudonym for name, (_, pseudonym) in known.items() if name in made), 0)
    for name, records in people:
        number, pseudonym = known[name]
        for one in records:
            if one.sha256 is not None:
                if (number, one.sha256) in held:
                    continue
                held.add((number, one.sha256))
            new.append((number, one))
            added[pseudonym] = added.get(pseudonym, 0) + 1
    _store(db, new)
    if added:
        record(db, "enrol", *added.items())
    return [known[name][0] for name, _ in people], len(new)


def add_negative(db: Connection, number: int, one: FaceRecord) -> None:
    """Store an exemplar of who a subject is not."""
    _store(db, [(number, one)], negative=True)
    record(db, "reject", (_pseudonym(db, number), 1))


def _store(db: Connection, faces: Sequence[tuple[int, FaceRecord]], *, negative: bool = False) -> None:
    if not faces:
        return
    now = time.time()
    ids = [
        row[0]
        for row in db.execute("SELECT nextval('faces_id_seq') FROM generate_series(1, %s)", [len(faces)]).fetchall()
    ]
    _copy_faces(
        db,
        (
            (i, owner, r.picture, r.sha256, *_placed(r.face), _number(r.quality), now, negative, pack(r.embedding)[0])
            for i, (owner, r) in zip(ids, faces, strict=True)
        ),
    )
    _copy_crops(db, {i: r.crop for i, (_, r) in zip(ids, faces, strict=True) if r.crop is not None})


def _copy_faces(db: Connection, rows: Iterable[tuple[object, ...]]) -> None:
    db.execute("SET LOCAL statement_timeout = 0")  # a large batch is one statement
    with (
        db.cursor() as cursor,
        cursor.copy(f"COPY faces ({', '.join(_FACE_COLUMNS)}) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.set_types(list(_FACE_COLUMNS.values()))
        for row in rows:
            copy.write_row(row)


def _copy_crops(db: Connection, crops: Mapping[int, bytes]) -> None:
    if crops:
        with db.cursor() as cursor, cursor.copy("COPY crops (face_id, crop) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "bytea"])
            for item in crops.items():
                copy.write_row(item)


def _placed(face: Face | None) -> tuple[float | None, ...]:
    return (None,) * 5 if face is None else (*(float(x) for x in face.box), float(face.score))


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _pseudonym(db: Connection, number: int) -> str:
    row = db.execute("SELECT pseudonym FROM subjects WHERE id = %s", [number]).fetchone()
    assert row is not None
    return str(row[0])


def describe(db: Connection, number: int, changes: Mapping[str, Any], source: str) -> None:
    """Change what is said of a subject."""
    values: dict[str, object] = {}
    for key, value in changes.items():
        if key == "metadata":
            values[key] = _json(value)
        elif key == "groups":
            values[key] = sorted({str(group) for group in value})
        elif key in ("external_id", "told", "expires", "consent"):
            values[key] = value
        else:
            raise InputError(
                f"describe: expected any of external_id, told, groups, metadata, expires, consent, got {key!r:.60}"
            )
    external_id = values.get("external_id")
    if external_id is not None:
        row = db.execute("SELECT id, name FROM subjects WHERE external_id = %s", [external_id]).fetchone()
        if row is not None and row[0] != number:
            raise GalleryError(f"{source}: the external id {external_id!r} belongs to {row[1]!r}; give another one")
    for key, value in values.items():  # the keys are the words above
        db.execute(f"UPDATE subjects SET {key} = %s WHERE id = %s", [value, number])  # noqa: S608
    if values:
        record(db, "describe", (_pseudonym(db, number), 0))


def _json(value: object) -> str:
    try:
        return json.dumps(dict(value), allow_nan=False)  # type: ignore[call-overload]
    except (TypeError, ValueError) as error:
        raise InputError(f"metadata: expected a JSON object ({error})") from error


def merge(db: Connection, number: int, into: int) -> None:
    """Give all of a subject's faces to another one and forget the first."""
    gone = _pseudonym(db, number)
    ids = [row[0] for row in db.execute("SELECT id FROM faces WHERE subject_id = %s", [number]).fetchall()]
    _give(db, ids, into)
    db.execute("UPDATE sightings SET subject_id = %s WHERE subject_id = %s", [into, number])
    db.execute("DELETE FROM subjects WHERE id = %s", [number])
    record(db, "merge", (gone, len(ids)), (_pseudonym(db, into), len(ids)))


def move(db: Connection, face_ids: Sequence[int], to: str, source: str) -> int:
    """Give faces to a subject, made where it is new; returns its id."""
    ids = _present(db, face_ids, source)
    known, made = _subjects_named(db, [to], "person")
    number, pseudonym = known[to]
    if made:
        record(db, "enrol", (pseudonym, 0))
    _give(db, ids, number)
    record(db, "move", (pseudonym, len(ids)))
    return number


def _give(db: Connection, ids: Sequence[int], into: int) -> None:
    # Of several faces of one content the one that is there already stays, then the one that was enrolled first.
    db.execute(
        "DELETE FROM faces f WHERE f.id = ANY(%(ids)s::bigint[]) AND f.subject_id <> %(into)s AND NOT f.negative "
        "AND EXISTS (SELECT 1 FROM faces o WHERE o.sha256 = f.sha256 AND NOT o.negative AND (o.subject_id = %(into)s "
        "OR (o.id = ANY(%(ids)s::bigint[]) AND o.id < f.id)))",
        {"ids": list(ids), "into": into},
    )
    db.execute("UPDATE faces SET subject_id = %s WHERE id = ANY(%s::bigint[])", [into, list(ids)])


def _present(db: Connection, face_ids: Sequence[int], source: str) -> list[int]:
    ids = list(dict.fromkeys(int(i) for i in face_ids))
    found = {row[0] for row in db.execute("SELECT id FROM faces WHERE id = ANY(%s::bigint[])", [ids])}
    missing = [i for i in ids if i not in found]
    if missing:
        raise NotFoundError(f"{source}: there is no face {missing[0]}; it may have been removed")
    return ids


def remove_faces(db: Connection, face_ids: Sequence[int], source: str) -> int:
    """Forget faces; returns how many."""
    ids = _present(db, face_ids, source)
    who = db.execute(
        "SELECT s.pseudonym, count(*) FROM faces f JOIN subjects s ON s.id = f.subject_id "
        "WHERE f.id = ANY(%s::bigint[]) GROUP BY s.id ORDER BY s.id",
        [ids],
    ).fetchall()
    db.execute("DELETE FROM faces WHERE id = ANY(%s::bigint[])", [ids])
    if who:
        record(db, "remove", *who)
    return len(ids)


def load(db: Connection, batch: Batch, source: str) -> None:
    """Store rows with the ids they come with; rows that are there already stay. Refuses beside other people."""
    known: dict[int, str] = dict(
        db.execute(
            "SELECT id, pseudonym FROM subjects WHERE id = ANY(%s::bigint[])", [[r.subject.id for r in batch.subjects]]
        ).fetchall()
    )
    if any(known.get(row.subject.id, row.pseudonym) != row.pseudonym for row in batch.subjects):
        raise GalleryError(f"{source}: holds other people already; copy into a new gallery")
    for row in batch.subjects:
        s = row.subject
        db.execute(
            "INSERT INTO subjects (id, name, pseudonym, created, external_id, told, groups, metadata, expires, consent)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING",
            [s.id, s.name, row.pseudonym, s.created, s.external_id, s.told, list(s.groups), _json(s.metadata),
             s.expires, s.consent],
        )  # fmt: skip
    ids = [face.id for face in batch.faces]
    there = {row[0] for row in db.execute("SELECT id FROM faces WHERE id = ANY(%s::bigint[])", [ids])}
    packed = pack(batch.embeddings) if ids else []
    _copy_faces(db, (_loaded(face, one) for face, one in zip(batch.faces, packed, strict=True) if face.id not in there))
    _copy_crops(db, {i: crop for i, crop in batch.crops.items() if i not in there})
    last_subject = max((row.subject.id for row in batch.subjects), default=0)
    for table, highest in (("faces", max(ids, default=0)), ("subjects", last_subject)):
        if highest:
            db.execute(
                f"SELECT setval('{table}_id_seq', greatest(%s, (SELECT last_value FROM {table}_id_seq)))",  # noqa: S608
                [highest],
            )


def _loaded(face: Any, packed: Packed) -> tuple[object, ...]:  # noqa: ANN401
    return (
        face.id, face.subject_id, face.picture, face.sha256, *_placed(face.face), _number(face.quality), face.enrolled,
        face.negative, packed,
    )  # fmt: skip


def copy_logs(db: Connection, audit: Sequence[AuditEntry], sightings: Sequence[Sighting], source: str) -> None:
    """Store the logs of another home; refuses where there are some."""
    for table, entries in (("audit", audit), ("sightings", sightings)):
        if entries and db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():  # noqa: S608
            raise GalleryError(f"{source}: has a log of its own ({table}); copy into an empty gallery")
    with db.cursor() as cursor, cursor.copy("COPY audit (seq, time, action, pseudonym, count, digest) FROM STDIN") as c:
        for e in audit:
            c.write_row((e.seq, e.time, e.action, e.pseudonym, e.count, e.digest))
    see(db, sightings)


def see(db: Connection, sightings: Sequence[Sighting]) -> None:
    """Append to the log of who was seen."""
    with db.cursor() as cursor, cursor.copy("COPY sightings (time, subject_id, score, source) FROM STDIN") as copy:
        for s in sightings:
            copy.write_row((float(s.time), s.subject_id, float(s.score), s.source))
