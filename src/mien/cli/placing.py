"""Where a verb writes pictures: never over a source, never outside the folder that was named."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["Places", "output_file"]


def output_file(option: str, path: Path, inputs: Iterable[Path], suffixes: Collection[str]) -> Path:
    """Check, before any work is done, that a file can be written where an option says.

    Raises:
        InputError: its folder does not exist, its suffix is none of `suffixes`, or it is one of the inputs.
    """
    if path.suffix.lower() not in suffixes:
        expected = ", ".join(sorted(suffixes))
        raise InputError(f"{option} {path}: expected a name that ends in one of {expected}, got {path.suffix!r}")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: expected an existing folder, got {path.parent}")
    if path.is_dir():
        raise InputError(f"{option} {path}: expected a file, got a folder")
    if path.exists() and _identity(path) in {_identity(p) for p in inputs}:
        raise InputError(f"{option} {path}: that is one of the pictures to look at; choose another name")
    return path


class Places:
    """A place under one folder for what is made from each source, mirroring the sources' own folders.

    A name is kept, save that ``.png`` is added to names of formats that cannot be written. Names that some file system
    takes for one (case, Unicode form) get ``~2``, ``~3``, ... in the order of the sources, so that the same sources
    find the same places again. Used by one thread.

    Args:
        root: the folder to write under; made when it is needed.
        sources: all sources.
        bases: the folders that were named; a source below one keeps its sub-folders, any other only its name.

    Raises:
        InputError: `root` is not a folder.
    """

    def __init__(self, root: Path, sources: Sequence[Path], bases: Sequence[Path] = ()) -> None:
        if root.exists() and not root.is_dir():
            raise InputError(f"{root}: expected a folder to write to, got a file")
        self._root = root
        self._sources = sources
        self._source_files: set[tuple[int, int]] | None = None
        taken: set[str] = set()
        self._relative: dict[Path, Path] = {}
        for source in sources:
            self._relative[source] = _unique(_below(source, bases), taken)

    def place(self, source: Path, mark: str = "") -> Path:
        """Where the picture made from `source` belongs; `mark` goes between its stem and its suffix."""
        relative = self._relative[source]
        return self._root / relative.with_name(f"{relative.stem}{mark}{relative.suffix}")

    def open(self, target: Path) -> None:
        """Make the folder of `target`, a place, ready.

        Raises:
            InputError: it would lie outside the root (through a link), or it is a source.
        """
        # A link below the root may lead anywhere: look where the path really ends before anything is made there.
        if not target.parent.resolve().is_relative_to(self._root.resolve()):
            raise InputError(f"{target}: lies outside {self._root} because a link leads there; refused")
        if target.exists() and _identity(target) in self._files():
            raise InputError(f"{target}: is one of the pictures to look at; choose another folder")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{target.parent}: the folder cannot be made ({error.strerror or error})") from error

    def _files(self) -> set[tuple[int, int]]:
        if self._source_files is None:
            self._source_files = {identity for s in self._sources if (identity := _identity(s)) is not None}
        return self._source_files


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _below(source: Path, bases: Sequence[Path]) -> Path:
    for base in bases:
        if source.is_relative_to(base) and source != base:
            relative = source.relative_to(base)
            return Path(relative.name) if ".." in relative.parts else relative
    return Path(source.name)


def _unique(relative: Path, taken: set[str]) -> Path:
    from mien.images import WRITABLE_SUFFIXES

    if relative.suffix.lower() not in WRITABLE_SUFFIXES:
        relative = relative.with_name(relative.name + ".png")
    candidate, number = relative, 1
    while (key := unicodedata.normalize("NFC", os.fspath(candidate)).casefold()) in taken:
        number += 1
        candidate = relative.with_name(f"{relative.stem}~{number}{relative.suffix}")
    taken.add(key)
    return candidate
