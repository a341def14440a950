"""The part of a report that says whether it works equally well for everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mien.evaluate.groups_results import shown_point
from mien.evaluate.report.figures import figure, percent_target
from mien.evaluate.report.groups_plot import DotRow, dots
from mien.evaluate.report.markup import Child, Markup, element, joined, name
from mien.evaluate.report.parts import MAX_PAIRS, section, table
from mien.evaluate.report.thumbnails import thumbnail
from mien.evaluate.report.wording import count, percent, score

if TYPE_CHECKING:
    from mien.evaluate.groups_results import AttributeRates, GroupRow, Groups, WorstThreshold
    from mien.evaluate.metrics.fixed_threshold import CountedRate
    from mien.evaluate.results import RateAt
    from mien.evaluate.twins import AlikePeople, TooAlike

__all__ = ["alike_sections", "group_sections"]

_MOST_DOTS: Final = 24


def group_sections(groups: Groups | None) -> list[tuple[str, str, Markup]]:
    """(anchor, title, section) of the rates by group; nothing where none were asked for."""
    if groups is None:
        return []
    point = shown_point(groups)
    if point is None:
        said = "There is too little data to state a threshold, and so no rate of a group."
        return [("groups", "Groups", section("groups", "Groups", element("p", said)))]
    index = groups.overall.index(point)
    false, missed = ("FMR", "FNMR") if groups.verification else ("FPIR", "FNIR")
    alarm = "FAR" if groups.verification else "FPIR"
    lead = (
        f"All groups at the threshold {score(point.threshold)}, which keeps {alarm} {percent_target(point.target)} "
        f"over everybody. Highest {false} first. Where intervals overlap, the groups may not differ at all. "
        "The other stated rates are in report.json."
    )
    parts = [_attribute(attribute, groups, point, index, (false, missed)) for attribute in groups.attributes]
    body = section("groups", "Groups", element("p", lead), _coverage(groups), parts)
    return [("groups", "Groups", body)]


def alike_sections(alike: TooAlike | None) -> list[tuple[str, str, Markup]]:
    """(anchor, title, section) of the people who are too alike; nothing where nobody looked for them."""
    if alike is None:
        return []
    title = "Too alike"
    if alike.threshold is None:
        return [
            ("alike", title, section("alike", title, element("p", f"{alike.reason[:1].upper()}{alike.reason[1:]}.")))
        ]
    of = alike.people * (alike.people - 1) // 2
    said = (
        f"{count(alike.found, 'couple')} of people, of {of:,}, have a pair of pictures at or above the threshold "
        f"{score(alike.threshold)} (stated rate {percent_target(alike.target)}). First those of whom most pairs match, "
        "and of whom there are many. Look for one person under two names before you blame the model."
    )
    shown = [_couple(couple) for couple in alike.couples[:MAX_PAIRS]]
    body = element("ol", shown, class_="pairs") if shown else element("p", "There are none.")
    return [("alike", title, section("alike", "People who are too alike", element("p", said), body))]


def _couple(couple: AlikePeople) -> Markup:
    return element(
        "li",
        element("p", element("strong", name(couple.a)), " and ", element("strong", name(couple.b))),
        element("p", f"matching pairs: {couple.matches:,} of {couple.pairs:,}; the best {score(couple.best.score)}"),
        element("div", thumbnail(couple.best.a), thumbnail(couple.best.b), class_="faces"),
        class_="pair",
    )


def _coverage(groups: Groups) -> Markup | None:
    if groups.coverage is None:
        return None
    covered = groups.coverage
    said: list[Child] = [
        f"{groups.source} speaks of {covered.matched:,} of {covered.matched + covered.unmatched:,} pictures."
    ]
    if covered.unknown_keys:
        examples = [part for key in covered.examples for part in (", ", name(key))][1:]
        said += [f" {count(covered.unknown_keys, 'key')} of it no picture has, such as ", joined(examples), "."]
    return element("p", said, class_="note")


def _attribute(attribute: AttributeRates, groups: Groups, point: RateAt, index: int, names: tuple[str, str]) -> Markup:
    rows = attribute.worst_first(index)
    drawn = [DotRow(row.group.name, (row.at[index].false, row.at[index].missed)) for row in rows[:_MOST_DOTS]]
    told = any(rate.value is not None for row in drawn for rate in row.rates)
    overall = (point.reached, None if point.rate is None else 1 - point.rate)
    labels = (f"{names[0]} at the shared threshold", f"{names[1]} at the shared threshold")
    plot = dots(drawn, labels, overall, title=f"Error rates by {attribute.name}") if told else None
    what = "pictures" if groups.verification else "probes"
    caption = "Lines are 95 % intervals; on the left, a dot at the edge is 0."
    if attribute.unknown:
        caption += f" {attribute.name[:1].upper()}{attribute.name[1:]} is not known of {attribute.unknown:,} {what}."
    return element(
        "div",
        figure(plot, f"By {attribute.name}", caption) if plot else element("h3", f"By {attribute.name}"),
        _table(attribute, groups, rows, index, names),
        _worst(attribute.worst[index], groups, point),
        class_="group",
    )


def _table(
    attribute: AttributeRates, groups: Groups, rows: list[GroupRow], index: int, names: tuple[str, str]
) -> Markup:
    same, other, success = (
        ("genuine", "impostor", "TAR there") if groups.verification else ("known probes", "unknown probes", "DIR there")
    )
    columns = ("group", "people", same, other, names[0], names[1], "own threshold", success)
    shown: list[tuple[Child, ...]] = [
        (
            name(row.group.name),
            "–" if row.people is None else f"{row.people:,}",
            f"{row.genuine:,}",
            f"{row.impostor:,}",
            _rate(row.at[index].false),
            _rate(row.at[index].missed),
            score(row.at[index].own.threshold),
            percent(row.at[index].own.rate),
        )
        for row in rows
    ]
    reasons = {
        f"{row.group.name}: {reason}"
        for row in rows
        for reason in (row.at[index].false.reason, row.at[index].missed.reason)
        if reason
    }
    how = {rate.interval for row in rows for rate in (row.at[index].false, row.at[index].missed) if not rate.reason}
    notes = [f"Intervals: {_together(how)}." if how else "", f"{'; '.join(sorted(reasons)[:8])}." if reasons else ""]
    return joined(
        table(columns, shown, caption=f"Error rates by {attribute.name}", numbers=len(columns) - 1),
        [element("p", note, class_="note") for note in notes if note],
    )


def _together(how: set[str]) -> str:
    """Ways of finding intervals, those that differ in their number of people told once."""
    resampled = any(text.startswith("bootstrap") for text in how)
    rest = sorted(text for text in how if not text.startswith("bootstrap"))
    return "; otherwise ".join([*(["bootstrap over the group's people"] if resampled else []), *rest])


def _rate(rate: CountedRate) -> Markup:
    if rate.value is None:
        return element("span", "insufficient data", class_="sub")
    interval = f"{_digits(rate.low, 2)}–{_digits(rate.high, 2)} %"
    return joined(f"{_digits(rate.value, 3)} % ", element("span", interval, class_="sub"))


def _digits(rate: float, few: int) -> str:
    """In percent, to so many digits or three: groups differ by little, and small rates are the ones that matter."""
    share = rate * 100
    return f"{share:.{3 if share >= 10 else few}g}"


def _worst(worst: WorstThreshold, groups: Groups, point: RateAt) -> Markup:
    alarm, success = ("FAR", "TAR") if groups.verification else ("FPIR", "DIR")
    if worst.threshold is None:
        return element("p", f"No group has enough data to tell a threshold for {alarm} {percent_target(point.target)}.")
    if point.threshold is not None and worst.threshold <= point.threshold:
        return element("p", "No group with enough data needs a higher threshold than everybody together.")
    said = (
        f" needs the highest threshold, {score(worst.threshold)}, to keep {alarm} {percent_target(worst.target)}. With "
        f"it for everybody, {alarm} is {percent(worst.false)} and {success} {percent(worst.success)}, "
        f"instead of {percent(worst.before)}."
    )
    return element("p", element("strong", name(worst.group or "")), said)
