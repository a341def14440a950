"""The default embedder against dlib's own code, and what a user relies on."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from mien.detect.mtcnn import MTCNN
from mien.detect.trees import RegressionTrees
from mien.embed.dlib_resnet import DlibResNet
from mien.embed.views import PRESETS, TREES_TEMPLATE, View
from mien.errors import CardError, InputError, ModelError
from mien.images.align import similarity
from mien.models.card import load_card
from mien.models.graphs.dlib_resnet import dlib_resnet_graph
from mien.models.packaged import packaged_file, read_packaged
from mien.models.readers.dlib_resnet import read_dlib_resnet
from mien.recognizer import open_embedder
from mien.types import Faces


@pytest.fixture(scope="module")
def landmarker():
    return RegressionTrees()


@pytest.fixture(scope="module")
def fast(landmarker):
    return DlibResNet("fast", landmarker=landmarker, engine="onnxruntime")


@pytest.fixture(scope="module")
def accurate(landmarker):
    return DlibResNet("accurate", landmarker=landmarker, engine="onnxruntime")


@pytest.fixture(scope="module")
def portraits(hopper, astronaut):
    """Two people, and the first once more: mirrored, dimmed and half as large."""
    first, second = (Pillow.open(path).convert("RGB") for path in (hopper, astronaut))
    altered = first.resize((first.width // 2, first.height // 2)).transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
    return [np.asarray(first), np.asarray(second), np.asarray(altered.point(lambda value: value * 0.6))]


@pytest.fixture(scope="module")
def found(portraits):
    return [faces.take([0]) for faces in MTCNN().detect(portraits)]


@pytest.fixture(scope="module")
def dlib_net():
    dlib = pytest.importorskip("dlib")
    net = dlib.face_recognition_model_v1(str(packaged_file("dlib-resnet")))
    return lambda chip: np.array(net.compute_face_descriptor(np.ascontiguousarray(chip)))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_one_view_is_dlibs_own_embedding_of_the_chip(landmarker, portraits, found, dlib_net):
    embedder = DlibResNet(landmarker=landmarker, views=[View("trees")], engine="onnxruntime")
    for picture, faces in zip(portraits, found, strict=True):
        chips = embedder.chips(picture, faces)
        np.testing.assert_allclose(embedder.embed(chips)[0], unit(dlib_net(chips[0, 0])), atol=1e-5)


def test_several_views_are_averaged(fast, accurate, portraits, found, dlib_net):
    for embedder, views in ((fast, 2), (accurate, 4)):
        for picture, faces in zip(portraits, found, strict=True):
            chips = embedder.chips(picture, faces)
            assert chips.shape == (len(faces), views, 150, 150, 3)
            truth = unit(np.sum([dlib_net(look) for look in chips[0]], axis=0))
            np.testing.assert_allclose(embedder.embed(chips)[0], truth, atol=1e-5)


def test_a_mirrored_view_is_the_mirror_image_of_the_plain_one(landmarker, portraits, found):
    views = [View("detector", 1.1), View("detector", 1.1, mirrored=True)]
    chips = DlibResNet(landmarker=landmarker, views=views, engine="onnxruntime").chips(portraits[0], found[0])
    difference = np.abs(chips[0, 0].astype(int) - chips[0, 1, :, ::-1])
    assert difference.mean() < 0.5  # interpolation rounds to other places of the pixel grid
    assert np.abs(chips[0, 0].astype(int) - chips[0, 1]).mean() > 10


def test_the_chip_is_the_one_dlib_cuts(accurate, portraits, found):
    dlib = pytest.importorskip("dlib")
    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(packaged_file("dlib-landmarks-5")))
    for picture, faces in zip(portraits[:2], found, strict=False):
        parts = predictor(picture, detector(picture, 0)[0])
        theirs = similarity([[(p.x, p.y) for p in parts.parts()]], TREES_TEMPLATE)
        ours = accurate.matrices(picture, faces.landmarks)[:, 0]
        corners = np.array([[0, 0, 1], [149, 0, 1], [0, 149, 1], [149, 149, 1]]).T
        back = np.linalg.inv(np.concatenate([theirs[0], [[0, 0, 1]]]))
        # dlib starts from its own detector's box, and rounds landmarks to whole pixels of the picture.
        moved = (ours[0] @ back @ corners).T - corners.T[:, :2]
        assert np.abs(moved).max() < 6


def test_the_same_person_scores_above_a_stranger(fast, accurate, portraits, found):
    for embedder in (fast, accurate):
        chips = [embedder.chips(picture, faces) for picture, faces in zip(portraits, found, strict=True)]
        first, stranger, altered = embedder.embed(np.concatenate(chips))
        assert first @ altered > 0.96
        assert first @ stranger < 0.9
        assert altered @ stranger < 0.9


def test_chips_show_the_face_whatever_the_size(fast, landmarker, portraits, found):
    """A large picture is shrunk before it is cut: its chips are those of the small one, without aliasing."""
    large = np.asarray(Pillow.fromarray(portraits[0]).resize((512 * 5, 600 * 5), Pillow.Resampling.BICUBIC))
    faces = found[0]
    # Whole numbers are the centres of pixels, so pixel x becomes the pixels 5 x to 5 x + 4.
    grown = Faces(faces.boxes * 5 + 2, faces.scores, faces.landmarks * 5 + 2)
    plain = DlibResNet(landmarker=landmarker, views=[View("detector")], engine="onnxruntime")
    difference = plain.chips(portraits[0], faces).astype(int) - plain.chips(large, grown)
    assert np.abs(difference).mean() < 4
    for embedder in (plain, fast):
        a, b = embedder.chips(portraits[0], faces), embedder.chips(large, grown)
        assert embedder.embed(a)[0] @ embedder.embed(b)[0] > 0.99


def test_batches_give_what_single_faces_give(accurate, portraits, found):
    chips = np.concatenate([accurate.chips(p, f) for p, f in zip(portraits, found, strict=True)])
    many = accurate.embed(np.concatenate([chips] * 7))
    assert many.shape == (21, 128)
    assert many.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-6)
    for i in range(21):
        np.testing.assert_allclose(many[i], accurate.embed(chips[i % 3 : i % 3 + 1])[0], atol=1e-5)


def test_several_faces_of_one_picture_are_those_of_each(accurate, portraits, found):
    side = 600
    wide = np.zeros((side, 2 * 512, 3), np.uint8)
    for i in range(2):
        picture = portraits[i][:side, :512]
        wide[: picture.shape[0], 512 * i : 512 * i + picture.shape[1]] = picture
    moved = found[1].landmarks + np.array([512, 0], np.float32)
    both = Faces(
        np.concatenate([f.boxes for f in found[:2]]),
        np.concatenate([f.scores for f in found[:2]]),
        np.concatenate([found[0].landmarks, moved]),
    )
    together = accurate.embed(accurate.chips(wide, both))
    for i in range(2):
        alone = accurate.embed(accurate.chips(portraits[i], found[i]))[0]
        assert together[i] @ alone > 0.995


def test_no_face_is_fine(accurate, portraits):
    chips = accurate.chips(portraits[0], Faces.none())
    assert chips.shape == (0, 4, 150, 150, 3)
    assert accurate.embed(chips).shape == (0, 128)


def test_identities_differ_where_embeddings_do(fast, accurate, landmarker):
    again = DlibResNet("fast", landmarker=landmarker, engine="onnxruntime")
    assert again.identity == fast.identity
    assert (fast.identity.name, fast.identity.preset, fast.identity.dimension) == ("dlib-resnet29", "fast", 128)
    elsewhere = RegressionTrees((0.1, 0.1, 0.9, 0.9))
    others = [
        accurate.identity,
        DlibResNet("accurate", landmarker=elsewhere, engine="onnxruntime").identity,
        DlibResNet(landmarker=landmarker, views=[View("trees", 1.01)], engine="onnxruntime").identity,
        DlibResNet(landmarker=landmarker, views=PRESETS["fast"], engine="onnxruntime").identity,  # "custom"
    ]
    for a, b in itertools.combinations([fast.identity, *others], 2):
        assert a != b
    assert others[-1].preset == "custom"


def test_the_landmarker_matters_only_where_it_is_used(landmarker):
    elsewhere = RegressionTrees((0.1, 0.1, 0.9, 0.9))
    one, other = (
        DlibResNet(landmarker=used, views=[View("detector")], engine="onnxruntime").identity
        for used in (landmarker, elsewhere)
    )
    assert one == other


def test_what_cannot_be_used_is_refused(fast, accurate, landmarker, portraits):
    with pytest.raises(InputError, match=r"expected one of fast, accurate; got 'best'"):
        DlibResNet("best", landmarker=landmarker)
    with pytest.raises(InputError, match="at least one"):
        DlibResNet(landmarker=landmarker, views=[])
    with pytest.raises(InputError, match="landmarker: expected one"):
        DlibResNet("accurate")
    with pytest.raises(ValueError, match=r"expected uint8 chips"):
        fast.embed(np.zeros((1, 3, 150, 150, 3), np.uint8))
    with pytest.raises(ValueError, match="float64"):
        accurate.embed(np.zeros((1, 4, 150, 150, 3)))
    point = Faces(np.array([[0, 0, 9, 9]]), np.array([1]), np.full((1, 5, 2), 5))
    with pytest.raises(InputError, match="distinct points"):
        fast.chips(portraits[0], point)


def test_a_network_that_answers_nonsense_is_an_error(landmarker, portraits, found, monkeypatch):
    embedder = DlibResNet("fast", landmarker=landmarker, engine="onnxruntime")

    class Broken:
        engine, precision = "test", "f32"

        def run(self, *inputs):
            return [np.full((len(inputs[0]), 128), np.nan, np.float32)]

    monkeypatch.setattr(embedder, "_session", Broken())
    with pytest.raises(ModelError, match="NaN"):
        embedder.embed(embedder.chips(portraits[0], found[0]))


def test_threads_do_not_disturb_each_other(accurate, portraits, found):
    def work(i):
        return accurate.embed(accurate.chips(portraits[i % 3], found[i % 3]))[0]

    alone = [work(i) for i in range(3)]
    with ThreadPoolExecutor(4) as pool:
        for i, vector in enumerate(pool.map(work, range(12))):
            np.testing.assert_allclose(vector, alone[i % 3], atol=1e-6)


@pytest.mark.data
def test_people_are_told_apart_at_the_shipped_threshold(mien_data, landmarker):
    """The first 100 genuine and 100 impostor pairs of LFW's pairsDevTest."""
    from mien.match import calibration_for

    embedder = DlibResNet("accurate", landmarker=landmarker)
    lines = [line.split("\t") for line in (mien_data / "lists/pairsDevTest.txt").read_text().splitlines()[1:]]
    chosen = [(w[0], w[1], w[0], w[2]) for w in lines[:100]] + [tuple(w) for w in lines[500:600]]
    names = sorted({pair[i : i + 2] for pair in chosen for i in (0, 2)})
    pictures = [
        np.asarray(Pillow.open(mien_data / "lfw" / name / f"{name}_{int(number):04d}.jpg")) for name, number in names
    ]
    found = MTCNN().detect(pictures)
    chips = [
        embedder.chips(picture, faces.take([faces.main((250, 250))]))
        for picture, faces in zip(pictures, found, strict=True)
    ]
    vector = dict(zip(names, embedder.embed(np.concatenate(chips)), strict=True))
    score = np.array([vector[pair[:2]] @ vector[pair[2:]] for pair in chosen])
    matched = score >= calibration_for(embedder.identity).threshold(fmr=1e-3)
    assert matched[:100].mean() >= 0.9
    assert matched[100:].sum() <= 1


