"""Where an export goes: a free place, or that of an earlier export; whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Final

from mien.errors import InputError

__all__ = ["MARK", "need_ours", "put_in_place"]

MARK: Final = "export.json"
"""The file by which a folder is known to be an export, and may be replaced by the next one."""


def need_ours(target: Path) -> None:
    """Raises InputError unless the place is free, or holds an export."""
    if not target.exists() and not target.is_symlink():
        return
    if target.is_symlink() or not target.is_dir():
        raise InputError(f"{target}: expected a folder to write to, or none")
    if any(target.iterdir()) and not (target / MARK).is_file():
        raise InputError(f"{target}: holds something that `mien export` did not write; choose another place with --out")


def put_in_place(draft: Path, target: Path) -> None:
    """Put the draft in place of the target; what was there is gone only when that has worked."""
    if not target.exists():
        draft.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    try:
        target.rename(old / "old")
        try:
            draft.rename(target)
        except OSError:
            with contextlib.suppress(OSError):
                (old / "old").rename(target)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
