"""The figures of a report: DET, ROC, histograms of scores and ranks, from the curves that a result holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.evaluate.metrics.curves import thinned
from mien.evaluate.report.axis import Axis
from mien.evaluate.report.markup import Markup, element
from mien.evaluate.report.plot import Area, Line, Mark, Rule, plot
from mien.evaluate.report.wording import bounds, percent, score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.evaluate.metrics.curves import Curve
    from mien.evaluate.metrics.identification import Cmc
    from mien.evaluate.metrics.scores import ScoreHistogram
    from mien.evaluate.metrics.verification import Eer
    from mien.evaluate.results import RateAt

__all__ = ["cmc_figure", "det_figure", "figure", "histogram_figure", "percent_target", "roc_figure", "round_floor"]

_POINTS: Final = 1200
_RULES: Final = 4  # thresholds drawn into a histogram, at most


def figure(drawing: Markup, title: str, caption: str, *legend: tuple[str, str]) -> Markup:
    """A drawing with its title, a legend of (class, words), and a caption."""
    keys = [element("li", element("span", class_=f"swatch {style}"), words) for style, words in legend]
    return element(
        "figure",
        element("h3", title),
        element("ul", keys, class_="legend") if keys else None,
        drawing,
        element("figcaption", caption),
        class_="chart",
    )


def det_figure(curve: Curve, rows: Sequence[RateAt], x: str, y: str, *, eer: Eer | None = None) -> Markup:
    """Detection error trade-off: both error rates, on logarithmic axes.

    Args:
        curve: the curve.
        rows: rates of success at stated rates of false alarms, to be marked.
        x: name of the error rate along the lower axis.
        y: name of the other.
        eer: where both are equal, to be marked.
    """
    across = Axis(x, _floor(curve.impostors), 1.0, log=True, percent=True)
    up = Axis(y, _floor(curve.genuine), 1.0, log=True, percent=True)
    shown = thinned(curve, _POINTS)
    items: list[Line | Area | Mark | Rule] = []
    if eer is not None:
        ends = np.array([max(across.low, up.low), 1.0])
        items.append(Line(ends, ends, "guide"))
    items.append(_trimmed(shown.fmr, shown.fnmr, "curve"))
    for row in rows:
        if row.rate is not None:
            high, low = (None if end is None else 1 - end for end in (row.low, row.high))
            items.append(Mark(row.target, 1 - row.rate, _told(row, f"{y} {percent(1 - row.rate)}"), low, high))
    if eer is not None:
        items.append(Mark(eer.rate, eer.rate, f"{x} = {y} = {percent(eer.rate)}", style="mark equal"))
    drawing = plot(across, up, items, title=f"DET curve: {y} against {x}", description=_story(rows, y, success=False))
    legend = [("mark", "at stated rates, with 95 % interval")] if rows else []
    if eer is not None:
        legend.append(("equal", "equal error rate"))
    return figure(drawing, "DET", "Lower left is better. " + _edge(curve), *legend)


def roc_figure(curve: Curve, rows: Sequence[RateAt], x: str, y: str) -> Markup:
    """Receiver operating characteristic: success against false alarms on a logarithmic axis."""
    across = Axis(x, _floor(curve.impostors), 1.0, log=True, percent=True)
    shown = thinned(curve, _POINTS)
    seen = shown.tar[shown.fmr <= across.low * (1 + 1e-9)]
    lowest = min([float(seen[-1]) if len(seen) else 0.0, *(row.low for row in rows if row.low is not None)])
    up = Axis(y, round_floor(lowest), 1.0, percent=True)
    items: list[Line | Area | Mark | Rule] = [_trimmed(shown.fmr, shown.tar, "curve")]
    items += [
        Mark(row.target, row.rate, _told(row, f"{y} {percent(row.rate)}"), row.low, row.high)
        for row in rows
        if row.rate is not None
    ]
    drawing = plot(across, up, items, title=f"ROC curve: {y} against {x}", description=_story(rows, y, success=True))
    cut = f" The upright axis begins at {percent(up.low)}." if up.low > 0 else ""
    return figure(
        drawing, "ROC", f"Upper left is better.{cut} " + _edge(curve), ("mark", "at stated rates, with 95 % interval")
    )


def histogram_figure(
    histogram: ScoreHistogram,
    rows: Sequence[RateAt],
    same: str,
    other: str,
    rate: str,
    *,
    log: bool,
    score_name: str = "score (cosine similarity)",
) -> Markup:
    """Both classes' scores, each as shares of its own class, with the thresholds of `rows`.

    Args:
        histogram: the counts.
        rows: rates with thresholds.
        same: what the genuine class is called.
        other: what the impostor class is called.
        rate: name of the stated rates.
        log: whether the upright axis is logarithmic, which shows the tails.
        score_name: what is along the lower axis.
    """
    edges = histogram.edges.astype(np.float64)
    shares = [counts / max(int(counts.sum()), 1) for counts in (histogram.impostor, histogram.genuine)]
    peak = max(float(part.max()) for part in shares) or 1.0
    floor = min((float(part[part > 0].min()) for part in shares if part.any()), default=0.1)
    low = 10.0 ** math.floor(math.log10(floor) - 1e-9) if log else 0.0
    across = Axis(score_name, float(edges[0]), float(edges[-1]))
    up = Axis("share of the class", low, 1.0 if log else peak * 1.05, log=log, percent=True)
    items: list[Line | Area | Mark | Rule] = [
        Area(edges, part, style) for part, style in zip(shares, ("other", "same"), strict=True)
    ]
    placed = [row for row in rows if row.threshold is not None and row.rate is not None][:_RULES]
    items += [
        Rule(row.threshold, f"{rate} {percent_target(row.target)}") for row in placed if row.threshold is not None
    ]
    title = "Scores, logarithmic: the tails" if log else "Scores"
    drawing = plot(
        across,
        up,
        items,
        title=f"Histogram of scores{' on a logarithmic axis' if log else ''}: {same} and {other}",
        description=f"Most {same} lie about {_mode(edges, shares[1])}, most {other} about {_mode(edges, shares[0])}.",
    )
    lines = " Dashed: thresholds at stated rates." if placed else ""
    caption = (
        "What overlaps near a threshold are the errors." if log else "The further the two lie apart, the better."
    ) + lines
    totals = (int(histogram.genuine.sum()), int(histogram.impostor.sum()))
    return figure(drawing, title, caption, ("same", f"{same} ({totals[0]:,})"), ("other", f"{other} ({totals[1]:,})"))


def cmc_figure(cmc: Cmc) -> Markup:
    """Cumulative match characteristic: how often the mate is among the best k."""
    ranks = np.arange(1, len(cmc.hits) + 1, dtype=np.float64)
    rates = cmc.hits / cmc.probes
    across = Axis("rank k", 1.0, max(float(ranks[-1]), 2.0))
    up = Axis("mate among the best k", round_floor(float(rates[0]) - 0.01), 1.0, percent=True)
    marks = [Mark(float(k), float(r), f"rank {k:.0f}: {percent(r)}") for k, r in zip(ranks, rates, strict=True)]
    drawing = plot(
        across,
        up,
        [Line(ranks, rates, "curve"), *marks],
        title="Cumulative match characteristic",
        description=f"Rank 1: {percent(float(rates[0]))}; rank {len(rates)}: {percent(float(rates[-1]))}.",
    )
    caption = f"Closed set: {cmc.probes:,} probes of enrolled people, searched among {cmc.gallery_size:,}."
    return figure(drawing, "CMC", caption)


def percent_target(rate: float) -> str:
    """A stated rate as short as it can be: 0.1 %."""
    return f"{np.format_float_positional(rate * 100, precision=8, trim='-')} %"


def _trimmed(x: np.ndarray, y: np.ndarray, style: str) -> Line:
    """Without the points at which there is no error of one kind yet, save the best of them."""
    keep = np.ones(len(x), np.bool_)
    for rate in (x, y):
        zero = np.flatnonzero(rate == 0)
        if len(zero):
            keep[zero[1:] if zero[0] else zero[:-1]] = False
    return Line(x[keep], y[keep], style)


def _floor(trials: int) -> float:
    """Where a logarithmic axis begins: the smallest rate above 0 that so many trials can show."""
    return min(1 / max(trials, 1), 0.1)


def round_floor(lowest: float) -> float:
    """A round number below the lowest rate that matters: 0, or 1 less a power of ten times 1, 2 or 5."""
    for gap in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5):
        if lowest >= 1 - gap:
            return 1 - gap
    return 0.0


def _mode(edges: np.ndarray, shares: np.ndarray) -> str:
    at = int(np.argmax(shares))
    return score(float(edges[at] + edges[at + 1]) / 2)[:-2]


def _told(row: RateAt, rate: str) -> str:
    interval = "" if row.low is None else f", success {bounds(row.low, row.high)} (95 %)"
    return f"At {percent_target(row.target)}: {rate}, threshold {score(row.threshold)}{interval}"


def _story(rows: Sequence[RateAt], y: str, *, success: bool) -> str:
    told = [
        f"{percent(row.rate if success else 1 - row.rate)} at {percent_target(row.target)}"
        for row in rows
        if row.rate is not None
    ]
    return f"{y}: {'; '.join(told)}." if told else f"{y} falls as false alarms are allowed to rise."


def _edge(curve: Curve) -> str:
    return f"The axis begins where one false alarm among {curve.impostors:,} would lie."
