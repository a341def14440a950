"""Small made-up copies of the layouts; pictures are drawn, one colour a person."""

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def jpeg():
    """The bytes of a drawn picture that no other number gives."""

    def draw(number):
        image = np.full((24, 24, 3), (number * 37 % 256, number * 91 % 256, number % 256), np.uint8)
        image[4 : 4 + number % 16, 8:16] = 255
        ok, data = cv2.imencode(".jpg", image)
        assert ok
        return data.tobytes()

    return draw


@pytest.fixture
def put(tmp_path, jpeg):
    """Write pictures by their names below a folder, and return the folder."""
    count = iter(range(10**6))

    def write(*names, root="set"):
        for name in names:
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(next(count)))
        return tmp_path / root

    return write


@pytest.fixture
def text(tmp_path):
    """Write a list, and return its path."""

    def write(content, name="list.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def named_pairs(found):
    """The pairs of a set in words: (name, name, same, fold)."""
    names = found.templates.names if hasattr(found, "templates") else [p.name for p in found.pictures]
    rows = zip(found.pairs.tolist(), found.same.tolist(), found.folds.tolist(), strict=True)
    return [(names[i], names[j], same, fold) for (i, j), same, fold in rows]


@pytest.fixture(scope="session")
def words():
    return named_pairs
