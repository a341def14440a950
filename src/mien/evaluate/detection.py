"""Detectors, measured: boxes and landmarks against the truth, and where they fail worst."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.evaluate.metrics.detection import (
    Annotated,
    Detected,
    DetectionCurve,
    average_precision,
    detection_curve,
    match_boxes,
    recall_at_fppi,
)
from mien.evaluate.metrics.detection_intervals import bootstrap_average_precision
from mien.evaluate.metrics.intervals import Rate, wilson
from mien.evaluate.metrics.landmarks import LandmarkError, landmark_error
from mien.evaluate.results import rate_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mien.evaluate.measured import Call, Measured
    from mien.evaluate.metrics.bootstrap import Interval
    from mien.evaluate.protocols.sets import DetectionSet
    from mien.evaluate.results import Failure
    from mien.types import Floats

__all__ = ["Crop", "DetectionResult", "DetectorFacts", "FoundFaces", "band", "detection_result"]

OVERLAP: Final = 0.5
WORST: Final = 18
HEIGHTS: Final = (0, 16, 32, 64, 128, 256)
"""Where the bands of face heights begin, in pixels."""

FPPIS: Final = (1.0, 0.1)
"""Wrong detections a picture at which recall is reported."""

_WEIGHTS: Final = 60_000_000  # drawn for the interval: about a second
_POINTS: Final = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
_FAR: Final = 0.1  # an error above it is a failure of the landmarks

FAILURE_RULE: Final = "A picture that cannot be read has no detections: its faces are missed."


@dataclass(frozen=True, slots=True, eq=False)
class FoundFaces:
    """The detections of one picture: float32 boxes (M, 4), scores (M,), and landmarks (M, 5, 2) or None."""

    boxes: Floats
    scores: Floats
    landmarks: Floats | None = None

    @classmethod
    def none(cls) -> FoundFaces:
        """No detection."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True)
class DetectorFacts:
    """What was measured: facts of the detector's card.

    Attributes:
        name, sha256, licence: of the detector.
        settings: what else decides its boxes, in words; empty for the defaults.
        facts: further lines of the card for people: (title, text).
    """

    name: str
    sha256: str
    licence: str
    settings: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    def record(self) -> dict[str, Any]:
        """The detector in JSON."""
        return {key: getattr(self, key) for key in ("name", "sha256", "licence", "settings")}


@dataclass(frozen=True, slots=True)
class Crop:
    """A place in a picture that a report shows: its box, and what there is to say (a height, or a confidence)."""

    name: str
    source: str | memoryview
    box: tuple[float, float, float, float]
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class DetectionResult:
    """What `evaluate detect` found.

    Attributes:
        experiment: what was measured, and how.
        detector: its facts; None for detections from a file.
        curve: counts at falling confidence.
        ap: average precision at IoU 0.5, with its interval over pictures (no replicates: see `ap_interval`).
        faces, ignored: true faces that count, and that do not.
        detections: all detections, those of ignored faces included.
        right: right detections, of those that count (precision, with the threshold of the detector).
        found: faces that were found (recall, likewise).
        by_height: recall by the height of the face: (at least so many pixels, rate).
        by_attribute: recall by the protocol's attributes: name -> value -> rate.
        landmarks: error of the landmarks of found faces by the distance of the eyes; None where there are none.
        misses: missed faces, the largest first; with their heights.
        false_alarms: wrong detections, the surest first; with their confidences.
        detecting_seconds: time that detection alone took; None for a file.
    """

    experiment: Measured
    detector: DetectorFacts | None
    curve: DetectionCurve
    ap: Interval
    faces: int
    ignored: int
    detections: int
    right: Rate
    found: Rate
    by_height: tuple[tuple[int, Rate], ...]
    by_attribute: Mapping[str, Mapping[str, Rate]]
    landmarks: LandmarkError | None
    misses: tuple[Crop, ...] = field(default=())
    false_alarms: tuple[Crop, ...] = field(default=())
    detecting_seconds: float | None = None

    @property
    def ap_interval(self) -> str:
        """How the interval of AP was found."""
        if not self.ap.replicates:
            return "Wilson's of the recall: where nothing went wrong, or all did, it is the same in every replicate"
        return f"bootstrap over {self.experiment.pictures} pictures, {self.ap.replicates} replicates"

    def record(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            **self.experiment.record("detection"),
            "detector": self.detector.record() if self.detector else None,
            "faces": self.faces,
            "ignored": self.ignored,
            "detections": self.detections,
            "ap": {
                "value": self.ap.value,
                "low": self.ap.low,
                "high": self.ap.high,
                "iou": OVERLAP,
                "interval": self.ap_interval,
            },
            "precision": rate_record(self.right),
            "recall": rate_record(self.found),
            "recall_at_fppi": {rate_key(fppi): rate_record(recall_at_fppi(self.curve, fppi)) for fppi in FPPIS},
            "recall_by_height": {str(least): rate_record(rate) for least, rate in self.by_height},
            "recall_by_attribute": {
                name: {value: rate_record(rate) for value, rate in rates.items()}
                for name, rates in self.by_attribute.items()
            },
            "landmarks": _landmark_record(self.landmarks),
            "misses": [_crop_record(crop, "height") for crop in self.misses],
            "false_alarms": [_crop_record(crop, "confidence") for crop in self.false_alarms],
            "detecting_seconds": None if self.detecting_seconds is None else round(self.detecting_seconds, 3),
        }


