"""Embedding a set once, and the cache that remembers it."""

from __future__ import annotations

import os
import stat

import numpy as np
import pytest
from PIL import Image

from mien.evaluate.embedding_cache import EMBEDDING_WAY, EmbeddingCache, cache_folder
from mien.evaluate.embeddings import embed_pictures
from mien.evaluate.protocols import Picture
from mien.recognizer import Recognizer
from mien.types import Faces, ModelIdentity

IDENTITY = ModelIdentity("spots", "fast", "cd" * 32, 4)


class Spots:
    """Two faces a picture, left and right, unless it is black; the embedding says the colour in the box's middle."""

    name = "spots"
    identity = IDENTITY

    def __init__(self):
        self.embedded = 0

    def detect(self, images):
        boxes = np.array([(0, 0, 10, 10), (10, 2, 18, 10)], np.float32)
        points = boxes[:, None, :2] + np.array([(2, 3), (8, 3), (5, 5), (3, 8), (7, 8)], np.float32)
        return [Faces(boxes, np.ones(2), points) if image.any() else Faces.none() for image in images]

    def chips(self, image, faces):
        middle = ((faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2).astype(int)
        return np.stack([image[y, x] for x, y in middle])[:, None, None, None, :]

    def embed(self, chips):
        self.embedded += len(chips)
        rows = np.concatenate([chips[:, 0, 0, 0, :].astype(np.float32), np.ones((len(chips), 1), np.float32)], axis=1)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def spots():
    return Spots()


@pytest.fixture
def recognizer(spots):
    return Recognizer(detector=spots, embedder=spots, workers=1)


@pytest.fixture
def picture(tmp_path):
    def picture(name, left, right, **meant):
        pixels = np.zeros((10, 20, 3), np.uint8)
        pixels[:, :10], pixels[:, 10:] = left, right
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        return Picture(name, str(tmp_path / f"{name}.png"), **meant)

    return picture


def test_the_meant_face_is_embedded_by_box_by_landmarks_or_as_the_main_one(recognizer, picture):
    points = tuple((x + 10.0, y) for x, y in [(2, 3), (6, 3), (4, 5), (3, 8), (5, 8)])
    right = (11.0, 2.0, 18.0, 10.0)
    pictures = [
        picture("main", (200, 0, 0), (0, 200, 0)),
        picture("boxed", (201, 0, 0), (0, 200, 0), box=right),
        picture("nobody there", (202, 0, 0), (0, 200, 0), box=(18.0, 0.0, 20.0, 2.0)),
        picture("pointed", (203, 0, 0), (0, 200, 0), landmarks=points),
        picture("black", (0, 0, 0), (0, 0, 0)),
    ]
    found = embed_pictures(pictures, recognizer)
    assert found.found.tolist() == [True, True, False, True, False]
    assert found.vectors.argmax(axis=1)[[0, 1, 3]].tolist() == [0, 1, 1]
    assert [(f.name, f.unreadable) for f in found.failures] == [("nobody there", False), ("black", False)]
    assert found.landmarks[3].tolist() == [list(point) for point in points]
    assert np.isnan(found.landmarks[4]).all()


def test_copies_are_embedded_once_and_broken_pictures_named(recognizer, spots, picture, tmp_path):
    first = picture("a", (200, 0, 0), (0, 200, 0))
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    named = [first, Picture("copy", str(tmp_path / "copy.png")), Picture("bad", str(tmp_path / "bad.png"))]
    named.append(Picture("gone", str(tmp_path / "gone.png")))
    found = embed_pictures(named, recognizer)
    assert spots.embedded == 2  # both faces of one picture
    assert (found.vectors[0] == found.vectors[1]).all()
    assert [(f.name, f.unreadable) for f in found.failures] == [("bad", True), ("gone", True)]


def test_the_cache_answers_the_second_time_even_after_renaming_and_not_after_a_change(
    recognizer, spots, picture, tmp_path
):
    pictures = [picture("a", (200, 0, 0), (0, 200, 0)), picture("none", (0, 0, 0), (0, 0, 0))]
    cache = EmbeddingCache(tmp_path / "cache" / "x.sqlite")
    before = embed_pictures(pictures, recognizer, cache=cache)
    cache.close()
    done = spots.embedded
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    renamed = [Picture("b", str(tmp_path / "b.png")), pictures[1]]
    told = []
    cache = EmbeddingCache(tmp_path / "cache" / "x.sqlite")
    after = embed_pictures(renamed, recognizer, cache=cache, advance=told.append)
    assert spots.embedded == done
    assert after.cached == 2
    assert sum(told) == 2
    assert (after.vectors == before.vectors).all()
    assert (after.landmarks[0] == before.landmarks[0]).all()
    assert [f.name for f in after.failures] == ["none"]
    changed = [picture("b", (0, 0, 200), (0, 200, 0))]
    assert embed_pictures(changed, recognizer, cache=cache).vectors[0].argmax() == 2
    cache.close()


@pytest.mark.parametrize("damage", ["rubbish", "cut", "a row"])
def test_a_damaged_cache_is_made_anew(recognizer, spots, picture, tmp_path, damage):
    path = tmp_path / "cache" / "x.sqlite"
    pictures = [picture("a", (200, 0, 0), (0, 200, 0))]
    cache = EmbeddingCache(path)
    before = embed_pictures(pictures, recognizer, cache=cache)
    cache.close()
    if damage == "a row":
        data = path.read_bytes()
        at = data.index(np.ascontiguousarray(before.vectors[0]).tobytes())
        path.write_bytes(data[:at] + b"\x00\x00\x80\x3f" + data[at + 4 :])
    else:
        path.write_bytes(b"no database" * 500 if damage == "rubbish" else path.read_bytes()[:5000])
    for expected in (2, 0):  # computed anew once, and remembered again
        done = spots.embedded
        cache = EmbeddingCache(path)
        again = embed_pictures(pictures, recognizer, cache=cache)
        cache.close()
        assert (again.vectors == before.vectors).all()
        assert spots.embedded - done == expected


def test_a_cache_that_cannot_be_written_is_done_without(recognizer, picture, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    cache = EmbeddingCache(tmp_path / "file" / "x.sqlite")
    assert embed_pictures([picture("a", (200, 0, 0), (0, 200, 0))], recognizer, cache=cache).found.all()


def test_the_cache_lies_where_it_is_told_is_private_and_belongs_to_a_model(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "embeddings"
    cache, other = EmbeddingCache.of(IDENTITY, "a"), EmbeddingCache.of(IDENTITY, "b")
    assert cache.path != other.path
    if os.name == "posix":
        assert stat.S_IMODE(cache.path.stat().st_mode) == 0o600
    cache.put([(b"k", b"v")])
    assert cache.get([b"k", b"l"]) == {b"k": b"v"}
    assert other.get([b"k"]) == {}
    cache.close()
    other.close()


def test_another_way_of_embedding_has_another_cache(tmp_path, monkeypatch):
    before = EmbeddingCache.of(IDENTITY, "", tmp_path)
    before.close()
    monkeypatch.setattr("mien.evaluate.embedding_cache.EMBEDDING_WAY", EMBEDDING_WAY + 1)
    after = EmbeddingCache.of(IDENTITY, "", tmp_path)
    after.close()
    assert before.path != after.path


@pytest.mark.parametrize(
    ("preset", "first"),
    [
        ("fast", (-0.0391, 0.0061, 0.0366, 0.0304, -0.0523, -0.0271)),
        ("accurate", (-0.0464, 0.0093, 0.0423, 0.0252, -0.0475, -0.0328)),
    ],
)
def test_the_way_of_embedding_is_that_of_its_version(hopper, preset, first):
    """Fails when decoding, detection, alignment or embedding change: raise EMBEDDING_WAY, and note the new numbers."""
    assert EMBEDDING_WAY == 1
    np.testing.assert_allclose(Recognizer(preset).embed(hopper)[:6], first, rtol=0, atol=2e-3)
