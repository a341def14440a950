"""How far an embedding moves when the face is cut out a little differently.

A face that the model sees well keeps its place among the embeddings when its chip is turned, scaled or shifted by less
than a landmark's usual error; one that it hardly sees does not. That is SER-FIQ's idea with jitter in place of dropout,
which an exported network no longer has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mien.types import Faces

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.types import Floats, Pixels

__all__ = ["JITTERS", "jittered", "stability"]

JITTERS: Final = (
    (0.07, 1.05, 0.05, 0.0),
    (-0.07, 0.95, -0.05, 0.0),
    (0.07, 0.95, 0.0, 0.05),
    (-0.07, 1.05, 0.0, -0.05),
)
"""Each: turn in radians, scale, and shift (x, y) as a share of the landmarks' spread."""


def jittered(faces: Faces) -> Faces:
    """The same faces with landmarks moved as one, by each of `JITTERS`.

    Args:
        faces: N faces.

    Returns:
        N x len(JITTERS) faces; those of one face follow each other.
    """
    points = faces.landmarks.astype(np.float64)
    centre = points.mean(1, keepdims=True)
    around = points - centre
    spread = np.sqrt(np.square(around).sum(-1).mean(1))[:, None, None]
    moved = []
    for turn, scale, dx, dy in JITTERS:
        turned = around @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) * scale
        moved.append(centre + turned + spread * np.array([dx, dy]))
    rows = np.repeat(np.arange(len(faces)), len(JITTERS))
    landmarks = np.stack(moved, 1).reshape(-1, 5, 2).astype(np.float32)
    return Faces(faces.boxes[rows], faces.scores[rows], landmarks)


def stability(image: Pixels, faces: Faces, embeddings: Floats, embed: Callable[[Pixels, Faces], Floats]) -> Floats:
    """How well the embeddings of one picture's faces withstand small changes of alignment.

    It costs `len(JITTERS)` more embeddings a face.

    Args:
        image: RGB uint8 (H, W, 3).
        faces: N faces with landmarks.
        embeddings: float32 (N, D) of these faces, unit norm.
        embed: embeds faces of a picture, such as `Recognizer.embed_faces`.

    Returns:
        float32 (N,): the mean cosine between a face's embedding and those of its jittered chips; 1 for one that does
        not move at all.

    Raises:
        InputError: the landmarks of a face coincide.

    Source:
        P. Terhorst et al., "SER-FIQ: Unsupervised Estimation of Face Image Quality Based on Stochastic Embedding
        Robustness", CVPR 2020 (the idea; dropout there).
    """
    if not len(faces):
        return np.zeros(0, np.float32)
    moved = embed(image, jittered(faces)).reshape(len(faces), len(JITTERS), -1)
    kept: Floats = np.einsum("nkd,nd->nk", moved, embeddings).mean(1).astype(np.float32)
    return kept
