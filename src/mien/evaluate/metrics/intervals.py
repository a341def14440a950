"""Confidence intervals of rates."""

from __future__ import annotations

from statistics import NormalDist

from mien.errors import InputError
from mien.match.calibration import check_rate
from mien.match.similarity_table import Rate

__all__ = ["Rate", "wilson"]


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
