"""From a gallery to a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mien.errors import GalleryError, InputError
from mien.gallery.exchange.formats import format_of
from mien.gallery.exchange.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mien.gallery.exchange.rows import Row
    from mien.gallery.home import Home

    Advance: TypeAlias = Callable[[int], None]

__all__ = ["export_gallery"]


def export_gallery(
    home: Home, path: str | os.PathLike[str], *, force: bool = False, advance: Advance | None = None
) -> int:
    """Write every face and what is said of its subject into one file; the suffix says which kind.

    Embeddings, names, external ids, groups, metadata, expiry, consent, boxes, quality and negative exemplars go along;
    crops, sightings and the audit log do not (see `mien.gallery.copying` for a whole move). The file holds biometric
    data in the clear: it is made with mode 0600, whole or not at all.

    Args:
        home: where the gallery lives.
        path: a .csv, .npz or .parquet file.
        force: write over a file that is there.
        advance: called with the number of rows written since the last call.

    Returns:
        How many rows were written.

    Raises:
        InputError: another suffix; a file that is there already; a place that cannot be written to.
        GalleryError: the gallery has never held anything.
        MissingExtraError: Parquet needs pyarrow.
    """
    target = Path(path)
    write = format_of(target).write
    identity = home.identity
    if identity is None:
        raise GalleryError(f"{home.source}: nothing to export: nobody was ever enrolled")
    if target.exists() and not force:
        raise InputError(f"{target}: exists already; choose another name, or force it to be replaced")
    count = 0

    def rows() -> Iterator[Row]:
        nonlocal count
        for batch in home.batches():
            before = count
            for row in rows_of(batch):
                count += 1
                yield row
            if advance:
                advance(count - before)

    try:
        handle, name = tempfile.mkstemp(suffix=target.suffix, prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror}); check its folder") from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file, rows(), identity)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        part.unlink(missing_ok=True)
    return count
