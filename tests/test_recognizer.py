"""The photo way on real pictures that installed packages ship, and on broken ones."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
from PIL import Image as Pillow

import mien
from mien.errors import ImageError, InputError, NoFaceError
from mien.interfaces import Analyzer
from mien.recognizer import Recognizer
from mien.types import Faces, ModelIdentity


@pytest.fixture(scope="module")
def rec() -> Recognizer:
    return mien.default_recognizer("fast")


def mirrored(path) -> bytes:
    buffer = io.BytesIO()
    Pillow.open(path).convert("RGB").transpose(Pillow.Transpose.FLIP_LEFT_RIGHT).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


@pytest.mark.parametrize("preset", ["fast", "accurate"])
def test_the_same_person_scores_above_a_stranger(preset, hopper, astronaut) -> None:
    rec = mien.default_recognizer(preset)
    a, b, c = rec.embed(hopper), rec.embed(mirrored(hopper)), rec.embed(astronaut)
    assert a.shape == (128,)
    assert a.dtype == np.float32
    assert float(a @ a) == pytest.approx(1, abs=1e-6)
    assert float(a @ b) > 0.95 > 0.9 > float(a @ c)


def test_verify_decides_at_the_stated_rate_and_says_which_face(hopper, astronaut) -> None:
    same = mien.verify(hopper, mirrored(hopper), fmr=1e-3)
    other = mien.verify(hopper, astronaut, fmr=1e-3)
    assert same.matched
    assert not other.matched
    assert same.threshold == other.threshold
    assert same.fmr == 1e-3
    assert mien.verify(hopper, astronaut, fmr=1e-4).threshold > same.threshold
    assert other.faces_in_a == 1
    assert 150 < other.face_a.box[0] < 200  # Hopper's face in the 512-pixel-wide portrait
    anybody = mien.verify(hopper, astronaut, threshold=-1.0)
    assert (anybody.matched, anybody.fmr, anybody.provisional) == (True, None, False)
    for nonsense in (float("nan"), 1.5):
        with pytest.raises(InputError, match="threshold"):
            mien.verify(hopper, astronaut, threshold=nonsense)


def test_one_picture_and_many_agree(rec, hopper, astronaut) -> None:
    one = rec.analyze_one(hopper)
    many = list(rec.analyze([hopper, astronaut] * 20))
    assert len(many) == 40
    for found in many[::2]:
        np.testing.assert_allclose(found.faces.boxes, one.faces.boxes, atol=0.5)
        assert float(found.embeddings[0] @ one.embeddings[0]) > 0.9999


def test_detection_alone_loads_no_embedder(hopper) -> None:
    rec = Recognizer("fast")
    assert len(rec.detect(hopper)) == 1
    assert not rec._embedders


def test_the_identity_belongs_to_the_preset() -> None:
    fast, accurate = (mien.default_recognizer(preset).identity for preset in ("fast", "accurate"))
    assert fast.preset == "fast"
    assert accurate.preset == "accurate"
    assert fast.sha256 != accurate.sha256
    assert fast.dimension == 128


def test_a_picture_without_a_face_is_an_error_that_names_it(rec, tmp_path) -> None:
    path = tmp_path / "空.png"
    Pillow.new("RGB", (200, 200), "grey").save(path)
    with pytest.raises(NoFaceError, match=r"空\.png"):
        rec.embed(path)
    assert len(rec.detect(path)) == 0
    assert rec.analyze_one(path).embeddings.shape == (0, 128)


def test_a_broken_picture_raises_alone_and_is_reported_in_a_batch(rec, hopper, tmp_path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(hopper.read_bytes()[:5000])
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        rec.embed(broken)
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        rec.detect(broken)
    good, bad = rec.analyze([hopper, broken])
    assert good.error is None
    assert isinstance(bad.error, ImageError)


def test_upright_finds_faces_in_turned_pictures(hopper) -> None:
    turned = np.rot90(np.asarray(Pillow.open(hopper).convert("RGB"))).copy()
    plain, upright = mien.default_recognizer("fast"), Recognizer("fast", upright=True)
    found = upright.analyze_one(turned)
    assert len(found.faces) == 1
    assert found.turns == 3
    assert float(found.embeddings[0] @ plain.embed(hopper)) > 0.97


def test_options_are_checked() -> None:
    with pytest.raises(InputError, match="preset"):
        Recognizer("best")
    with pytest.raises(InputError, match="min_face"):
        Recognizer(min_face=-3).detect(np.zeros((9, 9, 3), np.uint8))
    for workers in (0, -1):
        with pytest.raises(InputError, match="workers"):
            Recognizer(workers=workers)
    with pytest.raises(InputError, match="belongs to the default detector"):
        Recognizer(min_face=20, detector=NoDetector())


class NoDetector:
    name = "none"

    def detect(self, images):
        return [Faces.none() for _ in images]


class NoEmbedder:
    identity = ModelIdentity("none", "fast", "0" * 64, 4)

    def chips(self, image, faces):
        raise AssertionError("called without a face")

    def embed(self, chips):
        raise AssertionError("called without a face")


def test_parts_may_be_replaced(hopper) -> None:
    rec = Recognizer(detector=NoDetector(), embedder=NoEmbedder())
    assert rec.identity.name == "none"
    assert isinstance(rec, Analyzer)
    assert rec.analyze_one(hopper).embeddings.shape == (0, 4)


def test_one_recognizer_serves_many_threads(rec, hopper, astronaut) -> None:
    expected = {str(path): rec.embed(path) for path in (hopper, astronaut)}
    scores: list[float] = []

    def ask(path) -> None:
        scores.extend(float(rec.embed(path) @ expected[str(path)]) for _ in range(5))

    threads = [threading.Thread(target=ask, args=(path,)) for path in (hopper, astronaut) * 3]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(scores) == 30
    assert min(scores) > 0.9999


def test_a_gallery_uses_the_default_recognizer_of_its_preset(hopper, astronaut, tmp_path) -> None:
    path = tmp_path / "人们.db"
    with mien.Gallery.open(path, recognizer=mien.default_recognizer("fast")) as people:
        people.enrol("格蕾丝·霍珀", hopper)
    with mien.Gallery.open(path) as people:
        assert people.identity == mien.default_recognizer("fast").identity
        (known,) = people.identify(mirrored(hopper))
        (stranger,) = people.identify(astronaut)
    assert known.name == "格蕾丝·霍珀"
    assert stranger.name is None
    assert stranger.match.nearest_name == "格蕾丝·霍珀"
    assert stranger.match.score < stranger.match.threshold
