"""Finding near faces in PostgreSQL: an exact scan while that is quick, pgvector's HNSW index above, exact ranks.

Nothing from outside is ever part of a statement: what varies in their text are our own words and numbers.

The exact query orders by the float32 column, which has no index, so it is always a scan; the approximate one orders by
the expression that the index is on, halfvec of the column. The index is asked for more faces than subjects are wanted,
what it gives is ranked again in float32, and where it gives too few the exact query answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mien.gallery.homes.postgres.indexing import larger_than
from mien.gallery.homes.postgres.link import pack, unpack
from mien.gallery.homes.postgres.reading import owned
from mien.gallery.homes.postgres.schema import INDEXED_DIMENSIONS
from mien.gallery.homes.reranking import NearFace, highest, reranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.gallery.homes.postgres.address import Settings
    from mien.gallery.homes.postgres.link import Connection, Packed
    from mien.match import Candidate
    from mien.types import Floats

__all__ = ["search"]

_FACES_A_SUBJECT = 16  # asked for at first; a subject with more pictures may hide others
_LEAST = 64

_COLUMNS = "n.id, n.subject_id, s.name, s.told, n.picture, vector_send(n.embedding)"
_INSIDE = "SELECT f.id, f.subject_id, f.picture, f.embedding FROM faces f WHERE NOT f.negative"
_JOINED = "JOIN subjects s ON s.id = n.subject_id"


def search(
    db: Connection,
    probes: Floats,
    *,
    k: int,
    group: str | None,
    indexed: bool,
    settings: Settings,
    source: str,
) -> list[list[Candidate]]:
    """The k nearest subjects of each probe; `indexed` says that the index may be asked."""
    dimension = probes.shape[1]
    owners: list[int] | None = None
    if group is not None:
        owners = [row[0] for row in db.execute("SELECT id FROM subjects WHERE groups @> ARRAY[%s]", [group])]
        if not owners:
            return [[] for _ in probes]
    # A group that is small is quicker, and exact, by the index on whose a face is.
    indexed = indexed and dimension <= INDEXED_DIMENSIONS
    if indexed and owners is not None:
        indexed = larger_than(db, settings.exact_below, owners)
    packed = pack(probes)
    limit = max(_LEAST, _FACES_A_SUBJECT * k)
    query = _approximate(dimension, owners) if indexed else _exact(owners)
    found = _asked(db, query, packed, owners, limit)
    short = [i for i, rows in enumerate(found) if len({row[1] for row in rows}) < k and (indexed or len(rows) == limit)]
    # One answer a subject, from all faces: for subjects with very many pictures, and where the index gave too few.
    for i, rows in zip(short, _asked(db, _each(owners), [packed[i] for i in short], owners, k + 8), strict=True):
        found[i] = rows
    return _ranked(db, probes, found, k, source)


def _asked(
    db: Connection, query: str, probes: Sequence[Packed], owners: list[int] | None, limit: int
) -> list[list[tuple[Any, ...]]]:
    """The rows of each probe, in one round trip."""
    if not probes:
        return []
    values = [{"probe": probe, "owners": owners, "limit": limit} for probe in probes]
    with db.cursor(binary=True) as cursor:
        if len(values) == 1:
            return [cursor.execute(query, values[0]).fetchall()]
        cursor.executemany(query, values, returning=True)
        answers = [cursor.fetchall()]
        while cursor.nextset():
            answers.append(cursor.fetchall())
        return answers


def _whose(owners: list[int] | None, *, by_index: bool) -> str:
    if owners is None:
        return ""
    # "+ 0" keeps the planner from fetching a large group by its index and sorting it.
    return f"AND f.subject_id{'' if by_index else ' + 0'} = ANY(%(owners)s::bigint[]) "


def _exact(owners: list[int] | None) -> str:
    order = "ORDER BY f.embedding <#> %(probe)s, f.id LIMIT %(limit)s"
    return f"SELECT {_COLUMNS} FROM ({_INSIDE} {_whose(owners, by_index=True)} {order}) n {_JOINED}"  # noqa: S608


def _approximate(dimension: int, owners: list[int] | None) -> str:
    order = f"ORDER BY f.embedding::halfvec({dimension:d}) <#> %(probe)s::halfvec({dimension:d}) LIMIT %(limit)s"
    return f"SELECT {_COLUMNS} FROM ({_INSIDE} {_whose(owners, by_index=False)} {order}) n {_JOINED}"  # noqa: S608


def _each(owners: list[int] | None) -> str:
    one = (
        "SELECT DISTINCT ON (f.subject_id) f.id, f.subject_id, f.picture, f.embedding, "  # noqa: S608
        "f.embedding <#> %(probe)s AS distance FROM faces f WHERE NOT f.negative "
        f"{_whose(owners, by_index=True)} ORDER BY f.subject_id, distance, f.id"
    )
    return f"SELECT {_COLUMNS} FROM (SELECT * FROM ({one}) o ORDER BY o.distance, o.id LIMIT %(limit)s) n {_JOINED}"  # noqa: S608


def _ranked(
    db: Connection, probes: Floats, found: list[list[tuple[Any, ...]]], k: int, source: str
) -> list[list[Candidate]]:
    answers: list[list[Candidate]] = []
    candidates = sorted({row[1] for rows in found for row in rows})
    negatives, owners = owned(db, candidates, source, negative=True)
    for i, probe in enumerate(probes):
        near = [NearFace(*row[:5]) for row in found[i]]
        rows = unpack([row[5] for row in found[i]], probes.shape[1], source)
        against = highest(probe, owners.tolist(), negatives) if len(owners) else {}
        answers.append(reranked(np.asarray(probe), near, rows, k=k, against=against))
    return answers
