"""A fake model for the command line: faces are coloured squares, so that answers are known and nothing loads."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mien.cli import main
from mien.match import Calibration, OperatingPoint, ScoreSpread
from mien.quality import FaceQuality
from mien.types import Faces, ModelIdentity

CELL, SIDE = 24, 20  # a picture is a grid of cells; a face is a square in the middle of one
POINTS = np.array([(6, 8), (14, 8), (10, 12), (7, 16), (13, 16)], np.float32)
ANGLE = 0.3  # radians between a person's plain look and any other look of theirs
GOOD = FaceQuality(
    eye_distance=60, width=120, height=120, yaw=0, pitch=0, roll=0, visible=1, sharpness=0.2, brightness=0.5,
    contrast=0.2, clipped=0, unevenness=0, detection=1, score=0.9, fingerprint=b"",
)  # fmt: skip


class SquareDetector:
    """Every coloured square is a face; its blue is the detector's confidence."""

    name = "squares"

    def __init__(self, *, confidence=0.1, **options):
        self.confidence, self.options = confidence, options

    def detect(self, images):
        return [self._one(image) for image in images]

    def _one(self, image):
        corners = [
            (x + 2, y + 2)
            for y in range(0, image.shape[0] - CELL + 1, CELL)
            for x in range(0, image.shape[1] - CELL + 1, CELL)
            if image[y + CELL // 2, x + CELL // 2, 0]
        ]
        if not corners:
            return Faces.none()
        at = np.array(corners, np.float32)
        scores = [image[int(y) + 5, int(x) + 5, 2] / 255 for x, y in corners]
        faces = Faces(np.concatenate([at, at + SIDE], 1), scores, at[:, None] + POINTS)
        return faces.take(faces.scores >= self.confidence).largest_first()


class SquareEmbedder:
    """Red is the person, green the look: looks of one person are close, people are at right angles."""

    identity = ModelIdentity("dlib-resnet29", "fast", "ab" * 32, 128)

    def chips(self, image, faces):
        centres = ((faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2).astype(int)
        return np.stack([image[y, x] for x, y in centres])[:, None, None, None, :]

    def embed(self, chips):
        person, look = chips[:, 0, 0, 0, 0].astype(int), chips[:, 0, 0, 0, 1].astype(int)
        rows = np.zeros((len(chips), 128), np.float32)
        angle = np.where(look > 0, ANGLE, 0.0)
        rows[np.arange(len(chips)), person] = np.cos(angle)
        rows[np.arange(len(chips)), 64 + look] += np.sin(angle)
        return rows


@dataclass
class Answer:
    code: int
    out: str
    err: str


@pytest.fixture
def squares(monkeypatch):
    """Put the fake model and a calibration for it in the place of the real ones."""
    point = functools.partial(OperatingPoint, supported=True)
    calibration = Calibration(
        model="dlib-resnet29",
        preset="fast",
        sha256="ab" * 32,
        provisional=True,
        made_on="squares",
        date="2026-01-31",
        genuine=ScoreSpread(100, 0.9, 0.1),
        impostor=ScoreSpread(10_000, 0.0, 0.1),
        table=(point(1e-1, 0.3, 1.0), point(1e-2, 0.5, 0.99), point(1e-3, 0.8, 0.98)),
    )
    monkeypatch.setattr("mien.recognizer.MTCNN", SquareDetector)
    monkeypatch.setattr("mien.recognizer.RegressionTrees", lambda: None)
    monkeypatch.setattr("mien.recognizer.DlibResNet", lambda *_, **__: SquareEmbedder())
    # A square of one colour has no sharpness, and is smaller than a face may be: nothing is held against it.
    monkeypatch.setattr("mien.gallery.looking.measure_quality", lambda *_, **__: [GOOD])
    # The gallery first: imported after mien.match was changed, it would keep the fake for good.
    monkeypatch.setattr("mien.gallery.embeddings.calibration_for", lambda _: calibration)
    monkeypatch.setattr("mien.api.calibration_for", lambda _: calibration)  # before mien.match, for the same reason
    monkeypatch.setattr("mien.match.calibration_for", lambda _: calibration)


@pytest.fixture
def run(capsys):
    """Run `mien` in this process: run("verify", a, b) -> exit code, stdout, stderr."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def paint():
    """Write a picture of squares: paint(path, (person, look), ...), None for an empty cell, left to right."""
    from PIL import Image

    def paint(path: Path, *people, confidence=255, columns=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = columns or max(1, len(people))
        rows = -(-max(1, len(people)) // columns)
        pixels = np.zeros((CELL * rows, CELL * columns, 3), np.uint8)
        for i, who in enumerate(people):
            if who is not None:
                y, x = i // columns * CELL + 2, i % columns * CELL + 2
                pixels[y : y + SIDE, x : x + SIDE] = (*who, confidence)
        Image.fromarray(pixels).save(path)
        return path

    return paint


@pytest.fixture
def broken():
    """Write a picture that cannot be read: broken(path)."""

    def broken(path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
        return path

    return broken
