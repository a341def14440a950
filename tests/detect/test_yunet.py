"""YuNet on graphs built here: answers worked out by hand, a plain loop, and OpenCV's own FaceDetectorYN as oracles."""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.detect.yunet import YuNet, decode_yunet
from mien.errors import CardError, ModelError, ModelFileError
from mien.interfaces import Detector
from mien.models import catalogue
from mien.models.session import open_session

STRIDES = (8, 16, 32)
WIDTHS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
CARD = dataclasses.replace(catalogue.get("yunet"), name="toy", input_size=(64, 64))


def silent(width=64, height=64):
    """The maps of a picture without a face: (kind, stride) -> (1, cells, width) zeros."""
    return {
        (k, s): np.zeros((1, (width // s) * (height // s), n), np.float32) for k, n in WIDTHS.items() for s in STRIDES
    }


def graph(nodes, outputs, initializers=(), size=(64, 64)):
    x = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, size[1], size[0]])
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, WIDTHS[name.split("_")[0]]])
        for name in outputs
    ]
    made = helper.make_graph(list(nodes), "toy", [x], values, list(initializers))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString()


def constant_net(maps, size=(64, 64)):
    """A network that gives these maps for every picture."""
    names = {key: f"{key[0]}_{key[1]}" for key in maps}
    nodes = [
        helper.make_node("Constant", [], [names[key]], value=numpy_helper.from_array(array))
        for key, array in maps.items()
    ]
    return graph(nodes, list(names.values()), size=size)


def detector(maps, card=CARD, **options):
    return YuNet(card, open_session(constant_net(maps), threads=1), **options)


