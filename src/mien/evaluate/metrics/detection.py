"""Detection: precision, recall and average precision of boxes against annotated faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.detect.boxes import overlaps
from mien.errors import InputError
from mien.evaluate.metrics.intervals import Rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from mien.types import Floats

__all__ = [
    "Annotated",
    "BoxMatch",
    "Detected",
    "DetectionCurve",
    "average_precision",
    "detection_curve",
    "match_boxes",
    "recall_at_fppi",
]


@dataclass(frozen=True, slots=True, eq=False)
class Annotated:
    """The faces that are in one picture.

    Attributes:
        boxes: (N, 4) xyxy.
        ignore: (N,) booleans: faces that need not be found and whose finding does no harm; None for none.
    """

    boxes: ArrayLike
    ignore: ArrayLike | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """The faces that were found in one picture.

    Attributes:
        boxes: (M, 4) xyxy.
        scores: (M,) confidences.
    """

    boxes: ArrayLike
    scores: ArrayLike


@dataclass(frozen=True, slots=True, eq=False)
class DetectionCurve:
    """Counts at falling confidence, one point for each distinct score.

    Attributes:
        thresholds: (K,) float64, falling; may be empty.
        true, false: (K,) int64 right and wrong detections at or above the threshold.
        faces: annotated faces that count.
        images: pictures.
    """

    thresholds: NDArray[np.float64]
    true: NDArray[np.int64]
    false: NDArray[np.int64]
    faces: int
    images: int

    @property
    def precision(self) -> NDArray[np.float64]:
        """(K,) share of the detections that are right; 1 while none counts."""
        counted = self.true + self.false
        return np.asarray(np.divide(self.true, counted, out=np.ones(len(counted)), where=counted > 0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """(K,) share of the faces that are found."""
        return self.true / self.faces


def detection_curve(
    annotated: Sequence[Annotated], detected: Sequence[Detected], *, overlap: float = 0.5
) -> DetectionCurve:
    """Match detections to annotated faces, best first.

    A detection belongs to the face of its picture that it overlaps most. At an IoU of at least `overlap` it is right if
    that face was not found before, and wrong otherwise (a repetition); if the face is one to ignore, the detection
    counts for nothing. All others are wrong. This is the rule of PASCAL VOC, with WIDER FACE's faces to ignore.

    Args:
        annotated: one a picture.
        detected: one a picture, in the same order.
        overlap: the least IoU.

    Raises:
        InputError: lengths or shapes differ, numbers are not finite, or no face counts.
    """
    if len(annotated) != len(detected):
        raise InputError(f"detection: expected one result a picture, got {len(detected)} for {len(annotated)} pictures")
    if not 0 < overlap <= 1:
        raise InputError(f"overlap: expected more than 0 and at most 1, got {overlap}")
    faces = 0
    scores, outcomes = [np.zeros(0)], [np.zeros(0, np.int8)]
    for number, (truth, found) in enumerate(zip(annotated, detected, strict=True)):
        boxes = _boxes(f"picture {number}, annotated", truth.boxes)
        ignore = np.zeros(len(boxes), np.bool_) if truth.ignore is None else np.asarray(truth.ignore)
        if ignore.shape != (len(boxes),) or ignore.dtype != np.bool_:
            raise InputError(f"picture {number}: expected {len(boxes)} booleans to ignore, got {ignore.shape}")
        guesses = _boxes(f"picture {number}, detected", found.boxes)
        confidence = np.asarray(found.scores, np.float64)
        if confidence.shape != (len(guesses),) or not np.isfinite(confidence).all():
            raise InputError(f"picture {number}: expected {len(guesses)} finite scores, got {confidence.shape}")
        faces += int(np.count_nonzero(~ignore))
        scores.append(confidence)
        outcomes.append(_outcomes(boxes, ignore, guesses, confidence, overlap))
    if not faces:
        raise InputError("detection: no annotated face counts, so there is no recall")
    return _curve(np.concatenate(scores), np.concatenate(outcomes), faces, len(annotated))


def average_precision(curve: DetectionCurve) -> float:
    """Area under the precision-recall curve, with precision made monotone: VOC's area over all points (2010 on)."""
    recall = np.concatenate([[0.0], curve.recall])
    envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope))


