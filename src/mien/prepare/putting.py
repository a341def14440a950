"""Pictures to their places below a folder: copied or hard linked, a manifest's line first, and never outside of it."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from mien.errors import InputError
from mien.file_draft import draft_beside
from mien.prepare.manifest import stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mien.prepare.manifest import Entry, Manifest

__all__ = ["Below", "Chosen", "Putting", "alike", "is_there", "put_picture", "put_pictures"]

Putting: TypeAlias = Literal["copy", "link"]

_AT_ONCE: Final = 256  # pictures whose lines are written together: each time is a wait for the disk


class Chosen(NamedTuple):
    """A picture, where it goes below the folder (None: nowhere), and its line, without the marks of its file."""

    source: Path
    to: str | None
    entry: Entry


class Below:
    """Keeps places below a folder, wherever links lead; each parent is looked at once. Belongs to one thread."""

    def __init__(self, folder: Path) -> None:
        self._root = os.path.realpath(folder)  # a Path's resolve raises RuntimeError at a link to itself
        self._sound: set[Path] = set()

    def check(self, place_at: Path) -> None:
        """Raise InputError where a link leads out of the folder."""
        parent = place_at.parent
        if parent in self._sound:
            return
        if not Path(os.path.realpath(parent)).is_relative_to(self._root):
            raise InputError(f"{place_at}: a link leads out of the folder; remove it")
        self._sound.add(parent)


def put_pictures(
    chosen: Iterable[Chosen],
    target: Path,
    how: Putting,
    manifest: Manifest,
    *,
    advance: Callable[[int], None] = lambda _n: None,
) -> int:
    """Copy or link pictures to their places below `target`; returns how many were there already.

    The lines of some pictures are written before the pictures are: what a killed run may have placed, the manifest
    tells.

    Raises:
        InputError: another file is there, a link leads out of the folder, or no hard link can be made.
        OSError: something cannot be read or written.
    """
    below, there, rest = Below(target), 0, iter(chosen)
    while batch := list(itertools.islice(rest, _AT_ONCE)):
        lines = [{**picture.entry, **stamp(picture.source)} for picture in batch]
        if new := [line for line in lines if not manifest.done(line["source"], line)]:
            manifest.add(new)
        for picture in batch:
            if picture.to is not None:
                place_at = target / picture.to
                below.check(place_at)
                there += put_picture(picture.source, place_at, how)
            advance(1)
    return there


def put_picture(source: Path, place_at: Path, how: Putting) -> bool:
    """Copy or link one picture to its place; returns whether it was there already.

    Raises:
        InputError: another file is there, or no hard link can be made.
        OSError: it cannot be written.
    """
    if is_there(source, place_at):
        return True
    place_at.parent.mkdir(parents=True, exist_ok=True)
    if how == "link":
        try:
            os.link(os.path.realpath(source), place_at)  # the picture, not a link to it
        except OSError as error:
            raise InputError(f"{place_at}: no hard link can be made ({error.strerror}); copy instead") from error
        return False
    with draft_beside(place_at) as draft:
        shutil.copy2(source, draft)
    return False


def is_there(source: Path, place_at: Path) -> bool:
    """Whether a picture is at its place. Raises InputError where another file is."""
    if not (place_at.exists() or place_at.is_symlink()):
        return False
    if place_at.is_symlink() or not (place_at.samefile(source) or alike(place_at, source)):
        raise InputError(f"{place_at}: another file is there already; choose an empty folder")
    return True


def alike(a: Path, b: Path) -> bool:
    """Whether two files hold the same bytes."""
    return a.is_file() and a.stat().st_size == b.stat().st_size and a.read_bytes() == b.read_bytes()
