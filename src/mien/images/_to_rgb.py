"""Arrays and Pillow images of every kind to RGB uint8 (H, W, 3), in bands, so that the peak stays near the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from mien.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image as PillowImage

    from mien.types import Pixels

__all__ = ["array_to_rgb", "pillow_to_rgb"]

_BAND: Final = 1 << 20  # pixels converted at a time
_WIDE_GREY: Final = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
_ALPHA: Final = ("RGBA", "RGBa", "LA", "La", "PA")


def array_to_rgb(array: np.ndarray[Any, Any], name: str) -> Pixels:
    """Convert an array (see `mien.images.decode` for the kinds it takes).

    Raises:
        ImageError: its shape, type or values are none of those.
    """
    shape, dtype = array.shape, array.dtype
    if array.ndim not in (2, 3) or 0 in shape or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        raise ImageError(name, f"expected an array (H, W), (H, W, 3) or (H, W, 4) of pixels, got shape {shape}")
    if dtype not in (np.uint8, np.uint16) and dtype.kind != "f":
        raise ImageError(name, f"expected uint8, uint16, or float in 0 to 1, got an array of {dtype}")
    if dtype == np.uint8 and array.ndim == 3 and shape[2] == 3:
        return np.ascontiguousarray(array)
    pixels = np.empty((*shape[:2], 3), np.uint8)
    for rows in _bands(shape[0], shape[1]):
        band = _to_bytes(array[rows], name)
        band = band[..., None] if band.ndim == 2 else band
        pixels[rows] = _on_white(band) if band.shape[2] == 4 else band
    return pixels


def pillow_to_rgb(image: PillowImage.Image, name: str) -> Pixels:
    """Convert a loaded Pillow image of any mode."""
    mode = image.mode
    if "transparency" in image.info and mode in ("1", "L", "RGB", "P"):
        target = "RGBA"
    elif mode in _WIDE_GREY:
        target = mode
    else:
        target = "RGBA" if mode in _ALPHA else "RGB"
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for rows in _bands(height, width):
        whole = rows.start == 0 and rows.stop >= height
        band = image if whole else image.crop((0, rows.start, width, rows.stop))
        if mode == "P" and target == "RGBA" and not whole:
            band.info = image.info  # a crop keeps the palette, but its transparent colour lies here
        if mode == "La":  # premultiplied grey: Pillow takes it to RGBA by way of LA only
            band = band.convert("LA")
        array = np.asarray(band if band.mode == target else band.convert(target))
        if target in _WIDE_GREY:
            pixels[rows] = _to_bytes(_narrow(array, name), name)[..., None]
        else:
            pixels[rows] = _on_white(array) if target == "RGBA" else array
    return pixels


def _bands(height: int, width: int) -> list[slice]:
    step = max(1, _BAND // width)
    return [slice(start, min(start + step, height)) for start in range(0, height, step)]


def _narrow(array: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """Return Pillow's 32-bit integers, which hold 16-bit grey, as uint16."""
    if array.dtype.kind != "i":
        return array.astype(np.uint16) if array.dtype.kind == "u" else array
    if array.min() < 0 or array.max() > 0xFFFF:
        raise ImageError(name, f"expected grey values of 16 bits, got {array.min()} to {array.max()}")
    return array.astype(np.uint16)


def _to_bytes(array: np.ndarray[Any, Any], name: str) -> Pixels:
    if array.dtype == np.uint8:
        return cast("Pixels", array)
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1):  # written so that NaN fails, too
        raise ImageError(
            name, f"expected float pixels in 0 to 1, got {low:g} to {high:g}; divide by their maximum first"
        )
    scaled: Pixels = np.rint(array * 255).astype(np.uint8)
    return scaled


def _on_white(rgba: Pixels) -> Pixels:
    """Composite on white: round(c a + 255 (1 - a)) with a in 0 to 1, in integers."""
    alpha = rgba[..., 3:].astype(np.uint16)
    blend = rgba[..., :3] * alpha + (255 - alpha) * np.uint16(255) + np.uint16(127)
    blend //= np.uint16(255)
    return blend.astype(np.uint8)
