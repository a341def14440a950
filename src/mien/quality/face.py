"""Everything about the quality of faces that can be measured without a model of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from mien.images.align import ARCFACE_112, similarity, warp
from mien.quality.fingerprint import fingerprint
from mien.quality.framing import visible_share
from mien.quality.light import CHIP, measure_light, sharpness
from mien.quality.overall import overall_score
from mien.quality.pose import head_pose

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from mien.types import Faces, Pixels

__all__ = ["FaceQuality", "measure_quality"]

_POINT: Final = 1e-3  # pixels; landmarks closer than this are one point, and no face can be cut out by them


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """How good the picture of one face is.

    Attributes:
        eye_distance: pixels between the eyes, as they would be seen from the front; 0 where landmarks coincide.
        width, height: of the face's box, in pixels.
        yaw: radians; positive when the face looks towards the right border of the picture.
        pitch: radians; positive when it looks up.
        roll: radians; positive when the head leans clockwise.
        visible: share of the face that lies inside the picture, 0 to 1.
        sharpness: share of contrast in fine detail, 0 to about 0.3 (see `mien.quality.light.sharpness`).
        brightness: mean grey of the face, 0 (black) to 1 (white).
        contrast: standard deviation of its grey, 0 to 0.5.
        clipped: share of its pixels that are as good as black or white, 0 to 1.
        unevenness: difference between the light on its left and right half, 0 to 1.
        detection: the detector's confidence, 0 to 1.
        score: how well it can be recognised, 0 to 1 (see `mien.quality.overall`).
        fingerprint: tells copies of one picture from other pictures (see `mien.quality.fingerprint`); empty where
            landmarks coincide.
        stability: how little its embedding moves when it is cut out differently, as a cosine; None where not measured.
    """

    eye_distance: float
    width: float
    height: float
    yaw: float
    pitch: float
    roll: float
    visible: float
    sharpness: float
    brightness: float
    contrast: float
    clipped: float
    unevenness: float
    detection: float
    score: float
    fingerprint: bytes
    stability: float | None = None


def measure_quality(
    pixels: Pixels, faces: Faces, *, turns: int = 0, stability: ArrayLike | None = None
) -> tuple[FaceQuality, ...]:
    """Measure the faces of one picture.

    Args:
        pixels: RGB uint8 (H, W, 3).
        faces: N faces with landmarks.
        turns: quarter turns counter-clockwise that make the picture upright (see `Analysis.turns`); `roll` is then
            that of the upright picture.
        stability: (N,) from `mien.quality.stability`, or None where it was not measured.

    Returns:
        One value a face, in order. A face whose landmarks coincide has no pose and no chip: its angles are 0, its other
        measures and its score too.

    Raises:
        ValueError: the picture or `stability` has another shape.
    """
    n = len(faces)
    known = None if stability is None else np.asarray(stability, np.float64)
    if known is not None and known.shape != (n,):
        raise ValueError(f"stability: expected shape ({n},), got {known.shape}")
    pose = head_pose(faces.landmarks)
    whole = np.isfinite(pose.eye_distance) & (pose.eye_distance > _POINT)
    rows = np.flatnonzero(whole)
    points = faces.landmarks[rows]
    matrices = similarity(points, ARCFACE_112) if len(rows) else np.zeros((0, 2, 3))
    # Beyond the border the outermost pixels go on: black there would count as darkness and as an edge.
    chips = warp(pixels, matrices, (CHIP, CHIP), border="replicate")
    greys = [cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY) for chip in chips]
    roll = pose.roll[rows] - turns * np.pi / 2
    measured = {
        "eye_distance": pose.eye_distance[rows],
        "yaw": pose.yaw[rows],
        "pitch": pose.pitch[rows],
        "roll": np.arctan2(np.sin(roll), np.cos(roll)),
        "visible": visible_share(points, (pixels.shape[1], pixels.shape[0])),
        "sharpness": np.array([sharpness(grey) for grey in greys]),
    }
    light = np.array([measure_light(grey) for grey in greys]).reshape(-1, 4)
    measured |= dict(zip(("brightness", "contrast", "clipped", "unevenness"), light.T, strict=True))
    scored = measured if known is None else {**measured, "stability": known[rows]}
    columns = {name: np.zeros(n) for name in (*measured, "score")}
    for name, values in (*measured.items(), ("score", overall_score(scored))):
        columns[name][rows] = values
    prints = dict(zip(rows.tolist(), map(fingerprint, greys), strict=True))
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    return tuple(
        FaceQuality(
            **{name: float(values[i]) for name, values in columns.items()},
            width=float(sides[i, 0]),
            height=float(sides[i, 1]),
            detection=float(faces.scores[i]),
            fingerprint=prints.get(i, b""),
            stability=None if known is None else float(known[i]),
        )
        for i in range(n)
    )
