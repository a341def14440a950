"""Cutting faces out of a photo: aligned by their landmarks, or loosely around their boxes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mien.images.align import similarity, warp

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mien.images.align import Border
    from mien.types import Faces, Pixels

__all__ = ["aligned_crops", "loose_crops"]


def aligned_crops(
    pixels: Pixels,
    faces: Faces,
    template: ArrayLike,
    template_size: tuple[int, int],
    *,
    size: tuple[int, int] | None = None,
    margin: float = 0.0,
    border: Border = "constant",
) -> Pixels:
    """Cut faces upright, with their landmarks as close as a similarity can bring them to a template.

    Args:
        pixels: RGB uint8 (H, W, 3).
        faces: N faces.
        template: (5, 2) points in a chip of `template_size`.
        template_size: (width, height) that `template` is drawn for.
        size: (width, height) of the crops; the template is scaled to fit into it and centred.
        margin: more of what is around the face, as a share of the crop on each side.
        border: what lies beyond the picture.

    Returns:
        uint8 (N, height, width, 3).

    Raises:
        InputError: the landmarks of a face coincide.
        ValueError: a size or margin that makes no sense.
    """
    width, height = size or template_size
    if margin < 0:
        raise ValueError(f"margin: expected 0 or more, got {margin}")
    points = _placed(np.asarray(template, np.float64).tobytes(), template_size, (width, height), margin)
    return warp(pixels, similarity(faces.landmarks, points), (width, height), border=border)


@lru_cache(maxsize=16)  # of a folder of photos all are cut alike
def _placed(
    template: bytes, template_size: tuple[int, int], size: tuple[int, int], margin: float
) -> NDArray[np.float64]:
    """The points of a template, float64 (5, 2), in a chip of `size`."""
    points, base = np.frombuffer(template, np.float64).reshape(-1, 2), np.array(template_size, np.float64)
    scale = min(size[0] / base[0], size[1] / base[1]) / (1 + 2 * margin)
    # Whole numbers are the centres of pixels, so the middle of a chip of n pixels lies at (n - 1) / 2.
    placed: NDArray[np.float64] = (points - (base - 1) / 2) * scale + (np.array(size) - 1) / 2
    placed.flags.writeable = False
    return placed


def loose_crops(
    pixels: Pixels, faces: Faces, *, size: tuple[int, int] | None = None, margin: float = 0.2, turns: int = 0
) -> list[Pixels]:
    """Cut the boxes of faces out, with some of what is around them.

    Args:
        pixels: RGB uint8 (H, W, 3).
        faces: N faces.
        size: (width, height) of the crops: the box grows to their shape, and what lies beyond the picture is black.
            None for the pixels as they are, where the box is cut at the picture's border.
        margin: how much the box grows on each side, as a share of its width or height.
        turns: quarter turns counter-clockwise that make the faces upright (see `Analysis.turns`).

    Returns:
        N pictures uint8 (h, w, 3).

    Raises:
        ValueError: a size or margin that makes no sense.
    """
    if margin < 0:
        raise ValueError(f"margin: expected 0 or more, got {margin}")
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    boxes = np.concatenate([faces.boxes[:, :2] - margin * sides, faces.boxes[:, 2:] + margin * sides], 1)
    if size is None:
        crops = [_part(pixels, box) for box in boxes]
    else:
        crops = list(_resized(pixels, boxes.astype(np.float64), size if turns % 2 == 0 else size[::-1]))
    return [np.ascontiguousarray(np.rot90(crop, turns)) for crop in crops]


def _part(pixels: Pixels, box: NDArray[np.float32]) -> Pixels:
    height, width = pixels.shape[:2]
    x0, x1 = int(np.clip(np.floor(box[0]), 0, width - 1)), int(np.clip(np.ceil(box[2]), 1, width))
    y0, y1 = int(np.clip(np.floor(box[1]), 0, height - 1)), int(np.clip(np.ceil(box[3]), 1, height))
    return pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]


def _resized(pixels: Pixels, boxes: NDArray[np.float64], size: tuple[int, int]) -> Pixels:
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3)
    scale = (np.array(size) / sides).min(1)
    matrices = np.zeros((len(boxes), 2, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = scale
    # A box's edges lie between pixels: its point x is pixel coordinate x - 1/2.
    matrices[:, :, 2] = (np.array(size) - 1) / 2 - scale[:, None] * (centres - 0.5)
    return warp(pixels, matrices, size)
