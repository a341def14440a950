"""Reading between measured thresholds: a ladder of (rate, threshold) steps, from the loosest rate to the strictest."""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["rate_on", "threshold_on"]


def threshold_on(steps: Sequence[tuple[float, float]], rate: float) -> float:
    """The smallest threshold known not to exceed a rate.

    On a step it is the step's. Between two steps the stricter one is the safe answer; a looser one is given only where
    the tail itself vouches for it: log rate is extended from the two looser steps, which bounds the rate from above
    where the tail bends down (as tails of cosines do), and never falls below the straight line between the neighbours,
    which bounds it where the tail bends up. Below the last step the last decade is extended in a straight line.

    Args:
        steps: (rate, threshold), falling rates and thresholds that do not fall; at least one.
        rate: between 0 and 1.

    Returns:
        A cosine, never above 1; it never falls as `rate` falls.
    """
    at = next((i for i, step in enumerate(steps) if step[0] <= rate), None)
    if at is None:
        last = steps[-1]
        start = next((step for step in reversed(steps) if step[0] >= 9.99 * last[0]), steps[0])
        if start[0] == last[0]:  # a single step says nothing about the tail
            return 1.0
        return min(1.0, max(last[1], _on_line(start, last, rate)))
    strict = steps[at]
    if strict[0] == rate or at < 2:
        return strict[1]
    before, loose = steps[at - 2], steps[at - 1]
    return min(max(_on_line(before, loose, rate), _on_line(loose, strict, rate)), strict[1])


def rate_on(steps: Sequence[tuple[float, float]], threshold: float) -> float | None:
    """The rate at a threshold on the straight lines of log rate between steps; None outside the measured ones."""
    for loose, strict in pairwise(steps):
        if loose[1] <= threshold <= strict[1]:
            if loose[1] == strict[1]:
                return loose[0]  # the larger of all that fit
            share = (threshold - loose[1]) / (strict[1] - loose[1])
            return loose[0] * math.exp(share * math.log(strict[0] / loose[0]))
    return None


def _on_line(a: tuple[float, float], b: tuple[float, float], rate: float) -> float:
    """The threshold at `rate` on the line through two steps of log rate against threshold."""
    share = (math.log(max(rate, sys.float_info.min)) - math.log(a[0])) / math.log(b[0] / a[0])  # a rate may underflow
    return a[1] + share * (b[1] - a[1])
