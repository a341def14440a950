"""Attributes measured from pictures: against faces of known geometry."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mien.errors import InputError
from mien.evaluate.embeddings import Embedded
from mien.evaluate.groups_measured import is_grey, measured_attributes, yaw
from mien.evaluate.protocols.pictures import Picture


def seen(degrees, *, roll=0.0, scale=40.0):
    """Five points of a head, turned about its upright axis, seen from far away."""
    points = np.array([(-0.5, 0, 0), (0.5, 0, 0), (0, 0.6, 0.5), (-0.4, 1.1, 0.1), (0.4, 1.1, 0.1)])
    angle, lean = np.radians(degrees), np.radians(roll)
    x = points[:, 0] * np.cos(angle) + points[:, 2] * np.sin(angle)
    flat = np.stack([x, points[:, 1]], axis=1) * scale
    turn = np.array([[np.cos(lean), -np.sin(lean)], [np.sin(lean), np.cos(lean)]])
    return (flat @ turn.T + 100).astype(np.float32)


@pytest.mark.parametrize("roll", [0, 30, -75])
def test_yaw_of_a_head_of_known_turn(roll):
    degrees = np.array([-60, -30, 0, 10, 45])
    found = yaw(np.stack([seen(d, roll=roll) for d in degrees]))
    np.testing.assert_allclose(found, degrees, atol=0.1)
    assert np.isnan(yaw(np.full((1, 5, 2), np.nan, np.float32)))[0]
    assert np.isfinite(yaw(np.zeros((1, 5, 2), np.float32)))[0]


def test_what_is_measured(tmp_path):
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.integers(0, 255, (60, 60, 1), np.uint8), 3, axis=2)
    Image.fromarray(grey).save(tmp_path / "grey.jpg")  # as JPEG, so that its channels differ a little
    Image.fromarray(rng.integers(0, 255, (60, 60, 3), np.uint8)).save(tmp_path / "colour.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    pictures = [Picture(n, str(tmp_path / n)) for n in ("grey.jpg", "colour.png", "broken.png")]
    points = np.stack([seen(0, scale=19), seen(40, scale=60), np.full((5, 2), np.nan)]).astype(np.float32)
    found = np.array([True, True, False])
    faces = Embedded(np.zeros((3, 4), np.float32), found, points)
    colour, size, turn = measured_attributes(["colour", "size", "turn", "size"], pictures, faces)
    assert [colour.values[c] for c in colour.codes] == ["grey", "colour", "(none)"]
    assert [size.values[c] for c in size.codes] == ["0-19 px", "40+ px", "(none)"]
    assert [turn.values[c] for c in turn.codes] == ["frontal", "side", "(none)"]
    assert is_grey(grey)
    with pytest.raises(InputError, match="--measure: expected some of colour, size, turn, got 'age'"):
        measured_attributes(["age"], pictures, faces)
