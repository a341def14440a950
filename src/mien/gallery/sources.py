"""Pictures on their way into a gallery: one or many, what they are called, and the checksum of their content."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mien.images import MAX_BYTES
from mien.types import Image

__all__ = ["as_pictures", "content_sha256", "is_embedding", "readable_again"]


def as_pictures(images: Any) -> Iterator[Any]:  # noqa: ANN401 - see `mien.images.decode`
    """One picture, or any number of them, as an iterator.

    Lists, tuples, sets and generators are many; everything else (paths, bytes, arrays, open files, PIL images) is one.
    """
    many = isinstance(images, list | tuple | set | frozenset) or (
        isinstance(images, Iterable)
        and isinstance(images, Iterator)
        and not hasattr(images, "read")  # an open file iterates over its lines
    )
    return iter(images) if many else iter((images,))


def readable_again(picture: Any) -> Any:  # noqa: ANN401
    """The picture itself, or the bytes of an open file, which can be read only once.

    A file that cannot be read is given back as it is; the decoder is the one to say why.
    """
    read = getattr(picture, "read", None)
    if read is None:
        return picture
    try:
        data = read(MAX_BYTES + 1)  # one too many: the decoder then says that it is too large
    except (OSError, ValueError):  # ValueError: it is closed
        return picture
    return data if isinstance(data, bytes) else picture


def content_sha256(picture: Any) -> str | None:  # noqa: ANN401
    """Checksum of a picture's content: a path's file and its bytes have the same; None where it has none.

    A file that cannot be read has none; the decoder is the one to say why.
    """
    if isinstance(picture, Image):
        picture = picture.pixels
    if isinstance(picture, bytes | bytearray | memoryview):
        return hashlib.sha256(picture).hexdigest()
    if isinstance(picture, np.ndarray):
        digest = hashlib.sha256(f"{picture.dtype.str}{picture.shape}".encode())
        digest.update(np.ascontiguousarray(picture).view(np.uint8).data if picture.size else b"")
        return digest.hexdigest()
    if isinstance(picture, str | os.PathLike):
        return _file_sha256(picture)
    return None


def is_embedding(value: Any) -> bool:  # noqa: ANN401
    """Whether a value is embeddings rather than a picture: floats of unit length, which no picture's rows are."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.ndim not in (1, 2) or not value.size:
        return False
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(np.atleast_2d(value).astype(np.float64), axis=1)
    return value.ndim == 1 or bool((np.abs(lengths - 1) < 0.01).all() and (value < 0).any())


def _file_sha256(path: str | os.PathLike[str]) -> str | None:
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:  # reading a pipe or a device may never end
            return None
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None
