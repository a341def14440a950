"""Confidence intervals of rates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from mien.errors import InputError
from mien.match.calibration import check_rate

__all__ = ["Rate", "wilson"]


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something happened.

    >>> Rate(0, 1000).interval()[1] < 0.004
    True
    """

    count: int
    trials: int

    @property
    def value(self) -> float | None:
        """The share, or None without trials."""
        return self.count / self.trials if self.trials else None

    def interval(self, z: float = 1.959964) -> tuple[float, float]:
        """Wilson's score interval, 95 % by default; see `wilson`."""
        n = self.trials
        if not n:
            return 0.0, 1.0
        p = self.count / n
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        low = 0.0 if self.count == 0 else max(0.0, centre - half)  # exactly 0 and 1 at the ends, whatever the rounding
        return low, 1.0 if self.count == n else min(1.0, centre + half)


def wilson(count: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of the rate `count` / `trials`.

    It treats the trials as independent. Pairs that share pictures are not: `bootstrap` resamples the subjects instead.

    Args:
        count: how often it happened, 0 to `trials`.
        trials: how often it could have; 0 gives (0, 1), because nothing is known.
        confidence: between 0 and 1.

    Returns:
        (low, high); exactly 0 at `count` 0, and exactly 1 at `count` = `trials`.

    Raises:
        InputError: `count` lies outside 0..`trials`, or `confidence` outside (0, 1).

    Source:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    >>> wilson(0, 0), wilson(0, 100)[0], wilson(100, 100)[1]
    ((0.0, 1.0), 0.0, 1.0)
    """
    if not 0 <= count <= trials:
        raise InputError(f"interval: expected a count between 0 and the number of trials, got {count} of {trials}")
    z = NormalDist().inv_cdf(0.5 + check_rate("confidence", confidence) / 2)
    return Rate(int(count), int(trials)).interval(z)
