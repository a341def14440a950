"""Fonts for labels: which of those at hand can truly draw a text."""

from __future__ import annotations

import importlib.util
import unicodedata
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL import ImageFont, features

from mien.errors import InputError

if TYPE_CHECKING:
    import os

__all__ = ["FontChoice"]

# Looked for, in this order, when a text needs more than the fonts of packages. A short list: no folder is searched.
_SYSTEM_FONTS: Final = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
    "/System/Library/Fonts/PingFang.ttc",
    "/System/Library/Fonts/Hiragino Sans GB.ttc",
    "/Library/Fonts/Arial Unicode.ttf",
    "C:/Windows/Fonts/msyh.ttc",
    "C:/Windows/Fonts/simsun.ttc",
    "C:/Windows/Fonts/YuGothM.ttc",
    "C:/Windows/Fonts/malgun.ttf",
)
# Shipped by matplotlib, which mien installs anyway: Latin with its accents, Greek, Cyrillic.
_DEJAVU: Final = "mpl-data/fonts/ttf/DejaVuSans.ttf"
# Never assigned, so no font has a shape for it: drawing it shows what the font draws in place of what it lacks.
_NEVER_ASSIGNED: Final = "\U0010ffff"


def _package_fonts() -> list[Path]:
    """Find matplotlib's font without importing matplotlib."""
    spec = importlib.util.find_spec("matplotlib")
    return [Path(folder) / _DEJAVU for folder in (spec and spec.submodule_search_locations) or ()]


class _Font:
    """One loaded font, and what it can draw. For one thread at a time."""

    def __init__(self, font: ImageFont.FreeTypeFont) -> None:
        self.font = font
        # Complex layout would put a dotted circle under a lone mark, and so hide that the mark itself is missing.
        self._single = font.font_variant(layout_engine=ImageFont.Layout.BASIC)
        self._can: dict[str, bool] = {}

    @cached_property
    def _missing(self) -> tuple[tuple[int, int], bytes]:
        return self._shape(_NEVER_ASSIGNED)

    def _shape(self, character: str) -> tuple[tuple[int, int], bytes]:
        mask = self._single.getmask(character, mode="L")
        return mask.size, bytes(mask)

    def _can_draw_one(self, character: str) -> bool:
        if character.isspace():
            return True
        shape = self._shape(character)
        return shape != self._missing and any(shape[1])

    def can_draw(self, text: str) -> bool:
        for character in set(text):
            if character not in self._can:
                self._can[character] = self._can_draw_one(character)
        return all(self._can[character] for character in text)


class FontChoice:
    """The fonts at hand, in order: the user's, Pillow's own, matplotlib's, and those of the system that are well known.

    For one thread at a time; cheap to make.

    Args:
        font: the user's font file (TrueType, OpenType), or None.
        size: height of the letters in pixels.

    Raises:
        InputError: the user's font cannot be loaded.
    """

    def __init__(self, font: str | os.PathLike[str] | None, size: int) -> None:
        self._size = size
        own = ImageFont.load_default(size)
        if not isinstance(own, ImageFont.FreeTypeFont):
            raise InputError("drawing labels needs a Pillow with FreeType; install Pillow from its wheel")
        self._plain = own
        self._fonts = [_Font(own)]
        self._untried = [*_package_fonts(), *(Path(name) for name in _SYSTEM_FONTS)]
        if font is not None:
            try:
                self._fonts.insert(0, _Font(ImageFont.truetype(font, size)))
            except (OSError, ValueError) as error:
                raise InputError(f"{font}: expected a TrueType or OpenType font file ({error})") from error

    @property
    def plain(self) -> ImageFont.FreeTypeFont:
        """Pillow's own font: digits and plain Latin letters."""
        return self._plain

    def for_text(self, text: str) -> ImageFont.FreeTypeFont | None:
        """Return the first font that has a shape for every character of `text`, or None."""
        if not features.check("raqm") and any(unicodedata.bidirectional(c) in ("R", "AL") for c in text):
            return None  # without Raqm, right-to-left text would come out backwards
        for known in self._fonts:
            if known.can_draw(text):
                return known.font
        while self._untried:
            path = self._untried.pop(0)
            if path.is_file():
                try:
                    loaded = _Font(ImageFont.truetype(path, self._size))
                except OSError:
                    continue
                self._fonts.append(loaded)
                if loaded.can_draw(text):
                    return loaded.font
        return None
