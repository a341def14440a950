"""Finds faces in pictures that lie on their side or stand on their head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.types import Faces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.interfaces import Detector
    from mien.types import Floats, Pixels

__all__ = ["detect_upright", "turned_back"]

_TRIES = (3, 1, 2)  # a camera held on its side is far more common than one held upside down


def detect_upright(detector: Detector, images: Sequence[Pixels]) -> list[tuple[Faces, int]]:
    """Find the faces of each picture; where there are none, look again after one to three quarter turns.

    Args:
        detector: finds upright faces.
        images: RGB uint8 (H, W, 3) each.

    Returns:
        For each picture its faces and the quarter turns counter-clockwise after which they were found (0 also when
        there are none at all). Boxes and landmarks refer to the picture as given; the order of the landmarks is that of
        the upright face (left-most eye of the turned picture first), so that alignment turns the face upright.
        The turn whose best face scores highest wins.
    """
    results = [(faces, 0) for faces in detector.detect(images)]
    empty = [i for i, (faces, _) in enumerate(results) if not len(faces)]
    if not empty:
        return results
    best = dict.fromkeys(empty, 0.0)
    for turns in _TRIES:
        found = detector.detect([np.ascontiguousarray(np.rot90(images[i], turns)) for i in empty])
        for i, faces in zip(empty, found, strict=True):
            score = float(faces.scores.max(initial=0))
            if score > best[i]:
                best[i] = score
                height, width = images[i].shape[:2]
                results[i] = turned_back(faces, turns, (width, height)), turns
    return results


def turned_back(faces: Faces, turns: int, size: tuple[int, int]) -> Faces:
    """Faces found in a turned picture, in the coordinates of the picture itself.

    Args:
        faces: faces in the picture after it was turned.
        turns: quarter turns counter-clockwise that were made.
        size: (width, height) of the picture before it was turned.

    Returns:
        The same faces, largest first; each landmark stays the same point of the face.
    """
    corners = _points_back(faces.boxes.reshape(-1, 2, 2), turns, size)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return Faces(boxes, faces.scores, _points_back(faces.landmarks, turns, size)).largest_first()


def _points_back(points: Floats, turns: int, size: tuple[int, int]) -> Floats:
    """Points (..., 2) of the turned picture in the one it was made from; edge-based coordinates, so no half pixels."""
    width, height = size
    x, y = points[..., 0], points[..., 1]
    back = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[turns % 4]
    return np.stack(back, axis=-1)
