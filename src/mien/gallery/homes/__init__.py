"""The homes of a gallery: where its rows live. `open_home` finds the one that a path or URL names."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from mien.errors import GalleryFileError, InputError, UnsupportedError
from mien.gallery.sealing import PLAIN

if TYPE_CHECKING:
    from mien.gallery.home import Home
    from mien.gallery.sealing import Sealer

__all__ = ["is_url", "open_home"]

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a gallery lives on a server rather than in a file.

    >>> is_url("people.db"), is_url("postgresql://localhost/people")
    (False, True)
    """
    return isinstance(place, str) and _SCHEME.match(place) is not None


def open_home(
    place: str | os.PathLike[str], *, readonly: bool = False, create: bool = True, sealer: Sealer = PLAIN
) -> Home:
    """Open the home that a path or URL names.

    Args:
        place: a file such as "people.db" or ":memory:" (SQLite), "postgresql://..." (PostgreSQL with pgvector), or
            "milvus://..." (Milvus).
        readonly: refuse changes.
        create: make it where it is missing.
        sealer: how fields that name or show a person are sealed. The SQLite home alone takes another than PLAIN.

    Raises:
        GalleryFileError: it cannot be used; says why and what to do.
        NotFoundError: it is missing and is not to be made.
        UnsupportedError: the home cannot seal.
        MissingExtraError: the home's driver is not installed.
    """
    if isinstance(place, str) and (found := _SCHEME.match(place)):
        scheme = found[1].lower()
        shown = f"{scheme}://..."  # what follows may hold a password
        if sealer.encrypted:
            raise UnsupportedError(f"{shown}: no encrypted gallery can live there; give a file, or no key")
        if scheme in ("postgresql", "postgres"):
            from mien.gallery.homes.postgres import PostgresHome

            return PostgresHome(place, readonly=readonly, create=create)
        if scheme == "milvus":
            from mien.gallery.homes.milvus import MilvusHome

            return MilvusHome(place, readonly=readonly, create=create)
        raise GalleryFileError(f"{shown}: no gallery lives there; expected a path, postgresql://... or milvus://...")
    from mien.gallery.homes.sqlite import SqliteHome

    if not isinstance(place, str | os.PathLike):
        raise InputError(f"gallery: expected a path or a URL, got {type(place).__name__}")
    return SqliteHome(place, readonly=readonly, create=create, sealer=sealer)
