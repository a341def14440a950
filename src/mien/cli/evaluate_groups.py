"""The options of `mien evaluate` that ask for rates by group, and what they show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.output import counted, print_line, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.evaluate.groups_results import AttributeRates, Groups
    from mien.evaluate.groups_run import GroupRequest
    from mien.evaluate.metrics.fixed_threshold import CountedRate
    from mien.evaluate.results import IdentificationResult, VerificationResult
    from mien.evaluate.twins import TooAlike

__all__ = ["Bins", "Gaps", "GroupsFile", "MeasuredToo", "group_request", "show_groups"]

GroupsFile = Annotated[
    Path | None,
    typer.Option("--groups", readable=False, help="Rates by group: a CSV with a column image or subject."),
]
Bins = Annotated[
    list[str] | None, typer.Option("--bin", help="Ranges of a number in --groups: age:0-17,18-39,40+ (repeatable).")
]
Gaps = Annotated[
    list[str] | None, typer.Option("--gap", help="Groups by the difference of two sides: age:0-5,5-20,20+.")
]
MeasuredToo = Annotated[
    str | None, typer.Option("--measure", help="Groups measured from the pictures: some of colour,size,turn.")
]

_SHOWN = 5  # couples on a terminal


def group_request(
    file: Path | None, bins: Sequence[str] | None, gaps: Sequence[str] | None, measure: str | None
) -> GroupRequest | None:
    """What the options ask for; None where they ask for nothing.

    Raises:
        InputError: the file or the ranges are not what they have to be.
    """
    if file is None and not bins and not gaps and measure is None:
        return None
    from mien.evaluate.groups_csv import read_attributes
    from mien.evaluate.groups_measured import check_measured
    from mien.evaluate.groups_ranges import parse_ranges
    from mien.evaluate.groups_run import GroupRequest

    measured = [] if measure is None else [name.strip() for name in measure.split(",")]
    check_measured(measured)
    return GroupRequest(
        None if file is None else read_attributes(file),
        tuple(parse_ranges("--bin", text) for text in bins or ()),
        tuple(parse_ranges("--gap", text) for text in gaps or ()),
        tuple(measured),
    )


def show_groups(result: VerificationResult | IdentificationResult) -> None:
    """Print the rates by group and the people who are too alike, where the result has them."""
    if result.groups is not None:
        for attribute in result.groups.attributes:
            _show(result.groups, attribute)
    if result.too_alike is not None and result.too_alike.couples:
        _show_alike(result.too_alike)


def _show(groups: Groups, attribute: AttributeRates) -> None:
    from mien.evaluate.groups_results import shown_point
    from mien.evaluate.results import rate_key

    point = shown_point(groups)
    if point is None:
        print_line(f"By {attribute.name}: too little data to state a threshold")
        print_line()
        return
    index, alarm = groups.overall.index(point), "FAR" if groups.verification else "FPIR"
    print_line(
        f"By {attribute.name}, at the threshold {point.threshold:.4f} of {alarm} {rate_key(point.target)}:",
        style="bold",
    )
    false, missed = ("FMR", "FNMR") if groups.verification else ("FPIR", "FNIR")
    header = ["", "genuine", "impostor", false, "95 % ", missed, "95 %", "own threshold"]
    if not groups.verification:
        header[1:3] = ["known", "unknown"]
    rows = []
    for row in attribute.worst_first(index):
        one = row.at[index]
        own = None if one.own.threshold is None else f"{one.own.threshold:.4f}"
        rows.append(
            [row.group.name, f"{row.genuine:,}", f"{row.impostor:,}", *_rate(one.false), *_rate(one.missed), own]
        )
    print_table(header, rows, right=[title for title in header if title])
    worst = attribute.worst[index]
    if worst.threshold is not None and point.threshold is not None and worst.threshold <= point.threshold:
        print_line("no group with enough data needs a higher threshold than everybody together")
    elif worst.threshold is not None and worst.success is not None and worst.before is not None:
        success = "TAR" if groups.verification else "DIR"
        print_line(
            f"{worst.group} needs the highest threshold, {worst.threshold:.4f}; with it for everybody "
            f"{success} is {worst.success:.4f} instead of {worst.before:.4f}"
        )
    print_line()


def _rate(rate: CountedRate) -> tuple[str, str | None]:
    if rate.value is None:
        return "too few", None
    return f"{100 * rate.value:.3g} %", f"{100 * rate.low:.2g} - {100 * rate.high:.2g} %"


def _show_alike(alike: TooAlike) -> None:
    print_line(f"Too alike at the threshold {alike.threshold:.4f}: {counted(alike.found, 'couple')}", style="bold")
    rows = [
        (couple.a, couple.b, f"{couple.matches} of {couple.pairs}", f"{couple.best.score:.4f}")
        for couple in alike.couples[:_SHOWN]
    ]
    print_table(("", "", "pairs that match", "best"), rows, right=("pairs that match", "best"))
    if alike.found > _SHOWN:
        print_line(f"... and {alike.found - _SHOWN:,} more; --json lists the first {len(alike.couples)}")
    print_line()
