"""Which face of a photo is cut, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import numpy as np

from mien.embed.views import CHIP, DETECTOR_TEMPLATE
from mien.errors import InputError
from mien.images import ARCFACE_112, aligned_crops, loose_crops

if TYPE_CHECKING:
    from mien.types import Faces, Pixels

__all__ = ["CHOICES", "SIZES", "TEMPLATES", "Choice", "CropOptions"]

Choice: TypeAlias = Literal["main", "largest", "central", "all"]
"""Large and near the middle (see `Faces.main`); the largest; the nearest to the middle; every face."""

CHOICES: Final[tuple[Choice, ...]] = get_args(Choice)
SIZES: Final = (8, 4096)
"""Least and greatest side of a crop in pixels."""

TEMPLATES: Final = {"arcface112": (ARCFACE_112, (112, 112)), "dlib150": (DETECTOR_TEMPLATE, (CHIP, CHIP))}
"""Where `align` puts the landmarks, and the size that is drawn for."""

_LOOSE_MARGIN: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class CropOptions:
    """How faces are cut.

    Attributes:
        choose: which face of a photo; see `Choice`. Without meaning where a person is looked for.
        align: turned upright by the landmarks, or the box as it is.
        size: (width, height) of the crops; None for the template's, and without `align` for uncut pixels.
        template: where `align` puts the landmarks; a name in `TEMPLATES`.
        margin: more around the face on each side, as a share of it; None for 0, and without `align` for 0.2.

    Raises:
        InputError: a value makes no sense.
    """

    choose: Choice = "main"
    align: bool = True
    size: tuple[int, int] | None = None
    template: str = "arcface112"
    margin: float | None = None

    def __post_init__(self) -> None:
        if self.choose not in CHOICES:
            raise InputError(f"choose: expected {', '.join(CHOICES)}, got {self.choose!r}")
        if self.template not in TEMPLATES:
            raise InputError(f"template: expected {' or '.join(TEMPLATES)}, got {self.template!r}")
        if self.size is not None and not (min(self.size) >= SIZES[0] and max(self.size) <= SIZES[1]):
            raise InputError(f"size: expected sides of {SIZES[0]} to {SIZES[1]} pixels, got {self.size}")
        if self.margin is not None and not 0 <= self.margin <= 4:
            raise InputError(f"margin: expected a share from 0 to 4, got {self.margin}")

    def cut(self, pixels: Pixels, faces: Faces, turns: int = 0) -> list[Pixels]:
        """The crops of `faces`; `turns` are the quarter turns that make them upright."""
        if self.align:
            points, base = TEMPLATES[self.template]
            return list(aligned_crops(pixels, faces, points, base, size=self.size, margin=self.margin or 0.0))
        margin = _LOOSE_MARGIN if self.margin is None else self.margin
        return loose_crops(pixels, faces, size=self.size, margin=margin, turns=turns)

    def bytes_of_one(self, pixels: Pixels, faces: Faces) -> int:
        """The most that one crop of `faces` may take."""
        width, height = self.size or TEMPLATES[self.template][1]
        if self.align or self.size is not None:
            return 3 * width * height
        margin = _LOOSE_MARGIN if self.margin is None else self.margin
        sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]) * (1 + 2 * margin) + 2
        return 3 * int(np.minimum(sides, pixels.shape[1::-1]).prod(axis=1).max())
