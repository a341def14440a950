"""Landmarks by a cascade of regression trees: a mean face that is moved, step by step, onto the face in a chip."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.models.packaged import PACKAGED, read_packaged
from mien.models.readers.dlib_trees import read_shape_predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.models.readers.dlib_trees import RegressionTrees as TreeNumbers
    from mien.types import Floats, Pixels

__all__ = ["RegressionTrees"]

_FILE: Final = "dlib-landmarks-5"
_BATCH: Final = 8  # chips a pass: more gain no speed, and what a pass needs (about 100 KB a chip) stays in the cache


class RegressionTrees:
    """Five landmarks by dlib's regression trees: both corners of both eyes and the base of the nose.

    They are the points that dlib's ResNet was trained on. In order, and in the subject's own sense of left: outer and
    inner corner of the left eye (right in the picture), outer and inner corner of the right eye, base of the nose.

    The trees were trained on boxes of dlib's face detector; `box` says where such a box would lie in the chips.

    Thread-safe: all state is read-only after construction.

    Args:
        box: (left, top, right, bottom) of the face in a chip, as fractions of the chip's width and height.

    Raises:
        ModelFileError: the packaged file is missing or damaged.

    Source:
        V. Kazemi and J. Sullivan, "One Millisecond Face Alignment with an Ensemble of Regression Trees", CVPR 2014.
    """

    def __init__(self, box: tuple[float, float, float, float] = (0.08, 0.075, 0.955, 0.95)) -> None:
        left, top, right, bottom = box
        if not (left < right and top < bottom):
            raise ValueError(f"RegressionTrees: expected a box (left, top, right, bottom) with an area, got {box}")
        self._box = box
        trees = _packaged_trees()
        cascades, count, splits = trees.thresholds.shape
        self._trees, self._splits = count, splits
        # Points are complex numbers x + iy: turning and scaling the plane is then one multiplication.
        self._mean = _complex(trees.initial_shape)
        self._anchors = trees.anchors.astype(np.intp)
        self._deltas = _complex(trees.deltas)
        centred = self._mean - self._mean.mean()
        self._fit = centred.conj() / np.square(np.abs(centred)).sum()
        self._first = trees.split_pixels[..., 0].reshape(cascades, -1).astype(np.intp)
        self._second = trees.split_pixels[..., 1].reshape(cascades, -1).astype(np.intp)
        # Differences of pixels are whole numbers: above t is above floor(t).
        self._thresholds = np.clip(np.floor(trees.thresholds), -256, 256).astype(np.int16).reshape(cascades, -1)
        self._leaves = np.ascontiguousarray(trees.leaves.reshape(cascades, count * (splits + 1), -1))
        self._starts = np.arange(count) * splits
        self._leaf_starts = np.arange(count) * (splits + 1) - splits
        self._ones = np.ones(count, np.float32)

    @property
    def identity(self) -> str:
        """What makes its points the same points: file, checksum and box."""
        return f"{_FILE} {PACKAGED[_FILE].sha256} {self._box}"

    def points(self, chips: Pixels) -> Floats:
        """Find the five points (see `mien.interfaces.Landmarker`).

        Args:
            chips: uint8 (N, H, W) grey face chips of one size, upright.

        Returns:
            float32 (N, 5, 2) points (x, y) in chip pixels.
        """
        if chips.dtype != np.uint8 or chips.ndim != 3 or 0 in chips.shape[1:]:
            raise ValueError(f"RegressionTrees: expected uint8 (N, H, W) grey chips, got {chips.dtype} {chips.shape}")
        height, width = chips.shape[1:]
        size = np.array([width, height], np.float64)
        low, high = np.array(self._box[:2]) * size, np.array(self._box[2:]) * size
        result = np.empty((len(chips), len(self._mean), 2), np.float32)
        for start in range(0, len(chips), _BATCH):
            part = slice(start, start + _BATCH)
            result[part] = low + self._shapes(np.ascontiguousarray(chips[part]), low, high - low) * (high - low)
        return result

    def _shapes(self, chips: Pixels, low: NDArray[np.float64], side: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shapes (N, P, 2) in box coordinates: the box's top left corner is (0, 0), its bottom right (1, 1)."""
        n, height, width = chips.shape
        # Places beyond the chip are black; a border of one pixel spares asking.
        framed = np.zeros((n, height + 2, width + 2), np.int16)
        framed[:, 1:-1, 1:-1] = chips
        flat, stride = framed.reshape(-1), width + 2
        starts = (np.arange(n) * (stride * (height + 2)))[:, None]
        last = np.array([width + 1, height + 1], np.float64)
        shapes = np.repeat(self._mean[None], n, axis=0)
        for cascade in range(len(self._anchors)):
            # Sampling places follow the face: each lies at a fixed offset, turned and scaled as the shape is against
            # the mean face (Umeyama's closed form), from one of its points.
            places = (shapes @ self._fit)[:, None] * self._deltas[cascade]
            places += shapes.take(self._anchors[cascade], axis=1)
            pixels = places.view(np.float64).reshape(n, -1, 2)
            pixels *= side
            pixels += low + 1.5  # the frame, and rounding to the nearest
            where = np.clip(pixels, 0.0, last, out=pixels).astype(np.intp)
            shapes += self._step(cascade, flat.take(where[..., 1] * stride + where[..., 0] + starts))
        return shapes.view(np.float64).reshape(n, -1, 2)

    def _step(self, cascade: int, pixels: NDArray[np.int16]) -> NDArray[np.complex64]:
        """What one forest adds to each shape: grey levels (N, F) to (N, P)."""
        n = len(pixels)
        above = pixels.take(self._first[cascade], axis=1)
        above -= pixels.take(self._second[cascade], axis=1)
        right = (above <= self._thresholds[cascade]).reshape(-1)
        # Down all trees at once: split i is followed by 2i + 1 where the difference is above its threshold.
        starts = self._starts + (np.arange(n) * (self._trees * self._splits))[:, None]
        node = right.take(starts) + 1
        while node[0, 0] < self._splits:  # the trees are full: all paths are of one length
            node += node + 1 + right.take(starts + node)
        node += self._leaf_starts
        steps: Floats = self._ones @ self._leaves[cascade].take(node, axis=0)
        return np.ascontiguousarray(steps).view(np.complex64)


@lru_cache(maxsize=1)
def _packaged_trees() -> TreeNumbers:
    """The numbers in the packaged file, which take a moment to read; they are read-only, so all may share them."""
    return read_shape_predictor(read_packaged(_FILE), source=_FILE)


def _complex(points: Floats) -> NDArray[np.complex128]:
    """(..., 2) points (x, y) as (...) numbers x + iy."""
    return points[..., 0] + 1j * points[..., 1].astype(np.float64)
