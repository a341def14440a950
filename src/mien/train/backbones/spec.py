"""What pictures a network wants, and how a batch of pixels becomes its input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

from mien.errors import InputError
from mien.images.align import ARCFACE_112
from mien.types import EVENINGS, Evening

__all__ = ["InputSpec", "Template", "arcface_template", "normalise"]

Template: TypeAlias = tuple[tuple[float, float], ...]
"""Five (x, y) points in pixels of the aligned picture, in mien's landmark order."""

COLOURS: Final = {"rgb": 3, "bgr": 3, "grey": 1}
SIZES: Final = (16, 1024)


def arcface_template(size: int, closer: float = 1.0) -> Template:
    """ArcFace's 112 x 112 template at another size; whole numbers are the centres of pixels.

    Args:
        size: side of the picture in pixels.
        closer: how much larger the face is than in the template, about the picture's centre.
    """
    ratio, middle = size / 112 * closer, (size - 1) / 2
    return tuple(((float(x) - 55.5) * ratio + middle, (float(y) - 55.5) * ratio + middle) for x, y in ARCFACE_112)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What pictures a network wants; a model card's input section is written from it.

    Attributes:
        size: side of the square picture in pixels.
        channels: 3, or 1 for grey.
        colour: "rgb", "bgr" or "grey": the order of the network's channels.
        mean: subtracted from pixels 0 to 255, a channel each, in the network's order.
        std: what the difference is divided by: input = (pixel - mean) / std.
        template: where the five landmarks of an aligned face lie; by default ArcFace's, scaled.
        evening: how the light of the aligned picture is evened out, one after the other; empty for as it is. The
            network was trained so: see [evened][mien.images.augment.evened].

    Raises:
        InputError: values that contradict each other, or numbers that are not finite.
    """

    size: int
    channels: int = 3
    colour: str = "rgb"
    mean: tuple[float, ...] = (127.5, 127.5, 127.5)
    std: tuple[float, ...] = (127.5, 127.5, 127.5)
    template: Template = ()
    evening: tuple[Evening, ...] = ()

    def __post_init__(self) -> None:
        low, high = SIZES
        if not isinstance(self.size, int) or isinstance(self.size, bool) or not low <= self.size <= high:
            raise InputError(f"size: expected a whole number from {low} to {high}, got {self.size!r}")
        if COLOURS.get(self.colour) != self.channels:
            known = ", ".join(f"{name} ({count})" for name, count in COLOURS.items())
            raise InputError(f"colour and channels: expected one of {known}, got {self.colour!r} ({self.channels!r})")
        if not self.template:
            object.__setattr__(self, "template", arcface_template(self.size))
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels or not all(math.isfinite(value) for value in values):
                raise InputError(f"{name}: expected {self.channels} finite numbers, got {values!r}")
        if min(self.std) <= 0:
            raise InputError(f"std: expected numbers above 0, got {self.std!r}")
        flat = [number for point in self.template for number in point]
        if len(self.template) != 5 or len(flat) != 10 or not all(math.isfinite(number) for number in flat):
            raise InputError(f"template: expected five points (x, y), got {self.template!r}")
        if not all(one in EVENINGS for one in self.evening) or len(set(self.evening)) < len(self.evening):
            raise InputError(f"evening: expected some of {', '.join(EVENINGS)}, each once; got {self.evening!r}")

    @classmethod
    def plain(
        cls, size: int, colour: str = "rgb", *, mean: float = 127.5, std: float = 127.5, closer: float = 1.0
    ) -> InputSpec:
        """The same mean and std for every channel, and ArcFace's template, `closer` as in `arcface_template`."""
        channels = COLOURS.get(colour, 0)
        spec = cls(size=size, channels=channels, colour=colour, mean=(mean,) * channels, std=(std,) * channels)
        if not 0.25 <= closer <= 4:
            raise InputError(f"closer: expected 0.25 to 4, got {closer!r}")
        return spec if closer == 1.0 else replace(spec, template=arcface_template(size, closer))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; without `evening` where there is none, as it was before there was any."""
        values: dict[str, Any] = {
            "size": self.size,
            "channels": self.channels,
            "colour": self.colour,
            "mean": list(self.mean),
            "std": list(self.std),
            "template": [list(point) for point in self.template],
        }
        return {**values, "evening": list(self.evening)} if self.evening else values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InputSpec:
        """The inverse of `to_dict`.

        Raises:
            InputError: fields that are missing, unknown or senseless.
        """
        if not isinstance(values, Mapping) or {*values, "evening"} != set(cls.__slots__):
            found = sorted(map(str, values)) if isinstance(values, Mapping) else values
            raise InputError(f"input: expected {', '.join(cls.__slots__)}; got {found!r}")
        try:
            return cls(
                size=values["size"],
                channels=values["channels"],
                colour=values["colour"],
                mean=tuple(map(float, values["mean"])),
                std=tuple(map(float, values["std"])),
                template=tuple((float(x), float(y)) for x, y in values["template"]),
                evening=tuple(values.get("evening", ())),
            )
        except (TypeError, ValueError) as error:
            raise InputError(f"input: {error}") from error


def normalise(pictures: Tensor, spec: InputSpec, dtype: torch.dtype = torch.float32) -> Tensor:
    """Turn pixels into what the network expects, on the pictures' device.

    Args:
        pictures: uint8 (B, H, W, C), RGB or grey: the colour order is turned into the network's here.
            Their light is evened out already, where the network wants that.
        spec: the network's.
        dtype: of the result; the arithmetic is float32.

    Returns:
        (B, C, H, W) in channels-last memory format: ``(pixel - mean) / std``.

    Raises:
        InputError: pictures of another type or shape.
    """
    side = spec.size
    if pictures.dtype != torch.uint8 or pictures.ndim != 4 or pictures.shape[1:] != (side, side, spec.channels):
        raise InputError(
            f"pictures: expected uint8 (B, {side}, {side}, {spec.channels}), "
            f"got {str(pictures.dtype).removeprefix('torch.')} {tuple(pictures.shape)}"
        )
    x = pictures.permute(0, 3, 1, 2).float()
    if spec.colour == "bgr":
        x = x.flip(1)
    mean, std = (_factor(values, x.device) for values in (spec.mean, spec.std))
    return x.sub_(mean).div_(std).to(dtype=dtype, memory_format=torch.channels_last)


def _factor(values: tuple[float, ...], device: torch.device) -> Tensor:
    """One number for all channels where they are alike, which spares a CPU going pixel by pixel."""
    if len(set(values)) == 1:
        return torch.tensor(values[0], device=device)
    return torch.tensor(values, device=device).view(1, -1, 1, 1)
