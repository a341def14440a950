"""What changes while training goes on, as pure functions of how far it has come: nothing here has a state to lose."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mien.train.config import ScheduleConfig

__all__ = ["margin_share", "rate_factor", "side_at"]


def rate_factor(schedule: ScheduleConfig, progress: float, warm: float) -> float:
    """What the highest rate is multiplied by.

    Args:
        schedule: which curve.
        progress: share of the training that is done, 0 to 1.
        warm: share of the warm-up that is done once this step is, 1 or more when it is over.

    >>> half = ScheduleConfig(name="cosine")
    >>> [round(rate_factor(half, p, 2.0), 3) for p in (0.0, 0.5, 1.0)]
    [1.0, 0.5, 0.0]
    """
    left = 1.0 - min(max(progress, 0.0), 1.0)
    if schedule.name == "cosine":
        curve = 0.5 * (1.0 - math.cos(math.pi * left))
    elif schedule.name == "poly":
        curve = left**schedule.power
    elif schedule.name == "step":
        return min(warm, 1.0) * schedule.gamma ** sum(progress >= m for m in schedule.milestones)
    else:
        return min(warm, 1.0)
    return min(warm, 1.0) * (schedule.least + (1.0 - schedule.least) * curve)


def margin_share(progress: float, warm_up: float, start: float = 0.0) -> float:
    """Share of the full margin (or scale): 0 until ``start``, then rising linearly over ``warm_up`` of the training.

    >>> margin_share(0.1, 0.4), margin_share(0.5, 0.4), margin_share(0.0, 0.0), margin_share(0.5, 0.4, start=0.3)
    (0.25, 1.0, 1.0, 0.5)
    """
    if progress < start:
        return 0.0
    return 1.0 if progress >= start + warm_up else (progress - start) / warm_up


def side_at(sizes: Sequence[tuple[float, int]], progress: float, full: int) -> int:
    """Side of the pictures at this point of the training, in pixels.

    >>> side_at([(0.0, 80), (0.6, 96)], 0.7, 112), side_at([], 0.7, 112)
    (96, 112)
    """
    return next((side for share, side in reversed(sizes) if progress >= share), full)
