"""Pictures for people: boxes with names on a photo, and sheets of thumbnails."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from mien.images._fonts import FontChoice
from mien.images.decode import MAX_PIXELS
from mien.types import Image

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from PIL import ImageFont

    from mien.types import Faces, Pixels

__all__ = ["Colour", "Drawing", "contact_sheet", "draw"]

Colour: TypeAlias = tuple[int, int, int]
"""Red, green, blue, each 0 to 255."""

_GREEN: Final = (46, 204, 64)
_PAPER: Final = (255, 255, 255)
_INK: Final = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture made for people.

    Attributes:
        image: the picture.
        legend: texts that no font at hand can draw, as lines ``number: text``; the picture shows the number instead.
    """

    image: Image
    legend: list[str]


class _Legend:
    """Numbers for the texts that cannot be drawn; equal texts share a number."""

    def __init__(self, fonts: FontChoice) -> None:
        self._fonts = fonts
        self._numbers: dict[str, int] = {}

    def drawable(self, text: str) -> tuple[str, ImageFont.FreeTypeFont]:
        """Return what to draw for `text`, and in which font."""
        line = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)
        line = unicodedata.normalize("NFC", line).strip()
        font = self._fonts.for_text(line)
        if font is not None:
            return line, font
        return str(self._numbers.setdefault(line, len(self._numbers) + 1)), self._fonts.plain

    def lines(self) -> list[str]:
        return [f"{number}: {text}" for text, number in self._numbers.items()]


def draw(
    image: Image,
    faces: Faces,
    labels: Sequence[str],
    *,
    font: str | os.PathLike[str] | None = None,
    colours: Sequence[Colour] | None = None,
    landmarks: bool = False,
) -> Drawing:
    """Draw a box and a label for each face.

    A label is drawn in the first font that has all its characters: `font`, Pillow's own (plain Latin), matplotlib's
    (accents, Greek, Cyrillic), then a few well-known fonts of the system (Chinese, Japanese, Korean). Where none has,
    the picture shows a number and the legend the text.

    Args:
        image: the photo; it is not changed.
        faces: N faces.
        labels: N texts; an empty one draws the box only.
        font: a TrueType or OpenType font file.
        colours: N colours of the boxes; green by default.
        landmarks: whether to draw the five landmarks, too.

    Raises:
        InputError: the font cannot be loaded.
        ValueError: there are not N labels or colours.
    """
    colours = [_GREEN] * len(faces) if colours is None else colours
    if not len(faces) == len(labels) == len(colours):
        raise ValueError(f"draw: expected {len(faces)} labels and colours, got {len(labels)} and {len(colours)}")
    width, height = image.size
    line = max(1, round(min(width, height) / 250))
    legend = _Legend(FontChoice(font, max(11, round(min(width, height) / 32))))
    canvas = PillowImage.fromarray(image.pixels)
    pen = ImageDraw.Draw(canvas)
    reach = (-2 * line, -2 * line, width + 2 * line, height + 2 * line)
    boxes = [
        (int(max(x0, reach[0])), int(max(y0, reach[1])), int(min(x1, reach[2])), int(min(y1, reach[3])))
        for x0, y0, x1, y1 in faces.boxes.tolist()
    ]
    shown = [box[0] < box[2] and box[1] < box[3] for box in boxes]
    for i in np.flatnonzero(shown).tolist():
        pen.rectangle(boxes[i], outline=colours[i], width=line)
        if landmarks:
            for x, y in faces.landmarks[i].tolist():
                if 0 <= x < width and 0 <= y < height:
                    pen.ellipse((x - line, y - line, x + line, y + line), fill=colours[i])
    # Labels last, and for every face: a box must not cross out its neighbour's name, nor the legend lose a number.
    for box, label, colour in zip(boxes, labels, colours, strict=True):
        if label.strip():
            _label(pen, (width, height), box, legend.drawable(label), colour)
    return Drawing(Image(np.array(canvas), image.source), legend.lines())


def _label(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    drawable: tuple[str, ImageFont.FreeTypeFont],
    colour: Colour,
) -> None:
    """Write on a plate above the box, or inside its top where there is no room; always within the picture."""
    text, font = drawable
    left, top, right, bottom = (round(edge) for edge in pen.textbbox((0, 0), text, font=font))
    pad = max(2, round((bottom - top) / 6))
    plate = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0, min(box[0], size[0] - plate[0]))
    y = box[1] - plate[1] if box[1] >= plate[1] else box[1]
    y = max(0, min(y, size[1] - plate[1]))
    pen.rectangle((x, y, x + plate[0] - 1, y + plate[1] - 1), fill=colour)
    pen.text((x + pad - left, y + pad - top), text, fill=_contrast(colour), font=font)


def _contrast(colour: Colour) -> Colour:
    """Black or white, whichever reads better on `colour` (luma of ITU-R BT.601)."""
    return _INK if np.dot(colour, (0.299, 0.587, 0.114)) > 140 else _PAPER


def contact_sheet(
    thumbnails: Sequence[Pixels | Image],
    captions: Sequence[str],
    columns: int,
    *,
    tile: int = 160,
    font: str | os.PathLike[str] | None = None,
) -> Drawing:
    """Lay pictures out in rows, each with a caption under it.

    Args:
        thumbnails: N pictures of any size; each is fitted into a square.
        captions: N texts; one that is too long loses its beginning, since names of files differ at their ends.
        columns: pictures in a row.
        tile: side of the square in pixels.
        font: as for `draw`.

    Returns:
        The sheet, and the legend of the captions that cannot be drawn.

    Raises:
        InputError: the font cannot be loaded.
        ValueError: there is nothing to lay out, or too much.
    """
    if not thumbnails or len(thumbnails) != len(captions) or columns < 1 or tile < 16:
        raise ValueError(
            f"contact_sheet: expected N >= 1 pictures and captions, columns >= 1 and tile >= 16, "
            f"got {len(thumbnails)}, {len(captions)}, {columns} and {tile}"
        )
    letters = max(11, tile // 12)
    gap, strip = max(4, tile // 20), letters + letters // 2
    columns = min(columns, len(thumbnails))
    rows = -(-len(thumbnails) // columns)
    size = gap + columns * (tile + gap), gap + rows * (tile + strip + gap)
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"contact_sheet: {len(thumbnails)} pictures make a sheet of {size}; lay out fewer at a time")
    legend = _Legend(FontChoice(font, letters))
    canvas = PillowImage.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(canvas)
    for i, (picture, caption) in enumerate(zip(thumbnails, captions, strict=True)):
        x, y = gap + i % columns * (tile + gap), gap + i // columns * (tile + strip + gap)
        pixels = picture.pixels if isinstance(picture, Image) else picture
        scale = tile / max(pixels.shape[:2])
        fitted = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
        small = PillowImage.fromarray(pixels).resize(fitted, PillowImage.Resampling.LANCZOS, reducing_gap=3.0)
        canvas.paste(small, (x + (tile - fitted[0]) // 2, y + (tile - fitted[1]) // 2))
        if caption.strip():
            text, face = legend.drawable(caption)
            pen.text((x, y + tile + 1), _fit(text, face, tile), fill=_INK, font=face)
    return Drawing(Image(np.array(canvas), "<contact sheet>"), legend.lines())


def _fit(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return the longest end of `text` that is at most `width` pixels long, marked where it was cut."""
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)  # how many characters of the end fit: bisect
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength("..." + text[-middle:]) <= width else (low, middle - 1)
    return "..." + text[len(text) - low :]
