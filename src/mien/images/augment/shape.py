"""Where things are: mirrored, turned, shifted, nearer or farther, turned away from the camera."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from mien.images.align import similarity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.types import Floats, Pixels

__all__ = ["flip", "rotate", "shift_and_scale", "turn_away"]

_RADIUS: Final = 1.25  # of the cylinder, in distances between the eyes


def flip(pixels: Pixels) -> Pixels:
    """The mirror image."""
    return pixels[:, ::-1].copy()


def rotate(pixels: Pixels, radians: float) -> Pixels:
    """Turned counter-clockwise about the middle; the corners repeat the border."""
    return _moved(pixels, radians, 1.0, 0.0, 0.0)


def shift_and_scale(pixels: Pixels, dx: float, dy: float, scale: float) -> Pixels:
    """Shifted by shares of width and height, and enlarged about the middle (scale > 1: nearer)."""
    height, width = pixels.shape[:2]
    return _moved(pixels, 0.0, scale, dx * width, dy * height)


def turn_away(pixels: Pixels, landmarks: Floats, yaw: float, *, aligned: bool = False) -> tuple[Pixels, Floats]:
    """The face turned about its upright axis, as if head and surroundings were painted on a cylinder.

    The axis runs through the middle of the eyes and of the mouth; the cylinder's radius is 1.25 times the distance of
    the eyes. What would come round from behind is the edge of what was visible. Crude, but a profile's two effects are
    there: one half of the face is hidden, the other squeezed.

    Args:
        pixels: RGB uint8 (H, W, 3).
        landmarks: float32 (5, 2): eyes, nose, corners of the mouth.
        yaw: radians; positive shows more of the face's right half in the picture.
        aligned: also move the picture so that the turned landmarks come to lie where they were, as a detector and an
            alignment would do with such a photo.

    Returns:
        The picture, and float32 (5, 2) where the landmarks are now (as far as visible; else at the face's edge).
    """
    points = np.asarray(landmarks, np.float64)
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    radius = _RADIUS * max(float(np.linalg.norm(points[1] - points[0])), 1e-6)
    down = (mouth - eyes) / max(float(np.linalg.norm(mouth - eyes)), 1e-6)
    across = np.array([down[1], -down[0]])

    before = (points - eyes) @ across
    turned = points + (radius * np.sin(_round(before, radius, -yaw)) - before)[:, None] * across
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    if aligned:
        to_turned = similarity(points, turned).astype(np.float32)
        x, y = (row[0] * x + row[1] * y + row[2] for row in to_turned)
    along = (x - np.float32(eyes[0])) * np.float32(across[0]) + (y - np.float32(eyes[1])) * np.float32(across[1])
    # Where the cylinder is looked at, and where it was painted; beyond its edge the surroundings stay.
    painted = np.float32(radius) * np.sin(_round(along, radius, yaw))
    move = np.where(np.abs(along) < radius, painted - along, np.float32(0))
    maps = (x + move * np.float32(across[0])), (y + move * np.float32(across[1]))
    out: Pixels = cv2.remap(pixels, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out, (points if aligned else turned).astype(np.float32)


def _round(along: NDArray[np.floating], radius: float, yaw: float) -> NDArray[np.floating]:
    """The angle on the cylinder that is seen `along` its axis's distance, turned by `yaw`; kept on the front."""
    angle: NDArray[np.floating] = np.arcsin(np.clip(along / along.dtype.type(radius), -1, 1)) + along.dtype.type(yaw)
    front: NDArray[np.floating] = np.clip(angle, -np.pi / 2, np.pi / 2)
    return front


def _moved(pixels: Pixels, radians: float, scale: float, dx: float, dy: float) -> Pixels:
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(np.degrees(radians)), scale)
    matrix[:, 2] += (dx, dy)
    moved: Pixels = cv2.warpAffine(
        pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return moved
