import numpy as np
import pytest

from mien.quality.stability import JITTERS, jittered, stability
from mien.types import Faces

POINTS = np.array([[40, 40], [80, 42], [60, 65], [45, 85], [78, 84]], np.float32)
FACES = Faces(np.array([[20, 20, 100, 110], [0, 0, 9, 9]]), np.array([0.9, 0.8]), np.stack([POINTS, POINTS / 5 + 3]))


def test_jitter_moves_landmarks_little_and_as_one():
    moved = jittered(FACES).landmarks.reshape(2, len(JITTERS), 5, 2)
    for face, copies in zip(FACES.landmarks, moved, strict=True):
        spread = np.sqrt(np.square(face - face.mean(0)).sum(1).mean())
        away = np.linalg.norm(copies - face, axis=-1) / spread
        assert 0.01 < away.mean() < 0.15
        assert away.max() < 0.25
        for (turn, scale, dx, dy), copy in zip(JITTERS, copies, strict=True):
            z, w = (p[:, 0] + 1j * p[:, 1] for p in (face - face.mean(0), copy - face.mean(0)))
            assert np.allclose(w, z * scale * np.exp(1j * turn) + spread * complex(dx, dy), atol=1e-3)


def test_an_embedding_that_never_moves_is_stable():
    vectors = np.eye(2, 8, dtype=np.float32)
    kept = stability(np.zeros((1, 1, 3), np.uint8), FACES, vectors, lambda _, f: np.repeat(vectors, len(f) // 2, 0))
    assert kept == pytest.approx([1, 1])


def test_it_is_the_mean_cosine_of_each_face_to_its_own_copies():
    angles = np.array([0.0, 0.5])

    def embed(_, faces):
        turned = np.repeat(angles, len(JITTERS)) + np.tile([0.1, 0.2, 0.3, 0.4], 2) * np.repeat([1, 2], len(JITTERS))
        assert len(faces) == 8
        return np.stack([np.cos(turned), np.sin(turned)], 1).astype(np.float32)

    plain = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    kept = stability(np.zeros((1, 1, 3), np.uint8), FACES, plain, embed)
    expected = [np.mean(np.cos([0.1, 0.2, 0.3, 0.4])), np.mean(np.cos([0.2, 0.4, 0.6, 0.8]))]
    assert kept == pytest.approx(expected, abs=1e-6)


def test_no_faces_cost_nothing():
    def never(*_):
        raise AssertionError

    assert stability(np.zeros((1, 1, 3), np.uint8), Faces.none(), np.zeros((0, 8), np.float32), never).shape == (0,)
