"""Decoding by Pillow: a fixed list of its readers, sizes checked before pixels are made, and no warnings."""

from __future__ import annotations

import importlib
import io
import re
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from PIL import Image as PillowImage

from mien.errors import ImageError, ImageTooLargeError, MienError, MissingExtraError
from mien.images._orientation import ORIENTATION_TAG, exif_orientation, turn_upright, valid_orientation
from mien.images._to_rgb import pillow_to_rgb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mien.images._headers import Format
    from mien.types import Pixels

__all__ = ["decode_pillow", "upright_rgb"]

# The readers are called directly: Image.open would warn of large pictures by itself, and ask every installed plug-in.
_READERS: Final[dict[str, tuple[str, str]]] = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "PPM": ("PIL.PpmImagePlugin", "PpmImageFile"),
    "HEIF": ("pillow_heif", "HeifImageFile"),
}

_quiet_lock = threading.Lock()
_quiet_depth = 0
_QUIET: Final[Any] = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Pillow's warnings while any thread decodes.

    `warnings.catch_warnings` restores a saved list, which goes wrong when two threads leave in another order than they
    came; adding one filter with the first thread and taking that one away with the last does not.
    """
    global _quiet_depth  # noqa: PLW0603
    with _quiet_lock:
        if _quiet_depth == 0:
            warnings.filters.insert(0, _QUIET)  # type: ignore[attr-defined]
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0 and _QUIET in warnings.filters:
                warnings.filters.remove(_QUIET)  # type: ignore[attr-defined]


def decode_pillow(data: bytes, kind: Format, name: str, check_size: Callable[[tuple[int, int]], None]) -> Pixels:
    """Decode the first frame of `data`, upright.

    Args:
        data: the file's bytes.
        kind: the format that they announce.
        name: the picture's name for messages.
        check_size: called with (width, height) before pixels are made; raises to refuse.

    Raises:
        ImageError: the data are damaged.
        MissingExtraError: HEIC, and pillow-heif is not installed.
    """
    module, reader = _READERS[kind]
    try:
        factory = getattr(importlib.import_module(module), reader)
    except ImportError as error:
        if kind != "HEIF":
            raise
        raise MissingExtraError(f"{name}: reading HEIC pictures", "heic") from error
    try:
        with _quiet(), factory(io.BytesIO(data), name) as image:
            check_size(image.size)
            return upright_rgb(image, name)
    except MienError:
        raise
    except PillowImage.DecompressionBombError as error:  # some readers' own limit, beyond our default
        raise ImageTooLargeError(name, f"{error} (Pillow's limit: PIL.Image.MAX_IMAGE_PIXELS)") from error
    except Exception as error:  # whatever a decoder raises on hostile bytes, the caller needs one kind of error
        raise ImageError(name, f"is damaged or truncated {kind} data ({type(error).__name__}: {error})") from error


def upright_rgb(image: PillowImage.Image, name: str) -> Pixels:
    """Return the pixels of a Pillow image in RGB, turned by the EXIF orientation that it carries."""
    image.load()
    pixels = pillow_to_rgb(image, name)
    if tags := getattr(image, "tag_v2", None):
        orientation = valid_orientation(tags.get(ORIENTATION_TAG))
    else:
        exif = image.info.get("exif")
        orientation = exif_orientation(exif) if isinstance(exif, bytes) else 1
    return turn_upright(pixels, orientation)
