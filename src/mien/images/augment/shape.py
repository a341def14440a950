"""Where things are: mirrored, turned, shifted, nearer or farther."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from mien.types import Pixels

__all__ = ["flip", "rotate", "shift_and_scale"]


def flip(pixels: Pixels) -> Pixels:
    """The mirror image."""
    return pixels[:, ::-1].copy()


def rotate(pixels: Pixels, radians: float) -> Pixels:
    """Turned counter-clockwise about the middle; the corners repeat the border."""
    return _moved(pixels, radians, 1.0, 0.0, 0.0)


def shift_and_scale(pixels: Pixels, dx: float, dy: float, scale: float) -> Pixels:
    """Shifted by shares of width and height, and enlarged about the middle (scale > 1: nearer)."""
    height, width = pixels.shape[:2]
    return _moved(pixels, 0.0, scale, dx * width, dy * height)


def _moved(pixels: Pixels, radians: float, scale: float, dx: float, dy: float) -> Pixels:
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(np.degrees(radians)), scale)
    matrix[:, 2] += (dx, dy)
    moved: Pixels = cv2.warpAffine(
        pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return moved
