"""Which files were found to have which checksum, so that large models are not hashed at every start."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from typing import TYPE_CHECKING, Any

from mien.models.download import file_sha256

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Checksums", "read_json", "write_json"]


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object of a small file; empty when the file is missing or holds anything else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a small file in one step. Raises OSError."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    try:
        fresh.write_text(json.dumps(value, indent=1), encoding="utf-8")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _signature(path: Path) -> list[int]:
    """What changes when a file changes: OSError when there is none."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


class Checksums:
    """Checksums of files, remembered together with each file's size, times and inode.

    Whoever can write the memory can write the models beside it: it saves time, it is no safeguard. Thread-safe.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._known: dict[str, Any] | None = None

    def of(self, path: Path) -> str:
        """The sha256 of a file, from memory when the file is unchanged. Raises OSError."""
        key, signature = str(path.absolute()), _signature(path)
        with self._lock:
            if self._known is None:
                self._known = read_json(self._memory)
            entry = self._known.get(key)
        if isinstance(entry, list) and len(entry) == 5 and entry[:4] == signature and isinstance(entry[4], str):
            return entry[4]
        found = file_sha256(path)
        if _signature(path) == signature:  # else it is being written: do not remember
            self._remember(key, [*signature, found])
        return found

    def _remember(self, key: str, entry: list[Any]) -> None:
        with self._lock:
            self._known = {**read_json(self._memory), **(self._known or {}), key: entry}
            with contextlib.suppress(OSError):  # a read-only or missing folder only costs time
                write_json(self._memory, self._known)
