"""A black frame around a picture, so that a face that fills or leaves it can be seen whole."""

from __future__ import annotations

import cv2
import numpy as np

from mien.types import Faces, Pixels

__all__ = ["framed", "unframed"]

_SIDE = 320  # shorter side that is enough to see a face that fills the picture
_LONGEST = 4  # ratio of sides beyond which no face fills a picture


def framed(image: Pixels) -> Pixels | None:
    """The picture, made small, within a frame as wide as half its shorter side.

    Args:
        image: RGB uint8 (H, W, 3).

    Returns:
        RGB uint8, twice the shorter side wide or high; None when the picture is empty, or too long for a face to fill.
    """
    if 0 in image.shape or max(image.shape[:2]) > _LONGEST * min(image.shape[:2]):
        return None
    width, height = _small(image)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    margin = min(width, height) // 2
    return np.asarray(cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_CONSTANT))


def unframed(faces: Faces, image: Pixels) -> Faces:
    """Faces found in `framed(image)`, in the coordinates of the picture itself."""
    if not len(faces):
        return faces
    width, height = _small(image)
    margin = np.float32(min(width, height) // 2)
    grow = np.array([image.shape[1] / width, image.shape[0] / height], np.float32)
    boxes = (faces.boxes - margin) * np.tile(grow, 2)
    return Faces(boxes, faces.scores, (faces.landmarks - margin) * grow).largest_first()


def _small(image: Pixels) -> tuple[int, int]:
    height, width = image.shape[:2]
    shrink = min(1.0, _SIDE / min(height, width))
    return max(1, round(width * shrink)), max(1, round(height * shrink))
