"""The second look at pictures that one face fills."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from mien.detect.framing import framed, unframed
from mien.detect.mtcnn import MTCNN
from mien.types import Faces


@pytest.mark.parametrize("shape", [(64, 64, 3), (100, 150, 3), (1501, 900, 3), (1, 1, 3), (3, 7, 3)])
def test_points_come_back_to_where_they_were(shape):
    height, width = shape[:2]
    image = np.zeros(shape, np.uint8)
    spot = image[height // 3 : height // 3 + max(1, height // 20), width // 2 : width // 2 + max(1, width // 20)]
    spot[:] = 255
    seen = framed(image)
    assert min(seen.shape[:2]) <= 640
    rows, columns, _ = np.nonzero(seen > 127)
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    points = np.repeat(box[:, None, :2], 5, axis=1)
    back = unframed(Faces(box, np.ones(1), points), image)
    rows, columns, _ = np.nonzero(image)
    true = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    tolerance = 1.01 * max(1, min(shape[:2]) / 320)  # one pixel of the small picture
    assert np.allclose(back.boxes, true, atol=tolerance)
    assert np.allclose(back.landmarks, true[:2], atol=tolerance)


def test_pictures_that_no_face_can_fill_are_not_framed():
    assert framed(np.zeros((10, 41, 3), np.uint8)) is None
    assert framed(np.zeros((0, 0, 3), np.uint8)) is None
    assert framed(np.zeros((10, 40, 3), np.uint8)) is not None


def test_a_face_that_fills_the_picture(hopper):
    image = np.asarray(Pillow.open(hopper).convert("RGB"))
    (face,) = MTCNN().detect([image])[0]
    x0, y0, x1, y1 = (round(v) for v in face.box)
    dx, dy = (x1 - x0) // 8, (y1 - y0) // 6
    tight = np.ascontiguousarray(image[y0 + dy : y1 - dy, x0 + dx : x1 - dx])
    for scale in (1, 4):
        chip = cv2.resize(tight, None, fx=scale, fy=scale)
        assert len(MTCNN(tight=False).detect([chip])[0]) == 0
        (faces,) = MTCNN().detect([chip])
        assert len(faces) == 1
        points = faces.landmarks[0] / scale + (x0 + dx, y0 + dy)
        assert np.abs(points - np.array(face.landmarks)).max() < 0.06 * face.width
