"""The body of an identification report: who is this, if anybody we know?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.evaluate.report.figures import cmc_figure, det_figure, histogram_figure, percent_target, roc_figure
from mien.evaluate.report.groups_report import alike_sections, group_sections
from mien.evaluate.report.markup import Markup, element
from mien.evaluate.report.parts import cards, pair_list, section
from mien.evaluate.report.verification_report import rates_table
from mien.evaluate.report.wording import bounds, count, one_in, percent, score

if TYPE_CHECKING:
    from mien.evaluate.results import IdentificationResult

__all__ = ["identification_headline", "identification_sections", "identification_subtitle"]


def identification_subtitle(result: IdentificationResult) -> str:
    """How much was measured."""
    people = count(result.gallery_size, "person", "people")
    without = f", {result.not_enrolled:,} of them without a usable picture" if result.not_enrolled else ""
    return (
        f"A gallery of {people}{without}; {result.known:,} probes of enrolled people, {result.unknown:,} of strangers"
    )


def identification_headline(result: IdentificationResult) -> Markup:
    """The answer in a sentence, and the numbers."""
    told = [row for row in result.dir_at_fpir if row.rate is not None]
    rows = [
        (f"DIR at FPIR {percent_target(row.target)}", percent(row.rate), f"95 %: {bounds(row.low, row.high)}")
        for row in told[-3:]
    ]
    if result.cmc is not None:
        first = result.cmc.rate(1)
        low, high = first.interval()
        rows.append(("Rank 1, closed set", percent(first.value), f"95 %: {bounds(low, high)}"))
    rows.append(("Gallery", f"{result.gallery_size:,}", "people; FPIR holds for this size only"))
    if not told:
        lead = element(
            "p", "There are too few probes of strangers to state a threshold: see the table below.", class_="lead warn"
        )
    else:
        row = next((r for r in told if r.target == 0.01), told[-1])
        people = count(result.gallery_size, "person", "people")
        lead = element(
            "p",
            f"With {people} enrolled and the threshold {score(row.threshold)}, "
            f"at most {one_in(row.target)} strangers are given a name here, and {percent(row.rate)} of the probes of "
            f"enrolled people are named rightly (95 %: {bounds(row.low, row.high)}). The threshold was chosen on these "
            "very probes: on others, expect a little worse.",
            class_="lead",
        )
    return element("div", lead, cards(rows))


def identification_sections(result: IdentificationResult) -> list[tuple[str, str, Markup]]:
    """(anchor, title, section) of what only identification has."""
    rows = result.dir_at_fpir
    charts: list[Markup] = []
    if result.curve is not None:
        charts.append(det_figure(result.curve, rows, "FPIR", "FNIR"))
        charts.append(roc_figure(result.curve, rows, "FPIR", "DIR at rank 1"))
    if result.histogram is not None:
        charts += [
            histogram_figure(result.histogram, rows, "enrolled, own score", "strangers, best score", "FPIR", log=log)
            for log in (False, True)
        ]
    if result.cmc is not None:
        charts.append(cmc_figure(result.cmc))
    found = []
    if rows:
        found.append(("rates", "Thresholds", rates_table(rows, "FPIR", "DIR")))
    if charts:
        found.append(("curves", "Curves", element("div", charts, class_="charts")))
    found.append(("errors", "Worst errors", _errors(result)))
    sections = [(anchor, title, section(anchor, title, body)) for anchor, title, body in found]
    return [*sections[:-1], *group_sections(result.groups), sections[-1], *alike_sections(result.too_alike)]


def _errors(result: IdentificationResult) -> Markup:
    return element(
        "div",
        pair_list(
            "Strangers, most alike to somebody enrolled",
            "Probes of people who are not enrolled, each beside the enrolled picture that it matched best.",
            result.false_matches,
            none="There are none.",
        ),
        pair_list(
            "Enrolled people, least alike to their own pictures",
            "Probes of enrolled people, each beside the best of their own enrolled pictures.",
            result.false_non_matches,
            none="There are none.",
        ),
    )
