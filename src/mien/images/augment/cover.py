"""Parts of the face hidden: by something in front of it, or by a mask over mouth and nose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from mien.types import Floats, Pixels

__all__ = ["mask_face", "occlude"]

_MASKS = ((235, 238, 240), (150, 190, 215), (40, 40, 45), (190, 205, 190))  # cloth: white, blue, black, green


def occlude(pixels: Pixels, rng: np.random.Generator, share: float = 0.15) -> Pixels:
    """One rectangle or ellipse over the picture, of one colour or of noise.

    Args:
        pixels: the picture.
        rng: decides shape, place and colour.
        share: of the picture's area, 0 to 1.
    """
    height, width = pixels.shape[:2]
    stretch = float(np.exp(rng.uniform(-0.7, 0.7)))
    w, h = (max(1, round(np.sqrt(share) * side * s)) for side, s in ((width, stretch), (height, 1 / stretch)))
    x, y = int(rng.integers(0, max(1, width - w + 1))), int(rng.integers(0, max(1, height - h + 1)))
    out = pixels.copy()
    area = out[y : y + h, x : x + w]
    colour = rng.integers(0, 256, 3)
    fill = np.broadcast_to(colour, area.shape).astype(np.uint8)
    if rng.random() < 0.3:
        fill = rng.integers(0, 256, area.shape, np.uint8)
    if rng.random() < 0.5:
        inside = np.zeros(area.shape[:2], np.uint8)
        cv2.ellipse(
            inside, (area.shape[1] // 2, area.shape[0] // 2), (area.shape[1] // 2, area.shape[0] // 2), 0, 0, 360, 1, -1
        )
        area[inside > 0] = fill[inside > 0]
    else:
        area[:] = fill
    return out


def mask_face(pixels: Pixels, landmarks: Floats, rng: np.random.Generator) -> Pixels:
    """A cloth mask over nose and mouth, drawn from the five landmarks.

    Args:
        pixels: the picture.
        landmarks: float32 (5, 2), image order.
        rng: decides the colour, how high the mask sits, and the light on it.
    """
    left_eye, right_eye, nose, left_mouth, right_mouth = np.asarray(landmarks, np.float64)
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    down = mouth - eyes
    length = float(np.hypot(*down))
    if length < 1:
        return pixels.copy()
    down /= length
    across = np.array([down[1], -down[0]])
    top = eyes + (nose - eyes) * rng.uniform(0.55, 0.85)
    half = 0.5 * max(float(abs((right_eye - left_eye) @ across)), 0.5 * length)
    outline = [
        top - across * 0.45 * half,
        top + across * 0.45 * half,
        nose + across * 1.75 * half,
        mouth + across * 1.5 * half + down * 0.2 * length,
        mouth + across * 0.75 * half + down * 0.75 * length,
        mouth - across * 0.75 * half + down * 0.75 * length,
        mouth - across * 1.5 * half + down * 0.2 * length,
        nose - across * 1.75 * half,
    ]
    inside = np.zeros(pixels.shape[:2], np.float32)
    cv2.fillPoly(inside, [np.rint(np.array(outline) * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    colour = np.array(_MASKS[int(rng.integers(len(_MASKS)))], np.float32) * rng.uniform(0.8, 1.05)
    rows = np.linspace(1.05, 0.8, pixels.shape[0], dtype=np.float32)[:, None, None]  # light comes from above
    cloth = colour * rows * (1 + 0.03 * np.sin(np.arange(pixels.shape[0], dtype=np.float32) * 0.9))[:, None, None]
    alpha = inside[:, :, None]
    masked: Pixels = np.rint(np.clip(pixels * (1 - alpha) + cloth * alpha, 0, 255)).astype(np.uint8)
    return masked