def recall_at_fppi(curve: DetectionCurve, fppi: float) -> Rate:
    """Recall at the smallest threshold with at most `fppi` wrong detections a picture (FDDB's axis, conservative).

    Raises:
        InputError: `fppi` is negative or NaN.
    """
    if not fppi >= 0:
        raise InputError(f"fppi: expected 0 or more, got {fppi}")
    within = np.flatnonzero(curve.false <= fppi * curve.images)
    return Rate(int(curve.true[within[-1]]) if len(within) else 0, curve.faces)


@dataclass(frozen=True, slots=True, eq=False)
class BoxMatch:
    """What became of one picture's faces and detections.

    Attributes:
        outcomes: (M,) int8, one a detection: 1 right, 0 counts for nothing, -1 wrong.
        finders: (N,) one a face: the surest detection that found it; -1 for a face that was missed.
    """

    outcomes: NDArray[np.int8]
    finders: NDArray[np.intp]


def match_boxes(truth: Annotated, found: Detected, *, overlap: float = 0.5) -> BoxMatch:
    """Match the detections of one picture to its faces, by the rule of `detection_curve`.

    Raises:
        InputError: shapes do not fit, or numbers are not finite.
    """
    boxes, guesses = _boxes("annotated", truth.boxes), _boxes("detected", found.boxes)
    ignore = np.zeros(len(boxes), np.bool_) if truth.ignore is None else np.asarray(truth.ignore, np.bool_)
    confidence = np.asarray(found.scores, np.float64)
    if ignore.shape != (len(boxes),) or confidence.shape != (len(guesses),):
        raise InputError(f"boxes: expected one score a detection, got {confidence.shape} for {len(guesses)}")
    finders = _matched(boxes, guesses, confidence, overlap)[1]
    return BoxMatch(_outcomes(boxes, ignore, guesses, confidence, overlap), finders)


def _outcomes(
    boxes: Floats, ignore: NDArray[np.bool_], guesses: Floats, confidence: NDArray[np.float64], overlap: float
) -> NDArray[np.int8]:
    """1 right, 0 counts for nothing, -1 wrong; one each detection."""
    result = np.full(len(guesses), -1, np.int8)
    if not len(boxes) or not len(guesses):
        return result
    owner, first = _matched(boxes, guesses, confidence, overlap)
    result[(owner >= 0) & ignore[owner]] = 0
    result[first[(first >= 0) & ~ignore]] = 1
    return result


def _matched(
    boxes: Floats, guesses: Floats, confidence: NDArray[np.float64], overlap: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(M,) the face that each detection belongs to, and (N,) the surest detection of each face; -1 for none."""
    owner, first = np.full(len(guesses), -1), np.full(len(boxes), -1)
    if not len(boxes) or not len(guesses):
        return owner, first
    shared = overlaps(guesses, boxes)
    nearest = shared.argmax(axis=1)
    hits = shared[np.arange(len(guesses)), nearest] >= overlap
    owner[hits] = nearest[hits]
    order = np.argsort(-confidence, kind="stable")
    order = order[hits[order]]
    faces, at = np.unique(owner[order], return_index=True)
    first[faces] = order[at]
    return owner, first


def _curve(scores: NDArray[np.float64], outcomes: NDArray[np.int8], faces: int, images: int) -> DetectionCurve:
    order = np.argsort(-scores, kind="stable")
    scores, outcomes = scores[order], outcomes[order]
    last = np.concatenate([scores[1:] != scores[:-1], [True]]) if len(scores) else np.zeros(0, np.bool_)
    true, false = (np.cumsum(outcomes == sign)[last].astype(np.int64) for sign in (1, -1))
    return DetectionCurve(scores[last], true, false, faces, images)


def _boxes(name: str, value: ArrayLike) -> Floats:
    boxes = np.asarray(value, np.float64).reshape(-1, 4) if np.size(value) == 0 else np.asarray(value, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise InputError(f"{name}: expected finite boxes (N, 4), got shape {boxes.shape}")
    return boxes  # type: ignore[return-value]  # `overlaps` computes in the type it is given
