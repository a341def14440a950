"""Which files are a gallery's: its own, SQLite's beside it, its keys, its index, and what was left there."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from mien.gallery.privacy.file_access import wipe

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

__all__ = ["beside", "drop_drafts", "drop_index", "everything_in", "key_file_of"]

_INDEX = b"mien-index"  # how `mien.gallery.search.file` begins its files


def key_file_of(gallery: str | os.PathLike[str]) -> Path:
    """Where the keys of an encrypted gallery are, if nothing else is said: "people.db.keys"."""
    file = Path(gallery)
    return file.with_name(f"{file.name}.keys")


def beside(gallery: Path) -> list[Path]:
    """Every file in the gallery's folder whose name begins with the gallery's, also behind a dot, and what is in such
    folders.
    """  # noqa: D205 - one sentence
    names = (gallery.name, f".{gallery.name}")
    return everything_in(sorted(path for path in gallery.parent.iterdir() if path.name.startswith(names)))


def everything_in(places: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files among `places` and in the folders among them, as deep as they go; links to folders are not followed."""
    files: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            if not place.is_symlink():
                files += everything_in(sorted(place.iterdir()))
        elif place.is_file():
            files.append(place)
    return files


def drop_drafts(gallery: Path) -> None:
    """Wipe backups that were cut off while they were made; one that is being made now fails, and may be made again."""
    for path in gallery.parent.glob(f".{_escaped(gallery.name[:100])}-*.part*"):
        with contextlib.suppress(OSError):
            wipe(path)


def drop_index(gallery: Path) -> None:
    """Remove index files, whatever they are called: they are made anew, without the person.

    They are not overwritten, for another process may have one mapped and would find wrong people.
    """
    for path in beside(gallery):
        if path == gallery or path.name.startswith(f"{gallery.name}-"):
            continue  # SQLite's, whose locks would be dropped; see `byte_search`
        with contextlib.suppress(OSError):
            with path.open("rb") as file:
                index = file.read(len(_INDEX)) == _INDEX
            if index:
                path.unlink()


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
