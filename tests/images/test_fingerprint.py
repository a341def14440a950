"""Fingerprints: near for copies, far for others; and all near pairs, exactly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.images import augment, decode
from mien.images.fingerprint import bit_distance, fingerprint, near_pairs


@pytest.fixture(scope="module")
def pictures(hopper, astronaut):
    return decode(hopper).pixels, decode(astronaut).pixels


@pytest.mark.parametrize(
    "change",
    [
        lambda p: cv2.resize(p, None, fx=0.37, fy=0.37, interpolation=cv2.INTER_AREA),
        lambda p: augment.compress(p, 20),
        lambda p: augment.change_light(p, brightness=0.08, contrast=0.9),
        augment.grey,
        lambda p: augment.add_noise(p, augment.generator(0, 0, 0), 8),
        lambda p: augment.blur(p, 2),
    ],
)
def test_copies_are_near_and_others_far(pictures, change):
    a, b = pictures
    assert bit_distance(fingerprint(a), fingerprint(change(a))) <= 6
    assert bit_distance(fingerprint(a), fingerprint(change(b))) >= 20


def test_any_picture_has_one():
    assert 0 <= fingerprint(np.zeros((1, 1, 3), np.uint8)) < 1 << 64
    assert 0 <= fingerprint(np.full((3, 999, 3), 255, np.uint8)) < 1 << 64


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=30), st.integers(0, (1 << 64) - 1))
def test_distance_agrees_with_counting(values, other):
    expected = [(value ^ other).bit_count() for value in values]
    assert bit_distance(np.array(values, np.uint64), np.uint64(other)).tolist() == expected


@pytest.mark.parametrize("most", [0, 1, 6, 10, 15])
def test_near_pairs_agree_with_a_plain_loop(most):
    rng = np.random.default_rng(most)
    base = rng.integers(0, 1 << 64, 60, np.uint64)
    flips = [sum(1 << int(b) for b in rng.choice(64, int(rng.integers(0, 18)), replace=False)) for _ in range(240)]
    values = np.concatenate([base, rng.choice(base, 240) ^ np.array(flips, np.uint64), base[:5]])
    blocks = list(near_pairs(values, most=most))
    found = [tuple(pair) for block in blocks for pair in block.tolist()]
    expected = [
        (i, j)
        for i in range(len(values))
        for j in range(i + 1, len(values))
        if (int(values[i]) ^ int(values[j])).bit_count() <= most
    ]
    assert sorted(found) == expected


def test_nothing_and_one_have_no_pairs():
    assert list(near_pairs([], most=6)) == []
    assert list(near_pairs([7], most=6)) == []
    with pytest.raises(ValueError, match="0 to 15"):
        list(near_pairs([1, 2], most=16))
