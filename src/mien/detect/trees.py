"""Landmarks by a cascade of regression trees: a mean face that is moved, step by step, onto the face in a chip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mien.models.packaged import PACKAGED, read_packaged
from mien.models.readers.dlib_trees import read_shape_predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.types import Floats, Pixels

__all__ = ["RegressionTrees"]

_FILE: Final = "dlib-landmarks-5"
_BATCH: Final = 64
"""Chips per pass: 64 keep the largest intermediate (chips x trees x 2 P floats) near one megabyte, inside the cache."""


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
        trees = read_shape_predictor(read_packaged(_FILE), source=_FILE)
        self._mean = trees.initial_shape.astype(np.float64)
        self._anchors = trees.anchors.astype(np.intp)
        self._deltas = trees.deltas.astype(np.float64)
        cascades, count, splits = trees.thresholds.shape
        self._depth = (splits + 1).bit_length() - 1
        # Each tree's numbers laid end to end, so that a node is one flat index.
        self._first = trees.split_pixels[..., 0].reshape(cascades, -1).astype(np.intp)
        self._second = trees.split_pixels[..., 1].reshape(cascades, -1).astype(np.intp)
        self._thresholds = np.ascontiguousarray(trees.thresholds.reshape(cascades, -1))
        self._leaves = np.ascontiguousarray(trees.leaves.reshape(cascades, count * (splits + 1), -1))
        self._roots = np.arange(count) * splits
        self._leaf_roots = np.arange(count) * (splits + 1)
        # Centred mean face, for fitting the similarity from it to the current shape (Umeyama's closed form).
        self._centred = self._mean - self._mean.mean(0)
        self._spread = float(np.square(self._centred).sum())

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
        shapes = np.repeat(self._mean[None], n, axis=0)
        flat = chips.reshape(-1)
        picture = (np.arange(n) * (height * width))[:, None]
        for cascade in range(len(self._anchors)):
            # Sampling places follow the face: each lies at a fixed offset, turned and scaled, from one of its points.
            places = self._turned(shapes, self._deltas[cascade])
            places += shapes[:, self._anchors[cascade]]
            places *= side
            places += low + 0.5
            where = np.floor(places).astype(np.intp)
            x, y = where[..., 0], where[..., 1]
            inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
            pixels = np.where(inside, flat.take(picture + y * width + x, mode="clip"), 0).astype(np.float32)
            shapes += self._step(cascade, pixels).reshape(shapes.shape)
        return shapes

    def _turned(self, shapes: NDArray[np.float64], offsets: NDArray[np.float64]) -> NDArray[np.float64]:
        """`offsets` (F, 2) turned and scaled like each shape is against the mean face: (N, F, 2)."""
        along = np.einsum("npc,pc->n", shapes, self._centred) / self._spread
        across = (shapes[..., 1] @ self._centred[:, 0] - shapes[..., 0] @ self._centred[:, 1]) / self._spread
        x, y = offsets[:, 0], offsets[:, 1]
        a, b = along[:, None], across[:, None]
        return np.stack([a * x - b * y, b * x + a * y], -1)

    def _step(self, cascade: int, pixels: Floats) -> Floats:
        """What one forest adds to each shape: pixel values (N, F) to float32 (N, 2 P)."""
        first, second = self._first[cascade], self._second[cascade]
        thresholds = self._thresholds[cascade]
        n = len(pixels)
        rows = (np.arange(n) * pixels.shape[1])[:, None]
        flat = pixels.reshape(-1)
        node = np.zeros((n, len(self._roots)), np.intp)
        for _ in range(self._depth):
            at = node + self._roots
            right = flat[rows + first[at]] - flat[rows + second[at]] <= thresholds[at]
            node += node + 1 + right
        splits = len(thresholds) // len(self._roots)
        total: Floats = self._leaves[cascade][node - splits + self._leaf_roots].sum(axis=1)
        return total
