"""Where what is made from a picture belongs: below one folder, never over a source, never outside."""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mien.errors import InputError
from mien.images import WRITABLE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Naming", "Shelter", "file_identity", "folded"]

_READY: Final = 64  # folders; several threads write into several at a time


class Naming:
    """Names for what is made from sources, mirroring the sources' own folders.

    A name is kept, save that ``.png`` is added to names of formats that cannot be written. Names that some file system
    takes for one (case, Unicode form) get ``~2``, ``~3``, ... in the order of asking, so that the same sources find the
    same names again. Eight bytes a source are remembered. Used by one thread.

    Args:
        bases: the folders that were named; a source below one keeps its sub-folders, any other only its name.
    """

    def __init__(self, bases: Sequence[Path] = ()) -> None:
        # Names are worked on as text: for a million files, paths as objects would cost more than cutting small faces.
        self._bases = [os.path.join(base, "") for base in bases]  # noqa: PTH118
        self._taken: set[int] = set()

    def name(self, source: Path) -> str:
        """The next source's name, relative to the output folder."""
        relative = self._below(os.fspath(source))
        stem, suffix = os.path.splitext(relative)  # noqa: PTH122
        if suffix.lower() not in WRITABLE_SUFFIXES:
            stem, suffix = relative, ".png"
        candidate, number = stem + suffix, 1
        while (key := folded(candidate)) in self._taken:
            number += 1
            candidate = f"{stem}~{number}{suffix}"
        self._taken.add(key)
        return candidate

    def _below(self, source: str) -> str:
        for base in self._bases:
            if source.startswith(base):
                relative = source[len(base) :]
                return os.path.basename(source) if ".." in relative.split(os.sep) else relative  # noqa: PTH119, PTH206
        return os.path.basename(source)  # noqa: PTH119


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
        self._ready: dict[str, bool] = {}  # folders that were made ready lately, and whether they are new
        self._real: Path | None = None
        self._safe: str | None = None  # a folder that is below the root

    def open(self, target: str | os.PathLike[str]) -> bool:
        """Make the folder of `target` ready. Returns whether something would be replaced.

        Raises:
            InputError: it would lie outside the root (through a link), it is a source, or a folder is there.
        """
        parent = os.path.dirname(target)  # noqa: PTH120
        new = self._ready.get(parent)
        if new is None:
            new = self._make(parent, target)
            self._remember(parent, new)
        if new:  # nothing is in it but targets, and no two of them are the same
            return False
        try:
            status = os.stat(target)  # noqa: PTH116
        except OSError:
            return False
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{target}: expected a place for a file, got a folder")
        if (status.st_dev, status.st_ino) in self._files():
            raise InputError(f"{target}: is one of the pictures to look at; choose another folder")
        return True

    def _remember(self, folder: str, new: bool) -> None:
        if len(self._ready) >= _READY:
            del self._ready[next(iter(self._ready))]
        above = os.path.dirname(folder)  # noqa: PTH120
        if above in self._ready:  # it holds a folder now
            self._ready[above] = False
        self._ready[folder] = new

    def _make(self, parent: str, target: object) -> bool:
        """Make a folder; whether it was not there."""
        try:
            if os.path.dirname(parent) == self._safe:  # noqa: PTH120
                try:
                    os.mkdir(parent)  # noqa: PTH102
                except FileExistsError:
                    pass
                else:
                    return True  # a folder that was made just now, in one that is no link, is none either
            # A link below the root may lead anywhere: look where the path really ends before anything is made there.
            self._real = self._real or self._root.resolve()
            folder = Path(parent)
            if not folder.resolve().is_relative_to(self._real):
                raise InputError(f"{target}: lies outside {self._root} because a link leads there; refused")
            folder.mkdir(parents=True, exist_ok=True)
            self._safe = os.path.dirname(parent) if folder.parent.resolve().is_relative_to(self._real) else None  # noqa: PTH120
        except (OSError, RuntimeError) as error:  # the second of a link in a circle
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{parent}: the folder cannot be made ({reason})") from error
        return False

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


def folded(name: str) -> int:
    """64 bits that names have in common which some file system takes for one: case and Unicode form do not count."""
    text = unicodedata.normalize("NFC", name).casefold()
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
