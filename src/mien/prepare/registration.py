"""Whether two pictures are copies of one photo, though one is cropped, scaled or mirrored: lay one over the other."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np

from mien.errors import MienError
from mien.images import ARCFACE_112, decode, similarity, warp

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mien.types import Floats, Pixels

__all__ = ["Overlay", "SamePicture", "overlay"]

_SIDE: Final = 96
_SHARE: Final = 0.62  # of the chip that the face takes: what is around it tells photos apart as well
_TEMPLATE: Final = (np.asarray(ARCFACE_112, np.float64) - 56) * (_SIDE / 112 * _SHARE) + _SIDE / 2
_BLUR: Final = 1.2  # pixels; noise and JPEG blocks count little
_DETAIL: Final = 5.0  # pixels; light that changes more slowly is left out of `detail`
_LEAST: Final = 0.15  # share of the chip that both must show
_STRETCH: Final = 0.25  # and turn, at most
_SHIFT: Final = 0.15  # of the chip
_ROUNDS: Final = cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 25, 1e-4
_EYES_AND_MOUTH: Final = (1, 0, 2, 4, 3)  # landmarks of a mirrored face, in image order again


class Overlay(NamedTuple):
    """How alike two pictures are once one lies over the other: correlation of grey, and of its detail; -1 to 1."""

    whole: float
    detail: float


class SamePicture:
    """Compares pictures of one place on the disk with those of another; keeps a few decoded. Belongs to one thread.

    Args:
        least_whole: least correlation of copies.
        least_detail: least correlation of their detail.
    """

    def __init__(self, *, least_whole: float = 0.95, least_detail: float = 0.88) -> None:
        self._least = Overlay(least_whole, least_detail)
        self._chip = functools.lru_cache(maxsize=512)(_read_chip)

    def __call__(self, a: Path, face_a: Floats, b: Path, face_b: Floats, *, mirrored: bool = False) -> bool:
        """Whether two pictures show one photo around the face.

        Args:
            a: a file.
            face_a: (5, 2) landmarks in it.
            b: another.
            face_b: (5, 2) landmarks in it.
            mirrored: compare with `b` as in a mirror.
        """
        try:
            first = self._chip(a, np.asarray(face_a, np.float32).tobytes(), mirrored=False)
            second = self._chip(b, np.asarray(face_b, np.float32).tobytes(), mirrored=mirrored)
        except MienError:
            return False
        found = overlay(*first, *second)
        return found is not None and found.whole >= self._least.whole and found.detail >= self._least.detail


def overlay(a: Pixels, shown_a: Pixels, b: Pixels, shown_b: Pixels) -> Overlay | None:
    """Lay one grey picture over another by an affine map that is found, and compare where both show something.

    Args:
        a: uint8 (S, S), roughly aligned to `b`.
        shown_a: uint8 (S, S), not 0 where `a` shows its picture.
        b: uint8 (S, S).
        shown_b: uint8 (S, S).

    Returns:
        None where they share too little, or no map is found.

    Source:
        G. Evangelidis, E. Psarakis, "Parametric image alignment using enhanced correlation coefficient
        maximization", PAMI 2008.
    """
    side = a.shape[0]
    inner = cv2.erode(
        cv2.bitwise_and(shown_a, shown_b), np.ones((9, 9), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    if cv2.countNonZero(inner) < _LEAST / 2 * inner.size or min(np.ptp(a), np.ptp(b)) == 0:
        return None
    matrix: NDArray[np.float32] = np.eye(2, 3, dtype=np.float32)
    try:
        _, matrix = cv2.findTransformECC(a, b, matrix, cv2.MOTION_AFFINE, _ROUNDS, inner, 1)
    except cv2.error:  # it does not converge: they are not alike
        return None
    # The faces lie over each other already: a map that stretches much fits noise to noise.
    if np.abs(matrix[:, :2] - np.eye(2)).max() > _STRETCH or np.abs(
        matrix @ (side / 2, side / 2, 1) - side / 2
    ).max() > (_SHIFT * side):
        return None
    way = cv2.WARP_INVERSE_MAP
    # Details are taken before b is laid over a: beyond its border there would be an edge.
    laid, details = (cv2.warpAffine(x, matrix, (side, side), flags=cv2.INTER_LINEAR | way) for x in (b, _detail(b)))
    shown = (shown_a > 0) & (cv2.warpAffine(shown_b, matrix, (side, side), flags=cv2.INTER_NEAREST | way) > 0)
    if shown.mean() < _LEAST:
        return None
    return Overlay(_correlation(a[shown], laid[shown]), _correlation(_detail(a)[shown], details[shown]))


def _read_chip(path: Path, face: bytes, *, mirrored: bool) -> tuple[Pixels, Pixels]:
    pixels, points = decode(path).pixels, np.frombuffer(face, np.float32).reshape(5, 2).astype(np.float64)
    if mirrored:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
        points = (points * (-1, 1) + (pixels.shape[1] - 1, 0))[list(_EYES_AND_MOUTH)]
    matrix = similarity(points[None], _TEMPLATE)
    grey = cv2.cvtColor(warp(pixels, matrix, (_SIDE, _SIDE), border="replicate")[0], cv2.COLOR_RGB2GRAY)
    shown = warp(np.full_like(pixels, 255), matrix, (_SIDE, _SIDE))[0][..., 0]
    return cv2.GaussianBlur(grey, (0, 0), _BLUR), np.where(shown > 250, 255, 0).astype(np.uint8)


def _detail(grey: Pixels) -> Floats:
    levels = grey.astype(np.float32)
    detail: Floats = levels - cv2.GaussianBlur(levels, (0, 0), _DETAIL)
    return detail


def _correlation(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    x, y = a.astype(np.float64), b.astype(np.float64)
    x, y = x - x.mean(), y - y.mean()
    length = float(np.sqrt(x @ x) * np.sqrt(y @ y))
    return float(x @ y) / length if length > 1e-6 else 0.0
