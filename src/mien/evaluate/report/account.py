"""How it was measured: what was left out and why, the rules, the model's card, and how to do it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mien.evaluate.report.markup import Child, Markup, element, joined, name
from mien.evaluate.report.parts import facts, section, table
from mien.evaluate.report.wording import count, duration
from mien.evaluate.results import Experiment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mien.evaluate.detection import DetectorFacts
    from mien.evaluate.measured import Measured
    from mien.evaluate.results import ModelFacts

__all__ = ["detector_card", "left_out", "method", "model_card"]

_EXAMPLES: Final = 5
_GROUPS: Final = 30
_LONGEST: Final = 200  # characters of a reason by which things are grouped


def left_out(experiment: Experiment | Measured) -> Markup:
    """What was excluded by the protocol, and the pictures that gave nothing to measure, grouped by reason."""
    told = _embedded(experiment) if isinstance(experiment, Experiment) else _read(experiment)
    happened = "no embedding" if isinstance(experiment, Experiment) else "cannot be read"
    groups = [
        *_groups(happened, ((f.reason, f.name) for f in experiment.failures)),
        *_groups("left out", ((e.why, e.what) for e in experiment.exclusions)),
    ]
    shown: list[tuple[Child, ...]] = [
        (reason, f"{total:,}", kind, element("span", names, class_="long")) for total, kind, reason, names in groups
    ]
    return section(
        "left-out",
        "What was left out",
        element("p", told, experiment.failure_rule),
        element("p", _in_full(experiment)) if not experiment.exclusions else None,
        table(("why", "how many", "what happened", "such as"), shown, caption="What was left out and why", numbers=1)
        if shown
        else None,
    )


def _in_full(experiment: Experiment | Measured) -> str:
    if experiment.failure_rule:
        return "The protocol's own lists were used in full."
    return "Every row of the table was used."


def _read(measured: Measured) -> str:
    if not measured.failure_rule:  # a table of numbers: no picture was looked at
        return ""
    broken = len(measured.failures)
    if not broken:
        return f"All {count(measured.pictures, 'picture')} could be read. "
    return f"{count(broken, 'picture')} of {measured.pictures:,} could not be read. "


def _embedded(experiment: Experiment) -> str:
    broken = [f for f in experiment.failures if f.unreadable]
    faceless = [f for f in experiment.failures if not f.unreadable]
    share = len(experiment.failures) / experiment.pictures if experiment.pictures else 0.0
    if not experiment.failures:
        return f"All {count(experiment.pictures, 'picture')} gave an embedding. "
    return (
        f"{count(len(experiment.failures), 'picture')} of {experiment.pictures:,} ({share * 100:.2f} %) gave no "
        f"embedding: {len(faceless):,} without a face, {len(broken):,} unreadable. "
    )


def _groups(kind: str, found: Iterable[tuple[str, str]]) -> list[tuple[int, str, str, Markup]]:
    """(how many, kind, reason, examples), the most frequent reason first; the rarest ones together."""
    grouped: dict[str, list[str]] = {}
    totals: dict[str, int] = {}
    for why, what in found:
        # A reason that repeats the name of what it is about would make a group of each.
        reason = (why.replace(what, "…") if what else why)[:_LONGEST]
        totals[reason] = totals.get(reason, 0) + 1
        names = grouped.setdefault(reason, [])
        if len(names) < _EXAMPLES:
            names.append(what)
    order = sorted(totals, key=lambda reason: (-totals[reason], reason))
    rows = [(totals[reason], kind, reason, _examples(grouped[reason], totals[reason])) for reason in order[:_GROUPS]]
    rest = order[_GROUPS:]
    if rest:
        names = [names for reason in rest for names in grouped[reason]][:_EXAMPLES]
        total = sum(totals[reason] for reason in rest)
        rows.append((total, kind, f"{count(len(rest), 'other reason')}", _examples(names, total)))
    return rows


def _examples(names: list[str], total: int) -> Markup:
    parts: list[Child] = []
    for i, one in enumerate(names):
        parts += [", " if i else None, name(one)]
    return joined(parts, " …" if total > len(names) else None)


def method(experiment: Experiment | Measured) -> Markup:
    """The protocol's rules, and what it takes to repeat the measurement."""
    rows: list[tuple[str, Child]] = [
        ("protocol", experiment.protocol),
        ("rules", experiment.rules),
        *([("failures", experiment.failure_rule)] if experiment.failure_rule else []),
        ("seed", str(experiment.seed)),
        ("date", experiment.date),
        ("time taken", duration(experiment.seconds)),
        ("pictures", f"{experiment.pictures:,}{_cached(experiment)}"),
    ]
    return section(
        "method",
        "How it was measured",
        facts(rows, caption="How it was measured"),
        element("h3", "Command line") if experiment.command else None,
        element("pre", element("code", experiment.command)) if experiment.command else None,
    )


def _cached(experiment: Experiment | Measured) -> str:
    return (
        f", of which {experiment.cached:,} embeddings came from the cache" if isinstance(experiment, Experiment) else ""
    )


def model_card(model: ModelFacts) -> Markup:
    """The model that was measured."""
    rows: list[tuple[str, Child]] = [
        ("model", model.name),
        ("preset", model.preset),
        ("sha256", element("code", model.sha256)),
        ("embedding", f"{model.dimension}-d, compared by cosine"),
        ("licence", model.licence),
        ("detector", model.detector),
        ("detector's licence", model.detector_licence),
        *([("settings", model.settings)] if model.settings else []),
        *model.facts,
    ]
    return section("model", "Model card", facts(rows, caption="Model card"))


def detector_card(detector: DetectorFacts) -> Markup:
    """The detector that was measured."""
    rows: list[tuple[str, Child]] = [
        ("detector", detector.name),
        ("sha256", element("code", detector.sha256)),
        ("licence", detector.licence),
        *([("settings", detector.settings)] if detector.settings else []),
        *detector.facts,
    ]
    return section("model", "Detector", facts(rows, caption="Detector"))
