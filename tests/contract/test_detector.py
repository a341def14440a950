"""What every detector must do. To check another one, add a function that makes it to `DETECTORS`."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image as Pillow

from mien.detect.mtcnn import MTCNN
from mien.interfaces import Detector
from mien.types import Faces

DETECTORS = {"mtcnn": MTCNN}


@pytest.fixture(scope="module", params=list(DETECTORS))
def detector(request):
    return DETECTORS[request.param]()


@pytest.fixture(scope="module")
def portraits(hopper, astronaut):
    return [np.asarray(Pillow.open(path).convert("RGB")) for path in (hopper, astronaut)]


def same(a: Faces, b: Faces) -> bool:
    return len(a) == len(b) and all(
        np.allclose(getattr(a, name), getattr(b, name), atol=atol)
        for name, atol in (("boxes", 0.05), ("scores", 1e-3), ("landmarks", 0.05))
    )


def test_it_is_a_detector(detector):
    assert isinstance(detector, Detector)
    assert isinstance(detector.name, str)
    assert detector.name


def test_one_result_a_picture_in_order(detector, portraits):
    blank = np.full((120, 160, 3), 128, np.uint8)
    found = detector.detect([blank, portraits[0], blank, portraits[1]])
    assert [len(faces) for faces in found] == [0, 1, 0, 1]
    assert all(isinstance(faces, Faces) for faces in found)
    assert detector.detect([]) == []


def test_a_batch_is_its_pictures_one_by_one(detector, portraits):
    batch = [*portraits, portraits[0][:, ::-1], portraits[0]]  # sizes differ and recur; one is a reversed view
    together = detector.detect(batch)
    for image, faces in zip(batch, together, strict=True):
        assert same(faces, detector.detect([image])[0])


def test_boxes_hold_the_landmarks_of_an_upright_face(detector, portraits):
    for image, faces in zip(portraits, detector.detect(portraits), strict=True):
        (face,) = faces
        height, width = image.shape[:2]
        assert 0 <= face.score <= 1
        assert 0 < face.width < width
        assert 0 < face.height < height
        left_eye, right_eye, nose, left_mouth, right_mouth = np.array(face.landmarks)
        assert left_eye[0] < nose[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
        x0, y0, x1, y1 = face.box
        assert all(x0 < x < x1 and y0 < y < y1 for x, y in face.landmarks)


def test_largest_face_first(detector, portraits):
    small = np.asarray(Pillow.fromarray(portraits[1]).resize((256, 256)))
    canvas = np.zeros((768, 512, 3), np.uint8)
    canvas[:256, :256], canvas[256:] = small, portraits[1]
    (faces,) = detector.detect([canvas])
    assert len(faces) == 2
    assert faces[0].width > 1.5 * faces[1].width
    assert faces[0].box[1] > 256


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 400, 3), (400, 1, 3), (11, 11, 3), (13, 3000, 3), (50, 41, 3)])
def test_pictures_of_any_shape_are_looked_at(detector, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    (faces,) = detector.detect([image])
    assert isinstance(faces, Faces)


def test_the_pictures_are_left_alone(detector, portraits):
    image = portraits[0].copy()
    image.flags.writeable = False
    detector.detect([image, image])
    assert (image == portraits[0]).all()


def test_four_threads_find_what_one_finds(detector, portraits):
    batches = [[p[:, dx:] for p in portraits] for dx in range(0, 32, 8)]
    alone = [detector.detect(batch) for batch in batches]
    together: list = [None] * len(batches)

    def work(i):
        for _ in range(3):
            together[i] = detector.detect(batches[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert all(same(a, b) for a, b in zip(one, other, strict=True))
