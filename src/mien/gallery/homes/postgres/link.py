"""Connections to a gallery in PostgreSQL, embeddings on the wire, and the server's complaints turned into advice."""

from __future__ import annotations

import contextlib
import hashlib
import struct
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mien.errors import GalleryError, GalleryFileError, InputError, MissingExtraError
from mien.gallery.homes.postgres import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg import Connection as _Connection

    from mien.gallery.homes.postgres.address import Address
    from mien.types import Floats

    Connection: TypeAlias = _Connection[tuple[Any, ...]]

__all__ = ["Connection", "Link", "Packed", "pack", "unpack"]


class Packed(bytes):
    """An embedding as pgvector sends and receives it: its length, an unused field, and big-endian float32."""

    __slots__ = ()


def pack(embeddings: Floats) -> list[Packed]:
    """Rows (N, D) on their way to the server."""
    rows = np.atleast_2d(embeddings)
    head = struct.pack(">HH", rows.shape[1], 0)
    return [Packed(head + row.tobytes()) for row in rows.astype(">f4")]


def unpack(sent: Sequence[bytes], dimension: int, source: str) -> Floats:
    """float32 (N, D) from what `vector_send` gave. Raises GalleryFileError for another length, or a broken number."""
    if any(len(one) != 4 + 4 * dimension for one in sent):
        raise GalleryFileError(f"{source}: holds an embedding of another length; restore a backup")
    # The head is as long as one number: it is read as one and left out.
    rows = np.frombuffer(b"".join(sent), ">f4").reshape(len(sent), dimension + 1)[:, 1:].astype(np.float32)
    if not np.isfinite(rows).all():
        raise GalleryFileError(f"{source}: holds a damaged embedding; restore a backup")
    return rows


