"""The body of a detection report: which faces are found, and what is taken for one?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.evaluate.detection import band
from mien.evaluate.metrics.detection import recall_at_fppi
from mien.evaluate.metrics.intervals import wilson
from mien.evaluate.report.account import detector_card
from mien.evaluate.report.axis import Axis
from mien.evaluate.report.body import Body
from mien.evaluate.report.crops import crop_list
from mien.evaluate.report.figures import figure
from mien.evaluate.report.markup import Child, Markup, element, name
from mien.evaluate.report.parts import cards, section, table
from mien.evaluate.report.plot import Line, plot
from mien.evaluate.report.wording import bounds, count, duration, percent

if TYPE_CHECKING:
    from mien.evaluate.detection import DetectionResult
    from mien.evaluate.metrics.intervals import Rate

__all__ = ["detection_body"]

_POINTS = 1500
_NAMES = ("left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth")


def detection_body(result: DetectionResult) -> Body:
    """The body of the report."""
    shown = [("curves", "Curves", _curves(result)), ("sizes", "By size", _sizes(result))]
    if result.by_attribute:
        shown.append(("attributes", "By attribute", _attributes(result)))
    if result.landmarks is not None:
        shown.append(("landmarks", "Landmarks", _landmarks(result)))
    shown.append(("errors", "Worst errors", _errors(result)))
    pictures = count(result.experiment.pictures, "picture")
    ignored = f" ({result.ignored:,} more are ignored)" if result.ignored else ""
    return Body(
        "Detection",
        f"{count(result.faces, 'face')} in {pictures}{ignored}; {count(result.detections, 'detection')}",
        _headline(result),
        [(anchor, title, section(anchor, title, body)) for anchor, title, body in shown],
        f"detector {result.detector.name}" if result.detector else "detections from a file",
        detector_card(result.detector) if result.detector else None,
    )


def _headline(result: DetectionResult) -> Markup:
    said = (
        f"{percent(result.found.value)} of the faces are found (95 %: {_interval(result.found)}), and "
        f"{percent(result.right.value)} of the detections are faces (95 %: {_interval(result.right)}), all detections "
        "taken."
    )
    rows = [
        ("AP at IoU 0.5", percent(result.ap.value), f"95 %: {bounds(result.ap.low, result.ap.high)}"),
        ("Recall", percent(result.found.value), f"{result.found.count:,} of {result.found.trials:,} faces"),
        ("Precision", percent(result.right.value), f"{result.right.count:,} of {result.right.trials:,} detections"),
    ]
    if result.landmarks is not None:
        faces = count(len(result.landmarks.by_face), "face")
        rows.append(("Landmark error", percent(result.landmarks.mean), f"of the distance of the eyes, {faces}"))
    if result.detecting_seconds is not None:
        each = result.detecting_seconds / max(result.experiment.pictures, 1)
        rows.append(("Time", duration(result.detecting_seconds), f"{each * 1000:.0f} ms a picture, on all cores"))
    return element("div", element("p", said, class_="lead"), cards(rows))


def _curves(result: DetectionResult) -> Markup:
    curve = result.curve
    step = max(1, -(-len(curve.thresholds) // _POINTS))
    at = np.unique(np.concatenate([np.arange(0, len(curve.thresholds), step), np.arange(len(curve.thresholds))[-1:]]))
    recall, precision = curve.recall[at], curve.precision[at]
    axes = Axis("recall", 0.0, 1.0, percent=True), Axis("precision", 0.0, 1.0, percent=True)
    ends = np.concatenate([[0.0], recall]), np.concatenate([precision[:1] if len(at) else [1.0], precision])
    drawing = plot(
        *axes,
        [Line(ends[0], ends[1], "curve")],
        title="Precision against recall",
        description=f"Average precision {percent(result.ap.value)}.",
    )
    charts = [figure(drawing, "Precision and recall", "Upper right is better. A true box counts from an IoU of 0.5.")]
    if len(at) and curve.false[-1] > 0:
        charts.append(_per_picture(result, at))
    return element("div", charts, class_="charts")


def _per_picture(result: DetectionResult, at: np.ndarray) -> Markup:
    curve = result.curve
    wrong = curve.false[at] / curve.images
    least = 1 / curve.images
    axes = (
        Axis("wrong detections a picture", least / 2, max(float(wrong[-1]), least) * 1.5, log=True),
        Axis("recall", 0.0, 1.0, percent=True),
    )
    rows = [f"{percent(recall_at_fppi(curve, fppi).value)} at {fppi:g}" for fppi in (0.1, 1.0)]
    drawing = plot(
        *axes,
        [Line(wrong, curve.recall[at], "curve")],
        title="Recall against wrong detections a picture",
        description=f"Recall: {'; '.join(rows)}.",
    )
    return figure(drawing, "Recall and false alarms", f"Upper left is better. Recall: {'; '.join(rows)} a picture.")


def _sizes(result: DetectionResult) -> Markup:
    rows = [_row(band(least), rate) for least, rate in result.by_height]
    return table(_columns("height in pixels"), rows, caption="Recall by the height of the face", numbers=4)


def _attributes(result: DetectionResult) -> Markup:
    rows = [
        _row(f"{title} {value}", rate) for title, rates in result.by_attribute.items() for value, rate in rates.items()
    ]
    return table(_columns("attribute"), rows, caption="Recall by attribute", numbers=4)


def _columns(first: str) -> tuple[str, ...]:
    return (first, "faces", "found", "recall", "95 % interval")


def _row(title: str, rate: Rate) -> tuple[Child, ...]:
    return (name(title), f"{rate.trials:,}", f"{rate.count:,}", percent(rate.value), _interval(rate))


def _landmarks(result: DetectionResult) -> Markup:
    error = result.landmarks
    assert error is not None
    failures, faces = error.failures(), count(len(error.by_face), "face")
    rows: list[tuple[Child, ...]] = [
        (title, percent(float(value))) for title, value in zip(_NAMES, error.by_point, strict=True)
    ]
    rows.append(("mean of the five", percent(error.mean)))
    return element(
        "div",
        element(
            "p",
            f"Distance from the truth, as a share of the distance of the eyes, over {faces} that were found. "
            f"It exceeds 10 % in {failures.count:,} of them ({percent(failures.value)}).",
        ),
        table(("point", "error"), rows, caption="Error of the landmarks", numbers=1),
    )


def _errors(result: DetectionResult) -> Markup:
    return element(
        "div",
        crop_list(
            "Missed faces, the largest first",
            "True faces without a detection that overlaps them enough.",
            [(crop, f"{crop.value:.0f} pixels high") for crop in result.misses],
        ),
        crop_list(
            "Wrong detections, the surest first",
            "Detections that overlap no true face enough, or repeat one. Look for faces that the truth lacks here.",
            [(crop, f"confidence {crop.value:.3f}") for crop in result.false_alarms],
        ),
    )


def _interval(rate: Rate) -> str:
    return bounds(*wilson(rate.count, rate.trials))
