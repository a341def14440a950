"""The commit that a git checkout stands at, read from its files: no git is needed, and nothing of the checkout runs.

A checkout may be broken or hostile, so only plain files are opened, each to a bounded size, and what comes out is forty
or sixty-four hexadecimal digits or nothing. Whether files were changed since that commit is not looked at: telling
needs git's own settings and filters, which may start programs.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["checkout_commit", "checkout_of", "is_commit"]

_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REF: Final = re.compile(r"refs(?:/[^/\x00-\x20\x7f\\:?*\[~^]+)+")
_SMALL: Final = 4096  # bytes of HEAD, of a branch's file, of a pointer to another folder
_PACKED: Final = 64 << 20  # bytes of packed-refs that are looked through
_HOPS: Final = 5  # from a name to a name


def is_commit(value: object) -> bool:
    """Whether it is a full commit name.

    >>> is_commit("c0ffee" * 6 + "c0ff"), is_commit("c0ffee"), is_commit(None)
    (True, False, False)
    """
    return isinstance(value, str) and _COMMIT.fullmatch(value) is not None


def checkout_of(folder: Path) -> Path | None:
    """The nearest folder, this one or one above, that is a git checkout; None where none is."""
    with suppress(OSError, ValueError):
        here = folder.resolve()
        return next((place for place in (here, *here.parents) if _git_folder(place) is not None), None)
    return None


def checkout_commit(root: Path) -> str | None:
    """The commit that a checkout stands at; None where `root` is no checkout's top, or its files do not say.

    Branches in one file each and packed ones, worktrees and submodules (a ``.git`` file) are read; the newer "reftable"
    storage is not.

    Args:
        root: the folder with ``.git`` in it.
    """
    with suppress(OSError, ValueError):
        if (folder := _git_folder(root)) is not None:
            return _resolved(folder)
    return None


def _git_folder(root: Path) -> Path | None:
    """Where a checkout's HEAD lies: ``.git``, or where a worktree's ``.git`` file says."""
    place = root / ".git"
    if (pointed := _text(place)) is not None:
        there = pointed.strip().removeprefix("gitdir:").strip()
        if not pointed.startswith("gitdir:") or not there or _elsewhere(there):
            return None
        place = root / there
    return place if place.is_dir() and (place / "HEAD").is_file() else None


def _elsewhere(path: str) -> bool:
    """Whether it would lead to another machine, on Windows in whichever slashes."""
    return path.replace("\\", "/").startswith("//")


def _resolved(folder: Path) -> str | None:
    shared = folder
    if (common := (_text(folder / "commondir") or "").strip()) and not _elsewhere(common):
        shared = folder / common
    name = "HEAD"
    for _ in range(_HOPS):
        found = _text(folder / name) or (_text(shared / name) if name != "HEAD" else None)
        if found is None:
            return _packed(shared / "packed-refs", name)
        found = found.strip()
        if is_commit(found):
            return found
        name = found.removeprefix("ref:").strip()
        if not found.startswith("ref:") or _REF.fullmatch(name) is None or ".." in name:
            return None
    return None


def _packed(path: Path, name: str) -> str | None:
    if (packed := _bytes(path, _PACKED)) is None:
        return None
    line = re.search(rb"^([0-9a-f]{40,64}) " + re.escape(os.fsencode(name)) + rb"\r?$", packed, re.MULTILINE)
    commit = line[1].decode() if line else None
    return commit if is_commit(commit) else None


def _text(path: Path) -> str | None:
    found = _bytes(path, _SMALL)
    return None if found is None else os.fsdecode(found)


def _bytes(path: Path, most: int) -> bytes | None:
    """A plain file's content; None where it is none, or longer. A pipe in its place is not waited for."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a device may do something
            return None
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            content = file.read(most + 1)
    except OSError:
        return None
    finally:
        os.close(handle)
    return content if len(content) <= most else None
