"""Embeddings that were computed before: one SQLite file a model and way of finding faces, in the user's cache.

A row is found again by the content of the picture and by which face of it was meant, so that renamed and copied
pictures are not embedded again, and changed ones are. Every row carries a checksum; what is damaged is computed anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mien.types import ModelIdentity

__all__ = ["EMBEDDING_WAY", "EmbeddingCache", "cache_folder"]

_LAYOUT: Final = 1

EMBEDDING_WAY: Final = 1
"""Version of the way from a picture to its embedding: decoding, detection, alignment, the embedder's code.

Raise it with every change there that changes numbers, so that nothing computed the old way is found again."""

_BROKEN: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_AT_ONCE: Final = 500  # rows of one query
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID"
)


def cache_folder() -> Path:
    """The folder of cached embeddings: MIEN_CACHE, or the user's cache folder; never the folder of the photos."""
    if folder := os.environ.get("MIEN_CACHE"):
        return Path(folder).expanduser() / "embeddings"
    import platformdirs

    return platformdirs.user_cache_path("mien", appauthor=False) / "embeddings"


class EmbeddingCache:
    """Rows of bytes by a key, on disk; a cache that cannot be read or written is empty, and no error.

    One object belongs to one thread; any number of processes may use the same file at once. What `put` has taken is
    kept whole or not at all, whenever the process ends. The file is its owner's only: embeddings are personal.

    Args:
        path: the file; made, with its folder, when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: sqlite3.Connection | None = None
        self._open()

    @classmethod
    def of(cls, identity: ModelIdentity, settings: str, folder: Path | None = None) -> EmbeddingCache:
        """The cache of a model and of all else that decides its embeddings (`settings`, such as the detector)."""
        import mien

        parts = (
            _LAYOUT,
            EMBEDDING_WAY,
            mien.__version__,
            identity.name,
            identity.preset,
            identity.sha256,
            identity.dimension,
        )
        digest = hashlib.sha256(repr((*parts, settings)).encode()).hexdigest()
        return cls((folder or cache_folder()) / f"{digest[:32]}.sqlite")

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The rows that are there and whole, of those with `keys`."""
        found: dict[bytes, bytes] = {}
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            rows = self._run(f"SELECT key, value, crc FROM rows WHERE key IN ({marks})", part)  # noqa: S608
            found |= {key: value for key, value, check in rows if _whole(key, value, check)}
        return found

    def put(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep rows, all of them or none."""
        if self._file is None:
            return
        values = [(key, value, zlib.crc32(key + value)) for key, value in rows]
        try:
            with self._file:
                self._file.executemany("INSERT OR REPLACE INTO rows (key, value, crc) VALUES (?, ?, ?)", values)
        except sqlite3.Error as error:
            self._recover(error)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _run(self, query: str, values: Sequence[bytes]) -> list[tuple[bytes, bytes, int]]:
        if self._file is None:
            return []
        try:
            return self._file.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self._recover(error)
            return []

    def _recover(self, error: sqlite3.Error, *, reopen: bool = True) -> None:
        """Begin a damaged file anew; do without one that is locked, full or read-only."""
        self.close()
        if reopen and getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
                Path(f"{self.path}-journal").unlink(missing_ok=True)
            self._open(reopen=False)

    def _open(self, *, reopen: bool = True) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._file = sqlite3.connect(self.path, timeout=30)
            with self._file:
                self._file.execute(_TABLE)
        except sqlite3.Error as error:
            self._recover(error, reopen=reopen)
        except OSError:
            self.close()


def _whole(key: object, value: object, check: object) -> bool:
    return isinstance(key, bytes) and isinstance(value, bytes) and zlib.crc32(key + value) == check
