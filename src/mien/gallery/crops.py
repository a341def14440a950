"""Faces kept as pictures, so that a later model can be given them: how they are cut, and where the face is in them."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from mien.images import loose_crops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mien.types import Faces, Floats, Pixels

__all__ = ["LONGEST", "MARGIN", "encoded_crop", "places_in_crop"]

MARGIN: Final = 0.6
"""What a crop shows around the face's box, on each side, as a share of the box: any detector finds the face again."""

LONGEST: Final = 720
"""Pixels of a crop's longer side; larger ones are shrunk."""

_JPEG: Final = 95


def encoded_crop(pixels: Pixels, face: Faces, *, turns: int = 0) -> bytes:
    """A face with its surroundings as JPEG, upright; enough for any later model to find and embed it anew.

    Args:
        pixels: RGB uint8 (H, W, 3).
        face: one face.
        turns: see `Analysis.turns`.
    """
    from PIL import Image as PillowImage

    crop = loose_crops(pixels, face, margin=MARGIN, turns=turns)[0]
    height, width = crop.shape[:2]
    if max(height, width) > LONGEST:
        scale = LONGEST / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    file = io.BytesIO()
    PillowImage.fromarray(crop).save(file, format="JPEG", quality=_JPEG, subsampling=0)
    return file.getvalue()


def places_in_crop(box: tuple[float, float, float, float], size: tuple[int, int]) -> Iterator[Floats]:
    """Where a face stands in its crop, for each quarter turn that the crop may have been given: most likely first.

    Args:
        box: of the face in its picture, xyxy; it may reach over the border.
        size: (width, height) of the crop.

    Yields:
        float32 (4,) boxes.
    """
    for turns in range(4):
        yield _turned(_placed(box, size if turns % 2 == 0 else size[::-1]), size, turns)


def _placed(box: tuple[float, float, float, float], size: tuple[int, int]) -> Floats:
    """In a crop that was not turned. What the picture's far borders cut off is not known, its near ones are at 0."""
    x0, y0, x1, y1 = box
    left, right = max(0, math.floor(x0 - MARGIN * (x1 - x0))), math.ceil(x1 + MARGIN * (x1 - x0))
    top, bottom = max(0, math.floor(y0 - MARGIN * (y1 - y0))), math.ceil(y1 + MARGIN * (y1 - y0))
    scale = min(1.0, max(size[0] / max(1, right - left), size[1] / max(1, bottom - top)))
    placed = np.array([x0 - left, y0 - top, x1 - left, y1 - top], np.float32) * np.float32(scale)
    return np.asarray(placed, np.float32)


def _turned(box: Floats, size: tuple[int, int], turns: int) -> Floats:
    """A box after the crop was turned counter-clockwise to be of `size` (width, height)."""
    x0, y0, x1, y1 = box.tolist()
    width, height = size
    corners = {
        0: (x0, y0, x1, y1),
        1: (y0, height - x1, y1, height - x0),
        2: (width - x1, height - y1, width - x0, height - y0),
        3: (width - y1, x0, width - y0, x1),
    }
    return np.array(corners[turns], np.float32)
