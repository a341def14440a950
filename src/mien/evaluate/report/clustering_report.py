"""The body of a clustering report: are the faces of one person together, and of no one else?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mien.evaluate.clustering import PARTS
from mien.evaluate.report.account import model_card
from mien.evaluate.report.body import Body
from mien.evaluate.report.markup import Child, Markup, element, name
from mien.evaluate.report.parts import cards, pair_list, section, table
from mien.evaluate.report.wording import bounds, count, of_model, percent, score
from mien.evaluate.results import Experiment

if TYPE_CHECKING:
    from mien.evaluate.clustering import ClusterResult, Kind

__all__ = ["clustering_body"]


def clustering_body(result: ClusterResult) -> Body:
    """The body of the report."""
    found = result.agreement
    faces, people = count(found.faces, "face"), count(found.subjects, "person", "people")
    model = result.experiment.model if isinstance(result.experiment, Experiment) else None
    shown = [("agreement", "Agreement", _agreement(result)), ("worst", "Worst", _worst(result))]
    return Body(
        "Clustering",
        f"{faces} of {people} in {count(found.clusters, 'cluster')}, {result.alone:,} of them with one face",
        _headline(result),
        [(anchor, title, section(anchor, title, body)) for anchor, title, body in shown],
        of_model(model) if model else "",
        model_card(model) if model else None,
    )


def _headline(result: ClusterResult) -> Markup:
    bcubed = result.agreement.bcubed
    said = (
        f"Of the faces that share a face's cluster, {percent(bcubed.precision)} are of the same person on average, and "
        f"{percent(bcubed.recall)} of a person's faces are there (each face itself included). "
        f"{count(result.split_people, 'person is', 'people are')} split, and "
        f"{count(result.merged_clusters, 'cluster holds', 'clusters hold')} more than one person."
    )
    if result.method:
        said += f" Clustered by {result.method}, at {score(result.threshold)}: a baseline, no more."
    rows = [
        ("B-cubed F", percent(bcubed.f), f"95 %: {bounds(*result.bounds('bcubed', 'f'))}"),
        ("Pairwise F", percent(result.agreement.pairwise.f), f"95 %: {bounds(*result.bounds('pairwise', 'f'))}"),
        ("Clusters", f"{result.agreement.clusters:,}", f"of {count(result.agreement.subjects, 'person', 'people')}"),
        ("Split people", f"{result.split_people:,}", "in more than one cluster"),
        ("Mixed clusters", f"{result.merged_clusters:,}", "of more than one person"),
    ]
    return element("div", element("p", said, class_="lead"), cards(rows))


def _agreement(result: ClusterResult) -> Markup:
    rows: list[tuple[Child, ...]] = []
    kinds: tuple[tuple[str, Kind], ...] = (("B-cubed, by face", "bcubed"), ("pairwise, by pair of faces", "pairwise"))
    for title, kind in kinds:
        numbers: Any = getattr(result.agreement, kind)
        for part in PARTS:
            shown = "F" if part == "f" else part
            rows.append((f"{title}: {shown}", percent(getattr(numbers, part)), bounds(*result.bounds(kind, part))))
    how = "One person cannot be resampled, so there are no intervals."
    if result.intervals is not None:
        how = (
            f"Intervals: bootstrap over {result.agreement.subjects:,} people, {result.intervals.replicates:,} "
            "replicates; the clustering itself is not repeated. A number that is the same in every replicate has none."
        )
    return element(
        "div",
        table(("", "value", "95 % interval"), rows, caption="Agreement with the people", numbers=2),
        element("p", how, class_="note"),
    )


def _worst(result: ClusterResult) -> Markup:
    split: list[tuple[Child, ...]] = [
        (name(r.person), f"{r.faces:,}", f"{r.clusters:,}", f"{r.largest:,}", f"{r.lost_pairs:,}") for r in result.split
    ]
    merged: list[tuple[Child, ...]] = [
        (name(r.cluster), f"{r.faces:,}", f"{r.people:,}", f"{r.largest:,}", f"{r.wrong_pairs:,}", name(r.most))
        for r in result.merged
    ]
    columns = ("person", "faces", "clusters", "in the largest", "pairs parted")
    mixed = ("cluster", "faces", "people", "of one of them at most", "pairs wrongly together", "of whom most are")
    return element(
        "div",
        element("h3", "People who are split"),
        table(columns, split, caption="People who are split", numbers=4) if split else element("p", "There are none."),
        element("h3", "Clusters of several people"),
        table(mixed, merged, caption="Clusters of several people", numbers=4)
        if merged
        else element("p", "There are none."),
        pair_list(
            "Parted",
            "A picture of the largest part of a person beside the most alike one of another part, worst person first.",
            result.split_pairs,
            none="There are none.",
        )
        if result.split_pairs
        else None,
        pair_list(
            "Wrongly together",
            "Of a mixed cluster, a picture of the person it holds most of beside the most alike one of another person.",
            result.merged_pairs,
            none="There are none.",
        )
        if result.merged_pairs
        else None,
    )