@pytest.fixture(scope="module")
def own_card(tmp_path_factory):
    """The default weights as a user's ONNX file with a card."""
    folder = tmp_path_factory.mktemp("own")
    graph = dlib_resnet_graph(read_dlib_resnet(read_packaged("dlib-resnet"), source="dlib"))
    (folder / "model.onnx").write_bytes(graph)
    (folder / "card.toml").write_text(
        f"""
name = "own"
title = "Own"
task = "embedder"
family = "dlib-resnet"
licence = "MIT"
commercial_use = true
input = {{ size = [150, 150], colour = "rgb" }}
output = {{ dimension = 128, metric = "cosine" }}
presets = {{ fast.description = "2 looks", accurate.description = "4 looks" }}
files = [{{ name = "model.onnx", path = "model.onnx", sha256 = "{hashlib.sha256(graph).hexdigest()}" }}]
""",
        encoding="utf-8",
    )
    return load_card(folder / "card.toml")


@pytest.mark.parametrize("preset", ["fast", "accurate"])
def test_a_card_of_the_family_looks_as_the_default_does(own_card, preset, landmarker, portraits, found):
    default = DlibResNet(preset, landmarker=landmarker, engine="onnxruntime")
    own = DlibResNet(preset, landmarker=landmarker, engine="onnxruntime", card=own_card)
    chips = own.chips(portraits[0], found[0])
    np.testing.assert_array_equal(chips, default.chips(portraits[0], found[0]))
    np.testing.assert_array_equal(own.embed(chips), default.embed(chips))
    assert own.identity.name == "own"
    assert own.identity.sha256 != default.identity.sha256
    assert own.identity.dimension == 128


def test_open_embedder_finds_the_landmarks_that_the_views_need(own_card, landmarker, portraits, found):
    by_folder = open_embedder(str(Path(own_card.origin).parent), "accurate", threads=1)
    chips = by_folder.chips(portraits[0], found[0])
    assert chips.shape == (1, 4, 150, 150, 3)
    assert by_folder.identity == DlibResNet("accurate", landmarker=landmarker, card=own_card).identity
    assert open_embedder(None, "fast").identity == open_embedder("dlib-resnet29", "fast").identity
    with pytest.raises(CardError, match="expected an embedder"):
        open_embedder("yunet")


def test_a_card_of_another_family_or_size_is_refused(own_card, landmarker):
    with pytest.raises(CardError, match="dlib-resnet"):
        DlibResNet("fast", card="sface")
    with pytest.raises(CardError, match="150 x 150"):
        DlibResNet("fast", card=dataclasses.replace(own_card, input_size=(112, 112)))
    wrong = DlibResNet("fast", card=dataclasses.replace(own_card, dimension=64), engine="onnxruntime")
    with pytest.raises(ModelError, match="expected 64 numbers"):
        wrong.embed(np.zeros((1, 2, 150, 150, 3), np.uint8))
