"""Putting pictures aside: they are moved to another folder, never deleted, and can all be moved back.

Every move is written down before it is made, so that a run that was killed is finished, or taken back, by another.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from mien.errors import InputError
from mien.file_draft import draft_beside
from mien.prepare.manifest import Manifest, read_manifest, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mien.prepare.manifest import Entry
    from mien.prepare.verdicts import Row

__all__ = ["Moved", "put_aside", "put_back", "quarantine_of"]

_AT_ONCE: Final = 64  # moves that are written down together


@dataclass(slots=True)
class Moved:
    """What became of pictures: moved now, gone from their place before, and those that could not be moved."""

    moved: int = 0
    before: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)


def quarantine_of(root: Path) -> Path:
    """Where the pictures of a folder are put aside: beside it, so that nothing reads them with the folder."""
    whole = root.resolve()
    return whole.with_name(f"{whole.name}-quarantine")


def put_aside(
    root: Path,
    rows: Iterable[Row],
    place: Path | None = None,
    *,
    dry_run: bool = False,
    advance: Callable[[int], None] = lambda _n: None,
) -> Moved:
    """Move pictures to the quarantine, at the same path below it. Run again, it goes on where it was stopped.

    Args:
        root: the folder.
        rows: what to move, see `mien.prepare.verdicts`; verdict and reason are written down with each.
        place: the quarantine; None for `quarantine_of`.
        dry_run: only count.
        advance: called with the number of pictures that are done.

    Raises:
        InputError: the quarantine lies in the folder, or cannot be used.
    """
    place = _place(root, place)
    done = Moved()
    if dry_run:
        for row in rows:
            there = (root / row.picture).is_file()
            done.moved += there
            done.before += not there
        return done
    stream = iter(rows)
    with Manifest(place, "quarantine", {}) as manifest:
        for part in iter(lambda: list(itertools.islice(stream, _AT_ONCE)), []):
            planned = [entry for row in part if (entry := _plan(root, place, row, done))]
            manifest.add(planned)
            for entry in planned:
                _move(root / entry["source"], place / entry["to"], str(entry["source"]), done)
            advance(len(part))
    return done


def put_back(
    root: Path, place: Path | None = None, *, dry_run: bool = False, advance: Callable[[int], None] = lambda _n: None
) -> Moved:
    """Move everything in the quarantine back where it was; what has been put in its place meanwhile stays.

    Args:
        root: the folder.
        place: the quarantine; None for `quarantine_of`.
        dry_run: only count.
        advance: called with the number of pictures that are done.

    Raises:
        InputError: there is no quarantine, or it is damaged.
    """
    place = _place(root, place)
    if not place.is_dir():
        raise InputError(f"{place}: there is no such quarantine; nothing was moved")
    done = Moved()
    with contextlib.ExitStack() as stack:
        manifest = None if dry_run else stack.enter_context(Manifest(place, "quarantine", {}))
        last = {_inside(entry["to"], place): entry for entry in read_manifest(place) if "to" in entry}
        for to, entry in last.items():
            source = _inside(entry["source"], root)
            if not (place / to).is_file():
                continue
            if dry_run:
                done.moved += 1
            else:
                count = done.moved
                _move(place / to, root / source, to, done)
                if manifest and done.moved > count:
                    manifest.add([{"source": source, "from": to, "decision": "back"}])
                    _drop_empty((place / to).parent, place)
            advance(1)
    return done


def _place(root: Path, place: Path | None) -> Path:
    place = place or quarantine_of(root)
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder")
    if place.resolve() == root.resolve() or place.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{place}: lies in the folder itself; choose a quarantine outside it")
    return place


def _plan(root: Path, place: Path, row: Row, done: Moved) -> Entry | None:
    source = root / row.picture
    try:
        if source.is_symlink() or not source.resolve().is_relative_to(root.resolve()):
            done.errors.append({"source": str(source), "error": "is a link, or behind one; nothing was moved"})
            return None
        marks = stamp(source)
    except FileNotFoundError:
        done.before += 1
        return None
    except OSError as error:
        done.errors.append({"source": str(source), "error": str(error.strerror or error)})
        return None
    relative = PurePosixPath(row.picture)
    to, number = relative, 1
    while (place / to).exists():  # an earlier picture of this name was put aside
        number += 1
        to = relative.with_name(f"{relative.stem}~{number}{relative.suffix}")
    return {
        "source": row.picture,
        **marks,
        "decision": row.verdict,
        "reason": row.reason,
        "score": row.score,
        "group": row.group,
        "to": to.as_posix(),
    }


def _move(source: Path, target: Path, name: str, done: Moved) -> None:
    if target.exists() or target.is_symlink():
        done.errors.append({"source": name, "error": f"{target}: another file is there; nothing is overwritten"})
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            source.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _across(source, target)
        done.moved += 1
    except (OSError, InputError) as error:
        done.errors.append({"source": name, "error": str(error)})


def _across(source: Path, target: Path) -> None:
    """Move to another disk: the original goes when the copy is whole, and safe."""
    with draft_beside(target) as draft:
        shutil.copy2(source, draft)
        with draft.open("rb") as file, source.open("rb") as original:
            os.fsync(file.fileno())
            if hashlib.file_digest(file, "sha256").digest() != hashlib.file_digest(original, "sha256").digest():
                raise InputError(f"{source}: changed while it was copied; it stays where it is")
    source.unlink()


def _inside(text: object, folder: Path) -> str:
    """A path of the manifest; one that leads elsewhere was not written by us."""
    relative = PurePosixPath(str(text))
    if relative.is_absolute() or ".." in relative.parts or "\0" in str(text) or not relative.parts:
        raise InputError(f"{folder}: the manifest names {text!r:.100}, which lies outside; nothing was moved there")
    return str(relative)


def _drop_empty(folder: Path, top: Path) -> None:
    with contextlib.suppress(OSError):  # not empty: there is more in it
        while folder != top:
            folder.rmdir()
            folder = folder.parent
