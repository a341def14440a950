"""Writing pictures: whole or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
from PIL import Image as PillowImage

from mien.errors import ImageError
from mien.file_draft import draft_beside
from mien.images._reading import printable

if TYPE_CHECKING:
    from mien.types import Image

__all__ = ["WRITABLE_SUFFIXES", "encode", "save"]

_FORMATS: Final = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
}

_LONGEST_SIDE: Final = 65_500  # of a JPEG that OpenCV writes

WRITABLE_SUFFIXES: Final = frozenset(_FORMATS)
"""Suffixes, in lower case, of the pictures that `save` writes."""


def save(image: Image, path: str | os.PathLike[str], *, quality: int = 92) -> Path:
    """Write a picture in the format that the suffix of `path` names.

    The file appears whole: it is written beside its place under another name, and then moved there. Safe to call from
    several threads at once; of two that write one path, one wins.

    Args:
        image: the picture.
        path: where to; ``.jpg``, ``.png``, ``.webp``, ``.bmp``, ``.tif`` or ``.ppm``. Its folder must exist.
        quality: of JPEG and WebP, 1 to 100.

    Returns:
        The path.

    Raises:
        ImageError: the suffix is none of those, or the file cannot be written.
    """
    target = Path(path)
    shown = printable(str(target))
    kind, options = _format(target.suffix, shown, quality)
    try:
        with draft_beside(target) as draft, draft.open("xb") as file:
            PillowImage.fromarray(image.pixels).save(file, format=kind, **options)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(shown, f"cannot be written ({reason})") from error
    return target


def encode(image: Image, suffix: str, *, quality: int = 92) -> bytes:
    """A picture as the bytes of a file whose name ends in `suffix`; as `save`, and for small JPEGs faster.

    Raises:
        ImageError: the suffix is none of `WRITABLE_SUFFIXES`, or the format cannot hold the picture.
    """
    kind, options = _format(suffix, image.source, quality)
    try:
        if kind == "JPEG" and max(image.size) <= _LONGEST_SIDE:
            # A view of the channels turned around would do, but OpenCV is slow to copy one.
            pixels = cv2.cvtColor(image.pixels, cv2.COLOR_RGB2BGR)
            return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        file = io.BytesIO()
        PillowImage.fromarray(image.pixels).save(file, format=kind, **options)
    except (OSError, ValueError, cv2.error) as error:
        raise ImageError(image.source, f"cannot be written as {kind} ({error})") from error
    return file.getvalue()


def _format(suffix: str, shown: str, quality: int) -> tuple[str, dict[str, Any]]:
    """The format that a suffix asks for, and its options."""
    kind = _FORMATS.get(suffix.lower())
    if kind is None:
        raise ImageError(shown, f"expected a name that ends in one of {', '.join(_FORMATS)}, got {suffix!r}")
    if not 1 <= quality <= 100:
        raise ImageError(shown, f"expected a quality of 1 to 100, got {quality}")
    return kind, {"quality": quality} if kind in ("JPEG", "WEBP") else {}
