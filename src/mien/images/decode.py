"""One decoder for every picture that comes in, whatever it comes as."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import cv2
import numpy as np
from PIL import Image as PillowImage

from mien.errors import ImageError, ImageTooLargeError, MienError
from mien.images._headers import foreign_kind, picture_format, png_fault, read_jpeg_header, webp_size
from mien.images._orientation import turn_upright
from mien.images._pillow import decode_pillow, upright_rgb
from mien.images._reading import printable, read_file, read_stream
from mien.images._to_rgb import array_to_rgb
from mien.types import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.types import Pixels

    CheckSize: TypeAlias = Callable[[tuple[int, int]], None]

__all__ = ["MAX_BYTES", "MAX_PIXELS", "Readable", "Source", "decode", "source_name"]

MAX_PIXELS: Final = 100_000_000
"""Most pixels of a picture, unless the caller says otherwise: 300 MB once decoded."""

MAX_BYTES: Final = 256 * 1024 * 1024
"""Most bytes of a picture's file."""


class Readable(Protocol):
    """A binary file object."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, and none at the end."""
        ...


Source: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | Readable
    | np.ndarray[Any, Any]
    | PillowImage.Image
    | Image
)
"""What `decode` takes."""


def source_name(source: object) -> str:
    """Return the name by which messages and reports call a picture: its path, or a tag such as ``<bytes>``.

    >>> source_name("people/ada.jpg"), source_name(b"...")
    ('people/ada.jpg', '<bytes>')
    """
    if isinstance(source, Image):
        return source.source
    if isinstance(source, (str, os.PathLike)):
        return printable(os.fsdecode(source)) or "<empty path>"
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "<bytes>"
    if isinstance(source, np.ndarray):
        return "<array>"
    inner = getattr(source, "filename" if isinstance(source, PillowImage.Image) else "name", None)
    if isinstance(inner, str) and inner:
        return printable(inner)
    return f"<{type(source).__name__}>"


def decode(
    source: Source, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES, name: str | None = None
) -> Image:
    """Decode a picture to upright RGB.

    Reads JPEG, PNG, WebP, GIF, BMP, TIFF, PGM / PPM, and HEIC with the extra ``heic``; of several frames the first.
    The EXIF orientation is applied, CMYK and grey become RGB, transparent parts become white, and 16-bit values keep
    their upper byte. A picture that is cut short is an error, never a picture with a grey lower half. URLs are refused.

    Safe to call from several threads at once (an open Pillow image or file object belongs to one thread at a time).

    Args:
        source: one of
            a path (found under either Unicode normal form, NFC or NFD; must be a regular file); if it is an object
            with a method `see`, that is called with the file's bytes and its `os.stat_result`, so that a checksum needs
            no second reading;
            the bytes of a picture file;
            a binary file object, read from where it stands to its end;
            an array: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA of uint8, uint16, or float from 0 to 1
            (uint8 RGB that is contiguous is not copied);
            a Pillow image (its current frame);
            an `Image`, which is returned as it is.
        max_pixels: a picture with more is refused by its header, before its pixels take memory.
        max_bytes: a file with more is refused.
        name: the picture's name in messages and results; by default its path or a tag.

    Raises:
        ImageTooLargeError: there are more than `max_pixels`.
        ImageError: it cannot be read; the message names it and says why.
        MissingExtraError: it is HEIC and pillow-heif is not installed.
    """
    name = source_name(source) if name is None else name

    def check_size(size: tuple[int, int]) -> None:
        width, height = size
        if width * height > max_pixels:
            raise ImageTooLargeError(
                name, f"has {width} x {height} pixels, expected at most {max_pixels}; shrink it or raise the limit"
            )

    if isinstance(source, Image):
        check_size(source.size)
        return source
    if isinstance(source, np.ndarray):
        if source.ndim >= 2:
            check_size((source.shape[1], source.shape[0]))
        return Image(array_to_rgb(source, name), name)
    if isinstance(source, PillowImage.Image):
        return Image(_decode_open_pillow(source, name, check_size), name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = _bytes_of(source, name, max_bytes)
    elif isinstance(source, (str, os.PathLike)):
        data, status = read_file(os.fsdecode(source), name, max_bytes)
        if see := getattr(source, "see", None):
            see(data, status)
    elif callable(read := getattr(source, "read", None)):
        data = read_stream(read, name, max_bytes)
    else:
        raise ImageError(name, f"expected a path, bytes, file, array or Pillow image, got {type(source).__name__}")
    return Image(_decode_bytes(data, name, check_size), name)


def _bytes_of(source: bytes | bytearray | memoryview, name: str, max_bytes: int) -> bytes:
    try:
        count = source.nbytes if isinstance(source, memoryview) else len(source)
    except ValueError as error:  # a memoryview after its release
        raise ImageError(name, str(error)) from error
    if not 0 < count <= max_bytes:
        raise ImageError(name, f"holds {count} bytes, expected at most {max_bytes}" if count else "is empty")
    return bytes(source)


def _decode_open_pillow(image: PillowImage.Image, name: str, check_size: CheckSize) -> Pixels:
    try:
        check_size(image.size)
        return upright_rgb(image, name)
    except MienError:
        raise
    except Exception as error:  # closed, truncated, or any mode that Pillow cannot convert
        raise ImageError(name, f"Pillow cannot give its pixels ({type(error).__name__}: {error})") from error


def _decode_bytes(data: bytes, name: str, check_size: CheckSize) -> Pixels:
    kind = picture_format(data)
    if kind is None:
        raise ImageError(name, f"expected a picture (JPEG, PNG, WebP, ...), got a file that is {foreign_kind(data)}")
    if kind == "JPEG":
        return _decode_jpeg(data, name, check_size)
    if kind == "WEBP":
        size = webp_size(data)
        if size is None:
            raise ImageError(name, "is damaged or truncated WEBP data (its header)")
        check_size(size)
    if kind == "PNG" and (fault := png_fault(data)):
        raise ImageError(name, f"is damaged or truncated PNG data ({fault})")
    return decode_pillow(data, kind, name, check_size)


def _decode_jpeg(data: bytes, name: str, check_size: CheckSize) -> Pixels:
    """Decode by OpenCV: three times faster than Pillow, bit for bit the same, but blind to missing data and CMYK."""
    header = read_jpeg_header(data)
    if header is None or 0 in header.size:
        raise ImageError(name, "is damaged or truncated JPEG data (its header)")
    check_size(header.size)
    if not header.complete:
        raise ImageError(name, "is truncated JPEG data (its end is missing)")
    if header.components in (1, 3):
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if pixels is not None:
            return turn_upright(pixels, header.orientation)
    return decode_pillow(data, "JPEG", name, check_size)
