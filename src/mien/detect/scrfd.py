"""SCRFD: an anchor-based detector whose boxes are distances from the cell, with five landmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mien.detect._grid import GridDetector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mien.detect._grid import Found
    from mien.models.card import ModelCard
    from mien.models.session import Session
    from mien.types import Floats

__all__ = ["SCRFD", "decode_scrfd"]


def decode_scrfd(maps: Mapping[str, Floats], cell: Floats, stride: int, threshold: float) -> Found:
    """Turn one map of SCRFD's numbers into boxes.

    With the anchor point p = cell * stride, a box reaches from p - bbox[:2] * stride to p + bbox[2:] * stride; a
    landmark lies at p + kps * stride.

    Args:
        maps: "score" (M, 1), "bbox" (M, 4) distances left, top, right, bottom, "kps" (M, 10), float32.
        cell: (M, 2) column and row.
        stride: pixels between cells.
        threshold: the lowest score that counts.

    Returns:
        Boxes (N, 4) xyxy, scores (N,), landmarks (N, 5, 2), in input pixels.

    Source:
        J. Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", 2021; the box code is that
        of Z. Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", 2019.
    """
    scores = maps["score"][:, 0]
    keep = np.flatnonzero(scores >= threshold)
    points, bbox, kps = cell[keep] * stride, maps["bbox"][keep] * stride, maps["kps"][keep] * stride
    boxes = np.concatenate([points - bbox[:, :2], points + bbox[:, 2:]], axis=1)
    # Rounding in low precision can carry a sigmoid a little over one.
    return boxes, np.minimum(scores[keep], 1), points[:, None] + kps.reshape(-1, 5, 2)


class SCRFD(GridDetector):
    """The SCRFD detectors of InsightFace, the variants with landmarks ("kps").

    Their files are not shipped, and are licensed for non-commercial research only: `mien models pull scrfd-10g-kps`.
    Pictures are scaled to fill the input, small ones too, as in training.

    Thread-safe.

    Args:
        card: a card of family "scrfd", or its name.
        session: the opened network; None opens the card's file from the user's store.
        threshold: the lowest score of a face (0.5 is InsightFace's default).
        overlap: the largest overlap (intersection over union) that two faces may have.
        min_face: the smallest face kept: pixels (1 and above), or a fraction of the picture's shorter side.
        threads: threads of one run.

    Raises:
        ModelFileError: the model was not pulled, or is damaged.
        CardError: the card is not one of an SCRFD.
    """

    family: ClassVar[str] = "scrfd"
    kinds: ClassVar[frozenset[str]] = frozenset({"score", "bbox", "kps"})
    enlarge: ClassVar[bool] = True

    def __init__(
        self,
        card: ModelCard | str = "scrfd-10g-kps",
        session: Session | None = None,
        *,
        threshold: float = 0.5,
        overlap: float = 0.4,
        min_face: float = 0,
        threads: int | None = None,
    ) -> None:
        super().__init__(card, session, threshold=threshold, overlap=overlap, min_face=min_face, threads=threads)

    def _decode(self, maps: Mapping[str, Floats], cell: Floats, stride: int) -> Found:
        return decode_scrfd(maps, cell, stride, self._threshold)
