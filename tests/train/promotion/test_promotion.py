"""The gate: better models pass, others do not, and a gallery is changed only by what has passed."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import GalleryError, GalleryModelError, InputError
from mien.gallery import Gallery
from mien.gallery.migration import BothModels, rollback
from mien.train.promotion import enrolled_faces, judge, present_model, promote, trained_on
from mien.types import Analysis, Face, Faces, ModelIdentity

OLD = ModelIdentity("old", "fast", "a" * 64, 16)
NEW = ModelIdentity("new", "fast", "b" * 64, 24)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def embedded(noise, dim, people=40, each=5, seed=0):
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(people, dim)))
    return unit(np.repeat(centres, each, axis=0) + noise * rng.normal(size=(people * each, dim)) / dim**0.5)


def both(old_noise, new_noise, people=40, each=5):
    return BothModels(
        np.repeat(np.arange(people), each), embedded(old_noise, 16, people, each), embedded(new_noise, 24, people, each)
    )


def test_verdicts():
    better = judge(both(1.5, 0.5), OLD, NEW, data="made up", replicates=60)
    assert better.verdict == "better"
    assert better.let_in
    assert better.gain.low > 0
    assert better.gain.fmr == 1e-3  # 19,500 pairs of strangers carry it
    assert better.gain.value == pytest.approx(better.gain.after - better.gain.before)
    worse = judge(both(0.5, 1.5), OLD, NEW, data="made up", replicates=60)
    assert worse.verdict == "worse"
    assert not worse.let_in
    assert "below 0" in worse.reasons[0]
    assert json.loads(json.dumps(worse.record()))["gain"]["high"] < 0


def test_the_same_model_is_not_shown_to_be_better_but_not_worse_by_a_margin():
    rows = embedded(1.0, 16)
    same = BothModels(np.repeat(np.arange(40), 5), rows, rows.copy())
    plain = judge(same, OLD, NEW, data="made up", replicates=40)
    assert (plain.verdict, plain.let_in) == ("not shown", False)
    assert (plain.gain.low, plain.gain.high) == (0.0, 0.0)
    allowed = judge(same, OLD, NEW, data="made up", margin=0.01, replicates=40)
    assert (allowed.verdict, allowed.let_in) == ("not worse", True)


def test_a_small_loss_passes_only_under_its_margin():
    pair = both(0.8, 0.95)
    found = judge(pair, OLD, NEW, data="made up", replicates=60)
    assert found.gain.low < found.gain.value < found.gain.high
    loss = -found.gain.low
    assert judge(pair, OLD, NEW, data="x", margin=loss + 0.01, replicates=60).let_in
    assert not judge(pair, OLD, NEW, data="x", margin=max(loss - 0.001, 1e-6), replicates=60).let_in


def test_too_few_faces_say_nothing():
    few = judge(both(1.5, 0.1, people=5, each=2), OLD, NEW, data="made up")
    assert (few.verdict, few.gain, few.let_in) == ("too few", None, False)
    alone = judge(BothModels(np.zeros(4, int), *(embedded(1, 8, 1, 4) for _ in range(2))), OLD, NEW, data="made up")
    assert alone.verdict == "too few"
    looser = judge(both(1.5, 0.5, people=14, each=4), OLD, NEW, data="made up", replicates=40)
    assert looser.gain.fmr == 1e-2  # 1,456 pairs of strangers
    assert judge(both(1.5, 0.5), OLD, NEW, data="x", fmr=0.02, replicates=20).gain.fmr == 0.02


@pytest.mark.parametrize("bad", [{"fmr": 0.0}, {"fmr": 2.0}, {"margin": 0.0}, {"margin": -0.1}])
def test_rates_that_are_none(bad):
    with pytest.raises(InputError):
        judge(both(1, 1), OLD, NEW, data="x", **bad)


class Looker:
    """An analyzer whose pictures are numbered by their size: person * 10 + picture rows high."""

    def __init__(self, identity, vectors):
        self.identity = identity
        self._vectors = vectors

    def analyze(self, images):
        from mien.images import decode

        for image in images:
            picture = decode(image)
            face = Faces.of(Face((10.0, 10.0, 40.0, 50.0), 1.0, ((18, 25), (32, 25), (25, 33), (19, 42), (31, 42))))
            yield Analysis("x", picture.size, face, self._vectors[picture.size[0] - 100][None])


@pytest.fixture
def gallery(tmp_path):
    """Four people with three pictures each, by the old model, with their pictures in a folder."""
    import cv2

    old, new = (embedded(0.5, dim, 4, 3) for dim in (16, 24))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    known = Gallery.open(tmp_path / "g.db", recognizer=Looker(OLD, old))
    for i in range(12):
        path = pictures / f"{i}.png"
        pixels = np.random.default_rng(i).integers(0, 256, (80, 100 + i, 3), np.uint8)
        cv2.imwrite(str(path), pixels)
        known.enrol(f"person {i // 3}", [path], policy="off")
    yield known, pictures, Looker(NEW, new), new
    known.close()


def better():
    return judge(both(1.5, 0.5), OLD, NEW, data="held out", replicates=50)


def test_a_better_model_takes_over_and_can_be_taken_back(gallery):
    known, pictures, new, vectors = gallery
    before = known.home.embeddings([f.id for f in known.faces("person 0")])
    made = promote(known, new, better(), originals=[pictures], no_threshold=True)
    assert made.changed
    assert made.rollback.startswith("mien gallery migrate rollback --gallery ")
    with Gallery.open(known.home.source) as again:
        assert again.identity == NEW
        rows = again.home.embeddings([f.id for f in again.faces("person 0")])
        np.testing.assert_allclose(rows, vectors[:3], atol=1e-6)
        rollback(again.home)
    with Gallery.open(known.home.source) as again:
        assert again.identity == OLD
        np.testing.assert_array_equal(again.home.embeddings([f.id for f in again.faces("person 0")]), before)


def test_nothing_changes_for_others(gallery):
    known, pictures, new, _ = gallery
    same = judge(both(1.0, 1.0), OLD, NEW, data="x", replicates=20)
    assert not promote(known, new, same, originals=[pictures], no_threshold=True).changed
    assert not promote(known, new, better(), originals=[pictures], no_threshold=True, dry_run=True).changed
    with pytest.raises(InputError, match="no calibration"):
        promote(known, new, better(), originals=[pictures])
    other = judge(both(1.5, 0.5), OLD, ModelIdentity("else", "fast", "c" * 64, 24), data="x", replicates=20)
    with pytest.raises(GalleryModelError, match="judged were"):
        promote(known, new, other, no_threshold=True)
    (pictures / "3.png").unlink()
    stopped = promote(known, new, better(), originals=[pictures], no_threshold=True)
    assert not stopped.changed
    assert len(stopped.missing) == 1
    assert "person 1" in stopped.missing[0]
    assert known.identity == present_model(known) == OLD


def test_enrolled_faces_are_looked_at_without_a_change(gallery):
    known, pictures, new, vectors = gallery
    found = enrolled_faces(known, new, [pictures])
    assert found.live.shape == (12, 16)
    np.testing.assert_allclose(found.staged, vectors, atol=1e-6)
    assert np.bincount(found.subjects)[-4:].tolist() == [3, 3, 3, 3]
    assert known.home.staged() is None
    with pytest.raises(InputError, match="no enrolled face can be embedded anew"):
        enrolled_faces(known, new)


def test_an_empty_gallery_has_no_model(tmp_path):
    with Gallery.open(tmp_path / "empty.db") as known, pytest.raises(GalleryError, match="nobody is enrolled"):
        present_model(known)


def test_training_faces_are_known_again(tmp_path):
    faces, run = tmp_path / "faces", tmp_path / "run"
    (faces / "held").mkdir(parents=True)
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"data": {"sources": [{"path": str(faces)}]}}), encoding="utf-8")
    assert trained_on(run, faces) == str(faces)
    assert trained_on(run, faces / "held") == str(faces)
    assert trained_on(run, tmp_path) == str(faces)
    assert trained_on(run, tmp_path / "other") == ""
    for text in ("{", "[]", '{"data": {"sources": 5}}', '{"data": {"sources": [{"path": "\\u0000"}]}}'):
        (run / "config.json").write_text(text, encoding="utf-8")
        assert trained_on(run, faces) == ""
    assert trained_on(tmp_path / "none", faces) == ""
