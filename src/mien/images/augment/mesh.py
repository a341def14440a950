"""Mesh watermarks (网纹), as they lie over copies of ID photos: families of fine lines, half transparent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mien.types import Pixels

    Line: TypeAlias = NDArray[np.float64]

__all__ = ["MESH_FAMILIES", "Mesh", "draw_mesh", "random_mesh"]

MeshFamily: TypeAlias = Literal["waves", "net", "grid", "guilloche", "arcs"]
MESH_FAMILIES: Final[tuple[MeshFamily, ...]] = get_args(MeshFamily)
"""One family of waves; two that cross; a crooked grid; rosettes; circles about a point outside."""

_SHIFT: Final = 4  # bits behind the point in which lines are drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """A mesh. All lengths are shares of the picture's shorter side, so that it looks alike at any size.

    Attributes:
        family: see `MESH_FAMILIES`.
        spacing: distance between neighbouring lines.
        amplitude: of their waves.
        wavelength: of their waves.
        angle: direction of the lines, radians.
        phase: where the waves begin, radians.
        drift: how much the phase changes from line to line, radians.
        thickness: of a line.
        opacity: 0 to 1.
        colour: RGB, 0 to 255.
    """

    family: MeshFamily = "net"
    spacing: float = 0.06
    amplitude: float = 0.02
    wavelength: float = 0.35
    angle: float = 0.6
    phase: float = 0.0
    drift: float = 0.5
    thickness: float = 0.008
    opacity: float = 0.5
    colour: tuple[int, int, int] = (90, 110, 140)

    def __post_init__(self) -> None:
        sane = (
            self.family in MESH_FAMILIES
            and 0.01 <= self.spacing <= 1
            and 0 <= self.amplitude <= 1
            and 0.02 <= self.wavelength <= 10
            and 0 < self.thickness <= 0.2
            and 0 <= self.opacity <= 1
            and all(0 <= c <= 255 for c in self.colour)
        )
        if not sane:
            raise ValueError(f"Mesh: a value lies outside its range: {self}")


def random_mesh(rng: np.random.Generator, *, strength: float = 1.0) -> Mesh:
    """A mesh as they occur.

    Args:
        rng: decides everything.
        strength: factor of opacity and thickness; 1 for what ID photos carry.
    """
    bright = rng.random() < 0.5
    tint = rng.normal(0, 18, 3)
    base = rng.uniform(170, 250) if bright else rng.uniform(20, 150)
    red, green, blue = np.clip(base + tint, 0, 255).astype(int).tolist()
    return Mesh(
        family=MESH_FAMILIES[int(rng.integers(len(MESH_FAMILIES)))],
        spacing=float(np.exp(rng.uniform(np.log(0.025), np.log(0.14)))),
        amplitude=float(rng.uniform(0.0, 0.06)),
        wavelength=float(rng.uniform(0.15, 0.9)),
        angle=float(rng.uniform(0, np.pi)),
        phase=float(rng.uniform(0, 2 * np.pi)),
        drift=float(rng.uniform(0, 1.2)),
        thickness=float(np.clip(rng.uniform(0.004, 0.016) * strength, 0.001, 0.2)),
        opacity=float(np.clip(rng.uniform(0.25, 0.85) * strength, 0, 1)),
        colour=(red, green, blue),
    )


def draw_mesh(pixels: Pixels, mesh: Mesh) -> Pixels:
    """The picture with the mesh over it."""
    alpha = _coverage(mesh, pixels.shape[1], pixels.shape[0])[:, :, None] * np.float32(mesh.opacity / 255)
    colour = np.array(mesh.colour, np.float32)
    return np.rint(pixels + alpha * (colour - pixels)).astype(np.uint8)


def _coverage(mesh: Mesh, width: int, height: int) -> NDArray[np.uint8]:
    """How much of each pixel the lines cover, 0 to 255."""
    side = min(width, height)
    # Lines are a whole number of pixels thick, so thin ones are drawn larger and scaled down.
    zoom = min(8, max(1, round(6 / max(mesh.thickness * side, 0.5))))
    canvas = np.zeros((height * zoom, width * zoom), np.uint8)
    thickness = max(1, round(mesh.thickness * side * zoom - 1))  # smooth edges add about one
    scale = side * zoom * (1 << _SHIFT)
    lines = [np.rint(line * scale).astype(np.int32) for line in _lines(mesh, width / side, height / side, 1 / side)]
    cv2.polylines(canvas, lines, False, 255, thickness, cv2.LINE_AA, _SHIFT)
    if zoom == 1:
        return canvas
    small: NDArray[np.uint8] = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return small


def _lines(mesh: Mesh, width: float, height: float, pixel: float) -> Iterator[Line]:
    """The lines of a mesh, in units of the shorter side, reaching over the picture."""
    match mesh.family:
        case "waves":
            yield from _waves(mesh, width, height, mesh.angle, pixel)
        case "net":
            yield from _waves(mesh, width, height, mesh.angle, pixel)
            yield from _waves(mesh, width, height, np.pi - mesh.angle, pixel)
        case "grid":
            yield from _waves(mesh, width, height, mesh.angle, pixel)
            yield from _waves(mesh, width, height, mesh.angle + np.pi / 2, pixel)
        case "guilloche":
            yield from _rosettes(mesh, width, height, pixel)
        case "arcs":
            yield from _arcs(mesh, width, height, pixel)


def _pieces(length: float, bend: float, pixel: float) -> int:
    """Straight pieces that follow a curve of that length and greatest bend (1 / radius) to an eighth of a pixel.

    A chord of length h lies h^2 * bend / 8 off the curve at most.
    """
    return max(1, int(np.ceil(length * np.sqrt(bend / pixel))))


def _waves(mesh: Mesh, width: float, height: float, angle: float, pixel: float) -> Iterator[Line]:
    reach = 0.5 * float(np.hypot(width, height)) + mesh.amplitude
    bend = mesh.amplitude * (2 * np.pi / mesh.wavelength) ** 2
    along = np.linspace(-reach, reach, 1 + _pieces(2 * reach, bend, pixel))
    direction, normal = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    middle = np.array([width / 2, height / 2])
    for i, offset in enumerate(np.arange(-reach, reach, mesh.spacing)):
        wave = offset + mesh.amplitude * np.sin(2 * np.pi * along / mesh.wavelength + mesh.phase + i * mesh.drift)
        yield middle + along[:, None] * direction + wave[:, None] * normal


def _rosettes(mesh: Mesh, width: float, height: float, pixel: float) -> Iterator[Line]:
    """Closed curves r = R + a sin(k t + phase), nested, about the middle: what engraving machines draw."""
    petals = max(3, round(2 * np.pi * 0.3 / mesh.wavelength))
    middle = np.array([width, height]) * (0.5 + 0.15 * np.array([np.cos(mesh.angle), np.sin(mesh.angle)]))
    amplitude = max(mesh.amplitude, mesh.spacing / 2)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
    farthest = float(np.hypot(*(corners - middle).T).max())
    for i, radius in enumerate(np.arange(mesh.spacing, farthest + amplitude + mesh.thickness, mesh.spacing)):
        # In the angle t the curve bends by R + a k^2 at most.
        turn = np.linspace(0, 2 * np.pi, 1 + max(8, _pieces(2 * np.pi, radius + amplitude * petals**2, pixel)))
        wave = radius + amplitude * np.sin(petals * turn + mesh.phase + i * mesh.drift)
        yield middle + wave[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)


def _arcs(mesh: Mesh, width: float, height: float, pixel: float) -> Iterator[Line]:
    far = float(np.hypot(width, height))
    middle = np.array([width / 2, height / 2]) + far * 0.8 * np.array([np.cos(mesh.angle), np.sin(mesh.angle)])
    # The picture lies within a circle of far / 2: from a point 0.8 far off it is seen under asin(0.5 / 0.8) each way.
    reach = float(np.arcsin(0.5 / 0.8)) + 0.05
    least, most = 0.3 * far - mesh.thickness, 1.3 * far + mesh.thickness
    for radius in np.arange(mesh.spacing, most, mesh.spacing):
        if radius > least:
            turn = np.linspace(-reach, reach, 1 + _pieces(2 * reach, radius, pixel)) + mesh.angle + np.pi
            yield middle + radius * np.stack([np.cos(turn), np.sin(turn)], 1)
