"""A second look at pictures in which no face was found: tight crops, whose faces reach over the border.

Detectors look for a face with something around it. A grey border gives them that: of the tight crops of actors without
a face at first, three in four have one then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from mien.errors import MienError
from mien.evaluate.embeddings import embed_pictures
from mien.evaluate.protocols.pictures import Picture
from mien.images import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mien.evaluate.embedding_cache import EmbeddingCache
    from mien.recognizer import Recognizer
    from mien.types import Floats, Pixels

__all__ = ["look_again"]

_BORDER: Final = 0.5  # of the longer side, on each side
_GREY: Final = (127, 127, 127)
_SIDE: Final = 480  # pixels of the longer side at most: a face that fills the picture needs no more
_AT_ONCE: Final = 128


def look_again(
    paths: Sequence[Path],
    recognizer: Recognizer,
    *,
    cache: EmbeddingCache | None = None,
    advance: Callable[[int], None] = lambda _n: None,
) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Embed the main face of each picture, with a border around the picture.

    Args:
        paths: N pictures.
        recognizer: what finds and embeds faces.
        cache: of its embeddings.
        advance: is told how many more pictures are done.

    Returns:
        float32 (N, D) unit rows, zero where there is no face; bool (N,) whether there is; float32 (N, 5, 2) its
        landmarks in the picture without the border.
    """
    vectors = np.zeros((len(paths), recognizer.identity.dimension), np.float32)
    found = np.zeros(len(paths), np.bool_)
    landmarks = np.full((len(paths), 5, 2), np.nan, np.float32)
    for start in range(0, len(paths), _AT_ONCE):
        part = range(start, min(start + _AT_ONCE, len(paths)))
        bordered = {i: made for i in part if (made := _bordered(paths[i])) is not None}
        pictures = [Picture(paths[i].name, memoryview(data)) for i, (data, _, _) in bordered.items()]
        done = embed_pictures(pictures, recognizer, cache=cache)
        for row, (i, (_, scale, offset)) in enumerate(bordered.items()):
            vectors[i], found[i] = done.vectors[row], done.found[row]
            landmarks[i] = (done.landmarks[row] - offset) / scale
        advance(len(part))
    return vectors, found, landmarks


def _bordered(path: Path) -> tuple[bytes, float, int] | None:
    """The picture within its border as a PNG file, by what it was scaled, and how wide the border is."""
    try:
        pixels: Pixels = decode(path).pixels
    except MienError:
        return None
    scale = min(1.0, _SIDE / max(pixels.shape[:2]))
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    width = int(_BORDER * max(pixels.shape[:2]))
    framed = cv2.copyMakeBorder(pixels, width, width, width, width, cv2.BORDER_CONSTANT, value=_GREY)
    _, data = cv2.imencode(".png", cv2.cvtColor(framed, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_PNG_COMPRESSION, 1))
    return data.tobytes(), scale, width
