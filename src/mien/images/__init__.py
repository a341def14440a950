"""Pictures in, arrays out, and back: decode, align, draw."""

from __future__ import annotations

from mien.images.align import ARCFACE_112, Border, invert, similarity, transform_points, warp
from mien.images.decode import MAX_BYTES, MAX_PIXELS, Source, decode, source_name

__all__ = [
    "ARCFACE_112",
    "MAX_BYTES",
    "MAX_PIXELS",
    "Border",
    "Source",
    "decode",
    "invert",
    "similarity",
    "source_name",
    "transform_points",
    "warp",
]
