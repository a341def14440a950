"""Where a verb writes pictures: never over a source, never outside the folder that was named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

__all__ = ["Places", "output_file"]


def output_file(option: str, path: Path, inputs: Iterable[Path], suffixes: Collection[str]) -> Path:
    """Check, before any work is done, that a file can be written where an option says.

    Raises:
        InputError: its folder does not exist, its suffix is none of `suffixes`, or it is one of the inputs.
    """
    from mien.prepare.places import file_identity

    if path.suffix.lower() not in suffixes:
        expected = ", ".join(sorted(suffixes))
        raise InputError(f"{option} {path}: expected a name that ends in one of {expected}, got {path.suffix!r}")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: expected an existing folder, got {path.parent}")
    if path.is_dir():
        raise InputError(f"{option} {path}: expected a file, got a folder")
    if path.exists() and file_identity(path) in {file_identity(p) for p in inputs}:
        raise InputError(f"{option} {path}: that is one of the pictures to look at; choose another name")
    return path


class Places:
    """A place under one folder for what is made from each source; see `mien.prepare.places`. Used by one thread.

    Args:
        root: the folder to write under; made when it is needed.
        sources: all sources.
        bases: the folders that were named; a source below one keeps its sub-folders, any other only its name.

    Raises:
        InputError: `root` is not a folder.
    """

    def __init__(self, root: Path, sources: Sequence[Path], bases: Sequence[Path] = ()) -> None:
        from mien.prepare.places import Naming, Shelter

        self._root = root
        self._shelter = Shelter(root, sources)
        naming = Naming(bases)
        self._relative = {source: naming.name(source) for source in sources}

    def place(self, source: Path, mark: str = "") -> Path:
        """Where the picture made from `source` belongs; `mark` goes between its stem and its suffix."""
        relative = self._root / self._relative[source]
        return relative.with_name(f"{relative.stem}{mark}{relative.suffix}")

    def open(self, target: Path) -> None:
        """Make the folder of `target`, a place, ready.

        Raises:
            InputError: it would lie outside the root (through a link), or it is a source.
        """
        self._shelter.open(target)
