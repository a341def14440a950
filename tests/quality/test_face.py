from itertools import pairwise

import cv2
import numpy as np
import pytest

from mien.detect.mtcnn import MTCNN
from mien.images import decode
from mien.images.align import similarity, transform_points
from mien.quality import FaceQuality, fingerprint_distance, measure_quality
from mien.types import Faces


@pytest.fixture(scope="module", params=["hopper", "astronaut"])
def portrait(request):
    """(pixels, its main face) of a public-domain portrait."""
    pixels = decode(request.getfixturevalue(request.param)).pixels
    found = MTCNN(threads=1).detect([pixels])[0]
    return pixels, found.take([found.main(pixels.shape[1::-1])])


def moved(face: Faces, matrix: np.ndarray) -> Faces:
    corners = face.boxes.reshape(-1, 2, 2)
    return Faces(
        transform_points(corners, matrix).reshape(-1, 4), face.scores, transform_points(face.landmarks, matrix)
    )


def quality(pixels: np.ndarray, face: Faces) -> FaceQuality:
    return measure_quality(pixels, face)[0]


def falls(values: list[float]) -> bool:
    return all(a > b for a, b in pairwise(values))


def test_a_good_portrait_scores_high(portrait):
    q = quality(*portrait)
    assert q.score > 0.9
    assert q.visible == 1
    assert abs(q.yaw) < 0.5
    assert 0.1 < q.sharpness < 0.35
    assert q.stability is None


def test_blur_takes_sharpness_and_score(portrait):
    pixels, face = portrait
    eyes = quality(pixels, face).eye_distance
    series = [quality(cv2.GaussianBlur(pixels, (0, 0), s * eyes), face) for s in (0.02, 0.05, 0.1, 0.2, 0.4)]
    assert falls([q.sharpness for q in series])
    assert falls([q.score for q in series])
    assert series[-1].score < 0.05


def test_enlarging_a_small_face_does_not_make_it_sharp(portrait):
    pixels, face = portrait
    eyes = quality(pixels, face).eye_distance
    sharp = []
    for target in (40, 20, 10, 6):
        small = cv2.resize(pixels, None, fx=target / eyes, fy=target / eyes, interpolation=cv2.INTER_AREA)
        large = cv2.resize(small, pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        sharp.append(quality(large, face).sharpness)
    assert falls([quality(pixels, face).sharpness, *sharp])


def test_sharpness_does_not_depend_on_resolution(portrait):
    pixels, face = portrait
    scale = 60 / quality(pixels, face).eye_distance
    half = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ratio = np.array(half.shape[1::-1]) / pixels.shape[1::-1]
    matrix = np.array([[ratio[0], 0, (ratio[0] - 1) / 2], [0, ratio[1], (ratio[1] - 1) / 2]])
    assert quality(half, moved(face, matrix)).sharpness == pytest.approx(quality(pixels, face).sharpness, rel=0.15)


def test_light(portrait):
    pixels, face = portrait
    series = [quality((pixels * f).astype(np.uint8), face) for f in (1, 0.6, 0.3, 0.1, 0.02)]
    assert falls([q.brightness for q in series])
    assert falls([q.contrast for q in series])
    # Light alone does not blur; at the end only a handful of grey levels are left.
    assert series[2].sharpness == pytest.approx(series[0].sharpness, rel=0.05)
    assert falls([q.score for q in series[2:]])
    brighter = [quality(np.clip(pixels * 1.0 + plus, 0, 255).astype(np.uint8), face) for plus in (0, 80, 120, 160)]
    assert falls([-q.brightness for q in brighter])
    assert falls([-q.clipped for q in brighter[1:]])
    flat = [quality(np.uint8((pixels - 128.0) * f + 128), face).contrast for f in (1, 0.5, 0.2, 0.1)]
    assert falls(flat)


def test_uneven_light(portrait):
    pixels, face = portrait
    x = np.arange(pixels.shape[1])
    left, right = face.landmarks[0, 0, 0], face.landmarks[0, 1, 0]
    uneven = []
    for low in (1.0, 0.6, 0.3):
        ramp = np.interp(x, [left, right], [low, 1.0])[None, :, None]
        uneven.append(quality((pixels * 0.9 * ramp).astype(np.uint8), face).unevenness)
    assert falls(uneven[::-1])


def test_cutting_the_face_off(portrait):
    pixels, face = portrait
    x0, x1 = face.boxes[0, [0, 2]]
    series = [
        quality(np.ascontiguousarray(pixels[:, : int(x1 - s * (x1 - x0))]), face).visible for s in (0, 0.2, 0.5, 0.9)
    ]
    assert falls(series)
    assert series[-1] < 0.2


def test_a_turned_picture_has_its_roll_turned(portrait):
    pixels, face = portrait
    before = quality(pixels, face)
    centre = tuple(float(v) for v in face.landmarks[0].mean(0))
    for degrees in (-25, 10, 40):
        matrix = cv2.getRotationMatrix2D(centre, -degrees, 1)  # OpenCV's positive is counter-clockwise
        after = quality(cv2.warpAffine(pixels, matrix, pixels.shape[1::-1]), moved(face, matrix))
        assert after.roll - before.roll == pytest.approx(np.deg2rad(degrees), abs=1e-4)
        assert after.yaw == pytest.approx(before.yaw, abs=1e-4)


def test_a_mirror_image_turns_round(portrait):
    pixels, face = portrait
    points = face.landmarks.copy()
    points[..., 0] = pixels.shape[1] - 1 - points[..., 0]
    mirrored = Faces(face.boxes, face.scores, points[:, [1, 0, 2, 4, 3]])
    before, after = quality(pixels, face), quality(np.ascontiguousarray(pixels[:, ::-1]), mirrored)
    assert (after.yaw, after.roll) == pytest.approx((-before.yaw, -before.roll), abs=1e-5)
    assert after.sharpness == pytest.approx(before.sharpness, rel=0.03)
    assert after.unevenness == pytest.approx(before.unevenness, abs=0.02)


def test_quarter_turns_that_were_undone_do_not_count_as_leaning(portrait):
    pixels, face = portrait
    upright = quality(pixels, face)
    height = pixels.shape[0]
    on_its_side = np.ascontiguousarray(np.rot90(pixels, -1))  # clockwise; one turn counter-clockwise makes it upright
    matrix = np.array([[0, -1, height - 1], [1, 0, 0]], float)
    lying = moved(face, matrix)
    assert quality(on_its_side, lying).roll == pytest.approx(upright.roll + np.pi / 2, abs=1e-4)
    assert measure_quality(on_its_side, lying, turns=1)[0].roll == pytest.approx(upright.roll, abs=1e-4)


def test_many_faces_are_measured_as_each_alone(portrait):
    pixels, face = portrait
    shift = np.array([[1, 0, 6], [0, 1, -4]], float)
    other = moved(face, shift)
    both = Faces(*(np.concatenate([getattr(f, n) for f in (face, other)]) for n in ("boxes", "scores", "landmarks")))
    assert measure_quality(pixels, both) == (quality(pixels, face), quality(pixels, other))
    assert measure_quality(pixels, Faces.none()) == ()


def test_stability_enters_the_score(portrait):
    scores = [measure_quality(*portrait, stability=[s])[0].score for s in (0.998, 0.994, 0.99, 0.98)]
    assert falls(scores)
    with pytest.raises(ValueError, match=r"stability: expected shape \(1,\), got \(2,\)"):
        measure_quality(*portrait, stability=[1, 1])


def test_landmarks_that_coincide_give_nothing_and_disturb_nobody(portrait):
    pixels, face = portrait
    point = Faces(face.boxes, face.scores, np.full((1, 5, 2), 9.0))
    both = Faces(*(np.concatenate([getattr(f, n) for f in (point, face)]) for n in ("boxes", "scores", "landmarks")))
    bad, good = measure_quality(pixels, both)
    assert (bad.score, bad.eye_distance, bad.sharpness, bad.fingerprint) == (0, 0, 0, b"")
    assert good == quality(pixels, face)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2)])
