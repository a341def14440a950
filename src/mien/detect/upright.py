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


def detect_upright(detector: Detector, images: Sequence[Pixels], *, sure: float = 0.99) -> list[tuple[Faces, int]]:
    """Find the faces of each picture; where none is sure, look again after one to three quarter turns.

    Detectors see faces in some pictures that stand on their head, with a low score and landmarks in the wrong places.
    So a picture is turned not only when nothing is found, and the turn whose best face scores highest wins.

    Args:
        detector: finds upright faces.
        images: RGB uint8 (H, W, 3) each.
        sure: score of the best face from which a picture is not turned; 0 turns those without any face only.

    Returns:
        For each picture its faces and the quarter turns counter-clockwise after which they were found (0 also when
        there are none at all). Boxes and landmarks refer to the picture as given; the order of the landmarks is that of
        the upright face (left-most eye of the turned picture first), so that alignment turns the face upright.
    """
    results = [(faces, 0) for faces in detector.detect(images)]
    best = {i: _best(faces) for i, (faces, _) in enumerate(results) if not len(faces) or _best(faces) < sure}
    if not best:
        return results
    for turns in _TRIES:
        found = detector.detect([np.ascontiguousarray(np.rot90(images[i], turns)) for i in best])
        for (i, score), faces in zip(list(best.items()), found, strict=True):
            if _best(faces) > score:
                best[i] = _best(faces)
                height, width = images[i].shape[:2]
                results[i] = turned_back(faces, turns, (width, height)), turns
    return results


def _best(faces: Faces) -> float:
    return float(faces.scores.max(initial=0))


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