class Link:
    """A pool of connections to one gallery.

    Thread-safe. A connection that the server has dropped is replaced when it is next asked for, so that a restart of
    the server is an error once at most. Not to be carried over `os.fork`.
    """

    def __init__(self, address: Address, *, readonly: bool, create: bool) -> None:
        try:
            import psycopg
            from psycopg_pool import ConnectionPool
        except ImportError as error:
            raise MissingExtraError("a gallery in PostgreSQL", "postgres") from error
        self.address = address
        self.source = address.source
        self.readonly = readonly
        name = f"mien gallery {address.settings.schema}"
        self.lock = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        parameters: dict[str, Any] = {"connect_timeout": "10", "application_name": "mien", **address.parameters}
        parameters["client_encoding"] = "utf8"
        # At first a single connection: its failure has a reason, where a pool's would be a silent wait.
        with self.explained(), psycopg.connect(**parameters) as db:
            schema.prepare(db, address, lock=self.lock, readonly=readonly, create=create)
            self._extension = schema.extension_schema(db, self.source)
            row = db.execute(
                "SELECT t.oid, t.typarray FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace "
                "WHERE t.typname = 'vector' AND n.nspname = %s",
                [self._extension],
            ).fetchone()
            if row is None:
                raise GalleryFileError(f"{self.source}: the database's extension vector is not pgvector's")
            self._vector = psycopg.types.TypeInfo("vector", *row)
            self._dumper = _dumper(row[0])
        self.parameters = parameters
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            kwargs=parameters,
            min_size=0,
            max_size=address.settings.connections,
            timeout=30.0,
            reconnect_timeout=10.0,
            configure=self._configure,
            check=ConnectionPool.check_connection,
            open=True,
            name="mien",
        )

    def _configure(self, db: Connection) -> None:
        from psycopg import sql

        settings = self.address.settings
        milliseconds = str(1000 * settings.timeout)
        path = sql.SQL("{}, {}").format(sql.Identifier(settings.schema), sql.Identifier(self._extension))
        db.execute(sql.SQL("SET search_path TO {}").format(path))
        for name, value in (
            ("statement_timeout", milliseconds),
            ("lock_timeout", milliseconds),
            ("idle_in_transaction_session_timeout", milliseconds),
            ("synchronous_commit", "on"),  # what was acknowledged is on the disk
            ("default_transaction_read_only", "on" if self.readonly else "off"),
            ("hnsw.ef_search", str(settings.ef_search)),
            ("hnsw.iterative_scan", "relaxed_order"),  # a filter makes the index go on; the order is put right here
        ):
            db.execute("SELECT set_config(%s, %s, false)", [name, value])
        db.commit()
        self._vector.register(db)
        db.adapters.register_dumper(Packed, self._dumper)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one consistent picture and changes nothing."""
        from psycopg import IsolationLevel

        with self.explained(), self._pool.connection() as db:
            db.isolation_level, db.read_only = IsolationLevel.REPEATABLE_READ, True  # a part of BEGIN: no message more
            yield db

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction, all or nothing; the gallery's writers, in all processes, take turns."""
        if self.readonly:
            raise GalleryError(f"{self.source}: was opened readonly; open it again without readonly to change it")
        with self.explained(), self._pool.connection() as db:
            db.isolation_level, db.read_only = None, None
            db.execute("SELECT pg_advisory_xact_lock(%s)", [self.lock])
            yield db

    @contextlib.contextmanager
    def outside(self) -> Iterator[Connection]:
        """A connection without a transaction and without time limits, for making an index."""
        import psycopg

        with self.explained(), psycopg.connect(**self.parameters, autocommit=True) as db:
            self._configure_plain(db)
            yield db

    def _configure_plain(self, db: Connection) -> None:
        from psycopg import sql

        path = sql.SQL("{}, {}").format(sql.Identifier(self.address.settings.schema), sql.Identifier(self._extension))
        db.execute(sql.SQL("SET search_path TO {}").format(path))
        db.execute("SET statement_timeout = 0")

    def close(self) -> None:
        """Close all connections; a second call does nothing."""
        self._pool.close()

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Raise an error of mien's, without secrets, for what PostgreSQL reports."""
        import psycopg
        from psycopg import errors
        from psycopg_pool import PoolClosed

        try:
            yield
        except PoolClosed:
            raise GalleryError(f"{self.source}: the gallery is closed; open it again") from None
        except (psycopg.DataError, errors.ProgramLimitExceeded, UnicodeEncodeError) as error:
            raise InputError(f"{self.source}: PostgreSQL cannot keep such a value ({self._told(error)})") from None
        except psycopg.Error as error:
            raise GalleryFileError(f"{self.source}: {_advice(error)} ({self._told(error)})") from None

    def _told(self, error: Exception) -> str:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return self.address.hushed(lines[0])[:500]


def _advice(error: Exception) -> str:
    import psycopg
    from psycopg import errors

    known: tuple[tuple[type[Exception], str], ...] = (
        (errors.QueryCanceled, "the server gave up after the time limit; try again, or allow more with ?timeout=..."),
        (errors.LockNotAvailable, "another program is writing; try again, or allow more time with ?timeout=..."),
        (errors.DiskFull, "the server's disk is full; nothing of this operation was kept"),
        (errors.InsufficientPrivilege, "this user may not; check the rights on the gallery's schema"),
        (errors.ReadOnlySqlTransaction, "the server is read only; give the primary's address or open it readonly"),
        (errors.UniqueViolation, "a name, id or content is taken by another row; nothing of this operation was kept"),
        (errors.UndefinedTable, "the gallery's tables are gone; restore a backup"),
        (
            psycopg.OperationalError,
            "the server cannot be reached or broke off; check that it runs and the URL, and look before repeating",
        ),
    )
    return next((advice for kind, advice in known if isinstance(error, kind)), "PostgreSQL refused")


def _dumper(oid: int) -> type[Any]:
    from psycopg.adapt import Dumper
    from psycopg.pq import Format

    class VectorDumper(Dumper):
        """Sends what is packed already."""

        format = Format.BINARY

        def dump(self, obj: Packed) -> bytes:
            return bytes(obj)

    VectorDumper.oid = oid
    return VectorDumper
