"""Similarities and warps against scikit-image, numpy's least squares, and plain loops."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import SimilarityTransform

from mien.errors import InputError
from mien.images import ARCFACE_112, align, invert, similarity, transform_points, warp

RNG = np.random.default_rng


def matrix(scale: float, angle: float, x: float, y: float) -> np.ndarray:
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


def noisy_faces(count: int, seed: int) -> np.ndarray:
    rng = RNG(seed)
    return ARCFACE_112 * rng.uniform(0.2, 9, (count, 1, 1)) + rng.normal(0, 4, (count, 5, 2)) + rng.normal(0, 300, 2)


def smooth_picture(height: int, width: int) -> np.ndarray:
    """A picture whose value at any (x, y) is known: three slow waves."""
    return np.rint(waves(*np.meshgrid(np.arange(width), np.arange(height)))).astype(np.uint8)


def waves(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    phases = (x / 40 + y / 90, x / 70 - y / 50, y / 35)
    return np.stack([128 + 100 * np.sin(p) for p in phases], -1)


def test_template_is_arcface_and_cannot_be_changed():
    assert ARCFACE_112.shape == (5, 2)
    assert ARCFACE_112.dtype == np.float32
    assert ARCFACE_112[2].tolist() == pytest.approx([56.0252, 71.7366])
    with pytest.raises(ValueError, match="read-only"):
        ARCFACE_112[0, 0] = 1


def test_similarity_equals_scikit_image():
    faces = noisy_faces(50, 1)
    mine = similarity(faces, ARCFACE_112)
    for face, got in zip(faces, mine, strict=True):
        theirs = SimilarityTransform.from_estimate(face, ARCFACE_112.astype(float))
        np.testing.assert_allclose(got, theirs.params[:2], rtol=1e-9, atol=1e-9)


def test_similarity_equals_least_squares_written_from_the_formula():
    for face in noisy_faces(20, 2):
        # Unknowns a, b, tx, ty of x' = a x - b y + tx and y' = b x + a y + ty.
        rows, right = [], []
        for (x, y), (u, v) in zip(face, ARCFACE_112, strict=True):
            rows += [[x, -y, 1, 0], [y, x, 0, 1]]
            right += [u, v]
        a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.array(right, float), rcond=None)[0]
        np.testing.assert_allclose(similarity(face, ARCFACE_112), [[a, -b, tx], [b, a, ty]], rtol=1e-7, atol=1e-7)


def test_similarity_never_reflects():
    mirrored = ARCFACE_112 * [-1, 1] + [112, 0]
    linear = similarity(mirrored, ARCFACE_112)[:, :2]
    assert np.linalg.det(linear) > 0


@settings(max_examples=100, deadline=None)
@given(scale=st.floats(0.01, 100), angle=st.floats(-math.pi, math.pi), x=st.floats(-1e4, 1e4), y=st.floats(-1e4, 1e4))
def test_similarity_recovers_what_moved_the_points(scale, angle, x, y):
    truth = matrix(scale, angle, x, y)
    moved = transform_points(ARCFACE_112, truth)
    np.testing.assert_allclose(similarity(ARCFACE_112, moved), truth, rtol=1e-7, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(angle=st.floats(-math.pi, math.pi), scale=st.floats(0.1, 10), seed=st.integers(0, 1000))
def test_moving_the_picture_moves_the_fit_with_it(angle, scale, seed):
    face = noisy_faces(1, seed)[0]
    move = matrix(scale, angle, 7, -3)
    direct = transform_points(face, similarity(face, ARCFACE_112))
    moved = transform_points(face, move)
    np.testing.assert_allclose(transform_points(moved, similarity(moved, ARCFACE_112)), direct, atol=1e-6)


def test_similarity_broadcasts_over_leading_dimensions():
    faces = noisy_faces(6, 3).reshape(2, 3, 5, 2)
    batch = similarity(faces, ARCFACE_112)
    assert batch.shape == (2, 3, 2, 3)
    np.testing.assert_array_equal(batch[1, 2], similarity(faces[1, 2], ARCFACE_112))
    assert similarity(np.zeros((0, 5, 2)), ARCFACE_112).shape == (0, 2, 3)


@settings(max_examples=60, deadline=None)
@given(points=st.lists(st.tuples(*[st.floats(-1e5, 1e5)] * 2), min_size=5, max_size=5), many=st.integers(2, 4))
def test_one_face_comes_out_as_among_many_to_the_last_bit(points, many):
    # One face goes through plain numbers, many through arrays.
    try:
        alone = similarity([points], ARCFACE_112)
    except InputError:
        with pytest.raises(InputError):
            similarity([points] * many, ARCFACE_112)
        return
    assert alone.shape == (1, 2, 3)
    np.testing.assert_array_equal(similarity([points] * many, ARCFACE_112), np.repeat(alone, many, 0))


def test_points_on_a_line_are_enough():
    line = np.array([[0, 0], [1, 1], [2, 2], [3, 3], [4, 4]], float)
    truth = matrix(3, 1.0, 5, 6)
    np.testing.assert_allclose(similarity(line, transform_points(line, truth)), truth, atol=1e-12)


@pytest.mark.parametrize(
    "bad",
    [
        np.full((5, 2), 7.3),
        np.full((5, 2), 1e6 + 0.1),
        np.array([[np.nan, 0]] + [[1, 2]] * 4),
        np.array([[np.inf, 0]] + [[1, 2]] * 4),
        np.array([[1e300, -1e300], [-1e300, 1e300], [0, 0], [1, 1], [2, 2]]),
    ],
    ids=["equal", "equal-far-out", "nan", "infinite", "overflow"],
)
def test_degenerate_points_are_refused(bad):
    with pytest.raises(InputError, match="similarity"):
        similarity(bad, ARCFACE_112)
    with pytest.raises(InputError, match="similarity"):
        similarity(np.stack([ARCFACE_112, bad]), ARCFACE_112)  # one bad face of a batch


def test_target_that_collapses_is_refused():
    with pytest.raises(InputError, match="coincide"):
        similarity(ARCFACE_112, np.full((5, 2), 3.0))


@pytest.mark.parametrize("shape", [(5,), (5, 3), (1, 2), (4, 2)])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="expected two arrays"):
        similarity(np.zeros(shape), ARCFACE_112)


def test_invert_undoes():
    matrices = similarity(noisy_faces(9, 4), ARCFACE_112)
    points = RNG(5).normal(0, 100, (9, 4, 2))
    np.testing.assert_allclose(
        transform_points(transform_points(points, matrices), invert(matrices)), points, atol=1e-8
    )
    with pytest.raises(InputError, match="singular"):
        invert(np.zeros((2, 3)))


@pytest.mark.parametrize("border", ["constant", "replicate", "reflect"])
@pytest.mark.parametrize("step", [0.3, 0.9, 1.9])
def test_warp_by_four_channels_equals_three_to_the_last_bit(border, step, monkeypatch):
    picture = RNG(8).integers(0, 256, (300, 260, 3)).astype(np.uint8)
    matrices = invert(np.stack([matrix(step, angle, 70.3, 40.6) for angle in np.arange(0, 6, 0.3)]))
    four = warp(picture, matrices, (57, 41), border=border, antialias=False)
    asked = []
    monkeypatch.setattr(align, "_FOURTH", 0)  # no part is small enough
    monkeypatch.setattr(align.cv2, "cvtColor", lambda *_args, **_options: asked.append(1))
    np.testing.assert_array_equal(warp(picture, matrices, (57, 41), border=border, antialias=False), four)
    assert not asked


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0, math.pi])
@pytest.mark.parametrize("scale", [2.0, 1.0, 0.7, 0.5, 0.36, 0.11])
def test_warp_shows_the_picture_where_the_matrix_says(scale, angle):
    """The picture is a known function, so that each chip pixel is known too, shrunk (scale <= 1/2) or not."""
    centre = matrix(scale, angle, 0, 0)
    centre[:, 2] = 20 - centre[:, :2] @ [400, 300]  # (400, 300) comes to the middle of the 41 x 41 chip
    chip = warp(smooth_picture(600, 800), centre[None], (41, 41))[0]
    grid = np.stack(np.meshgrid(np.arange(41), np.arange(41)), -1).reshape(-1, 2)
    at = transform_points(grid, invert(centre))
    inside = ((at > 5) & (at < [794, 594])).all(1)
    assert inside.sum() > 1000
    want = waves(at[:, 0], at[:, 1])
    # Averaging over the f x f pixels of a chip pixel flattens a wave of period P by (pi f / P)^2 / 6: small here.
    error = np.abs(chip.reshape(-1, 3) - want)[inside]
    assert error.mean() < (0.6 if scale > 0.2 else 1.0)
    assert error.max() < (2.5 if scale > 0.2 else 5)


def test_warp_of_the_identity_is_a_crop():
    picture = RNG(6).integers(0, 256, (50, 60, 3), np.uint8)
    chips = warp(picture, [[[1, 0, -5], [0, 1, -7]], [[1, 0, -20], [0, 1, -10]]], (30, 20))
    np.testing.assert_array_equal(chips[0], picture[7:27, 5:35])
    np.testing.assert_array_equal(chips[1], picture[10:30, 20:50])


def test_warp_does_not_alias():
    """A fine checkerboard, shrunk five times, must come out flat grey; plain sampling makes patterns of it."""
    y, x = np.mgrid[0:500, 0:500]
    board = ((x + y) % 2 * 255).astype(np.uint8)
    down = [[[0.19, 0.02, 0], [-0.02, 0.19, 10]]]
    assert warp(board, down, (60, 60))[0, 20:50, 5:50].std() < 8
    assert warp(board, down, (60, 60), antialias=False)[0, 20:50, 5:50].std() > 40


def test_border_reflects_the_picture():
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    left = warp(picture, [[[1, 0, 3], [0, 1, 0]]], (8, 8), border="reflect")[0]
    assert left[2].tolist() == [19, 18, 17, 16, 17, 18, 19, 20]


def test_border_is_black_or_repeats():
    picture = np.full((20, 20, 3), 200, np.uint8)
    outside = [[[1.0, 0, 500], [0, 1, 0]]]
    assert warp(picture, outside, (8, 8)).max() == 0
    assert warp(picture, outside, (8, 8), border="replicate").min() == 200
    half = warp(picture, [[[1.0, 0, 4], [0, 1, 0]]], (8, 8))[0]
    assert half[:, :4].max() == 0
    assert half[:, 4:].min() == 200


def test_a_face_larger_than_any_limit_of_the_warp_is_cut():
    """cv2.warpAffine alone fails beyond 32767 pixels."""
    strip = np.tile(np.arange(256, dtype=np.uint8).repeat(160), (40, 1))
    assert strip.shape == (40, 40960)
    chip = warp(strip, [[[100 / 40960, 0, 0], [0, 100 / 40960, 0]]], (100, 2), border="replicate")[0]
    # Chip pixel i lies at 409.6 i, where the stairs' mean height is 409.6 i / 160 - 1/2 (the first sees its edge).
    np.testing.assert_allclose(chip[0, 1:], np.arange(1, 100) * 2.56 - 0.5, atol=1)


def test_warp_of_grey_and_of_nothing():
    grey = RNG(7).integers(0, 256, (30, 30), np.uint8)
    colour = np.repeat(grey[..., None], 3, 2)
    m = similarity(ARCFACE_112 / 4, ARCFACE_112)[None]
    np.testing.assert_array_equal(warp(grey, m, (112, 112)), warp(colour, m, (112, 112))[..., 0])
    assert warp(colour, np.zeros((0, 2, 3)), (112, 96)).shape == (0, 96, 112, 3)


def test_warp_takes_a_view_of_a_picture():
    picture = RNG(8).integers(0, 256, (80, 90, 3), np.uint8)
    view = picture[10:70:1, ::-1]
    m = matrix(0.8, 0.3, 10, -5)[None]
    np.testing.assert_array_equal(warp(view, m, (40, 40)), warp(np.ascontiguousarray(view), m, (40, 40)))


def test_warp_refuses_what_it_cannot_do():
    picture = np.zeros((9, 9, 3), np.uint8)
    eye = [[[1, 0, 0], [0, 1, 0]]]
    with pytest.raises(InputError, match="singular"):
        warp(picture, np.zeros((1, 2, 3)), (4, 4))
    with pytest.raises(InputError, match="NaN"):
        warp(picture, np.full((1, 2, 3), np.nan), (4, 4))
    for bad in (picture.astype(float), picture[:0], picture[0, 0]):
        with pytest.raises(ValueError, match="uint8 picture"):
            warp(bad, eye, (4, 4))
    with pytest.raises(ValueError, match="matrices"):
        warp(picture, eye[0], (4, 4))
    with pytest.raises(ValueError, match="at least 1 x 1"):
        warp(picture, eye, (0, 4))


@pytest.mark.parametrize(
    "extreme",
    [
        [[1e-150, 0, 0], [0, 1e-150, 5]],  # the whole picture, and far more, in each pixel
        [[1e150, 0, 1e300], [0, 1e150, 0]],
        [[1e-5, 0, -1e9], [0, 1e-5, 1e12]],
        [[1, 0, 1e15], [0, 1, -1e15]],
    ],
)
def test_warp_by_a_matrix_without_measure_shows_nothing_and_fails_at_nothing(extreme):
    assert not warp(np.full((9, 7, 3), 200, np.uint8), [extreme], (4, 4))[0, 1:, 1:].any()


def test_warp_from_several_threads():
    picture = smooth_picture(300, 300)
    m = similarity(noisy_faces(8, 9), ARCFACE_112)
    want = warp(picture, m, (112, 112))
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: warp(picture, m, (112, 112)), range(24)):
            np.testing.assert_array_equal(got, want)
