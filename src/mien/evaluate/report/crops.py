"""Places in pictures, shown small with their surroundings and a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.report.markup import Markup, element, name
from mien.evaluate.report.thumbnails import SIDE, jpeg_uri
from mien.images import decode, warp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.evaluate.detection import Crop
    from mien.types import Pixels

__all__ = ["crop_list"]

_AROUND: Final = 2.0  # sides of the box that are shown
_FRAME: Final = (255, 196, 0)


def crop_list(title: str, note: str, crops: Sequence[tuple[Crop, str]]) -> Markup:
    """Places with what there is to say about each, in the given order."""
    shown = [
        element("li", element("p", said), element("div", _figure(crop), class_="faces one"), class_="pair")
        for crop, said in crops
    ]
    body = element("ol", shown, class_="pairs small") if shown else element("p", "There are none.")
    return element("div", element("h3", title), element("p", note, class_="note"), body)


def _figure(crop: Crop) -> Markup:
    try:
        pixels = _pixels(crop)
    except InputError:
        shown = element("span", "cannot be read", class_="nothing")
    else:
        shown = element("img", src=jpeg_uri(pixels), alt=f"Part of {crop.name}", width=SIDE, height=SIDE)
    return element("figure", shown, element("figcaption", name(crop.name)), class_="shot")


def _pixels(crop: Crop) -> Pixels:
    """RGB uint8 (SIDE, SIDE, 3), with the box framed."""
    x0, y0, x1, y1 = crop.box
    side = max(x1 - x0, y1 - y0, 1.0) * _AROUND
    scale = SIDE / side
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    matrix = np.array([[[scale, 0, SIDE / 2 - scale * middle[0]], [0, scale, SIDE / 2 - scale * middle[1]]]])
    crops: Pixels = warp(decode(crop.source).pixels, matrix, (SIDE, SIDE))
    shown: Pixels = crops[0].copy()
    left, top = (np.clip(np.rint(SIDE / 2 - scale * half), 0, SIDE - 2).astype(int) for half in _halves(crop))
    right, bottom = SIDE - 1 - left, SIDE - 1 - top
    for at in (0, 1):
        shown[top : bottom + 1, [left + at, right - at]] = _FRAME
        shown[[top + at, bottom - at], left : right + 1] = _FRAME
    return shown


def _halves(crop: Crop) -> tuple[float, float]:
    x0, y0, x1, y1 = crop.box
    return (x1 - x0) / 2, (y1 - y0) / 2
