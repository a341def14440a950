"""Thresholds at a stated error rate: never above it, and exact at every number of scores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.match.calibration import check_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.types import Floats

__all__ = ["allowed_errors", "crossing", "float32_at_least", "just_above", "smallest_threshold"]


def float32_at_least(threshold: float) -> np.float32:
    """The smallest float32 at or above `threshold`: it accepts the same float32 scores.

    Comparing float32 scores with a float64 threshold would first copy all scores to float64.

    Raises:
        InputError: `threshold` is NaN.

    >>> float(float32_at_least(0.5)), float(float32_at_least(0.1)) >= 0.1
    (0.5, True)
    """
    if math.isnan(threshold):
        raise InputError("threshold: expected a number, got NaN")
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
    return near if float(near) >= threshold else just_above(near)


def just_above(score: np.float32) -> np.float32:
    """The smallest float32 above `score`; above the largest finite one that is infinity."""
    with np.errstate(over="ignore"):
        return np.float32(np.nextafter(score, np.float32(np.inf)))


def allowed_errors(rate: float, trials: int) -> int:
    """How many of `trials` may go wrong at `rate`; 0.3 of 10 is 3, not 2, though 0.3 * 10 may round below 3.

    >>> allowed_errors(0.3, 10), allowed_errors(1e-3, 999)
    (3, 0)
    """
    return min(int(rate * trials * (1 + 1e-12)), max(trials - 1, 0))


def smallest_threshold(scores: Floats, rate: float, *, total: int | None = None) -> float:
    """The smallest threshold at which the share of scores at or above it does not exceed `rate`.

    Args:
        scores: (N,) float32, finite, ascending; all scores, or only the highest of `total`.
        rate: between 0 and 1.
        total: how many scores there are, when `scores` holds only the highest of them.

    Returns:
        A number that float32 represents exactly: just above the first score that has to be rejected.

    Raises:
        InputError: no scores, `rate` is no rate, or `scores` holds too few of the highest to tell.
    """
    check_rate("rate", rate)
    total = len(scores) if total is None else total
    allowed = allowed_errors(rate, total)
    if allowed >= len(scores):
        raise InputError(
            f"threshold: at a rate of {rate:g} among {total} scores the {allowed + 1} highest are needed, "
            f"got {len(scores)}"
        )
    return float(just_above(scores[len(scores) - 1 - allowed]))


def crossing(above: Callable[[np.float32], bool]) -> tuple[np.float32, np.float32]:
    """Where a condition that holds at -inf, fails at +inf and changes once does change.

    Args:
        above: the condition, of a threshold.

    Returns:
        Two neighbouring float32: the last at which it holds, and the first at which it fails. It takes 32 steps however
        many scores there are, because the bit patterns of float32 are bisected, in the order of their values.
    """
    low, high = _key(np.float32(-np.inf)), _key(np.float32(np.inf))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if above(_value(middle)) else (low, middle)
    return _value(low), _value(high)


def _key(value: np.float32) -> int:
    bits = int(value.view(np.int32))
    return bits if bits >= 0 else bits ^ 0x7FFFFFFF


def _value(key: int) -> np.float32:
    return np.int32(key if key >= 0 else key ^ 0x7FFFFFFF).view(np.float32)
