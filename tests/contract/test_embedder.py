"""What every embedder must do. To check another one, add a function that makes it to `EMBEDDERS`."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image as Pillow

from mien.detect.mtcnn import MTCNN
from mien.detect.trees import RegressionTrees
from mien.embed.dlib_resnet import DlibResNet
from mien.interfaces import Embedder
from mien.types import Faces, ModelIdentity

EMBEDDERS = {
    "dlib-resnet29 fast": lambda: DlibResNet("fast", landmarker=RegressionTrees()),
    "dlib-resnet29 accurate": lambda: DlibResNet("accurate", landmarker=RegressionTrees()),
}


@pytest.fixture(scope="module", params=list(EMBEDDERS))
def embedder(request):
    return EMBEDDERS[request.param]()


@pytest.fixture(scope="module")
def portraits(hopper, astronaut):
    return [np.asarray(Pillow.open(path).convert("RGB")) for path in (hopper, astronaut)]


@pytest.fixture(scope="module")
def found(portraits):
    return [faces.take([0]) for faces in MTCNN().detect(portraits)]


def test_it_is_an_embedder(embedder):
    assert isinstance(embedder, Embedder)
    identity = embedder.identity
    assert isinstance(identity, ModelIdentity)
    assert identity.name
    assert identity.preset
    assert len(identity.sha256) == 64
    assert set(identity.sha256) <= set("0123456789abcdef")
    assert embedder.identity == identity


def test_chips_are_views_of_each_face(embedder, portraits, found):
    chips = embedder.chips(portraits[0], found[0])
    assert chips.dtype == np.uint8
    assert chips.ndim == 5
    assert chips.shape[0] == 1
    assert chips.shape[4] == 3
    twice = embedder.chips(portraits[0], found[0].take([0, 0]))
    assert twice.shape == (2, *chips.shape[1:])
    np.testing.assert_array_equal(twice[1], twice[0])


def test_embeddings_are_unit_vectors_of_the_stated_dimension(embedder, portraits, found):
    vectors = embedder.embed(np.concatenate([embedder.chips(p, f) for p, f in zip(portraits, found, strict=True)]))
    assert vectors.dtype == np.float32
    assert vectors.shape == (2, embedder.identity.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] < 0.95  # two people


def test_no_faces_give_no_embeddings(embedder, portraits):
    chips = embedder.chips(portraits[0], Faces.none())
    assert len(chips) == 0
    assert embedder.embed(chips).shape == (0, embedder.identity.dimension)


def test_inputs_stay_as_they_were(embedder, portraits, found):
    picture = portraits[0].copy()
    chips = embedder.chips(picture, found[0])
    np.testing.assert_array_equal(picture, portraits[0])
    before = chips.copy()
    embedder.embed(chips)
    np.testing.assert_array_equal(chips, before)


def test_read_only_and_strided_pictures_are_fine(embedder, portraits, found):
    frozen = portraits[0].copy()
    frozen.flags.writeable = False
    doubled = np.repeat(portraits[0], 2, axis=1)[:, ::2]
    chips = embedder.chips(portraits[0], found[0])
    for picture in (frozen, doubled):
        np.testing.assert_array_equal(embedder.chips(picture, found[0]), chips)


def test_a_batch_is_its_faces_one_by_one(embedder, portraits, found):
    chips = np.concatenate([embedder.chips(p, f) for p, f in zip(portraits, found, strict=True)] * 10)
    together = embedder.embed(chips)
    for i in range(2):
        alone = embedder.embed(chips[i : i + 1])[0]
        assert (together[i::2] @ alone).min() > 0.9999


def test_a_face_beyond_the_border_is_embedded(embedder, portraits):
    landmarks = np.array([[[-40, -30], [-10, -28], [-25, -10], [-38, 10], [-12, 11]]], np.float32)
    faces = Faces(np.array([[-60, -60, 5, 30]]), np.array([0.9]), landmarks)
    assert np.isfinite(embedder.embed(embedder.chips(portraits[0], faces))).all()


def test_threads_do_not_disturb_each_other(embedder, portraits, found):
    alone = [embedder.embed(embedder.chips(p, f))[0] for p, f in zip(portraits, found, strict=True)]
    wrong = []

    def work(i):
        for _ in range(3):
            vector = embedder.embed(embedder.chips(portraits[i], found[i]))[0]
            if vector @ alone[i] < 0.9999:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i % 2,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
