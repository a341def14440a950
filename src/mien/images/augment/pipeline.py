"""Several changes in a row, each with a probability, from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.images.augment.cover import mask_face, occlude
from mien.images.augment.degrade import add_noise, blur, compress, lower_resolution
from mien.images.augment.light import change_light, grey
from mien.images.augment.mesh import draw_mesh, random_mesh
from mien.images.augment.shape import flip, rotate, shift_and_scale, turn_away
from mien.images.augment.worn import wear_glasses, wear_hat

if TYPE_CHECKING:
    from mien.types import Floats, Pixels

__all__ = ["Augmentation", "augmented", "generator"]

_SHAPE: Final = ("flip", "move", "turn", "away")
_CHANGES: Final = (
    *_SHAPE,
    "light",
    "greys",
    "blurs",
    "small",
    "jpeg",
    "noise",
    "cover",
    "mask",
    "mesh",
    "hat",
    "glasses",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How often each change happens (0 to 1), and how far it goes at most. The defaults suit aligned face crops.

    Attributes:
        flip, move, turn, light, greys, blurs, small, jpeg, noise, cover, mask, mesh, away, hat, glasses: probabilities.
            `mask`, `hat`, `glasses` and `away` (turned away from the camera) need landmarks; without them they do
            nothing.
        most_shift: share of the side.
        most_scale: largest factor, and the inverse of the smallest.
        most_turn: radians.
        most_light: share by which brightness, contrast and saturation change.
        least_side: pixels of the shorter side, for `small`.
        worst_quality: of JPEG.
        most_blur: sigma as a share of the shorter side.
        most_noise: grey levels.
        most_cover: share of the area.
        most_away: radians.
    """

    flip: float = 0.5
    move: float = 0.0
    turn: float = 0.0
    light: float = 0.0
    greys: float = 0.0
    blurs: float = 0.0
    small: float = 0.0
    jpeg: float = 0.0
    noise: float = 0.0
    cover: float = 0.0
    mask: float = 0.0
    mesh: float = 0.0
    away: float = 0.0
    hat: float = 0.0
    glasses: float = 0.0
    most_shift: float = 0.06
    most_scale: float = 1.1
    most_turn: float = 0.2
    most_light: float = 0.3
    least_side: int = 24
    worst_quality: int = 20
    most_blur: float = 0.02
    most_noise: float = 12.0
    most_cover: float = 0.2
    most_away: float = 0.9

    def __post_init__(self) -> None:
        for name in _CHANGES:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"Augmentation: {name}: expected a probability, got {value}")


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one picture in one epoch: the same in whichever worker, on whichever machine."""
    return np.random.Generator(np.random.SFC64([seed, epoch, index]))


def augmented(
    pixels: Pixels, how: Augmentation, rng: np.random.Generator, *, landmarks: Floats | None = None
) -> Pixels:
    """The picture after the changes that the generator picks: what covers, then shape, light, and quality.

    Args:
        pixels: RGB uint8 (H, W, 3); left as it is.
        how: what may happen.
        rng: see `generator`. All draws are made whether or not a change happens to need them, so that one probability
            does not change what another one draws.
        landmarks: float32 (5, 2), for the mask and for turning away.
    """
    go = rng.random(12)
    far = rng.uniform(-1, 1, 12)
    amount = rng.random(6)
    seeds = list(rng.integers(0, 1 << 63, 4))
    away = rng.uniform(-1, 1, 2)
    worn = rng.random(2)

    seeds += list(rng.integers(0, 1 << 63, 2))

    def inner(which: int) -> np.random.Generator:  # made for those alone that are needed
        return np.random.Generator(np.random.SFC64(seeds[which]))

    side = min(pixels.shape[:2])
    out = pixels
    if go[0] < how.mask and landmarks is not None:
        out = mask_face(out, landmarks, inner(0))
    if worn[0] < how.glasses and landmarks is not None:
        out = wear_glasses(out, landmarks, inner(4))
    if worn[1] < how.hat and landmarks is not None:
        out = wear_hat(out, landmarks, inner(5))
    if abs(away[0]) < how.away and landmarks is not None:
        out, _ = turn_away(out, landmarks, how.most_away * away[1], aligned=True)
    if go[1] < how.cover:
        out = occlude(out, inner(1), how.most_cover * (0.2 + 0.8 * amount[0]))
    if go[2] < how.flip:
        out = flip(out)
    if go[3] < how.turn:
        out = rotate(out, how.most_turn * far[0])
    if go[4] < how.move:
        out = shift_and_scale(out, how.most_shift * far[1], how.most_shift * far[2], how.most_scale ** far[3])
    if go[5] < how.light:
        out = change_light(
            out,
            brightness=0.5 * how.most_light * far[4],
            contrast=1 + how.most_light * far[5],
            saturation=1 + how.most_light * far[6],
        )
    if go[6] < how.greys:
        out = grey(out)
    if go[7] < how.mesh:
        out = draw_mesh(out, random_mesh(inner(2)))
    if go[8] < how.blurs:
        out = blur(out, max(0.3, how.most_blur * side * amount[1]))
    if go[9] < how.small and how.least_side < side:
        out = lower_resolution(out, round(how.least_side * (side / how.least_side) ** amount[2]))
    if go[10] < how.noise:
        out = add_noise(out, inner(3), how.most_noise * amount[3])
    if go[11] < how.jpeg:
        out = compress(out, round(how.worst_quality + (95 - how.worst_quality) * amount[4]))
    return out.copy() if out is pixels else out
