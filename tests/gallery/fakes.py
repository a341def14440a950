"""A recognizer without models, for tests: what a picture shows is written in it, so answers are known beforehand."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from mien.errors import ImageError
from mien.types import Analysis, Faces, ModelIdentity

IDENTITY = ModelIdentity("fake", "fast", hashlib.sha256(b"fake").hexdigest(), 32)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def embedding(person: str, variation: str = "", dimension: int = 32):
    """A face of `person`: cosine about 0.9 to their other faces, about 0 to other people's."""

    def noise(text):
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        return unit(np.random.default_rng(seed).standard_normal(dimension))

    return unit(noise(f"person {person}") + 0.3 * noise(f"variation {person} {variation}"))


class FakeAnalyzer:
    """Pictures are text: 'person/variation' for a face, several split by '+', 'nobody' for none, 'broken' for an error.

    The first face is the largest. Thread-safe: it keeps nothing but counters.
    """

    def __init__(self, identity: ModelIdentity = IDENTITY, eager: int = 0) -> None:
        self.identity = identity
        self.eager = eager  # how many pictures are drawn ahead, as an engine does
        self.calls = 0
        self.analysed = 0

    def analyze(self, images):
        self.calls += 1
        held = []
        for image in images:
            held.append(image)
            if len(held) > self.eager:
                yield self._one(held.pop(0))
        for image in held:
            yield self._one(image)

    def _one(self, image):
        self.analysed += 1
        source = "<bytes>" if isinstance(image, bytes) else str(image)
        try:
            text = (image if isinstance(image, bytes) else Path(image).read_bytes()).decode()
        except (OSError, UnicodeDecodeError) as error:
            return Analysis.failed(source, ImageError(source, f"cannot be read ({error})"))
        if text == "broken":
            return Analysis.failed(source, ImageError(source, "is not a picture"))
        faces = [] if text == "nobody" else [part.partition("/") for part in text.split("+")]
        n = len(faces)
        side = 100.0 / (1 + np.arange(n, dtype=np.float32))
        boxes = np.stack([100 - side, 100 - side, 100 + side, 100 + side], axis=1) if n else np.zeros((0, 4))
        rows = [embedding(person, variation, self.identity.dimension) for person, _, variation in faces]
        return Analysis(
            source,
            (200, 200),
            Faces(boxes, np.full(n, 0.99), np.zeros((n, 5, 2))),
            np.stack(rows) if rows else np.zeros((0, self.identity.dimension)),
        )


def people_folder(root: Path, people: dict[str, int]) -> Path:
    """A folder per person with so many pictures each."""
    for name, count in people.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / name / f"{i}.jpg").write_text(f"{name}/{i}")
    return root