def test_tiny_pictures(size, portrait):
    q = quality(np.full((*size, 3), 200, np.uint8), portrait[1])
    assert q.sharpness == 0
    assert q.brightness == pytest.approx(200 / 255)
    assert q.visible < 0.1


def test_a_face_outside_its_picture(portrait):
    pixels, face = portrait
    away = moved(face, np.array([[1, 0, 5000], [0, 1, 0]], float))
    q = quality(pixels, away)
    assert q.visible == 0
    assert np.isfinite([q.sharpness, q.brightness, q.score]).all()
    assert q.score < 0.2


def test_fingerprints_know_copies(portrait, astronaut, hopper):
    pixels, face = portrait
    mark = quality(pixels, face).fingerprint
    jpeg = decode(cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])[1].tobytes()).pixels
    half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    scale = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]])
    for copy in (
        quality(jpeg, face),
        quality((pixels * 0.8).astype(np.uint8), face),
        quality(half, moved(face, scale)),
    ):
        assert fingerprint_distance(mark, copy.fingerprint) < 0.06
    mirrored = np.ascontiguousarray(pixels[:, ::-1])
    at = similarity(face.landmarks[:, [0, 1]], pixels.shape[1] - 1 - face.landmarks[:, [1, 0]])
    assert at.shape == (1, 2, 3)
    points = face.landmarks.copy()
    points[..., 0] = pixels.shape[1] - 1 - points[..., 0]
    other = quality(mirrored, Faces(face.boxes, face.scores, points[:, [1, 0, 2, 4, 3]]))
    assert fingerprint_distance(mark, other.fingerprint) > 0.15
    with pytest.raises(ValueError, match="expected 32 bytes each, got 32 and 3"):
        fingerprint_distance(mark, b"abc")


def test_two_people_have_different_fingerprints(hopper, astronaut):
    marks = []
    for source in (hopper, astronaut):
        pixels = decode(source).pixels
        found = MTCNN(threads=1).detect([pixels])[0]
        marks.append(quality(pixels, found.take([found.main(pixels.shape[1::-1])])).fingerprint)
    assert fingerprint_distance(*marks) > 0.2
