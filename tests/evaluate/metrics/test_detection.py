import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc as area

from mien.errors import InputError
from mien.evaluate.metrics.detection import (
    Annotated,
    Detected,
    average_precision,
    detection_curve,
    recall_at_fppi,
)
from mien.evaluate.metrics.landmarks import landmark_error


def iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def loop(annotated, detected, overlap, threshold):
    """(right, wrong) detections at or above a threshold."""
    right = wrong = 0
    for truth, found in zip(annotated, detected, strict=True):
        taken = set()
        for _, box in sorted(zip(found.scores, found.boxes, strict=True), key=lambda d: -d[0]):
            if _ < threshold:
                continue
            shared = [iou(box, b) for b in truth.boxes]
            best = int(np.argmax(shared)) if shared else -1
            if best < 0 or shared[best] < overlap:
                wrong += 1
            elif truth.ignore[best]:
                pass
            elif best in taken:
                wrong += 1
            else:
                right += 1
                taken.add(best)
    return right, wrong


def scene(seed, images, decimals):
    rng = np.random.default_rng(seed)
    annotated, detected = [], []
    for _ in range(images):
        n = rng.integers(0, 5)
        corner = rng.uniform(0, 60, (n, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(10, 40, (n, 2))], axis=1)
        near = boxes[rng.integers(0, n, 2 * n)] + rng.normal(scale=4, size=(2 * n, 4)) if n else np.zeros((0, 4))
        stray = rng.uniform(0, 50, (2, 2))
        guesses = np.concatenate([near, np.concatenate([stray, stray + 20], axis=1)])
        guesses[:, 2:] = np.maximum(guesses[:, 2:], guesses[:, :2] + 1)
        annotated.append(Annotated(boxes, rng.random(n) < 0.3))
        detected.append(Detected(guesses, rng.random(len(guesses)).round(decimals)))
    annotated.append(Annotated([[0, 0, 9, 9]], np.array([False])))
    detected.append(Detected([], []))
    return annotated, detected


@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.sampled_from([1, 8]), st.sampled_from([0.3, 0.5, 0.8]))
def test_curve_equals_a_plain_loop(seed, images, decimals, overlap):
    annotated, detected = scene(seed, images, decimals)
    curve = detection_curve(annotated, detected, overlap=overlap)
    assert curve.thresholds.tolist() == sorted(
        {s for d in detected for s in np.asarray(d.scores).tolist()}, reverse=True
    )
    for t, right, wrong in zip(curve.thresholds, curve.true, curve.false, strict=True):
        assert (right, wrong) == loop(annotated, detected, overlap, t)
    assert (curve.faces, curve.images) == (sum(int((~a.ignore).sum()) for a in annotated), images + 1)

    # Area by its definition: for every face in turn, the best precision at any recall that reaches it.
    precision, recall = curve.precision, curve.recall
    want = [max(precision[recall >= k / curve.faces], default=0) for k in range(1, curve.faces + 1)]
    assert abs(average_precision(curve) - sum(want) / curve.faces) < 1e-12
    for fppi in (0, 0.5, 2):
        reached = [t for t, f in zip(curve.true, curve.false, strict=True) if f / curve.images <= fppi]
        assert recall_at_fppi(curve, fppi).count == max(reached, default=0)


def test_a_known_example():
    face = [0, 0, 10, 10]
    curve = detection_curve(
        [Annotated([face, [20, 0, 30, 10]])], [Detected([face, face, [20, 0, 30, 10]], [0.9, 0.8, 0.7])]
    )
    assert average_precision(curve) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision(curve) >= area(curve.recall, curve.precision) - 0.5
    assert recall_at_fppi(curve, 0).value == 0.5


def test_an_ignored_face_neither_helps_nor_harms():
    truth = [Annotated([[0, 0, 10, 10], [50, 0, 60, 10]], np.array([False, True]))]
    boxes, scores = [[50, 0, 60, 10], [50, 0, 60, 10], [0, 0, 10, 10]], [0.9, 0.8, 0.7]
    assert average_precision(detection_curve(truth, [Detected(boxes, scores)])) == 1


@pytest.mark.parametrize(
    ("annotated", "detected", "message"),
    [
        ([], [], "no annotated face"),
        ([Annotated([[0, 0, 1, 1]])], [], "one result a picture"),
        ([Annotated([[0, 0, 1, np.nan]])], [Detected([], [])], "picture 0, annotated"),
        ([Annotated([[0, 0, 1, 1]])], [Detected([[0, 0, 1]], [1])], "picture 0, detected"),
        ([Annotated([[0, 0, 1, 1]])], [Detected([[0, 0, 1, 1]], [np.nan])], "finite scores"),
        ([Annotated([[0, 0, 1, 1]])], [Detected([[0, 0, 1, 1]], [])], "1 finite scores"),
        ([Annotated([[0, 0, 1, 1]], [0])], [Detected([], [])], "booleans"),
        ([Annotated([[0, 0, 1, 1]], np.array([True]))], [Detected([], [])], "no annotated face"),
    ],
)
def test_detection_refuses(annotated, detected, message):
    with pytest.raises(InputError, match=message):
        detection_curve(annotated, detected)


def test_overlap_and_fppi_must_make_sense():
    curve = detection_curve([Annotated([[0, 0, 1, 1]])], [Detected([], [])])
    assert average_precision(curve) == 0
    for fppi in (-1, np.nan):
        with pytest.raises(InputError, match="fppi"):
            recall_at_fppi(curve, fppi)
    with pytest.raises(InputError, match="overlap"):
        detection_curve([Annotated([[0, 0, 1, 1]])], [Detected([], [])], overlap=0)


def test_landmark_error_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 100, (7, 5, 2))
    guess = truth + rng.normal(size=truth.shape)
    boxes = np.concatenate([np.zeros((7, 2)), rng.uniform(20, 90, (7, 2))], axis=1)
    for by, size in (
        ("inter-ocular", [np.hypot(*(t[0] - t[1])) for t in truth]),
        ("box", [np.sqrt(b[2] * b[3]) for b in boxes]),
    ):
        errors = np.array(
            [[np.hypot(*(g[k] - t[k])) / s for k in range(5)] for g, t, s in zip(guess, truth, size, strict=True)]
        )
        found = landmark_error(guess, truth, by=by, boxes=boxes)
        assert abs(found.mean - errors.mean()) < 1e-12
        np.testing.assert_allclose(found.by_face, errors.mean(1), atol=1e-12)
        np.testing.assert_allclose(found.by_point, errors.mean(0), atol=1e-12)
        assert found.failures(0.03).count == sum(errors.mean(1) > 0.03)
        moved = landmark_error(3 * guess + 5, 3 * truth + 5, by=by, boxes=3 * boxes)
        assert moved.mean == pytest.approx(found.mean, abs=1e-12)


def test_landmarks_refuse():
    good = np.arange(20.0).reshape(2, 5, 2)
    for arguments, options in (
        ((good, good[:1]), {}),
        ((good[:0], good[:0]), {}),
        ((good * np.nan, good), {}),
        ((good, good * 0), {}),
        ((good, good), {"by": "box"}),
        ((good, good), {"by": "box", "boxes": [[0, 0, 0, 5]] * 2}),
        ((good, good), {"by": "nose"}),
    ):
        with pytest.raises(InputError, match="landmarks: expected"):
            landmark_error(*arguments, **options)
