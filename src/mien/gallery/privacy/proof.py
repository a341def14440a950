"""Proving an erasure: the files are read byte by byte, the keys and the audit log are asked."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import GalleryError, GalleryFileError, NotFoundError
from mien.gallery.privacy.byte_search import search_file
from mien.gallery.privacy.gallery_files import beside, everything_in, key_file_of
from mien.gallery.privacy.key_file import key_states
from mien.gallery.privacy.receipt import Receipt

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from mien.gallery.privacy.byte_search import Remains

__all__ = ["Proof", "prove_erased"]


@dataclass(frozen=True, slots=True)
class Proof:
    """What a look for erased bytes found.

    Attributes:
        files: every file that was read, all of it.
        bytes: how many bytes that were.
        fingerprints: how many were looked for.
        remains: erased bytes that are there.
        problems: anything else that speaks against the erasure, in words.
    """

    files: tuple[Path, ...]
    bytes: int
    fingerprints: int
    remains: tuple[Remains, ...]
    problems: tuple[str, ...]

    @property
    def proven(self) -> bool:
        """Whether nothing is left and nothing speaks against it."""
        return not self.remains and not self.problems


def prove_erased(
    receipt: Receipt | str | os.PathLike[str],
    gallery: str | os.PathLike[str],
    *,
    also: Sequence[str | os.PathLike[str]] = (),
    keys: str | os.PathLike[str] | None = None,
) -> Proof:
    """Look for what a receipt says was erased. Needs no key, and changes nothing.

    Read are the gallery's file, every file whose name begins with its name (logs, keys, index, backups kept beside
    it), and `also`. Where the gallery is encrypted, the key file must say that the keys are destroyed. The audit log
    must hold the erasure; it does not where the gallery was restored from an older backup.

    Args:
        receipt: the receipt, or its file.
        gallery: the gallery's file.
        also: more files and folders, such as backups and caches.
        keys: the key file; None for the one beside the gallery.

    Raises:
        InputError: the receipt is none.
        NotFoundError: there is no such receipt or gallery.
        GalleryFileError: a file cannot be read.
    """
    known = receipt if isinstance(receipt, Receipt) else Receipt.load(receipt)
    file = Path(gallery)
    if not file.is_file():
        raise NotFoundError(f"{gallery}: there is no such gallery")
    files = list(dict.fromkeys([*beside(file), *everything_in(also)]))
    for place in also:
        if not Path(place).exists():
            raise NotFoundError(f"{place}: there is no such file or folder")
    remains: list[Remains] = []
    total = 0
    for path in files:
        try:
            remains += search_file(known.prints, path)
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # SQLite's log comes and goes
        except OSError as error:
            raise GalleryFileError(f"{path}: cannot be read ({error.strerror})") from error
    problems = [*_shared(known), *_keys(known, Path(keys) if keys else key_file_of(file)), *_audit(known, file)]
    return Proof(tuple(files), total, len(known.prints), tuple(remains), tuple(problems))


def _shared(receipt: Receipt) -> list[str]:
    if not receipt.shared_with:
        return []
    return [f"the person's face is also enrolled under other names (pseudonyms {', '.join(receipt.shared_with)})"]


def _keys(receipt: Receipt, path: Path) -> list[str]:
    if not receipt.encrypted:
        return []
    try:
        states = key_states(path)
    except NotFoundError:
        return []  # no keys at all: then nobody can be read
    return [f"{path}: still has the key of {p}" for p in receipt.pseudonyms if states.get(p)]


def _audit(receipt: Receipt, file: Path) -> list[str]:
    from mien.gallery.homes.sqlite.connection import connect, explained

    try:
        with explained(str(file)), contextlib.closing(connect(file, readonly=True)) as db:
            if receipt.done:
                query = "SELECT 1 FROM audit WHERE seq = ? AND digest = ?"
                values: tuple[object, ...] = (receipt.audit_seq, receipt.audit_head)
            else:  # it was cut off, and finished when the gallery was next opened
                query = "SELECT 1 FROM audit WHERE pseudonym = ? AND action IN ('erase', 'expire')"
                values = receipt.pseudonyms[:1]
            if db.execute(query, values).fetchone():
                return []
    except (sqlite3.Error, GalleryError) as error:
        return [f"the audit log cannot be read ({error})"]
    if not receipt.done:
        return ["the erasure was cut off before it began; erase the person again"]
    return [f"{file}: its audit log does not hold the erasure; was it restored from an older backup?"]
