"""How much of a face lies inside its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mien.images.align import ARCFACE_112, invert, similarity, transform_points

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["visible_share"]

_SIDE: Final = 16  # points along each side of the face's rectangle: a cut is seen to 1/16 of its width or height
_FACE: Final = ((20.0, 92.0), (26.0, 110.0))  # cheek to cheek and forehead to chin in the 112 x 112 chip, (low, high)


def _grid() -> NDArray[np.float64]:
    x, y = (low + (high - low) * (np.arange(_SIDE) + 0.5) / _SIDE for low, high in _FACE)
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


_POINTS: Final = _grid()


def visible_share(landmarks: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
    """The share of each face, from forehead to chin and cheek to cheek, that lies inside the picture.

    Args:
        landmarks: (N, 5, 2) pixels, image order.
        size: (width, height) of the picture.

    Returns:
        float64 (N,), 0 to 1, in steps of 1/256.

    Raises:
        InputError: the landmarks of a face coincide, or are not finite.
    """
    points = np.asarray(landmarks, np.float64)
    if not len(points):
        return np.zeros(0)
    placed = transform_points(_POINTS, invert(similarity(points, ARCFACE_112)))
    inside = (placed >= -0.5) & (placed <= np.array(size) - 0.5)  # pixel i covers [i - 1/2, i + 1/2]
    share: NDArray[np.float64] = inside.all(-1).mean(-1)
    return share
