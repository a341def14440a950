"""What `mien evaluate` prints for people: clusterings, detectors, liveness and MegaFace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mien.cli.output import counted, print_line, print_table, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.evaluate.clustering import ClusterResult, Kind
    from mien.evaluate.detection import DetectionResult
    from mien.evaluate.liveness import LivenessResult
    from mien.evaluate.measured import Measured
    from mien.evaluate.megaface import MegafaceResult
    from mien.evaluate.metrics.intervals import Rate
    from mien.evaluate.results import Experiment

__all__ = ["interval", "show_clustering", "show_detection", "show_liveness", "show_megaface"]

_SHOWN = 5  # rows of the worst, and exclusions


def interval(low: float | None, high: float | None) -> str | None:
    """A 95 % interval; None where there is none."""
    return None if low is None or high is None else f"{low:.4f} to {high:.4f}"


def show_clustering(result: ClusterResult) -> None:
    """Print a clustering's numbers and where it fails worst."""
    from mien.evaluate.clustering import PARTS

    found = result.agreement
    print_line(result.experiment.protocol, style="bold")
    print_line(
        f"{found.faces} faces of {found.subjects} people in {found.clusters} clusters ({result.alone} of one face)"
    )
    if result.method:
        print_line(f"Clustered by {result.method}: {result.threshold:.4f}")
    print_line()
    rows: list[Sequence[object]] = []
    kinds: tuple[tuple[str, Kind], ...] = (("B-cubed", "bcubed"), ("pairwise", "pairwise"))
    for title, kind in kinds:
        numbers: Any = getattr(found, kind)
        for part in PARTS:
            shown = "F" if part == "f" else part
            spread = interval(*result.bounds(kind, part))
            rows.append((f"{title} {shown}", f"{getattr(numbers, part):.4f}", spread))
    print_table(("", "value", "95 % interval"), rows, right=("value",))
    print_line()
    if result.split:
        print_line(f"{counted(result.split_people, 'person is', 'people are')} split, most of all:")
        split = [(f"  {r.person}", r.faces, r.clusters, r.lost_pairs) for r in result.split[:_SHOWN]]
        print_table(
            ("  person", "faces", "clusters", "pairs parted"), split, right=("faces", "clusters", "pairs parted")
        )
    if result.merged:
        print_line(f"{counted(result.merged_clusters, 'cluster holds', 'clusters hold')} several people, most of all:")
        merged = [(f"  {r.cluster}", r.faces, r.people, r.most, r.wrong_pairs) for r in result.merged[:_SHOWN]]
        header = ("  cluster", "faces", "people", "most are of", "pairs wrongly together")
        print_table(header, merged, right=("faces", "people", "pairs wrongly together"))
    if result.intervals is not None:
        print_line(f"Intervals: bootstrap over {found.subjects} people, {result.intervals.replicates} replicates.")
    _foot(result.experiment)


def show_detection(result: DetectionResult) -> None:
    """Print a detector's numbers."""
    from mien.evaluate.detection import band

    print_line(result.experiment.protocol, style="bold")
    if result.detector is not None:
        settings = f" ({result.detector.settings})" if result.detector.settings else ""
        print_line(f"detector {result.detector.name}{settings}, licence {result.detector.licence}")
    ignored = f" and {result.ignored} to ignore" if result.ignored else ""
    print_line(
        f"{result.faces} faces{ignored} in {result.experiment.pictures} pictures; {result.detections} detections"
    )
    print_line()
    rows: list[Sequence[object]] = [
        ("AP at IoU 0.5", f"{result.ap.value:.4f}", interval(result.ap.low, result.ap.high))
    ]
    rows += [_rate("recall", result.found), _rate("precision", result.right)]
    rows += [_rate(f"recall, height {band(least)}", rate) for least, rate in result.by_height]
    for name, rates in result.by_attribute.items():
        rows += [_rate(f"recall, {name} {value}", rate) for value, rate in rates.items()]
    if result.landmarks is not None:
        faces = f"{len(result.landmarks.by_face)} faces"
        rows.append(("landmark error, by the distance of the eyes", f"{result.landmarks.mean:.4f}", faces))
    print_table(("", "value", "95 % interval"), rows, right=("value",))
    print_line()
    print_line(f"Intervals: Wilson's, which takes faces for independent; AP: {result.ap_interval}.")
    if result.detecting_seconds is not None:
        each = result.detecting_seconds / max(result.experiment.pictures, 1)
        print_line(f"{result.detecting_seconds:.1f} s for detection, {each * 1000:.0f} ms a picture, loading included")
    _foot(result.experiment)


def show_liveness(result: LivenessResult) -> None:
    """Print the rates of presentation attack detection."""
    print_line(result.experiment.protocol, style="bold")
    kinds = ", ".join(f"{name} {n}" for name, n in result.attacks.items())
    print_line(f"{result.live} live faces; attacks: {kinds}")
    print_line(f"EER {result.eer:.4f}, AUC {result.auc:.5f} (all attacks together)")
    print_line()
    for point in result.points:
        if point.rates is None:
            print_line(f"{point.title}: {point.reason}", style="bold")
            continue
        print_line(f"{point.title}: threshold {point.rates.threshold:.4f}", style="bold")
        acer = ("  ACER", f"{point.rates.acer:.4f}", interval(point.acer_low, point.acer_high))
        types = [_rate(f"  APCER, {name}", rate) for name, rate in point.rates.apcer.items()]
        print_table(
            ("", "value", "95 % interval"), [acer, _rate("  BPCER", point.rates.bpcer), *types], right=("value",)
        )
    print_line()
    if result.warning:
        say(result.warning, label="note:")
    _foot(result.experiment)


def show_megaface(result: MegafaceResult) -> None:
    """Print ranks and rates; what was measured is printed around it."""
    print_line(f"{result.probes} probes of {result.people} people: {result.pairs} pairs of a probe and its mate")
    print_line(f"{result.distractors} distractors, {result.impostors} comparisons with them")
    print_line()
    rows: list[Sequence[object]] = [
        (f"rank 1 among {row.distractors}", f"{row.rate:.4f}", interval(row.low, row.high), None)
        for row in result.ranks
    ]
    for row in result.tar_at_far:
        title = f"TAR at FAR {row.target:g}"
        if row.rate is None:
            rows.append((title, None, row.reason, None))
        else:
            rows.append((title, f"{row.rate:.4f}", interval(row.low, row.high), f"{row.threshold:.4f}"))
    print_table(("", "value", "95 % interval", "threshold"), rows, right=("value",))
    print_line()


def _rate(title: str, rate: Rate) -> Sequence[object]:
    from mien.evaluate.metrics.intervals import wilson

    if rate.value is None:
        return (title, None, None)
    return (title, f"{rate.value:.4f}", interval(*wilson(rate.count, rate.trials)))


def _foot(experiment: Experiment | Measured) -> None:
    print_line(f"Rules: {experiment.rules}")
    if experiment.failure_rule:
        print_line(f"Failures: {experiment.failure_rule}")
    for excluded in experiment.exclusions[:_SHOWN]:
        print_line(f"Left out: {excluded.what}: {excluded.why}")
    if len(experiment.exclusions) > _SHOWN:
        print_line(f"Left out: {len(experiment.exclusions) - _SHOWN} more (all of them in --json)")
    print_line(f"{experiment.seconds:.1f} s")
