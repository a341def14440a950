"""What the tests of data preparation share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from mien.images import decode
from mien.match import Calibration, OperatingPoint, ScoreSpread
from mien.recognizer import Recognizer
from mien.types import Faces, ModelIdentity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def room_for() -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """`with room_for(n)`: no file may grow beyond n bytes, which fails in the middle of a write as a full disk does."""

    @contextlib.contextmanager
    def limited(size: int) -> Iterator[None]:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


SIDE = 24  # a picture is a row of cells; a face is a coloured square: red is who, its size is green
POINTS = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)], np.float32)


class Squares:
    """A detector and an embedder whose answers are known."""

    name = "squares"
    identity = ModelIdentity("squares", "fast", "cd" * 32, 64)

    def __init__(self):
        self.looked_at = 0

    def detect(self, images):
        self.looked_at += len(images)
        return [self._one(image) for image in images]

    def _one(self, image):
        boxes = []
        for left in range(0, image.shape[1], SIDE):
            person, size = (int(v) for v in image[SIDE // 2, left + SIDE // 2, :2])
            if person:
                at, edge = (SIDE - size) / 2, (SIDE + size) / 2
                boxes.append((left + at, at, left + edge, edge))
        if not boxes:
            return Faces.none()
        array = np.array(boxes, np.float32)
        sides = array[:, None, 2:] - array[:, None, :2]
        return Faces(array, np.full(len(array), 0.9), array[:, None, :2] + POINTS * sides).largest_first()

    def chips(self, image, faces):
        centres = ((faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2).astype(int)
        return np.stack([image[y, x] for x, y in centres])[:, None, None, None, :]

    def embed(self, chips):
        return np.eye(64, dtype=np.float32)[chips[:, 0, 0, 0, 0]]


@pytest.fixture
def model():
    return Squares()


@pytest.fixture
def recognizer(model, monkeypatch):
    point = OperatingPoint(1e-3, 0.5, 0.99, supported=True)
    calibration = Calibration(
        model="squares", preset="fast", sha256="cd" * 32, provisional=True, made_on="squares", date="2026-01-31",
        genuine=ScoreSpread(100, 0.9, 0.1), impostor=ScoreSpread(10_000, 0.0, 0.1), table=(point,),
    )  # fmt: skip
    monkeypatch.setattr("mien.prepare.cropping.calibration_for", lambda _: calibration)
    return Recognizer(detector=model, embedder=model, workers=2)


def _paint(path: Path, *people: tuple[int, int] | None) -> Path:
    """People as (who, size of the square), None for an empty cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((SIDE, SIDE * max(1, len(people)), 3), np.uint8)
    for i, who in enumerate(people):
        if who:
            person, size = who
            low = (SIDE - size) // 2
            pixels[low : low + size, SIDE * i + low : SIDE * i + low + size] = (person, size, 255)
    Image.fromarray(pixels).save(path)
    return path


def _who(path: Path) -> int:
    pixels = decode(path).pixels
    return int(pixels[pixels.shape[0] // 2, pixels.shape[1] // 2, 0])


@pytest.fixture
def paint() -> Callable[..., Path]:
    return _paint


@pytest.fixture
def who() -> Callable[[Path], int]:
    """Whose face a crop shows."""
    return _who
