"""Augmentations: same shape, same seed same result, and each does what it says."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from mien.images import augment as a
from mien.images import decode

POINTS = np.array([[190, 105], [245, 110], [222, 140], [195, 165], [240, 168]], np.float32)


@pytest.fixture(scope="module")
def face(astronaut):
    return decode(astronaut).pixels


ALL = {
    "flip": lambda p, r: a.flip(p),
    "rotate": lambda p, r: a.rotate(p, 0.3),
    "shift": lambda p, r: a.shift_and_scale(p, 0.05, -0.03, 1.1),
    "light": lambda p, r: a.change_light(p, brightness=0.1, contrast=0.8, saturation=1.3),
    "grey": lambda p, r: a.grey(p),
    "gamma": lambda p, r: a.gamma(p, 0.6),
    "clahe": lambda p, r: a.equalise(p),
    "quotient": lambda p, r: a.self_quotient(p),
    "blur": lambda p, r: a.blur(p, 1.5, motion=7, angle=0.4),
    "small": lambda p, r: a.lower_resolution(p, 24),
    "jpeg": lambda p, r: a.compress(p, 30),
    "noise": lambda p, r: a.add_noise(p, r, 8),
    "cover": lambda p, r: a.occlude(p, r, 0.2),
    "mask": lambda p, r: a.mask_face(p, POINTS, r),
    "hat": lambda p, r: a.wear_hat(p, POINTS, r),
    "glasses": lambda p, r: a.wear_glasses(p, POINTS, r),
    "mesh": lambda p, r: a.draw_mesh(p, a.random_mesh(r)),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(512, 512), (112, 96), (7, 5), (1, 1)])
def test_size_and_input_are_kept_and_the_seed_decides(face, name, shape):
    pixels = np.ascontiguousarray(face[: shape[0], : shape[1]])
    before = pixels.copy()
    first, second = (ALL[name](pixels, a.generator(1, 2, 3)) for _ in range(2))
    assert first.shape == pixels.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert np.array_equal(pixels, before)
    assert not np.shares_memory(first, pixels)


def test_mirrored_twice_is_the_picture(face):
    assert np.array_equal(a.flip(a.flip(face)), face)


def test_a_quarter_turn_is_exact(face):
    assert np.abs(a.rotate(face, np.pi / 2).astype(int) - np.rot90(face)).max() <= 1


def test_neutral_light_changes_nothing(face):
    assert np.array_equal(a.change_light(face), face)
    assert np.array_equal(a.gamma(face, 1.0), face)
    assert np.array_equal(a.lower_resolution(face, 512), face)
    assert np.array_equal(a.blur(face, 0), face)


def test_light_agrees_with_its_formula(face):
    small = face[::16, ::16].astype(float)
    grey = small @ [0.299, 0.587, 0.114]
    expected = 255 * 0.1 + 127.5 + 0.8 * (1.3 * small + (1 - 1.3) * grey[..., None] - 127.5)
    found = a.change_light(np.ascontiguousarray(face[::16, ::16]), brightness=0.1, contrast=0.8, saturation=1.3)
    assert np.abs(np.clip(np.rint(expected), 0, 255) - found).max() <= 1


def test_grey_has_three_equal_channels(face):
    out = a.grey(face)
    assert np.array_equal(out[..., 0], out[..., 2])


def sharpness(pixels):
    return cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()


def test_more_blur_and_fewer_pixels_are_less_sharp(face):
    for change in (
        lambda s: a.blur(face, s),
        lambda s: a.lower_resolution(face, round(256 / s)),
        lambda s: a.blur(face, 0, motion=5 * s),
    ):
        values = [sharpness(change(s)) for s in (1, 2, 4)]
        assert sharpness(face) > values[0] > values[1] > values[2]


def test_the_mask_covers_the_mouth_and_leaves_the_eyes(face):
    out = a.mask_face(face, POINTS, a.generator(0, 0, 0))
    for x, y in POINTS[3:].astype(int):
        assert np.abs(out[y, x].astype(int) - face[y, x]).max() > 20
    for x, y in POINTS[:2].astype(int):
        assert np.array_equal(out[y, x], face[y, x])


@pytest.mark.parametrize("put_on", [a.mask_face, a.wear_hat, a.wear_glasses])
def test_a_face_of_one_point_gets_no_mask_and_wears_nothing(face, put_on):
    assert np.array_equal(put_on(face, np.full((5, 2), 100, np.float32), a.generator(0, 0, 0)), face)


@pytest.mark.parametrize("put_on", [a.wear_hat, a.wear_glasses])
@pytest.mark.parametrize("far", [9e4, 1e6, 1e10, np.inf, np.nan])
def test_landmarks_far_outside_are_no_error(face, put_on, far):
    points = POINTS.copy()
    points[:2, 0] = -far, far
    before = face.copy()
    for seed in range(10):
        out = put_on(face, points, a.generator(0, 0, seed))
        assert out.shape == face.shape
    assert np.array_equal(face, before)
    if not far < 1e5:
        assert np.array_equal(out, face)


def test_hats_cover_what_is_above_the_brows_and_leave_nose_and_mouth():
    pixels = np.full((112, 112, 3), 128, np.uint8)
    points = np.array([[39, 52], [73, 52], [56, 71], [42, 90], [70, 90]], np.float32)
    for seed in range(100):
        changed = (a.wear_hat(pixels, points, a.generator(0, 0, seed)) != pixels).any(2)
        assert changed[8, 30:80].mean() > 0.9  # far above the brows
        assert not changed[78:95, 45:67].any()  # mouth; the shadow reaches the nose at most


def test_glasses_are_around_the_eyes_whichever_way_the_head_leans():
    pixels = np.full((200, 200, 3), 128, np.uint8)
    level = np.array([[83, 90], [117, 90], [100, 109], [86, 128], [114, 128]], np.float32)
    upright = np.mean([_changed(pixels, level, seed) for seed in range(40)], axis=0)
    assert upright[90:100, 80:86].mean() > 0.4  # dark, or the frame
    assert upright[125:].max() == 0
    assert upright[:70].max() == 0
    leaning = np.stack([200 - 1 - level[:, 1], level[:, 0]], 1)  # the picture turned by a quarter
    turned = np.mean([_changed(pixels, leaning, seed) for seed in range(40)], axis=0)
    assert np.abs(np.rot90(turned) - upright).mean() < 0.01


def _changed(pixels, points, seed):
    return (a.wear_glasses(pixels, points, a.generator(0, 0, seed)) != pixels).any(2)


def test_cover_hides_about_the_share_it_says():
    pixels = np.full((100, 120, 3), 128, np.uint8)
    shares = [(a.occlude(pixels, a.generator(0, 0, i), 0.2) != pixels).any(2).mean() for i in range(60)]
    assert 0.1 < np.mean(shares) < 0.22
    assert max(shares) < 0.3


@pytest.mark.parametrize("family", a.MESH_FAMILIES)
def test_a_mesh_covers_a_part_and_keeps_to_its_opacity(face, family):
    mesh = a.Mesh(family=family, opacity=0.4, colour=(255, 255, 255))
    black = np.zeros((300, 240, 3), np.uint8)
    out = a.draw_mesh(black, mesh)
    assert out.max() == round(0.4 * 255)
    covered = (out > 10).any(2)
    assert 0.05 < covered.mean() < 0.7
    # Everywhere: no quarter of the picture is without lines.
    assert all(q.mean() > 0.02 for half in np.array_split(covered, 2) for q in np.array_split(half, 2, axis=1))


def test_a_mesh_looks_alike_at_any_size():
    mesh = a.Mesh(opacity=1.0, colour=(255, 255, 255))
    shares = [a.draw_mesh(np.zeros((s, s, 3), np.uint8), mesh).mean() / 255 for s in (112, 224, 448, 896)]
    assert max(shares) < 1.35 * min(shares)


@pytest.mark.parametrize(
    "bad", [{"spacing": 0.0}, {"opacity": 1.5}, {"thickness": float("nan")}, {"family": "x"}, {"colour": (300, 0, 0)}]
)
def test_meshes_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match="Mesh"):
        a.Mesh(**bad)


EVERYTHING = a.Augmentation(
    **{
        f.name: 0.5
        for f in dataclasses.fields(a.Augmentation)
        if f.type == "float" and not f.name.startswith(("most", "least", "worst"))
    }
)


def test_the_seed_alone_decides_the_pipeline(face):
    face = np.ascontiguousarray(face[50:250, 120:320])
    points = POINTS - [120, 50]
    one = [a.augmented(face, EVERYTHING, a.generator(7, 0, i), landmarks=points) for i in range(40)]
    again = [a.augmented(face, EVERYTHING, a.generator(7, 0, i), landmarks=points) for i in reversed(range(40))][::-1]
    assert all(np.array_equal(x, y) for x, y in zip(one, again, strict=True))
    other = [a.augmented(face, EVERYTHING, a.generator(7, 1, i), landmarks=points) for i in range(40)]
    assert sum(np.array_equal(x, y) for x, y in zip(one, other, strict=True)) < 3


def test_one_probability_does_not_change_what_another_draws(face):
    face = np.ascontiguousarray(face[50:250, 120:320])
    flips = {
        p: [a.augmented(face, a.Augmentation(flip=0.5, noise=p), a.generator(0, 0, i)) for i in range(30)]
        for p in (0.0, 1.0)
    }
    flipped = [[np.abs(x.astype(int) - a.flip(face)).mean() < 12 for x in found] for found in flips.values()]
    assert flipped[0] == flipped[1]
    assert 5 < sum(flipped[0]) < 25


def test_nothing_asked_for_is_a_copy(face):
    out = a.augmented(face, a.Augmentation(flip=0), a.generator(0, 0, 0))
    assert np.array_equal(out, face)
    assert not np.shares_memory(out, face)


def test_probabilities_are_checked():
    with pytest.raises(ValueError, match="blurs: expected a probability"):
        a.Augmentation(blurs=1.5)


def test_gamma_correction_brings_the_mean_luma_to_the_middle(face):
    for exponent in (0.5, 1.0, 1.8):
        dark = a.gamma(face, exponent)
        luma = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).mean() / 255 for p in (dark, a.correct_gamma(dark))]
        assert abs(luma[1] - 0.5) < min(abs(luma[0] - 0.5) + 0.02, 0.12)
    for flat in (0, 255):
        picture = np.full((20, 20, 3), flat, np.uint8)
        assert np.array_equal(a.correct_gamma(picture), picture)
    grey = np.full((20, 20, 3), 51, np.uint8)  # 0.2: the exponent is log 0.5 / log 0.2
    assert a.correct_gamma(grey).mean() == pytest.approx(127.5, abs=1)


def test_evenings_go_by_name_one_after_the_other_and_in_grey(face):
    expected = {"gamma": a.correct_gamma, "clahe": a.equalise, "self-quotient": a.self_quotient}
    assert tuple(expected) == a.EVENINGS
    for name, function in expected.items():
        assert np.array_equal(a.evened(face, [name]), function(face))
        grey = a.evened(face[:, :, :1], (name,))
        assert grey.shape == (*face.shape[:2], 1)
        assert np.array_equal(grey[:, :, 0], function(np.repeat(face[:, :, :1], 3, axis=2))[:, :, 0])
    assert a.evened(face, ()) is face
    both = a.self_quotient(a.correct_gamma(face))
    assert np.array_equal(a.evened(face, ["gamma", "self-quotient"]), both)
    assert not np.array_equal(a.evened(face, ["self-quotient", "gamma"]), both)
    for bad in (["flat"], ["gamma", "none"], "clahe"):
        with pytest.raises(ValueError, match="expected some of gamma, clahe, self-quotient; got"):
            a.evened(face, bad)


def clahe_by_hand(plane, clip, tiles):
    """Contrast-limited equalisation of tiles, between whose middles their tables are mixed; by the paper's steps."""
    side = plane.shape[0] // tiles
    tables = np.empty((tiles, tiles, 256))
    most = max(int(clip * side * side / 256), 1)
    for i in range(tiles):
        for j in range(tiles):
            tile = plane[i * side : (i + 1) * side, j * side : (j + 1) * side]
            counts = np.array([(tile == value).sum() for value in range(256)])
            over = int(np.maximum(counts - most, 0).sum())
            counts = np.minimum(counts, most) + over // 256
            left = over % 256
            if left:
                counts[: left * max(256 // left, 1) : max(256 // left, 1)] += 1
            tables[i, j] = np.cumsum(counts) * 255 / side**2
    found = np.empty(plane.shape)
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            v, u = (y / side - 0.5), (x / side - 0.5)
            i, j = int(np.floor(v)), int(np.floor(u))
            corners = [
                (1 - abs(v - k))
                * (1 - abs(u - m))
                * tables[min(max(k, 0), tiles - 1), min(max(m, 0), tiles - 1), plane[y, x]]
                for k in (i, i + 1)
                for m in (j, j + 1)
            ]
            found[y, x] = sum(corners)
    return found


def test_clahe_is_the_papers_on_lightness_and_leaves_colours(face):
    picture = np.ascontiguousarray(cv2.resize(face[50:250, 120:320], (64, 64), interpolation=cv2.INTER_AREA))
    before = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    wanted = before.copy()
    wanted[:, :, 0] = np.clip(np.rint(clahe_by_hand(before[:, :, 0], 2.0, 8)), 0, 255)
    assert np.abs(wanted[:, :, 0].astype(int) - before[:, :, 0]).mean() > 10  # it does something
    apart = np.abs(a.equalise(picture).astype(int) - cv2.cvtColor(wanted, cv2.COLOR_LAB2RGB))
    assert apart.max() <= 4  # one step of lightness, rounded to another side
    assert apart.mean() < 0.3


def test_the_self_quotient_is_a_pixel_by_its_surroundings(face):
    picture = np.ascontiguousarray(cv2.resize(face[50:250, 120:320], (64, 64), interpolation=cv2.INTER_AREA))
    values, sigma, reach = picture.astype(np.float64) + 1, 8.0, 32
    line = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    padded = np.pad(values, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    blurred = np.zeros_like(values)
    for dy, row in enumerate(line / line.sum()):
        for dx, weight in enumerate(row * line / line.sum()):
            blurred += weight * padded[dy : dy + 64, dx : dx + 64]
    quotient = np.log(values / blurred)
    low, high = np.percentile(quotient, (1, 99))
    wanted = np.clip((quotient - low) * 255 / (high - low), 0, 255)
    assert np.abs(a.self_quotient(picture) - wanted).max() < 2.5


def test_light_from_one_side_is_evened_out(face):
    picture = np.ascontiguousarray(cv2.resize(face[50:250, 120:320], (112, 112), interpolation=cv2.INTER_AREA))
    ramp = np.linspace(1.0, 0.3, 112)[None, :, None]
    lit = np.clip(np.rint(picture * ramp), 0, 255).astype(np.uint8)
    apart = np.abs(picture.astype(int) - lit).mean()
    for how, left in (("clahe", 0.8), ("self-quotient", 0.3)):
        assert np.abs(a.evened(picture, [how]).astype(int) - a.evened(lit, [how])).mean() < left * apart
    dark = a.gamma(picture, 2.0)
    left = np.abs(a.evened(picture, ["gamma"]).astype(int) - a.evened(dark, ["gamma"])).mean()
    assert left < 0.5 * np.abs(picture.astype(int) - dark).mean()


def painted_cylinder(yaw: float, side: int = 120, radius: float = 50.0) -> np.ndarray:
    """What a camera sees of a cylinder painted with vertical stripes, by the angle of each pixel: the oracle."""
    x = np.arange(side) - (side - 1) / 2
    angle = np.arcsin(np.clip(x / radius, -1, 1)) + yaw
    line = 127 + 100 * np.sin(2 * np.clip(angle, -np.pi / 2, np.pi / 2))  # beyond its edges, their colour
    return np.repeat(np.repeat(line[None, :, None], side, 0), 3, 2).round().astype(np.uint8)


@pytest.mark.parametrize("yaw", [-0.8, -0.3, 0.0, 0.5])
def test_turning_away_shows_what_a_turned_cylinder_shows(yaw: float) -> None:
    middle, eyes = 59.5, 40.0  # a radius of 1.25 times 40
    points = np.array(
        [[middle - eyes / 2, 40], [middle + eyes / 2, 40], [middle, 60], [middle - 15, 80], [middle + 15, 80]],
        np.float32,
    )
    out, moved = a.turn_away(painted_cylinder(0.0), points, yaw)
    inside = slice(14, 106)  # the very edge is steep
    assert np.abs(out[:, inside].astype(int) - painted_cylinder(yaw)[:, inside]).max() <= 16
    # A landmark is found again where its colour is.
    want = middle + 50 * np.sin(np.clip(np.arcsin((points[:, 0] - middle) / 50) - yaw, -np.pi / 2, np.pi / 2))
    np.testing.assert_allclose(moved[:, 0], want, atol=1e-3)
    np.testing.assert_allclose(moved[:, 1], points[:, 1], atol=1e-3)


def test_turning_away_and_aligning_again_is_a_cut_by_the_turned_landmarks() -> None:
    from mien.images.align import similarity, warp

    noise = np.random.default_rng(3).integers(0, 256, (112, 112, 3), np.uint8)
    face = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 5), None, 0, 255, cv2.NORM_MINMAX)
    points = np.array([[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]], np.float32)
    turned, moved = a.turn_away(face, points, 0.6)
    again, stay = a.turn_away(face, points, 0.6, aligned=True)
    np.testing.assert_array_equal(stay, points)
    want = warp(turned, similarity(moved[None], points), (112, 112), border="replicate")[0]
    inner = (slice(25, 90), slice(25, 90))
    assert np.abs(again[inner].astype(int) - want[inner]).mean() < 3
    assert np.abs(again[inner].astype(int) - face[inner]).mean() > 6  # it did turn
