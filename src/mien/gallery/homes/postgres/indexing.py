"""The HNSW index of a gallery in PostgreSQL: when it is made, and how."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from mien.errors import GalleryFileError
from mien.gallery.homes.postgres import reading
from mien.gallery.homes.postgres.schema import INDEXED_DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.gallery.homes.postgres.address import Settings
    from mien.gallery.homes.postgres.link import Connection, Link

__all__ = ["INDEX", "Largeness", "build", "build_in_passing", "is_ready", "larger_than"]

INDEX = "faces_near"
_TRUSTED_SECONDS = 5.0  # how long a gallery is known to be large before its size is looked at again
_log = logging.getLogger(__name__)


def _statement(dimension: int, settings: Settings) -> str:
    """The SQL that makes the index, without holding up anybody."""
    return (
        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {INDEX} ON faces "
        f"USING hnsw ((embedding::halfvec({dimension:d})) halfvec_ip_ops) "
        f"WITH (m = {settings.m:d}, ef_construction = {settings.ef_construction:d}) WHERE NOT negative"
    )


def is_ready(db: Connection) -> bool:
    """Whether the index is there and whole."""
    row = db.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [INDEX]).fetchone()
    return bool(row and row[0])


def larger_than(db: Connection, limit: int, owners: Sequence[int] | None = None) -> bool:
    """Whether there are more faces than `limit`, counting no further."""
    whose = "" if owners is None else "AND subject_id = ANY(%s::bigint[]) "
    values: list[object] = [] if owners is None else [owners]
    row = db.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM faces WHERE NOT negative {whose}LIMIT %s) t",  # noqa: S608
        [*values, limit + 1],
    ).fetchone()
    return bool(row and row[0] > limit)


class Largeness:
    """Whether a gallery has passed the size up to which it is searched exactly.

    Thread-safe: what it keeps is one number, and an old one only costs another look.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._until = 0.0

    def __call__(self, db: Connection) -> bool:
        """Look, or remember."""
        now = time.monotonic()
        if now < self._until:
            return True
        large = larger_than(db, self._limit)
        self._until = now + _TRUSTED_SECONDS if large else 0.0
        return large


def build(link: Link, settings: Settings) -> bool:
    """Make the index if the gallery is large enough, and have the planner look at what there is.

    One process makes it; another one that asks meanwhile leaves it to that. Returns whether it is there.
    """
    with link.reading() as db:
        pinned = reading.identity(db)
        large = pinned is not None and larger_than(db, settings.exact_below)
    with link.outside() as db:
        db.execute("ANALYZE faces")
        if pinned is None or not large or pinned.dimension > INDEXED_DIMENSIONS:
            return is_ready(db)
        alone = db.execute("SELECT pg_try_advisory_lock(%s)", [link.lock ^ 1]).fetchone()
        if alone and alone[0] and not is_ready(db):
            # Not there, or left half made by a process that died.
            db.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
            db.execute("SET maintenance_work_mem = '512MB'")
            db.execute(_statement(pinned.dimension, settings))
        return is_ready(db)


def build_in_passing(link: Link, settings: Settings) -> None:
    """Make the index after a change that is committed already: a failure is told, and is not the change's."""
    try:
        build(link, settings)
    except GalleryFileError as error:  # searches are exact until it is made
        _log.warning("the index was not made: %s", error)
