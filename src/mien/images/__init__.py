"""Pictures in, arrays out, and back: decode, align, draw."""

from __future__ import annotations

from mien.images._reading import file_exists
from mien.images.align import ARCFACE_112, Border, invert, similarity, transform_points, warp
from mien.images.cut import aligned_crops, loose_crops
from mien.images.decode import MAX_BYTES, MAX_PIXELS, Readable, Source, decode, source_name
from mien.images.draw import Colour, Drawing, contact_sheet, draw
from mien.images.folders import PICTURE_SUFFIXES, is_image_name, list_images, people_of, person_name
from mien.images.saving import WRITABLE_SUFFIXES, encode, save

__all__ = [
    "ARCFACE_112",
    "MAX_BYTES",
    "MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "Border",
    "Colour",
    "Drawing",
    "Readable",
    "Source",
    "aligned_crops",
    "contact_sheet",
    "decode",
    "draw",
    "encode",
    "file_exists",
    "invert",
    "is_image_name",
    "list_images",
    "loose_crops",
    "people_of",
    "person_name",
    "save",
    "similarity",
    "source_name",
    "transform_points",
    "warp",
]