def put(maps, stride, column, row, score, box=(0, 0, 0, 0), points=(0,) * 10, width=64):
    cell = row * (width // stride) + column
    for kind, value in (("cls", score), ("obj", score), ("bbox", box), ("kps", points)):
        maps[kind, stride][0, cell] = value


BLACK = np.zeros((64, 64, 3), np.uint8)


def test_one_face_worked_out_by_hand():
    maps = silent()
    put(maps, 16, 2, 1, 0.95, (0.5, 0.25, math.log(2), math.log(3)), (0, 0, 1, 0, 0.5, 0.5, 0.25, 1, 0.75, 1))
    (faces,) = detector(maps).detect([BLACK])
    # centre (2.5, 1.25) * 16, sides (2, 3) * 16; landmarks ((2, 1) + point) * 16
    np.testing.assert_allclose(faces.boxes, [[24, -4, 56, 44]], atol=1e-4)
    np.testing.assert_allclose(faces.landmarks, [[[32, 16], [48, 16], [40, 24], [36, 32], [44, 32]]], atol=1e-4)
    np.testing.assert_allclose(faces.scores, [0.95], atol=1e-6)


def test_the_score_is_the_root_of_the_clamped_product():
    maps = silent()
    put(maps, 8, 3, 3, 1.0)
    maps["cls", 8][0, 27], maps["obj", 8][0, 27] = 1.5, 0.81
    (faces,) = detector(maps, threshold=0.89).detect([BLACK])
    np.testing.assert_allclose(faces.scores, [0.9], atol=1e-6)
    assert not len(detector(maps, threshold=0.91).detect([BLACK])[0])
    maps["cls", 8][0, 27] = -1
    assert not len(detector(maps, threshold=0.01).detect([BLACK])[0])


@pytest.mark.parametrize(("size", "scale"), [((128, 32), 0.5), ((32, 256), 0.25), ((64, 64), 1.0), ((40, 20), 1.0)])
def test_boxes_are_mapped_back(size, scale):
    maps = silent()
    put(maps, 8, 1, 2, 1.0, (0, 0, 0, 0), (1,) * 10)
    (faces,) = detector(maps).detect([np.zeros((size[1], size[0], 3), np.uint8)])
    np.testing.assert_allclose(faces.boxes, np.array([[4, 12, 12, 20]]) / scale, atol=1e-4)
    np.testing.assert_allclose(faces.landmarks, np.full((1, 5, 2), [16, 24]) / scale, atol=1e-4)


def loop(maps, threshold, overlap, size=64):
    """What the paper and OpenCV do, one cell at a time."""
    found = []
    for stride in STRIDES:
        for cell in range((size // stride) ** 2):
            row, column = divmod(cell, size // stride)
            cls, obj = (min(1.0, max(0.0, float(maps[k, stride][0, cell, 0]))) for k in ("cls", "obj"))
            score = math.sqrt(cls * obj)
            if score < threshold:
                continue
            dx, dy, dw, dh = (float(v) for v in maps["bbox", stride][0, cell])
            cx, cy, w, h = (column + dx) * stride, (row + dy) * stride, math.exp(dw) * stride, math.exp(dh) * stride
            kps = [float(v) for v in maps["kps", stride][0, cell]]
            points = [((kps[2 * n] + column) * stride, (kps[2 * n + 1] + row) * stride) for n in range(5)]
            found.append(((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), score, points))
    found.sort(key=lambda f: -f[1])
    kept = []
    for box, score, points in found:
        if all(iou(box, other) <= overlap for other, _, _ in kept):
            kept.append((box, score, points))
    return sorted(kept, key=lambda f: -(f[0][2] - f[0][0]) * (f[0][3] - f[0][1]))


def iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def random_maps(seed):
    rng = np.random.default_rng(seed)
    maps = silent()
    for (kind, _), array in maps.items():
        array[...] = rng.uniform(-0.2, 1.2, array.shape) if kind in ("cls", "obj") else rng.normal(0, 0.7, array.shape)
    return maps


@pytest.mark.parametrize("seed", range(5))
def test_against_a_plain_loop(seed):
    maps = random_maps(seed)
    expected = loop(maps, 0.6, 0.3)
    (faces,) = detector(maps, threshold=0.6).detect([BLACK])
    assert len(expected) > 3
    np.testing.assert_allclose(faces.boxes, [f[0] for f in expected], atol=1e-3)
    np.testing.assert_allclose(faces.scores, [f[1] for f in expected], atol=1e-6)
    np.testing.assert_allclose(faces.landmarks, [f[2] for f in expected], atol=1e-3)


def looking_net(channel, size=(64, 64), gain=1 / 255.0):
    """A network that sees: the score of a cell is the mean of one channel over the cell."""
    nodes, initializers, outputs = [], [], {kind: [] for kind in WIDTHS}
    pick = np.zeros((1, 3, 1, 1), np.float32)
    pick[0, channel] = gain
    initializers.append(numpy_helper.from_array(pick, "pick"))
    initializers.append(numpy_helper.from_array(np.array([1, -1, 1], np.int64), "column"))
    nodes.append(helper.make_node("Conv", ["input", "pick"], ["grey"]))
    for s in STRIDES:
        nodes.append(helper.make_node("AveragePool", ["grey"], [f"mean_{s}"], kernel_shape=[s, s], strides=[s, s]))
        nodes += [helper.make_node("Reshape", [f"mean_{s}", "column"], [f"{kind}_{s}"]) for kind in ("cls", "obj")]
        for kind in ("bbox", "kps"):
            weight = np.zeros((1, WIDTHS[kind]), np.float32)
            initializers.append(numpy_helper.from_array(weight, f"w_{kind}_{s}"))
            nodes.append(helper.make_node("MatMul", [f"cls_{s}", f"w_{kind}_{s}"], [f"{kind}_{s}"]))
        for kind, names in outputs.items():
            names.append(f"{kind}_{s}")
    return graph(nodes, [n for names in outputs.values() for n in names], initializers, size)


def test_the_network_sees_bgr_from_0_to_255():
    picture = BLACK.copy()
    picture[16:24, 40:48] = (10, 20, 250)  # blue, in RGB
    eye = YuNet(CARD, open_session(looking_net(0), threads=1))
    (faces,) = eye.detect([picture])
    np.testing.assert_allclose(faces.scores, [250 / 255], atol=1e-6)
    np.testing.assert_allclose(faces.boxes, [[36, 12, 44, 20]], atol=1e-4)  # the cell's corner is the centre
    assert not len(YuNet(CARD, open_session(looking_net(2), threads=1)).detect([picture])[0])


def test_mean_and_std_come_from_the_card():
    card = dataclasses.replace(CARD, mean=(100.0, 0.0, 0.0), std=(50.0, 1.0, 1.0))
    picture = BLACK.copy()
    picture[:8, :8] = (0, 0, 150)
    (faces,) = YuNet(card, open_session(looking_net(0, gain=0.95), threads=1)).detect([picture])
    np.testing.assert_allclose(faces.scores, [0.95], atol=1e-6)


def test_a_network_of_any_size_gets_whole_cells():
    shapes = []

    class Eye:
        def run(self, blob):
            shapes.append(blob.shape)
            height, width = blob.shape[2:]
            maps = silent(width, height)
            return [maps[k, s] for k in WIDTHS for s in STRIDES]

    free = dataclasses.replace(CARD, input_size=None)
    assert [
        len(f) for f in YuNet(free, Eye()).detect([np.zeros((33, 100, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)])
    ] == [
        *(0, 0),
    ]
    assert shapes == [(1, 3, 64, 128), (1, 3, 32, 32)]
    YuNet(free, Eye()).detect([np.zeros((2, 9000, 3), np.uint8)])
    assert shapes[-1] == (1, 3, 32, 4096), "memory is bounded"


def convolution_net(seed, size):
    """Random convolutions with YuNet's twelve outputs."""
    rng = np.random.default_rng(seed)
    nodes, initializers, outputs = [], [], {kind: [] for kind in WIDTHS}
    for s in STRIDES:
        for kind, n in WIDTHS.items():
            name = f"{kind}_{s}"
            bias = {"cls": 2.2, "obj": 2.2, "bbox": 0.3, "kps": 0.0}[kind]
            weight = rng.normal(0, (0.03 if kind in ("cls", "obj") else 0.004) / s, (n, 3, s, s)).astype(np.float32)
            weight -= weight.mean(axis=(1, 2, 3), keepdims=True)
            initializers.append(numpy_helper.from_array(weight, f"w_{name}"))
            initializers.append(numpy_helper.from_array(np.full(n, bias, np.float32), f"b_{name}"))
            cells = (size[0] // s) * (size[1] // s)
            initializers.append(numpy_helper.from_array(np.array([1, cells, n], np.int64), f"s_{name}"))
            nodes.append(
                helper.make_node(
                    "Conv", ["input", f"w_{name}", f"b_{name}"], [f"c_{name}"], kernel_shape=[s, s], strides=[s, s]
                )
            )
            source = f"c_{name}"
            if kind in ("cls", "obj"):
                nodes.append(helper.make_node("Sigmoid", [source], [f"g_{name}"]))
                source = f"g_{name}"
            nodes.append(helper.make_node("Transpose", [source], [f"t_{name}"], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Reshape", [f"t_{name}", f"s_{name}"], [name]))
            outputs[kind].append(name)
    return graph(nodes, [n for names in outputs.values() for n in names], initializers, size)


@pytest.mark.parametrize("size", [(96, 64), (90, 61)])
def test_against_opencv(size, tmp_path):
    rng = np.random.default_rng(3)
    net = convolution_net(1, (96, 64))
    path = tmp_path / "net.onnx"
    path.write_bytes(net)
    picture = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    oracle = cv2.FaceDetectorYN.create(str(path), "", size, 0.92, 1.0, 5000)  # its suppression rounds boxes to integers
    _, rows = oracle.detect(picture[..., ::-1].copy())
    rows = rows[np.argsort(-rows[:, 2] * rows[:, 3], kind="stable")]
    card = dataclasses.replace(CARD, input_size=(96, 64))
    (faces,) = YuNet(card, open_session(net, threads=1), threshold=0.92, overlap=1.0).detect([picture])
    assert len(rows) > 3
    np.testing.assert_allclose(faces.boxes, np.c_[rows[:, :2], rows[:, :2] + rows[:, 2:4]], atol=2e-3)
    np.testing.assert_allclose(faces.landmarks.reshape(-1, 10), rows[:, 4:14], atol=2e-3)
    np.testing.assert_allclose(faces.scores, rows[:, 14], atol=1e-5)


def test_overlaps_and_order():
    maps = silent()
    put(maps, 8, 2, 2, 0.95)
    put(maps, 8, 3, 2, 0.96, (-0.9, 0, 0, 0))  # nearly the same box
    put(maps, 32, 1, 1, 0.92)
    put(maps, 16, 0, 3, 0.99)
    (faces,) = detector(maps).detect([BLACK])
    np.testing.assert_allclose(faces.scores, [0.92, 0.99, 0.96], atol=1e-6)
    areas = np.diff(faces.boxes.reshape(-1, 2, 2), axis=1).prod(-1).ravel()
    assert (np.diff(areas) < 0).all()


@pytest.mark.parametrize(("min_face", "expected"), [(0, 3), (8, 3), (9, 2), (0.125, 3), (0.2, 2), (33, 0), (0.4, 1)])
def test_the_smallest_face(min_face, expected):
    maps = silent()
    for stride in STRIDES:
        put(maps, stride, 1, 1, 1.0, (0.5 if stride > 8 else -0.5, 0, 0, 0))
    assert len(detector(maps, min_face=min_face, overlap=1.0).detect([BLACK])[0]) == expected


def test_pictures_of_many_sizes_in_one_call():
    maps = silent()
    put(maps, 8, 1, 2, 1.0)
    found = detector(maps).detect([BLACK, np.zeros((128, 128, 3), np.uint8), np.zeros((10, 30, 3), np.uint8)])
    np.testing.assert_allclose(
        np.stack([f.boxes[0] for f in found]), np.array([[4, 12, 12, 20]]) * [[1], [2], [1]], atol=1e-4
    )
    assert detector(maps).detect([]) == []


def test_no_face():
    (faces,) = detector(silent()).detect([BLACK])
    assert (faces.boxes.shape, faces.scores.shape, faces.landmarks.shape) == ((0, 4), (0,), (0, 5, 2))


def test_a_crowd_is_cut_to_the_best():
    maps = silent(640, 640)
    for array in maps.values():
        array[...] = -3 if array.shape[2] == 4 else 1  # tiny boxes, all certain
    card = catalogue.get("yunet")
    (faces,) = YuNet(card, open_session(constant_net(maps, (640, 640)), threads=1)).detect([BLACK])
    assert len(faces) == 5000


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: m.pop(("kps", 32)), "expected 4 kinds x 3 strides outputs, the network has 11"),
        (lambda m: m.update({("bbox", 8): np.zeros((1, 63, 4), np.float32)}), "bbox of stride 8: expected 64 x 4"),
        (lambda m: m["cls", 16].fill(np.nan), "NaN"),
        (lambda m: m["kps", 16].fill(np.inf), "NaN or infinity"),
        (lambda m: (put(m, 8, 0, 0, 1.0), m["bbox", 8].fill(1e9)), "infinite"),
    ],
)
def test_a_network_that_is_not_what_the_card_says(spoil, message):
    maps = silent()
    spoil(maps)
    with pytest.raises(ModelError, match=f"toy: .*{message}"):
        detector(maps).detect([BLACK])


@pytest.mark.parametrize(
    "picture",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((0, 8, 3), np.uint8), np.zeros((8, 8, 3))],
)
def test_what_is_no_picture_is_refused(picture):
    with pytest.raises(ValueError, match="expected RGB uint8"):
        detector(silent()).detect([picture])


@pytest.mark.parametrize(
    "options", [{"threshold": 0}, {"threshold": 2}, {"overlap": -1}, {"min_face": -1}, {"min_face": math.nan}]
)
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match="expected"):
        detector(silent(), **options)


@pytest.mark.parametrize(
    "card",
    [
        "mtcnn",
        "scrfd-10g-kps",
        dataclasses.replace(CARD, outputs=("cls", "obj", "bbox")),
        dataclasses.replace(CARD, outputs=("cls", "obj", "bbox", "kps", "kps")),
        dataclasses.replace(CARD, input_size=(100, 64)),
    ],
)
def test_cards_of_other_models_are_refused(card):
    with pytest.raises(CardError, match="expected"):
        YuNet(card, open_session(constant_net(silent()), threads=1))


def test_the_missing_file_is_named_with_the_command_that_gets_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_MODELS", str(tmp_path))
    with pytest.raises(ModelFileError, match=r"face_detection_yunet_2023mar\.onnx.*mien models pull yunet"):
        YuNet()


def test_many_threads_share_one_detector():
    shared = YuNet(CARD, open_session(looking_net(0), threads=1))
    assert isinstance(shared, Detector)
    assert shared.name == "toy"
    pictures = []
    for i in range(32):
        picture = BLACK.copy()
        picture[8 * (i // 8 % 8) :, 8 * (i % 8) :][:8, :8] = 255
        pictures.append(picture)
    expected = shared.detect(pictures)
    with ThreadPoolExecutor(8) as pool:
        for got, want in zip(pool.map(lambda p: shared.detect([p])[0], pictures), expected, strict=True):
            np.testing.assert_array_equal(got.boxes, want.boxes)
    assert len({tuple(f.boxes[0]) for f in expected}) == 32


def test_decoding_is_a_pure_function():
    maps = {k: v[0] for (k, s), v in random_maps(7).items() if s == 8}
    cell = np.stack([np.arange(64) % 8, np.arange(64) // 8], 1).astype(np.float32)
    before = {k: v.copy() for k, v in maps.items()}
    boxes, scores, points = decode_yunet(maps, cell, 8, 0.5)
    assert boxes.dtype == scores.dtype == points.dtype == np.float32
    assert all((maps[k] == before[k]).all() for k in maps)


def test_the_toy_graphs_are_valid():
    onnx.checker.check_model(onnx.load_from_string(convolution_net(0, (64, 64))))
