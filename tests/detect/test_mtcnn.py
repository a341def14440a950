"""The detector against a plain and slow MTCNN written from the paper's description, and on real pictures."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from mien.detect import mtcnn_stages
from mien.detect.boxes import overlaps
from mien.detect.mtcnn import MTCNN, _rounds
from mien.detect.mtcnn_nets import PackagedNets
from mien.detect.mtcnn_pyramid import Pyramid, scales_for
from mien.detect.mtcnn_stages import Candidates, Settings, _runs, propose
from mien.errors import InputError


def picture(path):
    return np.asarray(Pillow.open(path).convert("RGB"))


@pytest.fixture(scope="module")
def nets():
    return PackagedNets()


@pytest.fixture(scope="module")
def detector():
    return MTCNN()


# --- the plain way: whole-pixel crops from the full picture, one at a time, greedy suppression in loops


def plain_overlap(a, b, smaller):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    one, other = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return w * h / (min(one, other) if smaller else one + other - w * h)


def plain_nms(found, threshold, smaller=False):
    rest, kept = sorted(found, key=lambda c: -c["score"]), []
    while rest:
        best = rest.pop(0)
        kept.append(best)
        rest = [c for c in rest if plain_overlap(best["box"], c["box"], smaller) <= threshold]
    return kept


def plain_moved(box, offset):
    w, h = box[2] - box[0], box[3] - box[1]
    return [box[0] + offset[0] * w, box[1] + offset[1] * h, box[2] + offset[2] * w, box[3] + offset[3] * h]


def plain_square(box):
    x, y, side = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, max(box[2] - box[0], box[3] - box[1])
    return [
        round(x - side / 2),
        round(y - side / 2),
        round(x - side / 2) + round(side),
        round(y - side / 2) + round(side),
    ]


def plain_crop(image, box, side):
    x0, y0, x1, y1 = box
    height, width = image.shape[:2]
    crop = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
    ax, ay, bx, by = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if ax < bx and ay < by:
        crop[ay - y0 : by - y0, ax - x0 : bx - x0] = image[ay:by, ax:bx]
    way = cv2.INTER_AREA if x1 - x0 > side else cv2.INTER_LINEAR
    return cv2.resize(crop, (side, side), interpolation=way)[None]


def plain_mtcnn(nets, image, min_face=40, confidence=0.9):
    height, width = image.shape[:2]
    found, scale = [], 12 / min_face
    while min(height, width) * scale >= 12:
        size = round(width * scale), round(height * scale)
        level = cv2.resize(image, size, interpolation=cv2.INTER_AREA)[None]
        scores, offsets = nets.propose(level)
        windows = []
        for row, column in np.argwhere(scores[0] > 0.6):
            box = [2 * column / scale, 2 * row / scale, (2 * column + 12) / scale, (2 * row + 12) / scale]
            windows.append({"box": box, "score": scores[0, row, column], "offset": offsets[0, row, column]})
        found += plain_nms(windows, 0.5)
        scale *= 0.709
    found = plain_nms(found, 0.7)
    boxes, found = [plain_square(plain_moved(c["box"], c["offset"])) for c in found], []
    for box in boxes:
        (score,), (offset,) = nets.refine(plain_crop(image, box, 24))
        if score > 0.7:
            found.append({"box": box, "score": score, "offset": offset})
    boxes, found = [plain_square(plain_moved(c["box"], c["offset"])) for c in plain_nms(found, 0.7)], []
    for box in boxes:
        (score,), (offset,), (points,) = nets.output(plain_crop(image, box, 48))
        if score > confidence:
            points = points * (box[2] - box[0]) + box[:2]
            found.append({"box": plain_moved(box, offset), "score": score, "points": points})
    return plain_nms(found, 0.7, smaller=True)


def matched(boxes, among, least):
    """Share of `boxes` that some box of `among` overlaps by at least `least`."""
    if not len(boxes):
        return 1.0
    if not len(among):
        return 0.0
    return float((overlaps(boxes, among).max(axis=1) >= least).mean())


def plain_boxes(found):
    return np.array([c["box"] for c in found], np.float32).reshape(-1, 4)


@pytest.mark.parametrize("who", ["hopper", "astronaut"])
@pytest.mark.parametrize("min_face", [40, 20])
def test_the_plain_way_finds_the_same_face(nets, request, who, min_face):
    image = picture(request.getfixturevalue(who))
    (faces,) = MTCNN(min_face=min_face).detect([image])
    plain = plain_mtcnn(nets, image, min_face)
    assert len(faces) == len(plain) == 1
    assert overlaps(faces.boxes, plain_boxes(plain))[0, 0] > 0.8
    assert np.abs(faces.landmarks[0] - plain[0]["points"]).max() < 0.05 * faces[0].width
    assert faces.scores[0] == pytest.approx(plain[0]["score"], abs=0.03)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "min_face", "at_least"),
    [
        ("photos/dlib/faces/2007_007763.jpg", 20, 5),
        ("photos/human/in/group-5.jpg", 30, 7),
        ("photos/ultra-light/imgs/1.jpg", 20, 45),
    ],
)
def test_the_plain_way_finds_the_same_crowd(nets, mien_data, name, min_face, at_least):
    image = picture(mien_data / name)
    (faces,) = MTCNN(min_face=min_face).detect([image])
    plain = plain_boxes(plain_mtcnn(nets, image, min_face))
    assert len(faces) >= at_least
    # Doubtful faces fall on either side of the threshold; almost all are found by both.
    assert matched(faces.boxes, plain, 0.5) > 0.9
    assert matched(plain, faces.boxes, 0.5) > 0.9
    pairs = overlaps(faces.boxes, plain).max(axis=1)
    assert np.median(pairs) > 0.9


# --- what only a fast implementation can get wrong


def test_bands_of_a_level_see_every_window(nets, astronaut):
    level = picture(astronaut)[:301, :203]
    whole = nets.propose(level[None])[0][0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mtcnn_stages, "_RUN_PIXELS", 64 * 203)
        runs = _runs((1, *level.shape))
        assert len(runs) > 3
        rows = [nets.propose(level[None][run])[0][0] for run in runs]
    assert np.allclose(np.concatenate(rows), whole, atol=1e-4)
    assert [run[1].start // 2 for run in runs] == np.cumsum([0, *map(len, rows[:-1])]).tolist()


def test_more_bands_find_the_same_faces(astronaut):
    image = picture(astronaut)
    (once,) = MTCNN(min_face=20).detect([image])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mtcnn_stages, "_RUN_PIXELS", 1)
        (often,) = MTCNN(min_face=20).detect([image])
    assert len(once) == len(often) == 1
    assert np.allclose(once.boxes, often.boxes, atol=0.05)


def test_crops_are_what_a_plain_resize_gives():
    """On a smooth picture every sound way to cut and resize agrees; what lies outside is black."""
    y, x = np.mgrid[:240, :310]
    smooth = np.stack([x * 0.8, y, 255 - (x + y) * 0.4], axis=-1).astype(np.uint8)
    images = [smooth, smooth[::-1].copy(), smooth[:, ::-1].copy()]
    boxes = np.array(
        [[20, 30, 44, 54], [100, 60, 220, 180], [5, 5, 235, 235], [-30, 100, 90, 220], [270, 200, 330, 260]]
    )
    pyramid = Pyramid(images)
    for one in range(3):
        for side in (24, 48):
            crops = pyramid.crops(np.full(len(boxes), one), boxes.astype(np.float32), side)
            for box, crop in zip(boxes.tolist(), crops, strict=True):
                plain = plain_crop(images[one], box, side)[0].astype(int)
                inner = np.abs(crop.astype(int) - plain)[1:-1, 1:-1]
                edge = np.zeros(inner.shape[:2], bool)  # where black meets picture the ways to blend differ
                edge[(np.abs(np.diff(plain.sum(2), axis=0)) > 60)[1:, 1:-1]] = True
                edge[(np.abs(np.diff(plain.sum(2), axis=1)) > 60)[1:-1, 1:]] = True
                edge = cv2.dilate(edge.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
                assert inner[~edge].max() <= 4


def test_a_stacked_picture_does_not_see_its_neighbour():
    white, black = np.full((60, 60, 3), 255, np.uint8), np.zeros((60, 60, 3), np.uint8)
    squares = np.array([[-40, -40, 100, 100]] * 3, np.float32)
    crops = Pyramid([white, black, white]).crops(np.arange(3), squares, 24)
    assert (crops[0] == crops[2]).all()
    assert not crops[1].any()
    assert crops[0][12, 12].tolist() == [255] * 3
    assert not crops[0][[0, -1]].any()


def test_scales_reach_from_the_smallest_face_to_the_whole_picture():
    scales = scales_for((250, 200), 40, 0.709)
    assert scales[0] == pytest.approx(12 / 40)
    assert 200 * scales[-1] >= 12 > 200 * scales[-1] * 0.709
    assert scales_for((250, 39), 40, 0.709) == []


def test_rounds_hold_every_picture_once_and_group_by_size():
    shapes = [(100, 100, 3), (50, 60, 3), (100, 100, 3), (5000, 4000, 3), (0, 5, 3), (5000, 4000, 3), (50, 60, 3)]
    rounds = list(_rounds(shapes))
    assert sorted(i for groups in rounds for group in groups for i in group) == [0, 1, 2, 3, 5, 6]
    for groups in rounds:
        assert all(len({shapes[i] for i in group}) == 1 for group in groups)
        assert sum(len(group) > 0 and shapes[group[0]][0] == 5000 for group in groups) <= 1
    assert [0, 2] in rounds[0]


def test_candidates_are_capped_by_picture():
    pictures = np.array([0, 1, 0, 0, 1, 0])
    scores = np.array([0.1, 0.9, 0.5, 0.7, 0.2, 0.3], np.float32)
    found = Candidates.of(pictures, np.zeros((6, 4), np.float32), scores)
    assert found.best(2).scores.tolist() == pytest.approx([0.9, 0.5, 0.7, 0.2])
    assert len(found.best(4)) == 6


def test_noise_stays_within_the_limits(nets):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    noise = cv2.resize(noise[::6, ::6], (1200, 900))
    settings = Settings((0.05, 0.7, 0.95), (0.5, 0.7, 0.7, 0.7), max_candidates=100)
    found = propose(nets, Pyramid([noise]), scales_for((1200, 900), 20, 0.709), settings)
    assert len(found) == 100
    (faces,) = MTCNN(min_face=20, max_candidates=100).detect([noise])
    assert len(faces) <= 100


def test_a_picture_too_wide_for_remap(astronaut):
    face = picture(astronaut)[:250, 100:350]
    wide = np.zeros((250, 40_000, 3), np.uint8)
    wide[:, 39_000:39_250] = face
    (faces,) = MTCNN(min_face=60).detect([wide])
    assert len(faces) == 1
    assert 39_000 < faces[0].box[0] < 39_250


# --- options


def test_confidence_only_removes_faces(detector, astronaut):
    image = cv2.resize(picture(astronaut), (200, 200))
    (many,) = MTCNN(confidence=0, min_face=20).detect([image])
    (few,) = MTCNN(confidence=0.95, min_face=20).detect([image])
    assert (few.scores > 0.95).all()
    assert (many.scores > 0.7).all()
    assert len(many) >= len(few) == 1
    assert many.scores.max() == few.scores.max()


def test_min_face_in_pixels_and_as_a_share(astronaut):
    small = cv2.resize(picture(astronaut), (128, 128), interpolation=cv2.INTER_AREA)  # its face is about 27 pixels
    canvas = np.zeros((600, 800, 3), np.uint8)
    canvas[200:328, 300:428] = small
    found = {size: len(MTCNN(min_face=size).detect([canvas])[0]) for size in (16, 60, 0.03, 0.1, None)}
    assert found == {16: 1, 60: 0, 0.03: 1, 0.1: 0, None: 1}


def test_small_pictures_are_searched_for_larger_faces(astronaut):
    face = cv2.resize(picture(astronaut), (96, 96), interpolation=cv2.INTER_AREA)  # of about 20 pixels
    for side, found in ((200, 0), (400, 1)):
        canvas = np.zeros((side, side, 3), np.uint8)
        canvas[50:146, 50:146] = face
        assert len(MTCNN().detect([canvas])[0]) == found


@pytest.mark.parametrize("side", ["left", "right", "bottom"])
def test_a_face_cut_by_the_border(astronaut, side):
    image = picture(astronaut)
    (face,) = MTCNN().detect([image])[0]
    x0, _, x1, y1 = face.box
    fifth = (x1 - x0) / 5
    cut = {
        "left": image[:, int(x0 + fifth) :],
        "right": image[:, : int(x1 - fifth)],
        "bottom": image[: int(y1 - fifth * 0.8)],
    }[side]
    (faces,) = MTCNN().detect([np.ascontiguousarray(cut)])
    assert len(faces) == 1


@pytest.mark.parametrize(
    "option",
    [
        {"min_face": 0},
        {"min_face": 5},
        {"min_face": float("nan")},
        {"factor": 1.0},
        {"factor": 0},
        {"confidence": 1.5},
        {"thresholds": (0.6, 0.7)},
        {"thresholds": (0.6, 0.7, -1)},
        {"nms": (0.5, 0.7, 0.7, float("nan"))},
        {"max_candidates": 0},
    ],
)
def test_options_out_of_range_are_refused(option):
    with pytest.raises(InputError, match=next(iter(option))):
        MTCNN(**option)


@pytest.mark.parametrize(
    "image",
    [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3)), "face.jpg", None],
)
def test_what_is_no_picture_is_refused(detector, image):
    with pytest.raises(InputError, match=r"image 1: expected RGB uint8"):
        detector.detect([np.zeros((5, 5, 3), np.uint8), image])


# --- real pictures


@pytest.mark.data
def test_lfw_faces_are_found(detector, mien_data):
    paths = sorted((mien_data / "lfw").glob("*/*.jpg"))[::70]
    found = [
        faces for i in range(0, len(paths), 16) for faces in detector.detect([picture(p) for p in paths[i : i + 16]])
    ]
    assert len(found) > 90
    assert sum(len(faces) == 0 for faces in found) == 0
    # Deep-funneled pictures are centred on their subject.
    middle = sum(any(f.box[0] < 125 < f.box[2] and f.box[1] < 125 < f.box[3] for f in faces) for faces in found)
    assert middle == len(found)
    assert sum(map(len, found)) < 1.25 * len(found)


@pytest.mark.data
def test_true_boxes_of_group_pictures(mien_data):
    folder = mien_data / "photos" / "dlib" / "faces"
    detector = MTCNN(min_face=20)
    true, hit, reported, right = 0, 0, 0, 0
    for name in ("training.xml", "testing.xml"):
        for image in ET.parse(folder / name).iter("image"):
            boxes = [[float(box.get(k)) for k in ("left", "top", "width", "height")] for box in image.iter("box")]
            truth = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32)
            (faces,) = detector.detect([picture(folder / image.get("file"))])
            between = overlaps(truth, faces.boxes)
            true, hit = true + len(truth), hit + int((between.max(axis=1, initial=0) > 0.3).sum())
            reported, right = reported + len(faces), right + int((between.max(axis=0, initial=0) > 0.3).sum())
    assert hit / true > 0.9
    assert right / reported > 0.9


def test_faces_do_not_depend_on_the_rest_of_the_batch(hopper):
    image = np.asarray(Pillow.open(hopper).convert("RGB"))
    alone = MTCNN().detect([image])[0]
    for faces in MTCNN().detect([image[::-1].copy(), *[image] * 5])[1:]:
        np.testing.assert_allclose(faces.landmarks, alone.landmarks, atol=2e-4)


@pytest.mark.parametrize("shape", [(1, 9, 7), (2, 1, 1), (3, 1, 6), (4, 5, 1), (7, 8, 9)])
def test_peaks_are_looked_for_within_each_map_alone(shape):
    scores = np.random.default_rng(4).random(shape).astype(np.float32)
    got = mtcnn_stages._greatest_near(scores)
    assert got.shape == shape
    for i, row, column in np.ndindex(shape):
        near = scores[i, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        assert got[i, row, column] == near.max()
