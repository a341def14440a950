"""Error rates, and what each of them asks of one comparison."""

from __future__ import annotations

import math
from typing import Final

from mien.errors import InputError

__all__ = ["IDENTIFY_FPIR", "MIN_FALSE_MATCHES", "VERIFY_FMR", "check_rate", "check_threshold", "comparison_fmr"]

VERIFY_FMR = 1e-3
"""Verification: one pair of strangers in a thousand may be called the same person."""

IDENTIFY_FPIR = 1e-3
"""Identification: one stranger in a thousand may be named, whatever the gallery's size."""

MIN_FALSE_MATCHES: Final = 10
"""A threshold is supported when at least this many false matches were measured at it."""


def check_rate(name: str, rate: float) -> float:
    """Return `rate` if it lies between 0 and 1; raises InputError, calling it `name`."""
    if not isinstance(rate, float) or not 0 < rate < 1:  # np.float64 is a float; an int cannot lie between
        raise InputError(f"{name}: expected a rate between 0 and 1 (for example 0.001), got {rate!r}")
    return float(rate)


def check_threshold(threshold: float | None) -> None:
    """Raises InputError unless `threshold` is a cosine, or None."""
    if threshold is not None and not -1 <= threshold <= 1:  # written so that NaN is refused too
        raise InputError(f"threshold: expected a cosine between -1 and 1, got {threshold!r}")


def comparison_fmr(fpir: float, gallery_size: float) -> float:
    """The false match rate one comparison may have so that a stranger is named at most at rate `fpir`.

    A stranger is compared with every enrolled face; if the comparisons were independent, at least one of N would pass
    with probability 1 - (1 - FMR)^N. Faces of one person are not independent, so the true rate is lower: conservative.

    Args:
        fpir: false-positive identification rate, between 0 and 1.
        gallery_size: number of enrolled faces N, or of independent comparisons that are as strict; below 1 counts as 1.

    Raises:
        InputError: `fpir` is not a rate, or `gallery_size` is negative.

    >>> comparison_fmr(1e-3, 1), round(comparison_fmr(1e-3, 1000), 10)
    (0.001, 1.0005e-06)
    """
    fpir = check_rate("fpir", fpir)
    if not gallery_size >= 0:
        raise InputError(f"gallery_size: expected 0 or more, got {gallery_size}")
    return fpir if gallery_size <= 1 else -math.expm1(math.log1p(-fpir) / gallery_size)
