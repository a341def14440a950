"""YuNet: a tiny anchor-free detector with five landmarks."""

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

__all__ = ["YuNet", "decode_yunet"]


def decode_yunet(maps: Mapping[str, Floats], cell: Floats, stride: int, threshold: float) -> Found:
    """Turn one map of YuNet's numbers into boxes.

    The score is sqrt(cls * obj), both clamped to 0..1. With the cell's column and row c, a box has its centre at
    (c + bbox[:2]) * stride and the sides exp(bbox[2:]) * stride; a landmark lies at (c + kps) * stride.

    Args:
        maps: "cls" (M, 1), "obj" (M, 1), "bbox" (M, 4), "kps" (M, 10), float32.
        cell: (M, 2) column and row.
        stride: pixels between cells.
        threshold: the lowest score that counts.

    Returns:
        Boxes (N, 4) xyxy, scores (N,), landmarks (N, 5, 2), in input pixels.

    Source:
        W. Wu, H. Peng, S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023; OpenCV's FaceDetectorYN.
    """
    confidence = np.clip(maps["cls"][:, 0], 0, 1) * np.clip(maps["obj"][:, 0], 0, 1)
    scores = np.sqrt(confidence)
    keep = np.flatnonzero(scores >= threshold)
    where, bbox, kps = cell[keep], maps["bbox"][keep], maps["kps"][keep]
    centre = (where + bbox[:, :2]) * stride
    with np.errstate(over="ignore"):  # an infinite side is reported by the caller
        half = np.exp(bbox[:, 2:]) * (stride / 2)
    points = (where[:, None] + kps.reshape(-1, 5, 2)) * stride
    return np.concatenate([centre - half, centre + half], axis=1), scores[keep], points


class YuNet(GridDetector):
    """The YuNet detector (the 2023mar export of OpenCV Zoo).

    Its file is not shipped: `mien models pull yunet` fetches it once. It was trained for faces of about 10 to 300
    pixels, so pictures are shrunk to the input's size but never enlarged.

    Thread-safe.

    Args:
        card: a card of family "yunet", or its name.
        session: the opened network; None opens the card's file from the user's store.
        threshold: the lowest score of a face (0.9 is OpenCV's default).
        overlap: the largest overlap (intersection over union) that two faces may have.
        min_face: the smallest face kept: pixels (1 and above), or a fraction of the picture's shorter side.
        threads: threads of one run.

    Raises:
        ModelFileError: the model was not pulled, or is damaged.
        CardError: the card is not one of a YuNet.
    """

    family: ClassVar[str] = "yunet"
    kinds: ClassVar[frozenset[str]] = frozenset({"cls", "obj", "bbox", "kps"})
    enlarge: ClassVar[bool] = False

    def __init__(
        self,
        card: ModelCard | str = "yunet",
        session: Session | None = None,
        *,
        threshold: float = 0.9,
        overlap: float = 0.3,
        min_face: float = 0,
        threads: int | None = None,
    ) -> None:
        super().__init__(card, session, threshold=threshold, overlap=overlap, min_face=min_face, threads=threads)

    def _decode(self, maps: Mapping[str, Floats], cell: Floats, stride: int) -> Found:
        return decode_yunet(maps, cell, stride, self._threshold)
