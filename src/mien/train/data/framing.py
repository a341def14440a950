"""Which part of an aligned picture a closer template shows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mien.train.data.sources import PictureSpec

__all__ = ["eye_distance", "square"]


def eye_distance(spec: PictureSpec) -> float:
    """Between the eyes of the template, in parts of the picture's side."""
    (x0, y0), (x1, y1) = spec.template[0], spec.template[1]
    return math.hypot(x1 - x0, y1 - y0) / spec.size


def square(height: int, width: int, share: float, down: float = 0.0) -> tuple[int, int, int]:
    """A square part of a picture, to whole pixels: its first row, first column and side.

    Args:
        height: of the picture.
        width: of the picture.
        share: side of the part, as a share of the width.
        down: how far the part lies below the middle, as a share of the height.

    >>> square(112, 112, 0.7917)
    (11, 11, 89)
    """
    side = min(max(round(share * width), 1), width, height)
    top = math.floor((height - side) / 2 + down * height + 1e-6)
    return min(max(top, 0), height - side), (width - side) // 2, side
