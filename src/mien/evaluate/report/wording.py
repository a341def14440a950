"""Numbers as people read them: rates in percent with enough digits, and stated rates as "1 in 1,000" too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mien.evaluate.results import ModelFacts

__all__ = ["bounds", "count", "duration", "of_model", "one_in", "percent", "score"]


def percent(rate: float | None) -> str:
    """A rate in percent: two decimals, and as many more as it takes to tell it from 0 or from 1.

    >>> percent(0.9973), percent(0.00002), percent(0.99999), percent(1.0), percent(None)
    ('99.73 %', '0.002 %', '99.999 %', '100 %', '–')
    """
    if rate is None or math.isnan(rate):
        return "–"
    if rate in (0, 1):
        return f"{rate * 100:.0f} %"
    gap = min(abs(rate), abs(1 - rate)) * 100
    decimals = 2 if gap >= 0.01 else min(9, math.ceil(-math.log10(max(gap, 1e-12)) - 1e-9))
    return f"{rate * 100:.{decimals}f} %"


def bounds(low: float | None, high: float | None) -> str:
    """An interval in percent.

    >>> bounds(0.95, 0.975), bounds(None, None)
    ('95.00–97.50 %', '–')
    """
    if low is None or high is None:
        return "–"
    return f"{percent(low).removesuffix(' %')}–{percent(high)}"


def one_in(rate: float) -> str:
    """A small rate in words.

    >>> one_in(1e-3), one_in(0.3)
    ('1 in 1,000', '30 in 100')
    """
    if not 0 < rate <= 0.1:
        return f"{rate * 100:g} in 100"
    return f"1 in {round(1 / rate):,}"


def count(n: int, one: str, many: str = "") -> str:
    """A number and what is counted.

    >>> count(1, "pair"), count(1234, "pair"), count(2, "person", "people")
    ('1 pair', '1,234 pairs', '2 people')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def score(value: float | None) -> str:
    """A score or threshold; a true minus sign.

    >>> score(-0.25), score(None)
    ('−0.2500', '–')
    """
    return "–" if value is None else f"{value:.4f}".replace("-", "−")


def duration(seconds: float) -> str:
    """A time span.

    >>> duration(0.31), duration(75), duration(7384)
    ('0.3 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def of_model(model: ModelFacts) -> str:
    """What was measured, in a line."""
    return f"{model.name} / {model.preset} · detector {model.detector}"
