"""Poor pictures: blurred, small, compressed, noisy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from mien.types import Pixels

__all__ = ["add_noise", "blur", "compress", "lower_resolution"]


def blur(pixels: Pixels, sigma: float, *, motion: float = 0.0, angle: float = 0.0) -> Pixels:
    """Out of focus, or moved.

    Args:
        pixels: the picture.
        sigma: of the Gaussian, in pixels; 0 for none.
        motion: length of a straight movement in pixels; below 2 for none.
        angle: its direction in radians.
    """
    out = cv2.GaussianBlur(pixels, (0, 0), sigma) if sigma > 0 else pixels.copy()
    if motion >= 2:
        size = int(np.ceil(motion)) | 1
        kernel = np.zeros((size, size), np.float32)
        middle = (size - 1) / 2
        reach = np.array([np.cos(angle), np.sin(angle)]) * (motion - 1) / 2
        a, b = np.rint((middle - reach) * 16), np.rint((middle + reach) * 16)
        cv2.line(kernel, a.astype(int).tolist(), b.astype(int).tolist(), 1.0, 1, cv2.LINE_8, 4)
        out = cv2.filter2D(out, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)
    blurred: Pixels = out
    return blurred


def lower_resolution(pixels: Pixels, side: int) -> Pixels:
    """As if the shorter side had `side` pixels only; scaled back to the old size.

    Raises:
        ValueError: `side` is below 1.
    """
    if side < 1:
        raise ValueError(f"lower_resolution: expected at least 1 pixel, got {side}")
    height, width = pixels.shape[:2]
    factor = side / min(height, width)
    if factor >= 1:
        return pixels.copy()
    small = cv2.resize(
        pixels, (max(1, round(width * factor)), max(1, round(height * factor))), interpolation=cv2.INTER_AREA
    )
    back: Pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return back


def compress(pixels: Pixels, quality: int) -> Pixels:
    """Through JPEG at a quality of 1 to 100."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    if not ok:
        raise ValueError(f"compress: a picture of {pixels.shape} cannot be a JPEG")
    back: Pixels = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return back


def add_noise(pixels: Pixels, rng: np.random.Generator, sigma: float) -> Pixels:
    """With Gaussian sensor noise of a standard deviation in grey levels."""
    noise = rng.standard_normal(pixels.shape, np.float32)
    noise *= sigma
    noise += pixels
    return np.rint(np.clip(noise, 0, 255, out=noise), out=noise).astype(np.uint8)
