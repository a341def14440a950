"""Small aligned pictures that travel inside the page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.report.markup import Markup, element, name
from mien.images import ARCFACE_112, decode, similarity, warp

if TYPE_CHECKING:
    from mien.evaluate.results import Shot
    from mien.types import Pixels

__all__ = ["SIDE", "jpeg_uri", "thumbnail"]

SIDE: Final = 128
"""Width and height of a thumbnail in pixels."""


def thumbnail(shot: Shot) -> Markup:
    """A picture of a person with its name below: the aligned face, the whole picture, or why there is neither.

    Nothing is raised for a picture that has gone or broken since it was measured: the page says so in its place.
    """
    try:
        pixels = _pixels(shot)
    except InputError:
        shown = element("span", "cannot be read", class_="nothing")
    else:
        kind = "Picture" if shot.landmarks is None else "Face in"
        shown = element("img", src=jpeg_uri(pixels), alt=f"{kind} {shot.name}", width=SIDE, height=SIDE)
    note = element("span", "no face found", class_="flag") if shot.landmarks is None else None
    return element("figure", shown, note, element("figcaption", name(shot.name)), class_="shot")


def jpeg_uri(pixels: Pixels, *, quality: int = 82) -> str:
    """A picture as a ``data:`` address; nothing but its pixels is written."""
    from PIL import Image as PillowImage

    file = io.BytesIO()
    PillowImage.fromarray(pixels).save(file, format="JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _pixels(shot: Shot) -> Pixels:
    """RGB uint8 (SIDE, SIDE, 3)."""
    pixels = decode(shot.source).pixels
    if shot.landmarks is None:
        matrix = _whole(pixels.shape[1], pixels.shape[0])
    else:
        # A little wider than models see, because people recognise people by their hair and chin too.
        middle = 55.5
        template = (np.asarray(ARCFACE_112, np.float64) - middle) * (SIDE / 112 * 0.8) + (SIDE - 1) / 2
        template[:, 1] += SIDE * 0.03
        matrix = similarity(np.asarray(shot.landmarks, np.float64)[None], template)
    crop: Pixels = warp(pixels, matrix, (SIDE, SIDE))[0]
    return crop


def _whole(width: int, height: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The matrix (1, 2, 3) that fits a whole picture into the middle of a thumbnail."""
    scale = SIDE / max(width, height)
    shift = [(SIDE - 1) / 2 - scale * (side - 1) / 2 for side in (width, height)]
    return np.array([[[scale, 0, shift[0]], [0, scale, shift[1]]]])
