"""Error rates of groups as dots with intervals: which differ, and which only seem to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mien.evaluate.report.axis import Axis
from mien.evaluate.report.markup import Markup, element
from mien.evaluate.report.wording import bounds, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.evaluate.metrics.fixed_threshold import CountedRate

__all__ = ["DotRow", "dots"]

_WIDTH: Final = 1000
_LABELS: Final = 210  # where the names of the rows end
_GAP: Final = 45
_ROW: Final = 28
_TOP: Final = 26
_LONGEST: Final = 26  # characters of a name


@dataclass(frozen=True, slots=True)
class DotRow:
    """One group: its name, and its rate in each panel."""

    name: str
    rates: tuple[CountedRate, ...]


def dots(rows: Sequence[DotRow], panels: Sequence[str], rules: Sequence[float | None], *, title: str) -> Markup:
    """Draw rates of groups, a panel beside another.

    Args:
        rows: the groups, from above.
        panels: what each panel measures; the first on a logarithmic axis.
        rules: the rate of everybody together in each panel.
        title: what is drawn, for those who cannot see it.
    """
    bottom = _TOP + _ROW * len(rows)
    width = (_WIDTH - _LABELS - 20 - _GAP * (len(panels) - 1)) / len(panels)
    drawn: list[Markup] = []
    for i, row in enumerate(rows):
        short = row.name if len(row.name) <= _LONGEST else f"{row.name[: _LONGEST - 1]}…"
        middle = float(_middle(i))
        label = element("tspan", short)
        drawn.append(
            element(
                "text",
                element("title", row.name),
                label,
                x=_LABELS - 12.0,
                y=middle + 5,
                text_anchor="end",
                class_="label",
            )
        )
    for k, (panel, rule) in enumerate(zip(panels, rules, strict=True)):
        left = _LABELS + k * (width + _GAP)
        rates = [row.rates[k] for row in rows]
        axis = _log_axis(panel, rates, rule) if k == 0 else _linear_axis(panel, rates, rule)
        drawn += _panel(axis, rates, rule, (left, left + width), bottom)
    told = "; ".join(f"{row.name}: " + ", ".join(percent(rate.value) for rate in row.rates) for row in rows)
    return element(
        "svg",
        element("title", title),
        element("desc", told),
        drawn,
        viewBox=f"0 0 {_WIDTH} {bottom + 52}",
        role="img",
        aria_label=f"{title}. {told}",
        class_="plot dots",
    )


def _panel(
    axis: Axis, rates: Sequence[CountedRate], rule: float | None, ends: tuple[float, float], bottom: int
) -> list[Markup]:
    left, right = ends

    def across(value: float) -> float:
        return round(left + float(axis.share(value)) * (right - left), 1)

    ticks = axis.ticks()
    lines = "".join(f"M{across(value):g} {_TOP}V{bottom}" for value, _ in ticks)
    drawn = [
        element("path", d=lines, class_="grid") if lines else Markup(""),
        element("path", d=f"M{left:g} {_TOP}V{bottom}H{right:g}", class_="frame"),
        *(element("text", label, x=across(value), y=bottom + 20, text_anchor="middle") for value, label in ticks),
        element("text", axis.label, x=(left + right) / 2, y=bottom + 44, text_anchor="middle", class_="label"),
    ]
    if rule is not None:
        at = across(rule)
        drawn.append(element("path", d=f"M{at:g} {_TOP - 6}V{bottom}", class_="rule"))
        drawn.append(element("text", "everybody", x=at, y=_TOP - 12.0, text_anchor="middle"))
    for i, rate in enumerate(rates):
        middle = _middle(i)
        if rate.value is None:
            drawn.append(element("text", "insufficient data", x=left + 10, y=middle + 5.0))
            continue
        low, high, at = across(rate.low), across(rate.high), across(rate.value)
        whisker = f"M{low:g} {middle - 4}v8m0-4H{high:g}m0-4v8"
        told = f"{percent(rate.value)} ({rate.count:,} of {rate.trials:,}; 95 %: {bounds(rate.low, rate.high)})"
        drawn.append(
            element(
                "g",
                element("title", told),
                element("path", d=whisker, class_="whisker"),
                element("circle", cx=at, cy=float(middle), r="5"),
                class_="mark",
            )
        )
    return drawn


def _middle(row: int) -> int:
    return _TOP + _ROW * row + _ROW // 2


def _log_axis(label: str, rates: Sequence[CountedRate], rule: float | None) -> Axis:
    told = [rate for rate in rates if rate.value is not None]
    above = [v for rate in told for v in (rate.low, rate.count / rate.trials) if v > 0]
    above += [rule] if rule else []
    low = min(above, default=0.01)
    high = max([*above, *(rate.high for rate in told)], default=1.0)
    low, high = max(low, high / 1e4), min(high, 1.0)  # an interval that begins next to 0 may not squeeze the rest
    first = 10.0 ** math.floor(math.log10(low) + 1e-9)
    start = next(first * digit for digit in (5, 2, 1) if first * digit <= low * (1 + 1e-9))
    last = 10.0 ** math.floor(math.log10(high))
    end = next(last * digit for digit in (1, 2, 5, 10) if last * digit >= high * (1 - 1e-9))
    return Axis(label, start, min(max(end, start * 10), 1.0) if start < 0.5 else 1.0, log=True, percent=True)


def _linear_axis(label: str, rates: Sequence[CountedRate], rule: float | None) -> Axis:
    high = max([0.01, rule or 0.0, *(rate.high for rate in rates if rate.value is not None)])
    return Axis(label, 0.0, min(1.0, high * 1.05), percent=True)
