import numpy as np
import pytest

from mien.images import ARCFACE_112
from mien.images.cut import aligned_crops, loose_crops
from mien.types import Faces


def one_face(box=(40, 30, 80, 90), points=None):
    return Faces([box], [0.9], [ARCFACE_112 if points is None else points])


def dotted(points, size=(200, 200)):
    """A dark picture with a bright blob of 3 x 3 pixels at each point."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for x, y in np.round(np.asarray(points)).astype(int):
        pixels[y - 1 : y + 2, x - 1 : x + 2] = 255
    return pixels


def centre_of_light(pixels):
    weights = pixels[..., 0].astype(float)
    y, x = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return (x * weights).sum() / weights.sum(), (y * weights).sum() / weights.sum()


def test_a_face_that_lies_on_the_template_is_cut_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    crop = aligned_crops(pixels, one_face(), ARCFACE_112, (112, 112))
    np.testing.assert_array_equal(crop[0], pixels)


@pytest.mark.parametrize(
    ("size", "margin", "scale", "shift"),
    [
        ((224, 224), 0.0, 2.0, (0.5, 0.5)),  # twice as large: pixel x lies at 2x + 1/2
        ((112, 224), 0.0, 1.0, (0, 56)),  # taller: centred
        ((112, 112), 0.5, 0.5, (27.75, 27.75)),  # as much again on each side
    ],
)
def test_size_and_margin_move_the_face_as_they_say(size, margin, scale, shift):
    at = (60, 70)
    crop = aligned_crops(dotted([at]), one_face(), ARCFACE_112, (112, 112), size=size, margin=margin)
    assert crop.shape == (1, size[1], size[0], 3)
    want = scale * at[0] + shift[0], scale * at[1] + shift[1]
    assert centre_of_light(crop[0]) == pytest.approx(want, abs=0.3)


def test_a_face_turned_on_its_side_is_cut_upright():
    turned = np.stack([ARCFACE_112[:, 1] + 20, 150 - ARCFACE_112[:, 0]], 1)  # (x, y) -> (y + 20, 150 - x)
    crop = aligned_crops(dotted(turned[2:3]), one_face(points=turned), ARCFACE_112, (112, 112))
    assert centre_of_light(crop[0]) == pytest.approx(ARCFACE_112[2], abs=0.7)


def test_a_loose_crop_is_the_box_and_its_margin():
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    (crop,) = loose_crops(pixels, one_face(), margin=0.25)
    np.testing.assert_array_equal(crop, pixels[15:105, 30:90])


@pytest.mark.parametrize("box", [(-30, -30, 20, 20), (150, 150, 400, 400), (-90, 10, -50, 40), (300, 300, 310, 310)])
def test_a_loose_crop_ends_at_the_border(box):
    (crop,) = loose_crops(np.zeros((200, 200, 3), np.uint8), one_face(box), margin=0)
    assert 0 not in crop.shape
    assert max(crop.shape[:2]) <= 50


def test_a_sized_loose_crop_keeps_the_shape_of_things():
    # The box is 40 x 60; a crop of 60 x 60 shows 10 pixels more on the left and on the right, at the picture's scale.
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    (crop,) = loose_crops(pixels, one_face(), size=(60, 60), margin=0)
    np.testing.assert_array_equal(crop, pixels[30:90, 30:90])


def test_a_sized_loose_crop_is_black_beyond_the_border():
    (crop,) = loose_crops(np.full((200, 200, 3), 255, np.uint8), one_face((-20, 0, 20, 40)), size=(40, 40), margin=0)
    assert not crop[:, :19].any()
    assert crop[:, 21:].all()


@pytest.mark.parametrize("size", [None, (30, 45)])
def test_a_loose_crop_is_turned_upright(size):
    upright = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    want = loose_crops(upright, one_face(), size=size, margin=0)
    lying = np.rot90(upright, -1)  # clockwise: the box (x0, y0, x1, y1) goes to (200 - y1, x0, 200 - y0, x1)
    got = loose_crops(np.ascontiguousarray(lying), one_face((110, 40, 170, 80)), size=size, margin=0, turns=1)
    assert got[0].shape == want[0].shape
    assert np.abs(got[0].astype(int) - want[0]).max() <= 1


def test_no_faces_no_crops():
    pixels = np.zeros((20, 20, 3), np.uint8)
    assert len(aligned_crops(pixels, Faces.none(), ARCFACE_112, (112, 112))) == 0
    assert loose_crops(pixels, Faces.none()) == loose_crops(pixels, Faces.none(), size=(9, 9)) == []


@pytest.mark.parametrize("cut", [loose_crops, lambda *a, **k: aligned_crops(*a, ARCFACE_112, (112, 112), **k)])
def test_a_negative_margin_is_refused(cut):
    with pytest.raises(ValueError, match="margin"):
        cut(np.zeros((20, 20, 3), np.uint8), one_face(), margin=-0.1)
