"""Folders of pictures, and folders of people: which files are meant, in an order that never changes."""

from __future__ import annotations

import os
import stat
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mien.errors import InputError, NotFoundError
from mien.images._reading import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PICTURE_SUFFIXES", "is_image_name", "list_images", "people_of", "person_name"]

_JPEG: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
_OTHER: Final = (".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm")
PICTURE_SUFFIXES: Final = frozenset((*_JPEG, *_OTHER, ".heic", ".heif"))
"""Suffixes, in lower case, of the files that count as pictures in a folder."""

_LONGEST_NAME: Final = 255
_BIDI_CONTROLS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_image_name(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name is that of a picture, by its suffix; hidden files (``.name``) are none.

    >>> is_image_name("Ada.JPG"), is_image_name("notes.txt"), is_image_name("._Ada.jpg")
    (True, False, False)
    """
    # As text, for it is asked of every file of a folder.
    name = os.path.basename(path)  # noqa: PTH119
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES  # noqa: PTH122


def list_images(
    folder: str | os.PathLike[str],
    recursive: bool = True,
    *,
    on_error: Callable[[InputError], None] | None = None,
) -> list[Path]:
    """List the pictures of a folder by their suffixes, sorted by name within each folder.

    Hidden files and folders are skipped. Links to folders are followed, and each real folder is visited once, so that
    links in a circle end.

    Args:
        folder: where to look.
        recursive: whether to look into its sub-folders.
        on_error: called with the error of each sub-folder that cannot be read; by default such an error is raised.

    Raises:
        NotFoundError: there is no such folder.
        InputError: it is not a folder, or it cannot be read.
    """
    root = _folder(folder)
    return list(_walk(root, recursive, on_error, set()))


def people_of(
    folder: str | os.PathLike[str], *, on_error: Callable[[InputError], None] | None = None
) -> list[tuple[str, list[Path]]]:
    """Read a folder of known people: one sub-folder a person, or one picture a person named by its stem, or both.

    A sub-folder's pictures are found at any depth. Names that are the same once normalised are one person.

    Args:
        folder: the folder of people.
        on_error: called with the error of each sub-folder that cannot be read; by default such an error is raised.

    Returns:
        (name, pictures) of each person, sorted by name; a person whose sub-folder holds no picture has an empty list.

    Raises:
        NotFoundError: there is no such folder.
        InputError: it cannot be read, or the name of a file or sub-folder cannot be a person's.
    """
    root = _folder(folder)
    people: dict[str, list[Path]] = {}
    for entry, is_folder in _entries(root):
        path = root / entry
        if not is_folder and not is_image_name(path):
            continue
        try:
            name = person_name(path.name if is_folder else path.stem)
        except InputError as error:
            raise InputError(f"{printable(str(path))}: {error}; rename it") from error
        pictures = list_images(path, on_error=on_error) if is_folder else [path]
        people.setdefault(name, []).extend(pictures)
    return sorted(people.items())


def person_name(name: str) -> str:
    """Return a person's name in the one form that is stored and compared: Unicode NFC, without space at its ends.

    Raises:
        InputError: it is empty, longer than 255 characters, or holds characters that hide or reorder text (control
            characters, line separators, direction overrides, lone surrogates).

    >>> person_name(" Ame\u0301lie ") == "Am\u00e9lie"
    True
    """
    clean = unicodedata.normalize("NFC", name).strip()
    if not clean:
        raise InputError("a person's name is expected to hold at least one visible character, got an empty one")
    if len(clean) > _LONGEST_NAME:
        raise InputError(f"a person's name is expected to have at most {_LONGEST_NAME} characters, got {len(clean)}")
    for character in clean:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _BIDI_CONTROLS:
            raise InputError(f"a person's name is expected to hold no control characters, got U+{ord(character):04X}")
    return clean


def _folder(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder)
    shown = printable(str(path))
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise NotFoundError(f"{shown}: there is no such folder") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{shown}: cannot be read ({error})") from error
    if not stat.S_ISDIR(status.st_mode):
        raise InputError(f"{shown}: expected a folder, got a file")
    return path


def _entries(folder: str | Path) -> list[tuple[str, bool]]:
    """Return the names that are not hidden in `folder`, sorted, and whether each is a folder."""
    try:
        with os.scandir(folder) as scan:
            found = [(entry.name, _is_folder(entry)) for entry in scan if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{printable(str(folder))}: the folder cannot be read ({error.strerror or error})") from error
    found.sort(key=lambda item: (unicodedata.normalize("NFC", item[0]), item[0]))
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder; one that cannot be looked at, such as a link in a circle, counts as a file."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _walk(
    folder: Path, recursive: bool, on_error: Callable[[InputError], None] | None, visited: set[tuple[int, int]]
) -> Iterator[Path]:
    # Text, not path objects: for many small folders those would be a tenth of the work of cutting their faces.
    pending = [os.fspath(folder)]  # a stack: a hostile tree may be deeper than Python's recursion limit
    while pending:
        here = pending.pop()
        try:
            status = os.stat(here)  # noqa: PTH116
            identity = (status.st_dev, status.st_ino)
            if identity in visited:
                continue
            visited.add(identity)
            entries = _entries(here)
        except OSError as error:
            problem = InputError(f"{printable(str(here))}: the folder cannot be read ({error.strerror or error})")
            problem.__cause__ = error
            _report(problem, on_error)
            continue
        except InputError as error:
            _report(error, on_error)
            continue
        inside = os.path.join(here, "")  # noqa: PTH118
        yield from (Path(inside + name) for name, is_folder in entries if not is_folder and is_image_name(name))
        if recursive:
            pending.extend(inside + name for name, is_folder in reversed(entries) if is_folder)


def _report(problem: InputError, on_error: Callable[[InputError], None] | None) -> None:
    if on_error is None:
        raise problem
    on_error(problem)
