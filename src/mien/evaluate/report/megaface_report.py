"""The body of a MegaFace report: is a person still found among a million strangers?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.evaluate.report.account import model_card
from mien.evaluate.report.axis import Axis
from mien.evaluate.report.body import Body
from mien.evaluate.report.figures import figure, percent_target, round_floor
from mien.evaluate.report.markup import Markup, element
from mien.evaluate.report.parts import cards, section, table
from mien.evaluate.report.plot import Line, Mark, plot
from mien.evaluate.report.verification_report import rates_table
from mien.evaluate.report.wording import bounds, count, of_model, percent

if TYPE_CHECKING:
    from mien.evaluate.megaface import MegafaceResult

__all__ = ["megaface_body"]


def megaface_body(result: MegafaceResult) -> Body:
    """The body of the report."""
    model = result.experiment.model
    shown = [
        ("ranks", "Rank 1", _ranks(result)),
        ("rates", "Verification", rates_table(result.tar_at_far, "FAR", "TAR")),
    ]
    people = count(result.people, "person", "people")
    return Body(
        "MegaFace",
        f"{count(result.probes, 'probe')} of {people} among {count(result.distractors, 'distractor')}",
        _headline(result),
        [(anchor, title, section(anchor, title, body)) for anchor, title, body in shown],
        of_model(model),
        model_card(model),
    )


def _headline(result: MegafaceResult) -> Markup:
    last = result.ranks[-1]
    said = (
        f"Among {count(last.searched, 'distractor')}, the picture of the same person comes first in "
        f"{percent(last.rate)} of {result.pairs:,} searches (95 %: {bounds(last.low, last.high)})."
    )
    rows = [
        (f"Rank 1, {row.distractors:,}", percent(row.rate), f"95 %: {bounds(row.low, row.high)}")
        for row in result.ranks[-3:]
    ]
    rows += [
        (f"TAR at FAR {percent_target(row.target)}", percent(row.rate), f"95 %: {bounds(row.low, row.high)}")
        for row in result.tar_at_far
        if row.rate is not None
    ][-2:]
    return element("div", element("p", said, class_="lead"), cards(rows))


def _ranks(result: MegafaceResult) -> Markup:
    sizes = np.array([row.distractors for row in result.ranks], np.float64)
    rates = np.array([row.rate for row in result.ranks])
    across = Axis("distractors", float(sizes[0]) / 2, float(sizes[-1]) * 2, log=True)
    up = Axis("rank 1", round_floor(min(row.low for row in result.ranks)), 1.0, percent=True)
    marks = [
        Mark(row.distractors, row.rate, f"{row.distractors:,}: {percent(row.rate)}", row.low, row.high)
        for row in result.ranks
    ]
    drawing = plot(
        across,
        up,
        [Line(sizes, rates, "curve"), *marks],
        title="Rank 1 against the number of distractors",
        description=f"{percent(float(rates[0]))} among {sizes[0]:,.0f}, {percent(float(rates[-1]))} among the last.",
    )
    chart = figure(drawing, "Rank 1 among distractors", "Higher is better; bars: 95 % intervals.")
    rows = [
        (f"{r.distractors:,}", f"{r.searched:,}", percent(r.rate), bounds(r.low, r.high), r.interval)
        for r in result.ranks
    ]
    columns = ("distractors", "with a face", "rank 1", "95 % interval", "how")
    return element("div", element("div", chart, class_="charts"), table(columns, rows, caption="Rank 1", numbers=3))
