"""Other bytes for a picture on its way into a packed file: another size, another format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from mien.errors import InputError
from mien.images import decode
from mien.images.saving import encode
from mien.types import Image

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Reencoding"]


@dataclass(frozen=True, slots=True)
class Reencoding:
    """Decodes a picture, scales it, and encodes it; call it with the bytes and the path that names them.

    Attributes:
        suffix: ".jpg" or ".png".
        quality: of JPEG, 1 to 100.
        side: pixels of the shorter side; None keeps the size. Pictures are never enlarged.

    Raises:
        InputError: a value lies outside its range; at a call, the picture cannot be read.
    """

    suffix: Literal[".jpg", ".png"] = ".jpg"
    quality: int = 95
    side: int | None = None

    def __post_init__(self) -> None:
        if self.suffix not in (".jpg", ".png") or not 1 <= self.quality <= 100:
            raise InputError(f"re-encoding: expected .jpg or .png and a quality of 1 to 100, got {self}")
        if self.side is not None and not 8 <= self.side <= 65_536:
            raise InputError(f"re-encoding: expected a side of 8 to 65536 pixels, got {self.side}")

    def __call__(self, data: bytes, path: Path) -> tuple[bytes, str]:
        """The new bytes, and their suffix."""
        pixels = decode(data, name=str(path)).pixels
        height, width = pixels.shape[:2]
        if self.side is not None and self.side < min(height, width):
            factor = self.side / min(height, width)
            size = (max(1, round(width * factor)), max(1, round(height * factor)))
            pixels = np.ascontiguousarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
        return encode(Image(pixels, str(path)), self.suffix, quality=self.quality), self.suffix
