"""Faces in turned pictures: where they are found, and that their landmarks still mean the same points of the face."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow

from mien.detect.mtcnn import MTCNN
from mien.detect.upright import detect_upright, turned_back
from mien.types import Faces


@pytest.fixture(scope="module")
def portrait(hopper):
    return np.asarray(Pillow.open(hopper).convert("RGB"))


@pytest.fixture(scope="module")
def detector():
    return MTCNN()


class Spots:
    """Finds red, green and blue pixels: three landmarks whose true places are plain."""

    name = "spots"

    def detect(self, images):
        return [self._one(image) for image in images]

    @staticmethod
    def _one(image):
        places = [np.argwhere(image[:, :, channel] == 255)[0][::-1] + 0.5 for channel in range(3)]
        if not places[0][1] < places[1][1]:  # "upright" is red above green
            return Faces.none()
        points = np.array([[*places, *places[:2]]], np.float32)
        return Faces(np.array([[*points.min(1)[0], *points.max(1)[0]]]), np.ones(1), points)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("size", [(7, 5), (4, 9)])
def test_points_come_back_to_the_pixels_they_were_seen_on(turns, size):
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    image[1, 2], image[3, 1], image[4, 3] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    seen = Spots()._one(image)
    turned = np.rot90(image, turns)
    places = [np.argwhere(turned[:, :, channel] == 255)[0][::-1] + 0.5 for channel in range(3)]
    points = np.array([[*places, *places[:2]]], np.float32)
    back = turned_back(Faces(np.array([[*points.min(1)[0], *points.max(1)[0]]]), np.ones(1), points), turns, size)
    assert np.allclose(back.landmarks, seen.landmarks)
    assert np.allclose(back.boxes, seen.boxes)


def test_only_pictures_without_faces_are_turned():
    image = np.zeros((9, 9, 3), np.uint8)
    image[2, 4], image[5, 4], image[7, 7] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    (kept, turns), (found, turns_down) = detect_upright(Spots(), [image, image[::-1].copy()])
    assert turns == 0
    assert turns_down == 2
    assert np.allclose(kept.landmarks[0, 0], (4.5, 2.5))
    assert np.allclose(found.landmarks[0, 0], (4.5, 6.5))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_turned_portrait(detector, portrait, turns):
    height, width = portrait.shape[:2]
    (straight,) = detector.detect([portrait])
    lying = np.ascontiguousarray(np.rot90(portrait, turns))
    ((faces, needed),) = detect_upright(detector, [lying])
    assert needed == (-turns) % 4
    assert len(faces) == 1
    # Turn the finding back to the upright portrait by hand: it must be the same face, eye for eye.
    upright = turned_back(faces, turns, (width, height))
    assert np.allclose(upright.landmarks, straight.landmarks, atol=0.05)
    assert np.allclose(upright.boxes, straight.boxes, atol=0.05)
    eye, other = faces.landmarks[0, 0], faces.landmarks[0, 1]
    across = {0: (1, 0), 1: (0, -1), 2: (-1, 0), 3: (0, 1)}[turns]  # where the person's image-right lies
    assert np.dot(other - eye, across) > 0.9 * np.linalg.norm(other - eye)


def test_nothing_stays_nothing(detector):
    ((faces, turns),) = detect_upright(detector, [np.zeros((80, 60, 3), np.uint8)])
    assert (len(faces), turns) == (0, 0)
    assert detect_upright(detector, []) == []


def test_a_doubtful_face_is_compared_with_the_other_turns():
    class Corner:
        """Scores a picture by the brightness of its top left pixel."""

        name = "corner"

        def detect(self, images):
            return [Faces(np.ones((1, 4)), np.array([i[0, 0, 0] / 100]), np.ones((1, 5, 2))) for i in images]

    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0], image[0, 1], image[1, 1], image[1, 0] = 90, 95, 97, 92
    assert detect_upright(Corner(), [image])[0][1] == 2  # two turns bring the bottom right to the top left
    assert detect_upright(Corner(), [image], sure=0.89)[0][1] == 0
    assert detect_upright(Corner(), [image], sure=0)[0][1] == 0
    image[0, 0] = 97
    assert detect_upright(Corner(), [image])[0][1] == 0  # no better, no turn
