"""Aligned embedders on networks built here, so that every output is known from the pixels."""

from __future__ import annotations

import dataclasses
import hashlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.embed.aligned import AlignedEmbedder, _planes
from mien.errors import CardError, InputError, LicenceError, ModelError, ModelFileError
from mien.images.align import ARCFACE_112
from mien.images.augment import evened
from mien.interfaces import Embedder
from mien.models import catalogue
from mien.models.opening import open_card
from mien.models.session import open_session
from mien.models.store import ModelStore
from mien.types import Faces, ModelIdentity

SHA = "e" * 64
DIMENSION = 12


def network(dimension=DIMENSION, batch="N", size=112):
    """Means of the input over a 2 x 2 grid, three channels each, as float32 (N, 12): places and colours show."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, size, size])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, dimension])
    half = size // 2
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[half, half], strides=[half, half]),
        helper.make_node("Flatten", ["p"], ["f"]),
    ]
    initializers = []
    if dimension == DIMENSION:
        nodes.append(helper.make_node("Identity", ["f"], ["y"]))
    else:
        initializers.append(numpy_helper.from_array(np.ones((DIMENSION, dimension), np.float32), "w"))
        nodes.append(helper.make_node("MatMul", ["f", "w"], ["y"]))
    made = helper.make_graph(nodes, "toy", [x], [y], initializers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def card(**changes):
    base = catalogue.get("arcface")
    files = (dataclasses.replace(base.files[0], sha256=SHA),)
    values = {"name": "toy", "dimension": DIMENSION, "files": files, "batch": 4, **changes}
    return dataclasses.replace(base, **values)


def embedder(preset="accurate", net=None, **changes):
    return AlignedEmbedder(card(**changes), open_session(net or network(), threads=1), preset=preset)


def grid_means(picture):
    """The toy network by hand: float64 (12,), channel by channel."""
    blocks = picture.astype(np.float64).reshape(2, 56, 2, 56, 3).mean(axis=(1, 3))
    return blocks.transpose(2, 0, 1).ravel()


def unit(v):
    return v / np.linalg.norm(v)


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (200, 180), interpolation=cv2.INTER_CUBIC)


def faces_at(*places):
    """Faces whose landmarks are the template, moved by whole pixels: the aligned chip is then a plain crop."""
    points = np.stack([ARCFACE_112 + np.array(p, np.float32) for p in places])
    return Faces(np.array([[x, y, x + 112, y + 112] for x, y in places]), np.ones(len(places)), points)


@pytest.mark.parametrize(
    ("colour", "mean", "std"),
    [
        ("rgb", (127.5,) * 3, (127.5,) * 3),
        ("rgb", (0.0,) * 3, (1.0,) * 3),
        ("bgr", (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)),
    ],
)
def test_fast_is_the_network_on_the_crop(colour, mean, std, picture):
    model = embedder("fast", colour=colour, mean=mean, std=std)
    chips = model.chips(picture, faces_at((30, 40), (5, 6)))
    assert chips.shape == (2, 1, 112, 112, 3)
    np.testing.assert_array_equal(chips[0, 0], picture[40:152, 30:142])
    for got, (x, y) in zip(model.embed(chips), ((30, 40), (5, 6)), strict=True):
        crop = picture[y : y + 112, x : x + 112]
        crop = crop if colour == "rgb" else crop[..., ::-1]
        np.testing.assert_allclose(got, unit(grid_means((crop - np.array(mean)) / np.array(std))), atol=1e-5)


def test_accurate_adds_the_mirror_image(picture):
    model = embedder("accurate")
    chips = model.chips(picture, faces_at((30, 40)))
    assert chips.shape == (1, 2, 112, 112, 3)
    crop = (picture[40:152, 30:142] - 127.5) / 127.5
    expected = unit(grid_means(crop) + grid_means(crop[:, ::-1]))
    np.testing.assert_allclose(model.embed(chips), [expected], atol=1e-5)
    mirrored = model.chips(np.ascontiguousarray(picture[:, ::-1]), faces_at((200 - 142, 40)))
    np.testing.assert_allclose(model.embed(mirrored), [expected], atol=1e-5)


@pytest.mark.parametrize("evening", [("gamma",), ("clahe",), ("self-quotient",), ("self-quotient", "gamma")])
def test_light_is_evened_out_once_and_mirrored_after(evening, picture):
    crop = picture[40:152, 30:142]
    even = evened(np.ascontiguousarray(crop), evening)
    model, plain = (embedder(evening=one) for one in (evening, ()))
    chips = model.chips(picture, faces_at((30, 40)))
    np.testing.assert_array_equal(chips[0, 0], even)
    np.testing.assert_array_equal(chips[0, 1], even[:, ::-1])
    values = (even - 127.5) / 127.5
    expected = unit(grid_means(values) + grid_means(values[:, ::-1]))
    (found,) = model.embed(chips)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(plain.embed(plain.chips(picture, faces_at((30, 40))))[0] - found).max() > 1e-3
    assert model.chips(picture, faces_at((30, 40)).take([])).shape == (0, 2, 112, 112, 3)


def test_a_grey_network_sees_evened_grey(picture):
    model = embedder(colour="grey", mean=(0.0,), std=(1.0,), evening=("clahe",))
    chips = model.chips(picture, faces_at((30, 40)))
    crop = np.ascontiguousarray(picture[40:152, 30:142])
    even = evened(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[:, :, None], ["clahe"])
    np.testing.assert_array_equal(_planes(chips[0], "grey")[0, 0], even[:, :, 0])  # turned to grey twice, it stays


def test_a_turned_and_enlarged_face_is_cut_upright(picture):
    matrix = cv2.getRotationMatrix2D((100, 90), 30, 1.2)
    turned = cv2.warpAffine(picture, matrix, (300, 280), flags=cv2.INTER_CUBIC)
    faces = faces_at((40, 30))
    points = faces.landmarks[0] @ matrix[:, :2].T + matrix[:, 2]
    moved = Faces(faces.boxes, faces.scores, points[None])
    model = embedder("fast")
    difference = model.chips(turned, moved).astype(int) - model.chips(picture, faces).astype(int)
    assert np.abs(difference).mean() < 2.5


def test_a_template_of_ones_own(picture):
    points = tuple((x / 2 + 3, y / 2 + 4) for x, y in ARCFACE_112.tolist())
    model = embedder("fast", network(size=64), input_size=(64, 64), template=points)
    whole = embedder("fast").chips(picture, faces_at((30, 40)))[0, 0]
    chip = model.chips(picture, faces_at((30, 40)))[0, 0]
    small = cv2.resize(whole, (56, 56), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(chip[4:60, 3:59].astype(int) - small).mean() < 4


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("batch", [1, 4])
def test_batches_change_nothing(count, batch):
    rng = np.random.default_rng(count)
    chips = rng.integers(0, 256, (count, 2, 112, 112, 3), dtype=np.uint8)
    sizes = []

    class Counting:
        inner = open_session(network(), threads=1)

        def run(self, blob):
            sizes.append(len(blob))
            return self.inner.run(blob)

    model = AlignedEmbedder(card(batch=batch), Counting())
    together = model.embed(chips)
    assert max(sizes) <= batch
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    one_by_one = np.concatenate([model.embed(chips[i : i + 1]) for i in range(count)])
    np.testing.assert_allclose(together, one_by_one, atol=1e-6)


def test_a_graph_of_batch_one():
    model = embedder("accurate", network(batch=1), batch=1)
    assert model.embed(np.full((3, 2, 112, 112, 3), 200, np.uint8)).shape == (3, DIMENSION)


def test_no_faces(picture):
    model = embedder()
    chips = model.chips(picture, Faces.none())
    assert chips.shape == (0, 2, 112, 112, 3)
    assert model.embed(chips).shape == (0, DIMENSION)


def test_the_identity_says_what_embeddings_compare():
    assert isinstance(embedder(), Embedder)
    assert embedder("fast").identity == ModelIdentity("toy", "fast", SHA, DIMENSION)
    assert embedder("fast").identity != embedder("accurate").identity


def test_the_same_weights_in_another_light_are_another_model():
    found = [embedder("fast", evening=one).identity for one in ((), ("clahe",), ("gamma",), ("clahe", "gamma"))]
    assert found[0].sha256 == SHA  # as ever
    assert found[1].sha256 == hashlib.sha256(f"{SHA} evening clahe".encode()).hexdigest()
    assert len(set(found)) == 4
    assert embedder("fast", evening=("gamma", "clahe")).identity not in found
    assert embedder("fast", evening=("clahe",)).identity == found[1]
    with pytest.raises(CardError, match="expected a checksum"):
        embedder(evening=("clahe",), files=(dataclasses.replace(card().files[0], sha256=None),))


@pytest.mark.parametrize(
    "chips",
    [
        np.zeros((1, 1, 112, 112, 3), np.uint8),
        np.zeros((1, 2, 112, 111, 3), np.uint8),
        np.zeros((1, 2, 112, 112, 3), np.float32),
        np.zeros((2, 112, 112, 3), np.uint8),
    ],
)
def test_chips_of_another_shape_are_refused(chips):
    with pytest.raises(ValueError, match=r"expected uint8 chips \(N, 2, 112, 112, 3\)"):
        embedder().embed(chips)


def test_a_network_of_another_dimension():
    with pytest.raises(ModelError, match=r"toy: expected an output of shape \(2, 12\), got \(2, 7\)"):
        embedder(net=network(7)).embed(np.ones((1, 2, 112, 112, 3), np.uint8))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_outputs_that_are_no_embedding(value):
    class Broken:
        def run(self, blob):
            return [np.full((len(blob), DIMENSION), value, np.float32)]

    with pytest.raises(ModelError, match="toy: the network answers with NaN"):
        AlignedEmbedder(card(), Broken()).embed(np.ones((1, 2, 112, 112, 3), np.uint8))


def test_landmarks_in_one_point_are_refused(picture):
    with pytest.raises(InputError, match="coincide"):
        embedder().chips(picture, Faces([[0, 0, 9, 9]], [1], np.full((1, 5, 2), 4)))


def test_presets_the_card_lacks():
    with pytest.raises(InputError, match="expected one of fast, accurate; got 'best'"):
        embedder("best")
    with pytest.raises(InputError, match="expected one of fast; got 'accurate'"):
        embedder("accurate", presets={"fast": {"description": "one"}})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (catalogue.get("dlib-resnet29"), "family 'aligned', got 'dlib-resnet'"),
        (card(input_size=(128, 128)), "give five points instead"),
        (dataclasses.replace(catalogue.get("arcface"), dimension=DIMENSION), "expected a checksum"),
    ],
)
def test_cards_that_do_not_fit(given, message, monkeypatch, tmp_path):
    monkeypatch.setenv("MIEN_MODELS", str(tmp_path))
    with pytest.raises(CardError, match=message):
        AlignedEmbedder(given, open_session(network(), threads=1))


def test_from_the_store_by_name_to_embeddings(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_MODELS", str(tmp_path / "store"))
    monkeypatch.setenv("MIEN_CARDS", str(tmp_path))
    net = network()
    (tmp_path / "mine.onnx").write_bytes(net)
    (tmp_path / "toy.toml").write_text(f"""
        name = "toy"
        title = "Toy"
        task = "embedder"
        family = "aligned"
        licence = "MIT"
        commercial_use = true
        input = {{ size = [112, 112], colour = "rgb", batch = 8 }}
        alignment = {{ template = "arcface-112" }}
        output = {{ dimension = {DIMENSION}, metric = "cosine" }}
        presets.fast.description = "one look"
        files = [{{ name = "toy.onnx" }}]
    """)
    with pytest.raises(ModelFileError, match="mien models pull toy --file"):
        AlignedEmbedder("toy", preset="fast")
    ModelStore().pull(catalogue.get("toy"), tmp_path / "mine.onnx")
    model = AlignedEmbedder("toy", preset="fast", threads=1)
    assert model.identity.sha256 == hashlib.sha256(net).hexdigest()
    assert model.embed(np.full((1, 1, 112, 112, 3), 9, np.uint8)).shape == (1, DIMENSION)


def test_the_licence_is_looked_at_before_the_file(tmp_path):
    with pytest.raises(LicenceError, match="non-commercial"):
        open_card(catalogue.get("arcface-r50"), store=ModelStore(tmp_path), licence="commercial")
    with pytest.raises(ModelFileError, match="mien models pull arcface-r50"):
        open_card(catalogue.get("arcface-r50"), store=ModelStore(tmp_path))


def test_many_threads_share_one_embedder(picture):
    model = embedder()
    faces = [faces_at((i, 2 * i)) for i in range(24)]
    expected = [model.embed(model.chips(picture, f)) for f in faces]
    with ThreadPoolExecutor(8) as pool:
        for got, want in zip(pool.map(lambda f: model.embed(model.chips(picture, f)), faces), expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-6)


def grey_network(size=112):
    """Means over a 2 x 2 grid of one channel: float32 (N, 4)."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, size, size])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])
    pool = helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[size // 2] * 2, strides=[size // 2] * 2)
    made = helper.make_graph([pool, helper.make_node("Flatten", ["p"], ["y"])], "toy", [x], [y])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def test_grey_models_see_one_channel(picture):
    made = card(colour="grey", mean=(100.0,), std=(50.0,), dimension=4)
    found = AlignedEmbedder(made, open_session(grey_network(), threads=1), preset="fast")
    chips = found.chips(picture, faces_at((10, 20), (60, 30)))
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    for row, chip in zip(found.embed(chips), chips[:, 0], strict=True):
        grey = np.round(chip.astype(np.float64) @ weights)
        expected = (grey.reshape(2, 56, 2, 56).mean(axis=(1, 3)).ravel() - 100) / 50
        np.testing.assert_allclose(row, unit(expected), atol=2e-3)  # OpenCV's weights are fixed-point numbers


def test_grey_cards_have_one_mean():
    assert dataclasses.replace(card(), colour="grey", mean=(0.0,) * 3, std=(1.0,) * 3).std == (1.0,)
    with pytest.raises(CardError, match=r"input\.mean: expected 1 number"):
        card(colour="grey", mean=(1.0, 2.0, 3.0), std=(1.0,))
