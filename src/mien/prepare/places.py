"""Where what is made from a picture belongs: below one folder, never over a source, never outside."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import InputError
from mien.images import WRITABLE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Naming", "Shelter", "file_identity"]


class Naming:
    """Names for what is made from sources, mirroring the sources' own folders.

    A name is kept, save that ``.png`` is added to names of formats that cannot be written. Names that some file system
    takes for one (case, Unicode form) get ``~2``, ``~3``, ... in the order of asking, so that the same sources find the
    same names again. Eight bytes a source are remembered. Used by one thread.

    Args:
        bases: the folders that were named; a source below one keeps its sub-folders, any other only its name.
    """

    def __init__(self, bases: Sequence[Path] = ()) -> None:
        self._bases = bases
        self._taken: set[int] = set()

    def name(self, source: Path) -> Path:
        """The next source's name, relative to the output folder."""
        relative = self._below(source)
        if relative.suffix.lower() not in WRITABLE_SUFFIXES:
            relative = relative.with_name(relative.name + ".png")
        candidate, number = relative, 1
        while (key := _folded(candidate)) in self._taken:
            number += 1
            candidate = relative.with_name(f"{relative.stem}~{number}{relative.suffix}")
        self._taken.add(key)
        return candidate

    def _below(self, source: Path) -> Path:
        for base in self._bases:
            if source != base and source.is_relative_to(base):
                relative = source.relative_to(base)
                return Path(relative.name) if ".." in relative.parts else relative
        return Path(source.name)


class Shelter:
    """Keeps what is written below one folder, and off the sources. Used by one thread.

    Args:
        root: the folder to write under; made when it is needed.
        sources: all sources; looked at when something is to be replaced.

    Raises:
        InputError: `root` is not a folder.
    """

    def __init__(self, root: Path, sources: Iterable[Path]) -> None:
        if root.exists() and not root.is_dir():
            raise InputError(f"{root}: expected a folder to write to, got a file")
        self._root = root
        self._sources = sources
        self._identities: set[tuple[int, int]] | None = None
        self._ready: Path | None = None

    def open(self, target: Path) -> None:
        """Make the folder of `target` ready.

        Raises:
            InputError: it would lie outside the root (through a link), or it is a source.
        """
        if target.parent != self._ready:
            # A link below the root may lead anywhere: look where the path really ends before anything is made there.
            if not target.parent.resolve().is_relative_to(self._root.resolve()):
                raise InputError(f"{target}: lies outside {self._root} because a link leads there; refused")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{target.parent}: the folder cannot be made ({error.strerror or error})") from error
            self._ready = target.parent
        if target.exists() and file_identity(target) in self._files():
            raise InputError(f"{target}: is one of the pictures to look at; choose another folder")

    def _files(self) -> set[tuple[int, int]]:
        if self._identities is None:
            self._identities = {found for source in self._sources if (found := file_identity(source)) is not None}
        return self._identities


def file_identity(path: Path) -> tuple[int, int] | None:
    """What two names of one file have in common; None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _folded(name: Path) -> int:
    text = unicodedata.normalize("NFC", os.fspath(name)).casefold()
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
