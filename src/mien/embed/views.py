"""How dlib's network wants to see a face: templates, and the views that each preset averages.

The network was trained on 150 x 150 chips cut by dlib's own five points (eye corners and the base of the nose). Two
kinds of points place a view here: those, found by regression trees, or the detector's five (eyes, nose, mouth
corners). Their errors are largely independent, which is why averaging both helps. All numbers were chosen on LFW
View 1; `benchmarks/alignment.py` fits the template and measures the presets beside alternatives.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mien.types import Floats, Preset

__all__ = ["CHIP", "DETECTOR_TEMPLATE", "PRESETS", "TREES_TEMPLATE", "View", "need_trees", "place", "settings_digest"]

CHIP: Final = 150
"""Width and height of a chip in pixels."""

Points: TypeAlias = Literal["detector", "trees"]
"""Whose landmarks place a view."""


def _template(points: list[tuple[float, float]]) -> Floats:
    array = np.array(points, np.float32)
    array.flags.writeable = False
    return array


DETECTOR_TEMPLATE: Final = _template(
    [(47.94, 45.94), (101.97, 45.94), (74.76, 78.29), (51.14, 105.37), (98.35, 105.28)]
)
"""Where MTCNN's landmarks lie, by median, in chips that dlib cuts: float32 (5, 2)."""

TREES_TEMPLATE: Final = _template(
    [(110.95675, 46.34982), (89.60605, 47.89674), (37.05751, 46.37275), (58.40850, 47.90642), (74.01124, 87.77975)]
)
"""Where the trees' landmarks belong in a chip: float32 (5, 2); the frame the network was trained in."""


@dataclass(frozen=True, slots=True)
class View:
    """One look at a face.

    Attributes:
        points: whose landmarks place it.
        scale: how much larger the face is drawn than in the template, about the chip's centre.
        shift: how far it is then moved, (x, y) in chip pixels.
        mirrored: whether it shows the face's mirror image.
    """

    points: Points
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    mirrored: bool = False


PRESETS: Final[Mapping[Preset, tuple[View, ...]]] = MappingProxyType(
    {
        "fast": (View("detector", scale=1.04), View("detector", scale=1.08, mirrored=True)),
        "accurate": (
            View("trees"),
            View("trees", scale=1.08, mirrored=True),
            View("detector", scale=1.04, mirrored=True),
            View("detector", scale=1.12),
        ),
    }
)
"""The views of each preset. Each is one forward pass; views that differ in scale as well as in mirroring err more
independently than a crop and its exact mirror image, at the same cost."""


def need_trees(views: Sequence[View]) -> bool:
    """Whether any of the views is placed by the trees' landmarks."""
    return any(view.points == "trees" for view in views)


def place(view: View, matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices (N, 2, 3) that cut `view`, from those that map the picture onto the plain template."""
    centre = (CHIP - 1) / 2
    placed = matrices * view.scale
    placed[:, :, 2] += centre * (1 - view.scale) + np.array(view.shift)
    if view.mirrored:
        placed[:, 0] *= -1
        placed[:, 0, 2] += CHIP - 1
    return placed


def settings_digest(views: Sequence[View], *parts: str) -> str:
    """Checksum (lower-case hex sha256) of `parts` and of everything here that decides what a chip looks like.

    Embeddings of other views do not compare, so a change of any number must change the model's identity.
    """
    digest = hashlib.sha256()
    for part in (*parts, repr(tuple(views)), DETECTOR_TEMPLATE.tobytes().hex(), TREES_TEMPLATE.tobytes().hex()):
        digest.update(part.encode() + b"\n")
    return digest.hexdigest()
