"""A fingerprint of an aligned face: equal for copies of one picture, however they were stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from mien.types import Pixels

__all__ = ["FINGERPRINT_BITS", "fingerprint", "fingerprint_distance"]

_ROWS: Final = 16
FINGERPRINT_BITS: Final = _ROWS * _ROWS
"""Bits of a fingerprint."""


def fingerprint(grey: Pixels) -> bytes:
    """The signs of the horizontal brightness steps of an aligned face, on a coarse grid (a difference hash).

    Re-encoding, resizing and a change of light leave most signs as they are; another photo, even of the same person in
    the same light, does not.

    Args:
        grey: uint8 (H, W), aligned.

    Returns:
        `FINGERPRINT_BITS` / 8 bytes.
    """
    small = cv2.resize(grey, (_ROWS + 1, _ROWS), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes()


def fingerprint_distance(a: bytes, b: bytes) -> float:
    """The share of bits in which two fingerprints differ, 0 to 1; two unrelated faces differ in about a third.

    Raises:
        ValueError: one of them is no fingerprint.
    """
    if len(a) != FINGERPRINT_BITS // 8 or len(b) != FINGERPRINT_BITS // 8:
        raise ValueError(f"fingerprint: expected {FINGERPRINT_BITS // 8} bytes each, got {len(a)} and {len(b)}")
    return (int.from_bytes(a) ^ int.from_bytes(b)).bit_count() / FINGERPRINT_BITS
