"""Where views lie, and that no number of theirs can change unnoticed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mien.embed import views
from mien.embed.probe import probe_chips
from mien.embed.views import CHIP, DETECTOR_TEMPLATE, PRESETS, TREES_TEMPLATE, View, place, settings_digest
from mien.images.align import similarity, transform_points


def test_the_plain_view_puts_landmarks_on_the_template():
    landmarks = DETECTOR_TEMPLATE[None] * 0.7 + [20, 30]
    placed = place(View("detector"), similarity(landmarks, DETECTOR_TEMPLATE))
    np.testing.assert_allclose(transform_points(landmarks, placed)[0], DETECTOR_TEMPLATE, atol=1e-4)


def test_scale_keeps_the_centre_and_shift_moves_it():
    plain = np.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]] * 2)
    centre = [[(CHIP - 1) / 2] * 2]
    corner = [[0.0, 0.0]]
    placed = place(View("trees", scale=1.1, shift=(3.0, -5.0)), plain)
    np.testing.assert_allclose(transform_points(centre, placed), [[[77.5, 69.5]]] * 2)
    np.testing.assert_allclose(transform_points(corner, placed), [[[77.5 - 1.1 * 74.5, 69.5 - 1.1 * 74.5]]] * 2)
    np.testing.assert_array_equal(plain[0], [[1, 0, 0], [0, 1, 0]])  # the argument is not touched


def test_the_trees_template_is_the_one_dlib_cuts_by():
    dlib = pytest.importorskip("dlib")
    points = np.round(TREES_TEMPLATE * 4 + 200).astype(int)  # a face four times as large, on whole pixels
    parts = dlib.full_object_detection(dlib.rectangle(0, 0, 999, 999), dlib.points([dlib.point(*p) for p in points]))
    details = dlib.get_face_chip_details(parts, size=CHIP, padding=0.25)
    matrix = similarity(points[None], TREES_TEMPLATE)
    cut = details.rect
    np.testing.assert_allclose(
        transform_points([[[cut.left(), cut.top()], [cut.right() + 1, cut.bottom() + 1]]], matrix)[0],
        [[0, 0], [CHIP, CHIP]],
        atol=0.3,
    )
    assert abs(details.angle) < 0.005


def test_presets_look_at_the_face_and_at_its_mirror_image_alike():
    assert [len(PRESETS[preset]) for preset in ("fast", "accurate")] == [2, 4]
    for preset_views in PRESETS.values():
        assert 2 * sum(view.mirrored for view in preset_views) == len(preset_views)
    assert {view.points for view in PRESETS["fast"]} == {"detector"}  # no landmarker runs


@pytest.mark.parametrize("change", [{"points": "detector"}, {"scale": 1.01}, {"shift": (0.0, 1.0)}, {"mirrored": True}])
def test_every_setting_changes_the_digest(change):
    view = View("trees")
    assert settings_digest([view], "weights") != settings_digest([dataclasses.replace(view, **change)], "weights")


def test_weights_order_and_template_change_the_digest(monkeypatch):
    look = [View("trees"), View("detector")]
    known = settings_digest(look, "a", "b")
    assert settings_digest(tuple(look), "a", "b") == known
    assert (
        len({known, settings_digest(look, "a"), settings_digest(look, "ab"), settings_digest(look[::-1], "a", "b")})
        == 4
    )
    monkeypatch.setattr(views, "DETECTOR_TEMPLATE", DETECTOR_TEMPLATE + 0.001)
    assert settings_digest(look, "a", "b") != known


def test_the_probe_is_a_face_and_always_the_same():
    chips = probe_chips()
    assert chips is not None
    assert chips.shape == (8, CHIP, CHIP, 3)
    assert chips.dtype == np.uint8
    np.testing.assert_array_equal(chips, probe_chips())
    np.testing.assert_array_equal(chips[4:], chips[:4, :, ::-1])
    assert chips[0].std() > 30


def test_without_the_portrait_there_is_no_probe(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert probe_chips() is None
