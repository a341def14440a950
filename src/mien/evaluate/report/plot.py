"""Plots as inline SVG: text stays text, colours come from the page's style, and no picture is linked.

Values that lie beyond an axis are drawn on its end; the axes are chosen so that this only happens to zeros on a
logarithmic axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.evaluate.report.markup import Markup, element, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.evaluate.report.axis import Axis

__all__ = ["Area", "Line", "Mark", "Rule", "plot"]

_WIDTH: Final = 600
_HEIGHT: Final = 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 570, 14, 342


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A line through points.

    Attributes:
        x, y: (N,) values.
        style: class of the page's style.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    style: str


@dataclass(frozen=True, slots=True, eq=False)
class Area:
    """The outline of a histogram, filled down to the lower end of the axis.

    Attributes:
        edges: (B + 1,) rising.
        heights: (B,) one each bin.
        style: class of the page's style.
    """

    edges: NDArray[np.float64]
    heights: NDArray[np.float64]
    style: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with an interval, and what it says when it is pointed at.

    Attributes:
        x, y: where.
        title: what it is.
        low, high: ends of the interval of y; None for none.
        style: class of the page's style.
    """

    x: float
    y: float
    title: str
    low: float | None = None
    high: float | None = None
    style: str = "mark"


@dataclass(frozen=True, slots=True)
class Rule:
    """A vertical line at `x` with a label."""

    x: float
    label: str


def plot(x: Axis, y: Axis, items: Sequence[Line | Area | Mark | Rule], *, title: str, description: str) -> Markup:
    """Draw items between two axes, in their order.

    Args:
        x: the lower axis.
        y: the upright axis.
        items: what to draw.
        title: what is drawn, for those who cannot see it.
        description: what there is to see.
    """
    rules = [item for item in items if isinstance(item, Rule)]
    drawn = [_drawn(x, y, item) for item in items if not isinstance(item, Rule)]
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        _grid(x, y),
        drawn,
        [element("path", d=f"M{float(_across(x, rule.x)):g} {_TOP}V{_BOTTOM}", class_="rule") for rule in rules],
        [_rule_label(x, rule, row) for row, rule in enumerate(rules)],
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{title}. {description}",
        class_="plot",
    )


def _across(x: Axis, values: object) -> NDArray[np.float64]:
    return np.round(_LEFT + x.share(np.asarray(values, np.float64)) * (_RIGHT - _LEFT), 1)


def _up(y: Axis, values: object) -> NDArray[np.float64]:
    return np.round(_BOTTOM - y.share(np.asarray(values, np.float64)) * (_BOTTOM - _TOP), 1)


def _drawn(x: Axis, y: Axis, item: Line | Area | Mark) -> Markup:
    if isinstance(item, Mark):
        return _mark(x, y, item)
    if isinstance(item, Line):
        return element("path", d=_path(_across(x, item.x), _up(y, item.y)), class_=f"line {item.style}")
    left = _across(x, np.repeat(item.edges, 2))
    heights = _up(y, np.concatenate([[y.low], np.repeat(item.heights, 2), [y.low]]))
    return element("path", d=_path(left, heights) + "Z", class_=f"area {item.style}")


def _path(across: NDArray[np.float64], up: NDArray[np.float64]) -> str:
    """Straight lines through the points, without those that fall on the one before."""
    new = np.ones(len(across), np.bool_)
    new[1:] = (np.diff(across) != 0) | (np.diff(up) != 0)
    points = zip(across[new].tolist(), up[new].tolist(), strict=True)
    return "M" + "L".join(f"{a:g} {b:g}" for a, b in points)


def _mark(x: Axis, y: Axis, mark: Mark) -> Markup:
    across, up = float(_across(x, mark.x)), float(_up(y, mark.y))
    whisker = None
    if mark.low is not None and mark.high is not None:
        low, high = float(_up(y, mark.low)), float(_up(y, mark.high))
        ends = f"M{across - 4:g} {low:g}h8m-4 0V{high:g}m-4 0h8"
        whisker = element("path", d=ends, class_="whisker")
    point = element("circle", cx=across, cy=up, r="4.5")
    return element("g", element("title", mark.title), whisker, point, class_=mark.style)


def _rule_label(x: Axis, rule: Rule, row: int) -> Markup:
    across = float(_across(x, rule.x))
    late = across > (_LEFT + _RIGHT) / 2
    return element(
        "text",
        rule.label,
        x=across + (-6.0 if late else 6.0),
        y=float(_TOP + 14 + 16 * row),
        text_anchor="end" if late else "start",
        class_="halo",
    )


def _grid(x: Axis, y: Axis) -> Markup:
    columns = [(float(_across(x, value)), label) for value, label in x.ticks()]
    rows = [(float(_up(y, value)), label) for value, label in y.ticks()]
    lines = "".join(f"M{at:g} {_TOP}V{_BOTTOM}" for at, _ in columns)
    lines += "".join(f"M{_LEFT} {at:g}H{_RIGHT}" for at, _ in rows)
    middle = (_TOP + _BOTTOM) / 2
    return joined(
        element("path", d=lines, class_="grid") if lines else None,
        element("path", d=f"M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}", class_="frame"),
        [element("text", label, x=at, y=_BOTTOM + 20, text_anchor="middle") for at, label in columns],
        [element("text", label, x=_LEFT - 8, y=at + 4.5, text_anchor="end") for at, label in rows],
        element("text", x.label, x=(_LEFT + _RIGHT) / 2, y=_HEIGHT - 10, text_anchor="middle", class_="label"),
        element(
            "text", y.label, transform=f"translate(16 {middle:g}) rotate(-90)", text_anchor="middle", class_="label"
        ),
    )
