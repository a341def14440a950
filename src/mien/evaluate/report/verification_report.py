"""The body of a verification report: is this the same person?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.evaluate.report.figures import det_figure, histogram_figure, percent_target, roc_figure
from mien.evaluate.report.groups_report import alike_sections, group_sections
from mien.evaluate.report.markup import Child, Markup, element
from mien.evaluate.report.parts import cards, pair_list, section, table
from mien.evaluate.report.wording import bounds, count, one_in, percent, score

if TYPE_CHECKING:
    from mien.evaluate.results import RateAt, VerificationResult

__all__ = ["verification_headline", "verification_sections", "verification_subtitle"]


def verification_subtitle(result: VerificationResult) -> str:
    """How much was measured."""
    genuine, impostor = len(result.scores.genuine), len(result.scores.impostor)
    pairs = f"{count(genuine, 'pair')} of one person and {impostor:,} of two"
    return f"{pairs}, from {count(result.experiment.pictures, 'picture')}"


def verification_headline(result: VerificationResult) -> Markup:
    """The answer in a sentence, and the numbers."""
    rows: list[tuple[str, str, str]] = []
    accuracy = result.accuracy
    if accuracy.found is not None:
        if accuracy.standard_error is not None:
            below = f"± {accuracy.standard_error * 100:.2f} standard error, {len(accuracy.found.folds)} folds"
        else:
            below = f"95 %: {bounds(accuracy.low, accuracy.high)}; one fold, see Accuracy"
        rows.append(("Accuracy", percent(accuracy.found.mean), below))
    eer_below = f"at a threshold of {score(result.eer.threshold)}"
    if result.eer_interval is not None:
        eer_below = f"95 %: {bounds(*result.eer_interval[:2])}"
    rows.append(("Equal error rate", percent(result.eer.rate), eer_below))
    told = [row for row in result.tar_at_far if row.rate is not None]
    rows += [
        (f"TAR at FAR {percent_target(row.target)}", percent(row.rate), f"95 %: {bounds(row.low, row.high)}")
        for row in told[-3:]
    ]
    spread = f"d′ {result.d_prime:.3f}" if result.d_prime is not None else "area under the ROC"
    rows.append(("AUC", f"{result.auc:.5f}", spread))
    return element("div", _answer(told), cards(rows))


def _answer(rows: list[RateAt]) -> Markup:
    wanted = [row for row in rows if row.target <= 1e-3] or rows
    if not wanted:
        return element(
            "p", "There are too few pairs of two people to state a threshold: see the table below.", class_="lead warn"
        )
    row = max(wanted, key=lambda r: r.target) if wanted is not rows else min(rows, key=lambda r: r.target)
    said = (
        f"Here the threshold {score(row.threshold)} lets at most {one_in(row.target)} pairs of two people pass for one "
        f"person, and recognises {percent(row.rate)} of the pairs of one person (95 %: {bounds(row.low, row.high)}). "
        "It was chosen on these very pairs: on others, expect a little worse."
    )
    return element("p", said, class_="lead")


def verification_sections(result: VerificationResult) -> list[tuple[str, str, Markup]]:
    """(anchor, title, section) of what only verification has."""
    charts = element(
        "div",
        det_figure(result.curve, result.tar_at_far, "false match rate", "false non-match rate", eer=result.eer),
        roc_figure(result.curve, result.tar_at_far, "false acceptance rate", "true acceptance rate"),
        *(
            histogram_figure(result.histogram, result.tar_at_far, "one person", "two people", "FAR", log=log)
            for log in (False, True)
        ),
        class_="charts",
    )
    found = [
        ("rates", "Thresholds", rates_table(result.tar_at_far, "FAR", "TAR")),
        ("curves", "Curves", charts),
        ("errors", "Worst errors", _errors(result)),
    ]
    if result.accuracy.found is not None and len(result.accuracy.found.folds) > 1:
        found.append(("folds", "Folds", _folds(result)))
    elif result.accuracy.rule:
        found.append(
            ("folds", "Accuracy", element("p", f"{result.accuracy.rule[:1].upper()}{result.accuracy.rule[1:]}."))
        )
    sections = [(anchor, title, section(anchor, title, body)) for anchor, title, body in found]
    return [
        *sections[:2],
        *group_sections(result.groups),
        sections[2],
        *alike_sections(result.too_alike),
        *sections[3:],
    ]


def rates_table(rows: tuple[RateAt, ...], alarm: str, success: str) -> Markup:
    """Success at stated rates of false alarms, with thresholds; what cannot be told says why."""
    shown: list[tuple[Child, ...]] = [
        (
            percent_target(row.target),
            percent(row.rate),
            bounds(row.low, row.high),
            score(row.threshold),
            percent(row.reached),
            row.reason or row.interval,
        )
        for row in rows
    ]
    columns = (f"{alarm} at most", success, "95 % interval", "threshold", f"measured {alarm}", "how")
    return element(
        "div",
        element(
            "p",
            f"Each threshold is the lowest at which the measured {alarm} does not exceed the stated one. "
            "A score at or above it is accepted.",
        ),
        table(columns, shown, caption=f"{success} at stated {alarm}", numbers=4),
    )


def _errors(result: VerificationResult) -> Markup:
    return element(
        "div",
        pair_list(
            "Two people, most alike",
            "Pairs of two people with the highest scores: the first to be false matches. Look for wrong labels here.",
            result.false_matches,
            none="There are none.",
        ),
        pair_list(
            "One person, least alike",
            "Pairs of one person with the lowest scores: the first to be false non-matches.",
            result.false_non_matches,
            none="There are none.",
        ),
    )


def _folds(result: VerificationResult) -> Markup:
    folds = result.accuracy.found.folds if result.accuracy.found else ()
    rows = [(str(f.fold), f"{f.pairs:,}", percent(f.accuracy), score(f.threshold)) for f in folds]
    return element(
        "div",
        element("p", result.accuracy.rule),
        table(("fold", "pairs", "accuracy", "threshold"), rows, caption="Accuracy of each fold", numbers=3),
    )
