"""What detectors with one box (or a few) a cell have in common: fit the picture, read the maps, choose the faces."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final

import cv2
import numpy as np

from mien.detect.boxes import nms
from mien.errors import CardError, ModelError
from mien.models.opening import find_card, open_card
from mien.types import Faces

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mien.models.card import ModelCard
    from mien.models.session import Session
    from mien.types import Floats, Pixels

__all__ = ["Found", "GridDetector", "cells", "fit"]

Found = tuple["Floats", "Floats", "Floats"]
"""Boxes (N, 4), scores (N,), landmarks (N, 5, 2), in pixels of the network's input."""

_WIDTHS: Final = {"cls": 1, "obj": 1, "score": 1, "bbox": 4, "kps": 10}
_MAX_CANDIDATES: Final = 5000
_MAX_SIDE: Final = 4096  # of the input of a network that takes any size: bounds memory


def fit(image: Pixels, card: ModelCard, *, enlarge: bool) -> tuple[Floats, tuple[float, float]]:
    """Bring a picture into the network's input: top left, aspect kept, black beyond it.

    Args:
        image: RGB uint8 (H, W, 3).
        card: gives size, colour order, mean and std; without a size the picture keeps its own, up to a limit, and is
            filled up to whole cells of the largest stride.
        enlarge: whether a picture smaller than the input is enlarged to fill it.

    Returns:
        float32 (1, 3, h, w), and the scale (x, y) from the picture to it.
    """
    height, width = image.shape[:2]
    limit = card.input_size or (_MAX_SIDE, _MAX_SIDE)
    scale = min(limit[0] / width, limit[1] / height)
    if card.input_size is None or not enlarge:
        scale = min(scale, 1.0)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    if (w, h) != (width, height):
        image = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    step = max(card.strides)
    full_w, full_h = card.input_size or (math.ceil(w / step) * step, math.ceil(h / step) * step)
    canvas = np.zeros((full_h, full_w, 3), np.uint8)
    canvas[:h, :w] = image if card.colour == "rgb" else image[..., ::-1]
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (card.mean, card.std))
    blob = canvas.transpose(2, 0, 1).astype(np.float32, order="C")
    blob -= mean
    blob /= std
    return blob[None], (w / width, h / height)


@functools.lru_cache(maxsize=128)
def cells(columns: int, rows: int, anchors: int) -> Floats:
    """(column, row) of every box of a map, in the network's order: float32 (rows * columns * anchors, 2), read-only.

    >>> cells(2, 1, 2).tolist()
    [[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]
    """
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    grid = np.stack([x.ravel(), y.ravel()], axis=1).repeat(anchors, axis=0)
    grid.flags.writeable = False
    return grid


class GridDetector(ABC):
    """A detector driven by its card: subclasses say how one map's numbers become boxes.

    Pictures run one at a time: the published graphs are exported for a batch of one.

    Thread-safe: nothing changes after construction, and sessions may be run by several threads.
    """

    family: ClassVar[str]
    kinds: ClassVar[frozenset[str]]
    enlarge: ClassVar[bool]

    def __init__(
        self,
        card: ModelCard | str,
        session: Session | None,
        *,
        threshold: float,
        overlap: float,
        min_face: float,
        threads: int | None,
    ) -> None:
        if not (0 < threshold <= 1 and 0 < overlap <= 1):
            raise ValueError(f"threshold, overlap: expected numbers above 0 and up to 1, got {threshold}, {overlap}")
        if not (math.isfinite(min_face) and min_face >= 0):
            raise ValueError(f"min_face: expected pixels or a fraction, got {min_face}")
        self.card = find_card(card, self.family)
        if set(self.card.outputs) != self.kinds or len(self.card.outputs) != len(self.kinds):
            raise CardError(f"{self.card.name}: output.kinds: expected {sorted(self.kinds)}, got {self.card.outputs}")
        steps = max(self.card.strides)
        if self.card.input_size and any(side % steps for side in self.card.input_size):
            raise CardError(f"{self.card.name}: input.size: expected multiples of {steps}, got {self.card.input_size}")
        self._session = session or open_card(self.card, threads=threads)
        self._threshold, self._overlap, self._min_face = threshold, overlap, min_face

    @property
    def name(self) -> str:
        """The model's name in the catalogue."""
        return self.card.name

    def detect(self, images: Sequence[Pixels]) -> list[Faces]:
        """Find the faces of each picture.

        Args:
            images: RGB uint8 (H, W, 3) each; sizes may differ.

        Returns:
            One `Faces` per picture, largest face first.

        Raises:
            ModelError: the network does not answer as its card says.
            ValueError: an image is not RGB uint8.
        """
        return [self._detect(image) for image in images]

    @abstractmethod
    def _decode(self, maps: Mapping[str, Floats], cell: Floats, stride: int) -> Found:
        """The boxes of one map that reach the threshold.

        Args:
            maps: kind of output -> float32 (cells, width).
            cell: (cells, 2) column and row of each box.
            stride: pixels between cells.
        """

    def _detect(self, image: Pixels) -> Faces:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"{self.name}: expected RGB uint8 (H, W, 3), got {image.dtype} {image.shape}")
        blob, scale = fit(image, self.card, enlarge=self.enlarge)
        found = [self._decode(*level) for level in self._levels(self._session.run(blob), blob.shape[3], blob.shape[2])]
        boxes, scores, points = (np.concatenate(parts) for parts in zip(*found, strict=True))
        if not np.isfinite(boxes).all():
            raise ModelError(f"{self.name}: the network's boxes are infinite; is its file damaged?")
        boxes /= np.array(scale * 2, np.float32)
        points /= np.array(scale, np.float32)
        sides = boxes[:, 2:] - boxes[:, :2]
        smallest = self._min_face if self._min_face >= 1 else self._min_face * min(image.shape[:2])
        index = np.flatnonzero((sides > 0).all(axis=1) & (sides.max(axis=1) >= smallest))
        if len(index) > _MAX_CANDIDATES:
            index = index[np.argsort(-scores[index], kind="stable")[:_MAX_CANDIDATES]]
        index = index[nms(boxes[index], scores[index], self._overlap)]
        return Faces(boxes[index], scores[index], points[index]).largest_first()

    def _levels(
        self, outputs: Sequence[Floats], width: int, height: int
    ) -> list[tuple[dict[str, Floats], Floats, int]]:
        """The network's outputs, one (maps, cells, stride) a stride, after checking that they are as the card says."""
        card = self.card
        if len(outputs) != len(card.outputs) * len(card.strides):
            expected = f"{len(card.outputs)} kinds x {len(card.strides)} strides"
            raise ModelError(f"{card.name}: expected {expected} outputs, the network has {len(outputs)}")
        levels = []
        for i, stride in enumerate(card.strides):
            cell = cells(width // stride, height // stride, card.anchors)
            maps = {}
            for k, kind in enumerate(card.outputs):
                output = outputs[k * len(card.strides) + i]
                if output.size != len(cell) * _WIDTHS[kind]:
                    raise ModelError(
                        f"{card.name}: output {kind} of stride {stride}: expected {len(cell)} x {_WIDTHS[kind]} "
                        f"numbers, got shape {output.shape}"
                    )
                if not np.isfinite(output).all():
                    raise ModelError(f"{card.name}: the network answers with NaN or infinity; is its engine broken?")
                maps[kind] = output.reshape(len(cell), _WIDTHS[kind])
            levels.append((maps, cell, stride))
        return levels
