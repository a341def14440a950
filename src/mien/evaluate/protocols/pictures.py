"""The pictures of a protocol: named, found inside one folder, and never outside it."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, overload

from mien.errors import InputError, NotFoundError
from mien.images import PICTURE_SUFFIXES, source_name

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FolderPictures", "Picture", "PictureFolder"]

_IMPOSSIBLE: Final = re.compile(r"[\\\x00-\x1f\ud800-\udfff]")  # in the name of a listed file
_SUFFIXES: Final = (".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".JPEG", ".webp", ".bmp", ".pgm", ".ppm")


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a protocol.

    Attributes:
        name: its name in reports; the same on every machine.
        source: what `mien.images.decode` takes: a path, or the bytes of a picture file.
        box: (x0, y0, x1, y1) in pixels of the face that is meant, where the protocol says so; None means the main face.
        landmarks: its five points (x, y) in image order, where the protocol gives them (or the picture is aligned to a
            known template): no detection is needed then.
    """

    name: str
    source: str | memoryview
    box: tuple[float, float, float, float] | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None


class FolderPictures(Sequence[Picture]):
    """Pictures of one folder, by their names relative to it: a million of them are little more than their names.

    Immutable, so safe to use from several threads at once.
    """

    def __init__(self, root: str | os.PathLike[str], names: Iterable[str]) -> None:
        self.root = os.fspath(root)
        self.names = tuple(names)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, i: int) -> Picture: ...

    @overload
    def __getitem__(self, i: slice) -> FolderPictures: ...

    def __getitem__(self, i: int | slice) -> Picture | FolderPictures:
        if isinstance(i, slice):
            return FolderPictures(self.root, self.names[i])
        name = self.names[i]
        return Picture(name, os.path.join(self.root, name))  # noqa: PTH118 (a Path costs ten times as much)


class PictureFolder:
    """Finds the files that a list names inside one folder; names that lead out of it are refused.

    One finder belongs to one thread: it remembers what it has looked at.

    Args:
        folder: the folder of pictures.
        allow_links: whether symbolic links inside the folder may lead out of it. Lists come from elsewhere and may be
            hostile, so by default they may not.

    Raises:
        NotFoundError: there is no such folder.
        InputError: it is not a folder.
    """

    def __init__(self, folder: str | os.PathLike[str], *, allow_links: bool = False) -> None:
        self.shown = source_name(folder)
        try:
            self.root = Path(folder).resolve(strict=True)
        except FileNotFoundError as error:
            raise NotFoundError(f"{self.shown}: there is no such folder") from error
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.shown}: cannot be read ({error})") from error
        if not self.root.is_dir():
            raise InputError(f"{self.shown}: expected a folder, got a file")
        self._allow_links = allow_links
        self._inside: dict[str, bool] = {}
        self._above = os.fspath(self.root) + os.sep

    def relative(self, name: str, *, base: str = "", where: str) -> str:
        """A listed name as a path relative to the folder, in the one form that is compared.

        Args:
            name: the listed name, with ``/`` between its parts.
            base: the sub-folder to which it is relative.
            where: which list and line names it, for messages.

        Raises:
            InputError: it is empty, absolute, leads out of the folder, or is no possible file name.
        """
        parts: list[str] = []
        pieces = [*base.split("/"), *name.split("/")]
        escapes = name.startswith("/") or (os.name == "nt" and ":" in name) or _IMPOSSIBLE.search(name) is not None
        for piece in pieces:
            if piece == "..":
                escapes = escapes or not parts
                del parts[-1:]
            elif piece not in ("", "."):
                parts.append(piece)
        if escapes or not parts or not name.strip():
            raise InputError(f"{where}: expected a file inside {self.shown}, got {name[:80]!r}")
        return "/".join(parts)

    def find(self, relative: str, *, where: str) -> str | None:
        """The path, relative to the folder, of the regular file that `relative` names, or None where there is none.

        The name is also tried under the other Unicode normal forms.

        Raises:
            InputError: a link leads out of the folder.
        """
        forms = dict.fromkeys(
            (relative, unicodedata.normalize("NFC", relative), unicodedata.normalize("NFD", relative))
        )
        return next((form for form in forms if self._is_file(form, where)), None)

    def find_with_suffix(self, stem: str, *, where: str) -> str | None:
        """As `find`, for a name without its suffix: .jpg if there is one, else .png, and so on."""
        return next((found for suffix in _SUFFIXES if (found := self.find(stem + suffix, where=where))), None)

    def folder(self, *names: str) -> PictureFolder:
        """The finder of the first of some sub-folders that is there, or this one where none is.

        Raises:
            InputError: it is behind a link that leads out of the folder.
        """
        for name in names:
            path = self.root / name
            if path.is_dir():
                if not self._allow_links and not self._stays(os.fspath(path)):
                    raise InputError(f"{source_name(path)}: is behind a link that leads out of {self.shown}")
                return PictureFolder(path, allow_links=self._allow_links)
        return self

    def walk(self, relative: str = "") -> list[str]:
        """The pictures below a sub-folder, as sorted paths relative to the folder; hidden ones are skipped.

        Links to folders are not followed, nor links that lead out of the folder.

        Raises:
            InputError: a folder cannot be read.
        """
        found: list[str] = []
        pending = [relative]
        while pending:
            here = pending.pop()
            if here and not self._allow_links and not self._stays(os.path.join(self.root, here)):  # noqa: PTH118
                continue
            try:
                with os.scandir(os.path.join(self.root, here)) as entries:  # noqa: PTH118
                    for entry in entries:
                        path = f"{here}/{entry.name}" if here else entry.name
                        if entry.name.startswith("."):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(path)
                        elif os.path.splitext(entry.name)[1].lower() in PICTURE_SUFFIXES and (  # noqa: PTH122
                            not entry.is_symlink() or self._allow_links or self._stays(entry.path)
                        ):
                            found.append(path)
            except OSError as error:
                raise InputError(f"{self.shown}/{here}: cannot be read ({error.strerror or error})") from error
        return sorted(found)

    def pictures(self, names: Iterable[str]) -> FolderPictures:
        """The pictures of relative paths that `find` gave."""
        return FolderPictures(self.root, names)

    def _is_file(self, relative: str, where: str) -> bool:
        path = self._above + relative
        try:
            status = os.lstat(path)
            linked = stat.S_ISLNK(status.st_mode)
            if linked:
                status = os.stat(path)  # noqa: PTH116
        except (OSError, ValueError):
            return False
        if not stat.S_ISREG(status.st_mode):
            return False
        if not self._allow_links and not (self._stays(path) if linked else self._folder_stays(relative)):
            raise InputError(
                f"{where}: {relative[:80]!r} is behind a link that leads out of {self.shown}; copy it, or allow links"
            )
        return True

    def _folder_stays(self, relative: str) -> bool:
        folder = relative.rpartition("/")[0]
        if folder not in self._inside:
            self._inside[folder] = self._stays(os.path.join(self.root, folder))  # noqa: PTH118
        return self._inside[folder]

    def _stays(self, path: str) -> bool:
        return Path(path).resolve().is_relative_to(self.root)
