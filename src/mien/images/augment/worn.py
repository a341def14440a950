"""What people put on: caps, hats and scarves over forehead and hair; glasses, dark or clear."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.types import Floats, Pixels

__all__ = ["wear_glasses", "wear_hat"]

_FINE = 4  # bits of a pixel's place that drawing takes
_FARTHEST = 1e5  # pixels


class _Head(NamedTuple):
    """Where a face is: the middle of the eyes, the two directions as unit vectors, and the distance of the eyes."""

    eyes: NDArray[np.float64]
    across: NDArray[np.float64]
    down: NDArray[np.float64]
    apart: float

    def at(self, across: float, down: float) -> NDArray[np.float64]:
        """A place, given in distances of the eyes from their middle."""
        place: NDArray[np.float64] = self.eyes + self.apart * (across * self.across + down * self.down)
        return place

    @property
    def degrees(self) -> float:
        return float(np.degrees(np.arctan2(self.across[1], self.across[0])))


def wear_hat(pixels: Pixels, landmarks: Floats, rng: np.random.Generator) -> Pixels:
    """A cap or hat whose edge lies somewhere between brows and hair line, or a scarf around the whole face.

    Args:
        pixels: the picture.
        landmarks: float32 (5, 2), image order.
        rng: decides the kind, how low it sits, colours, and the shadow below.
    """
    head = _head(landmarks)
    if head is None:
        return pixels.copy()
    colour = _cloth(rng)
    edge, lean = -rng.uniform(0.3, 0.95), rng.uniform(-0.12, 0.12)
    cloth = np.zeros(pixels.shape[:2], np.uint8)
    if rng.random() < 0.2:  # a scarf: all but an ellipse around the face
        cloth[:] = 255
        reach = (rng.uniform(0.9, 1.15), rng.uniform(1.35, 1.6))
        _ellipse(cloth, head, (0.0, 0.6), reach, (0, cv2.FILLED))
        return _painted(pixels, cloth, colour, 1.0)
    half, bend = rng.uniform(1.15, 1.5), rng.uniform(0.0, 0.2)
    turns = np.linspace(-1, 1, 9)
    # The edge runs around the head: lower at its sides, or straight.
    rim = [head.at(half * t, edge + lean * t + bend * t * t) for t in turns]
    shade = rng.uniform(0.0, 0.5)
    out = pixels
    if shade > 0.1:  # what the brim keeps from the light
        below = np.zeros(pixels.shape[:2], np.uint8)
        far = edge + rng.uniform(0.2, 0.9)
        _polygon(below, [*rim, *(head.at(half * t, far + lean * t) for t in turns[::-1])], 255)
        out = _painted(out, below, np.zeros(3), shade)
    _polygon(cloth, [*rim, head.at(1.25 * half, -4.0), head.at(-1.25 * half, -4.0)], 255)
    out = _painted(out, cloth, colour, 1.0)
    if rng.random() < 0.6:  # a brim, or a band
        band = np.zeros(pixels.shape[:2], np.uint8)
        width = rng.uniform(0.1, 0.35)
        _polygon(band, [*rim, *(head.at(half * t, edge - width + (lean + 0.1) * t) for t in turns[::-1])], 255)
        out = _painted(out, band, colour * rng.uniform(0.3, 1.2), 1.0)
    return out


def wear_glasses(pixels: Pixels, landmarks: Floats, rng: np.random.Generator) -> Pixels:
    """Glasses: half of them dark, half of them a frame alone.

    Args:
        pixels: the picture.
        landmarks: float32 (5, 2), image order.
        rng: decides the kind, form and colours.
    """
    head = _head(landmarks)
    if head is None:
        return pixels.copy()
    frame = rng.integers(0, 90, 3)
    reach, low = (rng.uniform(0.3, 0.46), rng.uniform(0.2, 0.38)), rng.uniform(-0.02, 0.12)
    line = max(1, round(head.apart * rng.uniform(0.03, 0.09)))
    dark = rng.random() < 0.5
    out, tint = pixels, rng.uniform(0.75, 1.0)
    if dark:
        lenses = np.zeros(pixels.shape[:2], np.uint8)
        for side in (-0.5, 0.5):
            _ellipse(lenses, head, (side, low), reach, (255, cv2.FILLED))
        out = _painted(out, lenses, rng.integers(0, 70, 3), tint)
    rims = np.zeros(pixels.shape[:2], np.uint8)
    for side in (-0.5, 0.5):
        _ellipse(rims, head, (side, low), reach, (255, line))
        temple = [head.at(np.copysign(abs(side) + reach[0], side), low), head.at(np.copysign(1.3, side), low - 0.1)]
        _line(rims, temple, line)
    _line(rims, [head.at(-0.5 + reach[0], low - 0.05), head.at(0.5 - reach[0], low - 0.05)], line)
    return _painted(out, rims, frame, 1.0)


def _head(landmarks: Floats) -> _Head | None:
    """None where the landmarks coincide, or lie where no drawing reaches."""
    if not float(np.abs(landmarks).max()) < _FARTHEST:  # or are no numbers
        return None
    left, right, _, *mouth = np.asarray(landmarks, np.float64)
    eyes = (left + right) / 2
    down = (mouth[0] + mouth[1]) / 2 - eyes
    length = float(np.hypot(*down))
    if length < 1:
        return None
    down /= length
    across = np.array([down[1], -down[0]])
    # Of a face turned away the eyes are close to one another, and its height tells more.
    return _Head(eyes, across, down, max(abs(float((right - left) @ across)), 0.7 * length))


def _fixed(place: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.rint(place * (1 << _FINE)).astype(int).tolist()
    return x, y


def _polygon(on: NDArray[np.uint8], places: list[NDArray[np.float64]], value: int) -> None:
    cv2.fillPoly(on, [np.array([_fixed(place) for place in places], np.int32)], value, cv2.LINE_AA, _FINE)


def _line(on: NDArray[np.uint8], places: list[NDArray[np.float64]], width: int) -> None:
    cv2.line(on, _fixed(places[0]), _fixed(places[1]), 255, width, cv2.LINE_AA, _FINE)


def _ellipse(
    on: NDArray[np.uint8], head: _Head, middle: tuple[float, float], reach: tuple[float, float], look: tuple[int, int]
) -> None:
    """`look`: value and width of the line, or `cv2.FILLED`."""
    axes = _fixed(np.array(reach) * head.apart)
    cv2.ellipse(on, _fixed(head.at(*middle)), axes, head.degrees, 0, 360, look[0], look[1], cv2.LINE_AA, _FINE)


def _painted(
    pixels: Pixels, where: NDArray[np.uint8], colour: NDArray[np.floating] | NDArray[np.integer], opacity: float
) -> Pixels:
    """One colour over a part of the picture, lighter above than below."""
    x, y, width, height = cv2.boundingRect(where)
    out = pixels.copy()
    if not width:
        return out
    part = out[y : y + height, x : x + width]
    light = np.linspace(1.1, 0.8, pixels.shape[0], dtype=np.float32)[y : y + height, None, None]
    alpha = where[y : y + height, x : x + width, None] * np.float32(opacity / 255)
    cloth = np.minimum(np.asarray(colour, np.float32) * light, 255)
    part[:] = part + (cloth - part) * alpha + np.float32(0.5)  # between the two, so within 0 to 255
    return out


def _cloth(rng: np.random.Generator) -> NDArray[np.float64]:
    """Any colour, mostly a dull one."""
    colour: NDArray[np.float64] = np.clip(rng.uniform(0, 255) + rng.uniform(0, 90) * rng.standard_normal(3), 0, 255)
    return colour
