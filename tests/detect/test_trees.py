"""Regression trees against dlib's own code, and against a plain loop written from the paper."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image as Pillow

from mien.detect.trees import RegressionTrees
from mien.interfaces import Landmarker
from mien.models.packaged import packaged_file, read_packaged
from mien.models.readers.dlib_trees import read_shape_predictor

BOX = (58, 58, 198, 198)


@pytest.fixture(scope="module")
def faces(hopper, astronaut):
    """Grey chips of 256 x 256 with a face that BOX frames about as dlib's detector would: two people, 20 crops each."""
    rng = np.random.default_rng(5)
    chips = []
    for path, centre, side in ((hopper, (265, 232), 300), (astronaut, (225, 118), 200)):
        picture = Pillow.open(path).convert("L")
        for _ in range(20):
            half = side * rng.uniform(0.9, 1.1) / 2
            x, y = centre + rng.uniform(-0.04, 0.04, 2) * side
            chips.append(np.asarray(picture.resize((256, 256), box=(x - half, max(0, y - half), x + half, y + half))))
    return np.stack(chips)


@pytest.fixture(scope="module")
def landmarker():
    return RegressionTrees(tuple(edge / 256 for edge in BOX))


def by_the_paper(trees, picture, box):
    """One face, one tree, one pixel at a time."""
    low, side = np.array(box[:2], float), np.array(box[2:], float) - box[:2]
    mean = trees.initial_shape.astype(float)
    shape = mean.copy()
    height, width = picture.shape
    for cascade in range(len(trees.thresholds)):
        a, b = mean - mean.mean(0), shape - shape.mean(0)
        u, s, v = np.linalg.svd(b.T @ a)  # Umeyama's fit by singular values
        flip = np.diag([1.0, np.sign(np.linalg.det(u @ v))])
        turn = u @ flip @ v * (s * np.diag(flip)).sum() / (a**2).sum()
        grey = []
        for anchor, delta in zip(trees.anchors[cascade], trees.deltas[cascade], strict=True):
            x, y = np.floor(low + side * (shape[anchor] + turn @ delta) + 0.5).astype(int)
            grey.append(float(picture[y, x]) if 0 <= x < width and 0 <= y < height else 0.0)
        for tree in range(trees.thresholds.shape[1]):
            node, splits = 0, trees.thresholds.shape[2]
            while node < splits:
                first, second = trees.split_pixels[cascade, tree, node]
                node = 2 * node + (1 if grey[first] - grey[second] > trees.thresholds[cascade, tree, node] else 2)
            shape = shape + trees.leaves[cascade, tree, node - splits].reshape(-1, 2)
    return low + side * shape


def test_points_are_those_of_dlib(faces, landmarker):
    dlib = pytest.importorskip("dlib")
    oracle = dlib.shape_predictor(str(packaged_file("dlib-landmarks-5")))
    theirs = [[(p.x, p.y) for p in oracle(chip, dlib.rectangle(*BOX)).parts()] for chip in faces]
    far = np.abs(landmarker.points(faces) - theirs).max((1, 2))
    # dlib rounds its points to whole pixels. It computes in float32: one face in five or so has one of its 7,500
    # sampling places so close to the middle between two pixels that it reads the other one, and ends nearby.
    assert np.mean(far < 0.505) > 0.7
    assert far.max() < 2


def test_points_are_those_of_the_paper(faces, landmarker):
    trees = read_shape_predictor(read_packaged("dlib-landmarks-5"), source="test")
    found = landmarker.points(faces[::20])
    for chip, points in zip(faces[::20], found, strict=True):
        np.testing.assert_allclose(points, by_the_paper(trees, chip, BOX), atol=1e-3)


def test_a_batch_is_its_chips_one_by_one(faces, landmarker):
    assert isinstance(landmarker, Landmarker)
    together = landmarker.points(faces)
    assert together.shape == (len(faces), 5, 2)
    assert together.dtype == np.float32
    for chip, points in zip(faces, together, strict=True):
        np.testing.assert_allclose(landmarker.points(chip[None])[0], points, atol=0.05)
    assert landmarker.points(faces[:0]).shape == (0, 5, 2)
    strided = np.repeat(faces, 2, axis=2)[:, :, ::2]
    np.testing.assert_array_equal(landmarker.points(strided), together)


def test_eyes_and_nose_are_where_a_portrait_has_them(faces, landmarker):
    for left_outer, left_inner, right_outer, right_inner, nose in landmarker.points(faces):
        assert right_outer[0] < right_inner[0] < nose[0] < left_inner[0] < left_outer[0]
        assert max(p[1] for p in (left_outer, left_inner, right_outer, right_inner)) < nose[1]


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (150, 150), (400, 20)])
def test_chips_that_show_no_face_give_finite_points(landmarker, size):
    rng = np.random.default_rng(1)
    chips = np.concatenate([rng.integers(0, 256, (3, *size)), np.zeros((1, *size)), np.full((1, *size), 255)])
    assert np.isfinite(landmarker.points(chips.astype(np.uint8))).all()


def test_a_box_may_reach_over_the_chip(faces):
    assert np.isfinite(RegressionTrees((-0.7, -0.5, 0.2, 0.4)).points(faces[:1])).all()


@pytest.mark.parametrize("shape", [(5, 5), (2, 5, 5, 3), (2, 0, 5)])
def test_other_shapes_are_refused(landmarker, shape):
    with pytest.raises(ValueError, match=r"expected uint8 \(N, H, W\)"):
        landmarker.points(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="float32"):
        landmarker.points(np.zeros((1, 5, 5), np.float32))


@pytest.mark.parametrize("box", [(0.5, 0, 0.5, 1), (0, 1, 1, 0), (float("nan"), 0, 1, 1)])
def test_a_box_without_area_is_refused(box):
    with pytest.raises(ValueError, match="box"):
        RegressionTrees(box)


def test_the_identity_names_file_and_box(landmarker):
    again = RegressionTrees(tuple(edge / 256 for edge in BOX))
    assert again.identity == landmarker.identity != RegressionTrees().identity


def test_threads_do_not_disturb_each_other(faces, landmarker):
    alone = [landmarker.points(chip[None]) for chip in faces]
    with ThreadPoolExecutor(8) as pool:
        for a, b in zip(alone, pool.map(lambda chip: landmarker.points(chip[None]), faces), strict=True):
            np.testing.assert_array_equal(a, b)
