"""Layers that several networks choose by name, and checks of their settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.errors import InputError

__all__ = ["ACTIVATIONS", "NORMS", "PReLU", "SqueezeExcite", "activation", "halved", "normalisation", "whole_numbers"]

NORMS: Final = ("batch", "sync", "group", "none")
ACTIVATIONS: Final = ("prelu", "leaky", "relu", "silu", "gelu")
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
    """A nonlinearity; "prelu" learns one slope a channel, 0.25 at first; "leaky" has 0.2 for ever."""
    if kind == "prelu":
        return PReLU(channels)
    if kind == "leaky":
        return nn.LeakyReLU(0.2, inplace=True)
    if kind == "relu":
        return nn.ReLU(inplace=True)
    if kind == "silu":
        return nn.SiLU(inplace=True)
    if kind == "gelu":
        return nn.GELU()
    raise InputError(f"activation: expected one of {', '.join(ACTIVATIONS)}; got {kind!r}")


class _Slopes(torch.autograd.Function):
    """PReLU with a backward pass of plain vector operations, which is itself differentiable."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slopes: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x, slopes)
        return F.prelu(x, slopes)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401
        x, slopes = ctx.saved_tensors
        grad = grad.to(x.dtype)
        above = torch.ops.aten.threshold_backward(grad, x, 0)
        below = grad - above
        shape = (1, -1, *(1,) * (x.ndim - 2))
        along = torch.addcmul(above, below, slopes.to(x.dtype).view(shape)) if ctx.needs_input_grad[0] else None
        del above  # as large as the maps
        if not ctx.needs_input_grad[1]:
            return along, None
        axes = [axis for axis in range(x.ndim) if axis != 1 or slopes.numel() == 1]
        return along, (below * x).sum(axes).to(slopes.dtype).view_as(slopes)


class PReLU(nn.PReLU):
    """`torch.nn.PReLU`, of which training on a CPU takes a fraction of the time.

    PyTorch's own backward pass there goes number by number: in bf16 it takes six times as long as this one, a fifth of
    a small network's step. The slopes' gradient is summed in their own precision.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The input where it is above 0, else slope times it."""
        plain = x.device.type != "cpu" or x.ndim < 2 or not torch.is_grad_enabled()
        if plain or torch.compiler.is_compiling() or torch._C._get_tracing_state():  # others fuse it, or want to see it
            return super().forward(x)
        result: Tensor = _Slopes.apply(x, self.weight)
        return result


class SqueezeExcite(nn.Module):
    """Scale each channel by what the whole map says (Hu et al., CVPR 2018): (B, C, h, w) to the same."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, inner, 1)
        self.prelu = PReLU(inner)
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
