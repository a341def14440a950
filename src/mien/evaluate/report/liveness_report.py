"""The body of a liveness report: does an attack pass, and is a live face refused?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.evaluate.metrics.intervals import wilson
from mien.evaluate.report.body import Body
from mien.evaluate.report.figures import det_figure, histogram_figure
from mien.evaluate.report.markup import Child, Markup, element, name
from mien.evaluate.report.parts import cards, section, table
from mien.evaluate.report.wording import bounds, count, percent, score

if TYPE_CHECKING:
    from mien.evaluate.liveness import LivenessResult, OperatingRates
    from mien.evaluate.metrics.intervals import Rate

__all__ = ["liveness_body"]


def liveness_body(result: LivenessResult) -> Body:
    """The body of the report."""
    attacks = sum(result.attacks.values())
    types = count(len(result.attacks), "type")
    charts = element(
        "div",
        det_figure(result.curve, (), "APCER, all attacks", "BPCER"),
        *(
            histogram_figure(result.histogram, (), "live", "attacks", "APCER", log=log, score_name="score")
            for log in (False, True)
        ),
        class_="charts",
    )
    shown = [("points", "Thresholds", _points(result)), ("types", "Attack types", _types(result))]
    shown.append(("curves", "Curves", charts))
    return Body(
        "Liveness",
        f"{count(result.live, 'presentation')} of live faces and {attacks:,} attacks of {types}",
        _headline(result),
        [(anchor, title, section(anchor, title, body)) for anchor, title, body in shown],
    )


def _headline(result: LivenessResult) -> Markup:
    point = _first(result)
    lead = []
    if result.warning:
        lead.append(element("p", f"{result.warning[:1].upper()}{result.warning[1:]}.", class_="lead warn"))
    rows = [("Equal error rate", percent(result.eer), "all attacks together"), ("AUC", f"{result.auc:.5f}", "likewise")]
    if point is not None and point.rates is not None:
        rates = point.rates
        worst = rates.apcer[rates.worst]
        lead.append(
            element(
                "p",
                f"At the threshold {score(rates.threshold)} ({point.title}), {percent(worst.value)} of the attacks of "
                "the worst type (",
                name(rates.worst),
                f") pass for a live face, and {percent(rates.bpcer.value)} of the live faces are refused. "
                "A threshold that was chosen on these very scores does a little worse on others.",
                class_="lead",
            )
        )
        rows += [
            ("ACER", percent(rates.acer), f"95 %: {bounds(point.acer_low, point.acer_high)}"),
            ("APCER, worst type", percent(worst.value), f"95 %: {_interval(worst)}"),
            ("BPCER", percent(rates.bpcer.value), f"95 %: {_interval(rates.bpcer)}"),
        ]
    return element("div", lead, cards(rows))


def _first(result: LivenessResult) -> OperatingRates | None:
    return next((point for point in result.points if point.rates is not None), None)


def _points(result: LivenessResult) -> Markup:
    rows: list[tuple[Child, ...]] = []
    for point in result.points:
        if point.rates is None:
            rows.append((point.title, "–", "–", "–", "–", "–", point.reason))
            continue
        worst = point.rates.apcer[point.rates.worst]
        rows.append(
            (
                point.title,
                score(point.rates.threshold),
                percent(point.rates.acer),
                bounds(point.acer_low, point.acer_high),
                percent(point.rates.bpcer.value),
                percent(worst.value),
                name(point.rates.worst),
            )
        )
    columns = ("chosen by", "threshold", "ACER", "95 % interval", "BPCER", "APCER", "worst type")
    said = "A score at or above the threshold passes as live. APCER is that of the worst attack type."
    return element("div", element("p", said), table(columns, rows, caption="Rates at thresholds", numbers=5))


def _types(result: LivenessResult) -> Markup:
    point = _first(result)
    if point is None or point.rates is None:
        return element("p", "There is no threshold to state rates at.")
    rows: list[tuple[Child, ...]] = [
        (name(kind), f"{rate.trials:,}", f"{rate.count:,}", percent(rate.value), _interval(rate))
        for kind, rate in sorted(point.rates.apcer.items(), key=lambda item: (-(item[1].value or 0.0), item[0]))
    ]
    live = point.rates.bpcer
    rows.append(("live faces: refused", f"{live.trials:,}", f"{live.count:,}", percent(live.value), _interval(live)))
    return element(
        "div",
        element("p", f"At the threshold {score(point.rates.threshold)}: {point.title}."),
        table(
            ("attack type", "presentations", "errors", "APCER", "95 % interval"),
            rows,
            caption="APCER by attack type",
            numbers=4,
        ),
    )


def _interval(rate: Rate) -> str:
    return bounds(*wilson(rate.count, rate.trials))
