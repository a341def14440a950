"""Layers that several networks choose by name, and checks of their settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from mien.errors import InputError

__all__ = ["ACTIVATIONS", "NORMS", "SqueezeExcite", "activation", "halved", "normalisation", "whole_numbers"]

NORMS: Final = ("batch", "sync", "group", "none")
ACTIVATIONS: Final = ("prelu", "relu", "silu", "gelu")
_GROUP: Final = 16  # channels a group: 2 to 32 groups at the widths used here


def normalisation(kind: str, channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> nn.Module:
    """A layer that normalises maps.

    "batch": statistics of this process's batch. "sync": of all processes' (CUDA only while training). "group": of each
    picture alone, so that a batch split over processes gives what one process gives. "none": nothing.
    """
    if kind == "none":
        return nn.Identity()
    if kind == "batch":
        return nn.BatchNorm2d(channels, eps, momentum)
    if kind == "sync":
        return nn.SyncBatchNorm(channels, eps, momentum)
    if kind == "group":
        size = next(size for size in (_GROUP, 8, 4, 2, 1) if channels % size == 0)
        return nn.GroupNorm(channels // size, channels, eps)
    raise InputError(f"norm: expected one of {', '.join(NORMS)}; got {kind!r}")


def activation(kind: str, channels: int) -> nn.Module:
    """A nonlinearity; "prelu" learns one slope a channel, 0.25 at first."""
    if kind == "prelu":
        return nn.PReLU(channels)
    if kind == "relu":
        return nn.ReLU(inplace=True)
    if kind == "silu":
        return nn.SiLU(inplace=True)
    if kind == "gelu":
        return nn.GELU()
    raise InputError(f"activation: expected one of {', '.join(ACTIVATIONS)}; got {kind!r}")


class SqueezeExcite(nn.Module):
    """Scale each channel by what the whole map says (Hu et al., CVPR 2018): (B, C, h, w) to the same."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, inner, 1)
        self.prelu = nn.PReLU(inner)
        self.fc2 = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scaled maps."""
        return x * torch.sigmoid(self.fc2(self.prelu(self.fc1(x.mean((2, 3), keepdim=True)))))


def halved(side: int, times: int) -> int:
    """The side of a map after layers of stride 2 that round up."""
    return -(-side >> times)


def whole_numbers(values: Sequence[int], name: str, count: int | None, low: int, high: int) -> tuple[int, ...]:
    """Check a list of whole numbers, each from `low` to `high`.

    Raises:
        InputError: not such a list.
    """
    good = isinstance(values, list | tuple) and (count is None or len(values) == count)
    if not good or any(not isinstance(v, int) or isinstance(v, bool) or not low <= v <= high for v in values):
        many = "whole numbers" if count is None else f"{count} whole numbers"
        raise InputError(f"{name}: expected {many} from {low} to {high}, got {values!r}")
    return tuple(values)
