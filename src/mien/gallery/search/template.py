"""A face in one byte a dimension: 128 bytes for 128 numbers, to carry where 512 are too many.

Format: D int8, nothing else. A unit vector x is scaled so that its largest number is +-127 and rounded,

    code = round(x * 127 / max|x|)

and read back as code / |code|: unit vectors need no scale. -128 is never written, and refused when read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from mien.types import Floats

__all__ = ["from_template", "to_template"]


def to_template(embedding: Floats) -> bytes:
    """One embedding, float32 (D,) of unit norm, as D bytes.

    Raises:
        InputError: it is no unit vector.
    """
    numbers = np.asarray(embedding, np.float64)
    if numbers.ndim != 1 or not abs(float(numbers @ numbers) - 1) <= 0.01:
        raise InputError(f"embedding: expected (D,) of unit norm, got {numbers.shape}")
    codes = np.rint(numbers * (127 / np.abs(numbers).max())).astype(np.int8)
    return bytes(codes.tobytes())


def from_template(template: bytes) -> Floats:
    """The embedding that a template stands for, float32 (D,) of unit norm.

    Raises:
        InputError: these bytes are no template.
    """
    codes = np.frombuffer(template, np.int8).astype(np.float64)
    if not len(codes) or np.abs(codes).max() != 127:  # -128 too
        raise InputError(f"template: {len(codes)} bytes are none: the largest must be 127 or -127")
    return (codes / np.linalg.norm(codes)).astype(np.float32)
