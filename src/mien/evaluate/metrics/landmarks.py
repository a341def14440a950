"""Landmarks: how far from the truth, in units of the face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.intervals import Rate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["LandmarkError", "landmark_error"]


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkError:
    """Normalised mean error.

    Attributes:
        mean: mean over all faces and points.
        by_face: (N,) mean over a face's points.
        by_point: (P,) mean over the faces.
    """

    mean: float
    by_face: NDArray[np.float64]
    by_point: NDArray[np.float64]

    def failures(self, threshold: float = 0.1) -> Rate:
        """Faces whose error exceeds `threshold`."""
        return Rate(int(np.count_nonzero(self.by_face > threshold)), len(self.by_face))


def landmark_error(
    predicted: ArrayLike,
    truth: ArrayLike,
    *,
    by: Literal["inter-ocular", "box"] = "inter-ocular",
    boxes: ArrayLike | None = None,
) -> LandmarkError:
    """Distance of landmarks from the truth, divided by the size of the face.

    Args:
        predicted: (N, P, 2) points.
        truth: (N, P, 2) points; the first two are the eyes.
        by: the size of a face: the distance of the two eyes in the truth, or the square root of its box's area.
        boxes: (N, 4) xyxy, needed for "box".

    Raises:
        InputError: shapes differ, no face, numbers that are not finite, or a face without size.
    """
    guess, real = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if guess.shape != real.shape or real.ndim != 3 or real.shape[2:] != (2,) or real.shape[0] < 1 or real.shape[1] < 2:
        raise InputError(
            f"landmarks: expected two arrays (N, P, 2) of at least one face, got {guess.shape} and {real.shape}"
        )
    if by == "box":
        corners = np.asarray(boxes, np.float64) if boxes is not None else np.zeros((0, 4))
        if corners.shape != (len(real), 4):
            raise InputError(f"landmarks: expected {len(real)} boxes (N, 4), got shape {corners.shape}")
        sides = np.maximum(corners[:, 2:] - corners[:, :2], 0)
        size = np.sqrt(sides[:, 0] * sides[:, 1])
    elif by == "inter-ocular":
        size = np.linalg.norm(real[:, 0] - real[:, 1], axis=1)
    else:
        raise InputError(f'landmarks: expected by="inter-ocular" or "box", got {by!r}')
    distance = np.linalg.norm(guess - real, axis=2)
    if not (np.isfinite(distance).all() and np.isfinite(size).all() and (size > 0).all()):
        raise InputError("landmarks: expected finite points, and eyes or boxes that are not one point")
    errors = distance / size[:, None]
    return LandmarkError(float(errors.mean()), errors.mean(axis=1), errors.mean(axis=0))
