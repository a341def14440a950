"""Exposure and sharpness of a face, measured on a chip of fixed size.

A chip of fixed size makes the numbers comparable: a face of few pixels that is drawn large shows as unsharp, which it
is, and a large face is not called sharp for pixels that no model looks at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.types import Pixels

__all__ = ["CHIP", "Light", "measure_light", "sharpness"]

CHIP: Final = 112
"""Width and height of the chips that are measured."""

_CLIPPED: Final = (4, 251)  # grey levels at and beyond which a pixel says nothing any more
_FLAT: Final = 0.5  # a spread of half a grey level is rounding


def _oval() -> NDArray[np.uint8]:
    """Where the face is in an ArcFace chip: 1 inside, 0 in the corners, which show hair, clothes and background."""
    y, x = np.mgrid[:CHIP, :CHIP]
    inside: NDArray[np.uint8] = (((x - 56) / 37) ** 2 + ((y - 66) / 46) ** 2 <= 1).astype(np.uint8)
    inside.flags.writeable = False
    return inside


_OVAL: Final = _oval()
_LEFT: Final = np.where(np.arange(CHIP) < CHIP // 2, _OVAL, 0).astype(np.uint8)
_RIGHT: Final = _OVAL - _LEFT


class Light(NamedTuple):
    """Exposure of one face.

    Attributes:
        brightness: mean grey, 0 (black) to 1 (white).
        contrast: standard deviation of grey, 0 to 0.5.
        clipped: share of pixels that are as good as black or white, 0 to 1.
        unevenness: difference of the mean grey of the left and the right half, as a share of their sum, 0 to 1.
    """

    brightness: float
    contrast: float
    clipped: float
    unevenness: float


def measure_light(grey: Pixels) -> Light:
    """Exposure of an aligned face.

    Args:
        grey: uint8 (112, 112), aligned to `ARCFACE_112`.
    """
    counts = cv2.calcHist([grey], [0], _OVAL, [256], [0, 256]).ravel().astype(np.float64)
    levels = np.arange(256) / 255
    share = counts / counts.sum()
    mean = float(share @ levels)
    low, high = _CLIPPED
    left, right = (float(cv2.mean(grey, mask=half)[0]) for half in (_LEFT, _RIGHT))
    return Light(
        brightness=mean,
        contrast=float(np.sqrt(max(0.0, share @ np.square(levels - mean)))),
        clipped=float(share[: low + 1].sum() + share[high:].sum()),
        unevenness=abs(left - right) / (left + right) if left + right else 0.0,
    )


def sharpness(grey: Pixels) -> float:
    """How much fine detail an aligned face shows: 0 for none; sharp photos reach 0.15 to 0.25.

    The share of the grey levels' spread that lies in details of one to two chip pixels: a difference of two Gaussian
    blurs, so that single pixels of noise and of JPEG count little, over the standard deviation, so that light and
    contrast do not count.

    Args:
        grey: uint8 (112, 112), aligned to `ARCFACE_112`.
    """
    levels = grey.astype(np.float32)
    fine = cv2.GaussianBlur(levels, (0, 0), 1.0) - cv2.GaussianBlur(levels, (0, 0), 2.0)
    spread = float(cv2.meanStdDev(levels, mask=_OVAL)[1].item())
    detail = float(cv2.meanStdDev(fine, mask=_OVAL)[1].item())
    return detail / spread if spread > _FLAT else 0.0
