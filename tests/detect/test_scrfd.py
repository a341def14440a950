"""SCRFD on graphs built here: answers worked out by hand, and a plain loop as the oracle."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.detect.scrfd import SCRFD
from mien.errors import CardError, ModelError
from mien.interfaces import Detector
from mien.models import catalogue
from mien.models.session import open_session

STRIDES = (8, 16, 32)
WIDTHS = {"score": 1, "bbox": 4, "kps": 10}
CARD = dataclasses.replace(catalogue.get("scrfd-500m-kps"), name="toy", input_size=(64, 64))
BLACK = np.zeros((64, 64, 3), np.uint8)


def silent():
    """The maps of a picture without a face: (kind, stride) -> (cells * 2, width), flat as the published graphs give."""
    return {(k, s): np.zeros(((64 // s) ** 2 * 2, n), np.float32) for k, n in WIDTHS.items() for s in STRIDES}


def graph(nodes, initializers=()):
    x = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, 64, 64])
    values = [
        helper.make_tensor_value_info(f"{k}_{s}", TensorProto.FLOAT, [None, n])
        for k, n in WIDTHS.items()
        for s in STRIDES
    ]
    made = helper.make_graph(list(nodes), "toy", [x], values, list(initializers))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString()


def detector(maps, **options):
    nodes = [
        helper.make_node("Constant", [], [f"{k}_{s}"], value=numpy_helper.from_array(array))
        for (k, s), array in maps.items()
    ]
    return SCRFD(CARD, open_session(graph(nodes), threads=1), **options)


def put(maps, stride, column, row, anchor, score, box, points=(0,) * 10):
    index = (row * (64 // stride) + column) * 2 + anchor
    for kind, value in (("score", score), ("bbox", box), ("kps", points)):
        maps[kind, stride][index] = value


def test_one_face_worked_out_by_hand():
    maps = silent()
    put(maps, 16, 2, 1, 1, 0.8, (0.5, 0.25, 1, 1.5), (0, 0, 1, 0, 0.5, 0.5, -0.25, 1, 0.75, 1))
    (faces,) = detector(maps).detect([BLACK])
    # the anchor is (32, 16); distances are in strides
    np.testing.assert_allclose(faces.boxes, [[24, 12, 48, 40]], atol=1e-4)
    np.testing.assert_allclose(faces.landmarks, [[[32, 16], [48, 16], [40, 24], [28, 32], [44, 32]]], atol=1e-4)
    np.testing.assert_allclose(faces.scores, [0.8], atol=1e-6)


@pytest.mark.parametrize(
    ("size", "scale"), [((128, 32), 0.5), ((32, 256), 0.25), ((64, 64), 1), ((32, 16), 2), ((8, 8), 8)]
)
def test_boxes_are_mapped_back_and_small_pictures_enlarged(size, scale):
    maps = silent()
    put(maps, 8, 1, 2, 0, 0.9, (1, 1, 1, 1), (1,) * 10)
    (faces,) = detector(maps).detect([np.zeros((size[1], size[0], 3), np.uint8)])
    np.testing.assert_allclose(faces.boxes, np.array([[0, 8, 16, 24]]) / scale, atol=1e-4)
    np.testing.assert_allclose(faces.landmarks, np.full((1, 5, 2), [16, 24]) / scale, atol=1e-4)


def test_odd_sizes_are_mapped_by_the_scale_really_used():
    maps = silent()
    put(maps, 8, 1, 2, 0, 0.9, (1, 1, 1, 1))
    (faces,) = detector(maps).detect([np.zeros((33, 100, 3), np.uint8)])
    sx, sy = 64 / 100, 21 / 33  # 33 * 0.64 = 21.12, drawn as 21 rows
    np.testing.assert_allclose(faces.boxes, [[0 / sx, 8 / sy, 16 / sx, 24 / sy]], atol=1e-4)


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def loop(maps, threshold, overlap):
    """The paper's box code and greedy suppression, one anchor at a time."""
    found = []
    for stride in STRIDES:
        index = 0
        for row in range(64 // stride):
            for column in range(64 // stride):
                for _anchor in range(2):
                    score = float(maps["score", stride][index, 0])
                    left, top, right, bottom = (float(v) * stride for v in maps["bbox", stride][index])
                    kps = maps["kps", stride][index]
                    index += 1
                    x, y = column * stride, row * stride
                    box = (x - left, y - top, x + right, y + bottom)
                    if score >= threshold and box[2] > box[0] and box[3] > box[1]:
                        points = [
                            (x + float(kps[2 * n]) * stride, y + float(kps[2 * n + 1]) * stride) for n in range(5)
                        ]
                        found.append((box, score, points))
    found.sort(key=lambda f: -f[1])
    kept = []
    for face in found:
        if all(iou(face[0], other[0]) <= overlap for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda f: -(f[0][2] - f[0][0]) * (f[0][3] - f[0][1]))


@pytest.mark.parametrize("seed", range(5))
def test_against_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    maps = silent()
    for (kind, _), array in maps.items():
        array[...] = rng.uniform(0, 1, array.shape) if kind == "score" else rng.uniform(-0.5, 3, array.shape)
    expected = loop(maps, 0.7, 0.4)
    (faces,) = detector(maps, threshold=0.7).detect([BLACK])
    assert len(expected) > 10
    np.testing.assert_allclose(faces.boxes, [f[0] for f in expected], atol=1e-3)
    np.testing.assert_allclose(faces.scores, [f[1] for f in expected], atol=1e-6)
    np.testing.assert_allclose(faces.landmarks, [f[2] for f in expected], atol=1e-3)


def looking_net(channel):
    """A network that sees: both anchors of a cell score the mean of one input channel over the cell; boxes reach one
    stride to the right and down."""
    pick = np.zeros((1, 3, 1, 1), np.float32)
    pick[0, channel] = 1
    initializers = [
        numpy_helper.from_array(pick, "pick"),
        numpy_helper.from_array(np.array([-1, 1], np.int64), "column"),
    ]
    nodes = [helper.make_node("Conv", ["input.1", "pick"], ["grey"])]
    for s in STRIDES:
        nodes.append(helper.make_node("AveragePool", ["grey"], [f"mean_{s}"], kernel_shape=[s, s], strides=[s, s]))
        nodes.append(helper.make_node("Reshape", [f"mean_{s}", "column"], [f"single_{s}"]))
        nodes.append(helper.make_node("Concat", [f"single_{s}", f"single_{s}"], [f"pair_{s}"], axis=1))
        nodes.append(helper.make_node("Reshape", [f"pair_{s}", "column"], [f"score_{s}"]))
        for kind, row in (("bbox", [0, 0, 1, 1]), ("kps", [0.5] * 10)):
            array = np.tile(np.array(row, np.float32), ((64 // s) ** 2 * 2, 1))
            nodes.append(helper.make_node("Constant", [], [f"{kind}_{s}"], value=numpy_helper.from_array(array)))
    return graph(nodes, initializers)


def test_the_network_sees_normalised_rgb():
    picture = np.full((64, 64, 3), 127, np.uint8)
    picture[16:24, 40:48] = (250, 20, 10)  # red
    (faces,) = SCRFD(CARD, open_session(looking_net(0), threads=1)).detect([picture])
    np.testing.assert_allclose(faces.scores, [(250 - 127.5) / 128], atol=1e-6)
    np.testing.assert_allclose(faces.boxes, [[40, 16, 48, 24]], atol=1e-4)
    np.testing.assert_allclose(faces.landmarks, np.full((1, 5, 2), [44, 20]), atol=1e-4)
    assert not len(SCRFD(CARD, open_session(looking_net(2), threads=1)).detect([picture])[0])


def test_a_picture_that_does_not_fill_the_input_sits_top_left():
    picture = np.full((32, 128, 3), 127, np.uint8)  # shrunk to 64 x 16
    picture[16:32, 96:112] = 255
    (faces,) = SCRFD(CARD, open_session(looking_net(1), threads=1), threshold=0.9).detect([picture])
    np.testing.assert_allclose(faces.boxes, [[96, 16, 112, 32]], atol=1e-4)


def test_a_score_a_little_over_one_is_one():
    maps = silent()
    put(maps, 8, 1, 2, 0, 1.0005, (1, 1, 1, 1))
    assert detector(maps).detect([BLACK])[0].scores.tolist() == [1.0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: m.update({("score", 8): np.zeros((64, 1), np.float32)}), "score of stride 8: expected 128 x 1"),
        (lambda m: m["bbox", 16].fill(np.nan), "NaN"),
    ],
)
def test_a_network_that_is_not_what_the_card_says(spoil, message):
    maps = silent()
    spoil(maps)
    with pytest.raises(ModelError, match=f"toy: .*{message}"):
        detector(maps).detect([BLACK])


@pytest.mark.parametrize("card", ["yunet", dataclasses.replace(CARD, outputs=("score", "bbox"))])
def test_cards_of_other_models_are_refused(card):
    with pytest.raises(CardError, match="expected"):
        SCRFD(card, open_session(looking_net(0), threads=1))


def test_many_threads_share_one_detector():
    shared = SCRFD(CARD, open_session(looking_net(0), threads=1))
    assert isinstance(shared, Detector)
    pictures = []
    for i in range(32):
        picture = np.full((64, 64, 3), 127, np.uint8)
        picture[8 * (i // 8) :, 8 * (i % 8) :][:8, :8] = 255
        pictures.append(picture)
    expected = shared.detect(pictures)
    with ThreadPoolExecutor(8) as pool:
        for got, want in zip(pool.map(lambda p: shared.detect([p])[0], pictures), expected, strict=True):
            np.testing.assert_array_equal(got.boxes, want.boxes)
    assert len({tuple(f.boxes[0]) for f in expected}) == 32