def band(least: int) -> str:
    """A band of face heights in words, by its lower end.

    >>> band(0), band(32), band(256)
    ('below 16', '32 to 63', '256 and more')
    """
    after = [height for height in HEIGHTS if height > least]
    if not after:
        return f"{least} and more"
    return f"{least} to {after[0] - 1}" if least else f"below {after[0]}"


def rate_record(rate: Rate) -> dict[str, Any]:
    """A rate in JSON, with Wilson's interval; null where there was nothing to count."""
    low, high = wilson(rate.count, rate.trials) if rate.trials else (None, None)
    return {"value": rate.value, "low": low, "high": high, "count": rate.count, "of": rate.trials}


def detection_result(
    data: DetectionSet,
    found: Sequence[FoundFaces],
    call: Call,
    *,
    detector: DetectorFacts | None = None,
    failures: tuple[Failure, ...] = (),
    seconds: float | None = None,
) -> DetectionResult:
    """Measure detections.

    Args:
        data: the protocol's set.
        found: the detections of each picture of it.
        call: how it was asked for.
        detector: what made them, where it was run here.
        failures: pictures that could not be read.
        seconds: time that detection took.

    Raises:
        InputError: no face counts, or numbers are not finite.
    """
    truth = [Annotated(data.boxes[part], data.ignore[part]) for part in _parts(data)]
    guesses = [Detected(one.boxes, one.scores) for one in found]
    curve = detection_curve(truth, guesses, overlap=OVERLAP)
    matches = [match_boxes(a, b, overlap=OVERLAP) for a, b in zip(truth, guesses, strict=True)]
    finders, outcomes = (
        np.concatenate([m.finders for m in matches]),
        np.concatenate([m.outcomes for m in matches]),
    )
    counts, pictures = ~data.ignore, len(data.pictures)
    owners = np.repeat(np.arange(pictures), [len(m.outcomes) for m in matches])
    holders = np.repeat(np.arange(pictures), np.diff(data.offsets))
    ap = bootstrap_average_precision(
        np.concatenate([one.scores for one in found]).astype(np.float64),
        outcomes,
        owners,
        np.bincount(holders[counts], minlength=pictures),
        replicates=max(100, min(1000, _WEIGHTS // max(len(outcomes), 1))),
        seed=call.seed,
    )
    if abs(ap.value - average_precision(curve)) > 1e-9:  # two ways to the same number
        raise AssertionError("average precision: two computations disagree")
    seen = finders >= 0
    recall = Rate(int(seen[counts].sum()), int(counts.sum()))
    if ap.low == ap.high:
        low, high = wilson(recall.count, recall.trials)
        ap = replace(ap, low=min(low, ap.value), high=max(high, ap.value), replicates=0)
    heights = data.boxes[:, 3] - data.boxes[:, 1]
    return DetectionResult(
        experiment=call.measured(
            data.name,
            data.rules,
            pictures=pictures,
            exclusions=data.exclusions,
            failures=failures,
            failure_rule=FAILURE_RULE,
        ),
        detector=detector,
        curve=curve,
        ap=ap,
        faces=int(counts.sum()),
        ignored=int(data.ignore.sum()),
        detections=len(outcomes),
        right=Rate(int((outcomes == 1).sum()), int((outcomes != 0).sum())),
        found=recall,
        by_height=tuple(_by_height(heights[counts], seen[counts])),
        by_attribute=_by_attribute(data, counts, seen),
        landmarks=_landmarks(data, found, finders, holders),
        misses=_misses(data, counts & ~seen, heights, holders),
        false_alarms=_alarms(data, found, outcomes, owners),
        detecting_seconds=seconds,
    )


def _parts(data: DetectionSet) -> list[slice]:
    return [slice(a, b) for a, b in zip(data.offsets[:-1].tolist(), data.offsets[1:].tolist(), strict=True)]


def _by_height(heights: NDArray[np.float32], seen: NDArray[np.bool_]) -> list[tuple[int, Rate]]:
    band = np.searchsorted(HEIGHTS, heights, side="right") - 1
    rates = [(least, Rate(int(seen[band == i].sum()), int((band == i).sum()))) for i, least in enumerate(HEIGHTS)]
    return [(least, rate) for least, rate in rates if rate.trials]


def _by_attribute(data: DetectionSet, counts: NDArray[np.bool_], seen: NDArray[np.bool_]) -> dict[str, dict[str, Rate]]:
    found: dict[str, dict[str, Rate]] = {}
    for name, values in data.attributes.items():
        kinds = np.unique(values[counts])
        if values.dtype.kind in "iub" and 1 < len(kinds) <= 20:
            at = [(value, counts & (values == value)) for value in kinds.tolist()]
            found[name] = {str(value): Rate(int(seen[k].sum()), int(k.sum())) for value, k in at}
    return found


def _landmarks(
    data: DetectionSet, found: Sequence[FoundFaces], finders: NDArray[np.intp], holders: NDArray[np.intp]
) -> LandmarkError | None:
    if data.landmarks is None:
        return None
    eyes = np.linalg.norm(data.landmarks[:, 0] - data.landmarks[:, 1], axis=1)
    usable = (finders >= 0) & ~data.ignore & (eyes > 0)  # NaN is not above 0
    truth, guesses = [], []
    for face in np.flatnonzero(usable).tolist():
        points = found[holders[face]].landmarks
        if points is not None and np.isfinite(points[finders[face]]).all():
            truth.append(data.landmarks[face])
            guesses.append(points[finders[face]])
    return landmark_error(np.array(guesses), np.array(truth)) if truth else None


def _misses(
    data: DetectionSet, missed: NDArray[np.bool_], heights: NDArray[np.float32], holders: NDArray[np.intp]
) -> tuple[Crop, ...]:
    at = np.flatnonzero(missed)
    at = at[np.argsort(-heights[at], kind="stable")[:WORST]]
    return tuple(_crop(data, int(holders[i]), data.boxes[i], float(heights[i])) for i in at)


def _alarms(
    data: DetectionSet, found: Sequence[FoundFaces], outcomes: NDArray[np.int8], owners: NDArray[np.intp]
) -> tuple[Crop, ...]:
    scores = np.concatenate([one.scores for one in found])
    boxes = np.concatenate([one.boxes for one in found])
    at = np.flatnonzero(outcomes < 0)
    at = at[np.argsort(-scores[at], kind="stable")[:WORST]]
    return tuple(_crop(data, int(owners[i]), boxes[i], float(scores[i])) for i in at)


def _crop(data: DetectionSet, picture: int, box: Floats, value: float) -> Crop:
    shown = data.pictures[picture]
    x0, y0, x1, y1 = (float(v) for v in box)
    return Crop(shown.name, shown.source, (x0, y0, x1, y1), value)


def _crop_record(crop: Crop, value: str) -> dict[str, Any]:
    return {"picture": crop.name, "box": [round(v, 2) for v in crop.box], value: round(crop.value, 4)}


def _landmark_record(error: LandmarkError | None) -> dict[str, Any]:
    if error is None:
        return {
            "nme": None, "faces": 0, "by_point": None, "failures_above_0.1": None,
            "reason": "no found face has landmarks in the truth and in the detections",
        }  # fmt: skip
    return {
        "nme": error.mean,
        "faces": len(error.by_face),
        "by_point": dict(zip(_POINTS, error.by_point.tolist(), strict=True)),
        "failures_above_0.1": rate_record(error.failures(_FAR)),
        "reason": None,
    }
