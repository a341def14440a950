"""Light and colour: changed at random ("one to many"), or evened out ("many to one")."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from mien.types import EVENINGS, Evening

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mien.types import Pixels

__all__ = [
    "EVENINGS",
    "Evening",
    "change_light",
    "correct_gamma",
    "equalise",
    "evened",
    "gamma",
    "grey",
    "self_quotient",
]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def change_light(pixels: Pixels, *, brightness: float = 0.0, contrast: float = 1.0, saturation: float = 1.0) -> Pixels:
    """Another exposure.

    Args:
        pixels: the picture.
        brightness: added, as a share of white (-0.3: much darker).
        contrast: factor about the middle grey.
        saturation: factor about each pixel's own grey; 0 gives a grey picture.
    """
    # One 3 x 4 matrix does all of it in a single pass.
    mix = contrast * (saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * np.tile(_LUMA, (3, 1)))
    offset = np.full((3, 1), 255 * (brightness + 0.5 * (1 - contrast)), np.float32)
    changed: Pixels = cv2.transform(pixels, np.hstack([mix, offset]).astype(np.float32))
    return changed


def grey(pixels: Pixels) -> Pixels:
    """Without colour, in three equal channels."""
    grey_one: Pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.repeat(grey_one[:, :, None], 3, axis=2)


def gamma(pixels: Pixels, exponent: float) -> Pixels:
    """Every value raised to a power; below 1 it lightens the dark parts.

    Raises:
        ValueError: the exponent is not a positive number.
    """
    if not 0 < exponent < np.inf:
        raise ValueError(f"gamma: expected a positive exponent, got {exponent}")
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    changed: Pixels = cv2.LUT(pixels, table)
    return changed


def correct_gamma(pixels: Pixels, *, middle: float = 0.5) -> Pixels:
    """The exponent, from 1/3 to 3, that brings the mean luma to `middle` (0 to 1); black pictures stay as they are.

    Source:
        S. Shan et al., "Illumination normalization for robust face recognition against varying lighting conditions",
        2003 (gamma intensity correction; here in closed form for the mean).
    """
    mean = float(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)).mean()) / 255
    if not 0 < mean < 1:
        return pixels.copy()
    return gamma(pixels, float(np.clip(np.log(middle) / np.log(mean), 1 / 3, 3)))


def equalise(pixels: Pixels, *, clip: float = 2.0, tiles: int = 8) -> Pixels:
    """Local contrast evened out (CLAHE) on lightness; colours stay.

    Source:
        K. Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994.
    """
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    lab[:, :, 0] = cv2.createCLAHE(clip, (tiles, tiles)).apply(np.ascontiguousarray(lab[:, :, 0]))
    changed: Pixels = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return changed


def self_quotient(pixels: Pixels, *, sigma: float | None = None) -> Pixels:
    """Each pixel over its surroundings, which takes slow changes of light away; scaled to the full range.

    Args:
        pixels: the picture.
        sigma: of the Gaussian surroundings, in pixels; an eighth of the shorter side if None.

    Source:
        H. Wang, S. Z. Li, Y. Wang, "Face recognition under varying lighting conditions using self quotient
        image", 2004.
    """
    sigma = sigma or max(1.0, min(pixels.shape[:2]) / 8)
    values = pixels.astype(np.float32) + 1
    quotient = np.log(values / cv2.GaussianBlur(values, (0, 0), sigma))
    low, high = np.percentile(quotient, (1, 99))
    scaled = (quotient - low) * (255 / max(high - low, 1e-6))
    evened: Pixels = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return evened


def evened(pixels: Pixels, how: Sequence[Evening]) -> Pixels:
    """Light evened out, "many to one": a model that is trained so has to be given pictures treated so for ever.

    Training and recognition both call this, on the aligned face: the same pixels come out.

    Args:
        pixels: uint8 (H, W, 3), or (H, W, 1) of grey.
        how: one after the other: "gamma" (`correct_gamma`), "clahe" (`equalise`), "self-quotient" (`self_quotient`);
            with nothing in it, the picture itself is given back.

    Raises:
        ValueError: one of `how` is none of `EVENINGS`.
    """
    for one in how:
        if one not in EVENINGS:
            raise ValueError(f"evened: expected some of {', '.join(EVENINGS)}; got {one!r}")
    if not how:
        return pixels
    grey_one = pixels.shape[2] == 1
    result = np.repeat(pixels, 3, axis=2) if grey_one else pixels
    for one in how:
        result = _WAYS[one](result)
    return np.ascontiguousarray(result[:, :, :1]) if grey_one else result


_WAYS: Final[Mapping[Evening, Callable[[Pixels], Pixels]]] = MappingProxyType(
    {"gamma": correct_gamma, "clahe": equalise, "self-quotient": self_quotient}
)
