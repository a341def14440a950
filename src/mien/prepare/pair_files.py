"""InsightFace's `.bin` from a folder and a list of pairs, and back: aligned faces, two by two."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mien.data.insightface_bin import read_bin, write_bin
from mien.data.samples import PackedSet, picture_suffix
from mien.errors import InputError
from mien.evaluate.protocols import LfwPairs
from mien.prepare.unpacking import Unpacked

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    Advance: TypeAlias = Callable[[int], None]
    Change: TypeAlias = Callable[[bytes, Path], tuple[bytes, str]]

__all__ = ["LIST", "pack_pairs", "unpack_pairs"]

LIST: Final = "pairs.csv"
"""The list that `unpack_pairs` writes beside the pictures (a, b, same); `pack_pairs` reads it where none is given."""


def pack_pairs(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    pairs: str | os.PathLike[str] | None = None,
    change: Change | None = None,
    dry_run: bool = False,
    advance: Advance | None = None,
) -> PackedSet:
    """Write the pairs of a list into a `.bin`, each picture byte for byte unless `change` is given.

    Args:
        folder: the people, or the pictures of an unpacked file.
        path: where to.
        pairs: a list in LFW's format; without it, `folder/pairs.csv`.
        change: gives other bytes in place of a picture's; see `Reencoding`.
        dry_run: only read the list, and look whether its pictures are there.
        advance: called with 1 after each picture.

    Raises:
        InputError: the list or a picture cannot be read, or the file not be written.
    """
    root = Path(folder)
    listed, same = _of_lfw(pairs, root) if pairs is not None else _of_csv(root)
    if dry_run:
        missing = next((picture for picture in listed if not picture.is_file()), None)
        if missing is not None:
            raise InputError(f"{missing}: cannot be read (there is no such file)")
        return PackedSet(len(listed), (), (str(path),))

    def pictures() -> Iterator[bytes]:
        for picture in listed:
            try:
                data = picture.read_bytes()
            except OSError as error:
                raise InputError(f"{picture}: cannot be read ({error.strerror or error})") from error
            yield data if change is None else change(data, picture)[0]
            if advance:
                advance(1)

    write_bin(path, pictures(), same)
    return PackedSet(len(listed), (), (str(path),))


def unpack_pairs(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    advance: Advance = lambda _n: None,
) -> PackedSet:
    """Write the pictures of a `.bin` into a folder, byte for byte, as 000001a.jpg and 000001b.jpg, with `pairs.csv`.

    Args:
        path: the file.
        folder: where to; made when it is not there.
        dry_run: only read and check everything, the folder too.
        advance: called with 1 after each picture.

    Raises:
        InputError: the file cannot be read, or a picture not be written. What was written before stays, and is told.
    """
    source, target = read_bin(path), Path(folder)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("a", "b", "same"))
    with Unpacked(target, dry_run=dry_run) as written:
        for number, same in enumerate(source.same.tolist()):
            names = []
            for side, picture in zip("ab", source.pictures[2 * number : 2 * number + 2], strict=True):
                names.append(f"{number + 1:06d}{side}.{picture_suffix(picture)}")
                written.put(target / names[-1], bytes(picture))
                advance(1)
            rows.writerow((*names, int(same)))
        written.put(target / LIST, text.getvalue().encode())
    return PackedSet(len(source.pictures), (), (str(target),))


def _of_lfw(pairs: str | os.PathLike[str], root: Path) -> tuple[list[Path], list[bool]]:
    found = LfwPairs(pairs, root).read()
    sources = [picture.source for picture in found.pictures]
    return [Path(str(sources[i])) for pair in found.pairs.tolist() for i in pair], found.same.tolist()


def _of_csv(root: Path) -> tuple[list[Path], list[bool]]:
    path = root / LIST
    listed: list[Path] = []
    same: list[bool] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if next(rows, None) != ["a", "b", "same"]:
                raise InputError(f"{path}: expected the header a,b,same")
            for row in rows:
                if len(row) != 3 or row[2] not in ("0", "1") or any(Path(n).name != n or not n for n in row[:2]):
                    raise InputError(
                        f"{path}, line {rows.line_num}: expected two file names and 0 or 1, got {row!r:.80}"
                    )
                listed += [root / row[0], root / row[1]]
                same.append(row[2] == "1")
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is none; a .bin needs a list of pairs") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    return listed, same
