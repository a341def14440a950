"""One part of the face as fixed Gabor filters see it."""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.errors import InputError
from mien.train.data.framing import square

__all__ = ["GaborView", "part"]

_SIDE: Final = 80  # pixels that the filters see, whatever part of the face it is
_CELLS: Final = 10  # by as many: where in the part a response lies
_REACH: Final = 5  # pixels from a filter's middle to its edge
_WAVES: Final = (4.0, 4.0 * math.sqrt(2.0))  # lengths in pixels; of every octave
_OCTAVES: Final = 3
_TURNS: Final = 8
_WIDTH: Final = 0.375  # of the Gaussian, in wave lengths
_NEAR: Final = 10  # pixels each way: the neighbourhood whose light is taken out
_FLAT: Final = 6.0  # grey levels: what counts as no contrast


class GaborView(nn.Module):
    """One part of the face as fixed filters see it, brought to the directions that tell people apart.

    Grey; light and contrast taken out of every neighbourhood; Gabor filters of six wave lengths and eight turns, the
    sizes of their responses averaged in 10 x 10 cells; linear discriminants of the square roots. Until it is fitted,
    its embeddings are zeros.

    Args:
        dim: numbers an embedding.
        share: side of the part, a square about the middle, as a share of the picture's.
        down: how far the part lies below the middle, as a share of the picture's side.

    Source:
        Liu and Wechsler, "Gabor feature based classification using the enhanced Fisher linear discriminant model for
        face recognition", IEEE TIP 2002.
    """

    filters: Tensor

    def __init__(self, dim: int, share: float, down: float) -> None:
        super().__init__()
        if not 0.1 <= share <= 1 or not share / 2 - 0.5 - 1e-9 <= down <= 0.5 - share / 2 + 1e-9:
            raise InputError(f"views: expected squares inside the picture as (share, down), got ({share}, {down})")
        self.share, self.down = share, down
        size = len(_WAVES) * _TURNS * _OCTAVES * _CELLS * _CELLS
        self.mean = nn.Parameter(torch.zeros(size), requires_grad=False)
        self.axes = nn.Parameter(torch.zeros(size, dim), requires_grad=False)
        self.register_buffer("filters", _filters(), persistent=False)

    def features(self, grey: Tensor) -> Tensor:
        """(B, 1, H, W) of 0 to 255 to (B, F)."""
        x = F.interpolate(part(grey, self.share, self.down), (_SIDE, _SIDE), mode="bilinear", align_corners=False)
        x = x - _neighbourhood(x)
        x = x / (_neighbourhood(x * x).sqrt() + _FLAT)
        seen = []
        for octave in range(_OCTAVES):
            if octave:
                x = F.avg_pool2d(x, 2)
            waves = F.conv2d(F.pad(x, [_REACH] * 4, mode="reflect"), self.filters, stride=2 if octave == 0 else 1)
            even, odd = waves.chunk(2, 1)
            size = (even * even + odd * odd + 1e-6).sqrt()
            seen.append(F.avg_pool2d(size, size.shape[-1] // _CELLS).sqrt().flatten(1))
        return torch.cat(seen, 1)

    def forward(self, grey: Tensor) -> Tensor:
        """(B, 1, H, W) of 0 to 255 to embeddings (B, dim) of unit length."""
        return F.normalize((self.features(grey) - self.mean) @ self.axes, dim=1)


def part(pictures: Tensor, share: float, down: float) -> Tensor:
    """A square part of pictures (B, C, H, W), to the nearest pixel."""
    top, left, side = square(pictures.shape[-2], pictures.shape[-1], share, down)
    return pictures[..., top : top + side, left : left + side]


def _neighbourhood(x: Tensor) -> Tensor:
    """Means over squares about each pixel: along rows, then along columns, which is a tenth of the work."""
    window = 2 * _NEAR + 1
    x = F.avg_pool2d(F.pad(x, [_NEAR, _NEAR, 0, 0], mode="reflect"), (1, window), 1)
    return F.avg_pool2d(F.pad(x, [0, 0, _NEAR, _NEAR], mode="reflect"), (window, 1), 1)


def _filters() -> Tensor:
    """(2 W T, 1, K, K): the even waves, then the odd ones; without a mean, so that flat light gives nought."""
    line = torch.arange(-_REACH, _REACH + 1, dtype=torch.float32)
    y, x = torch.meshgrid(line, line, indexing="ij")
    even, odd = [], []
    for wave in _WAVES:
        bell = torch.exp(-(x * x + y * y) / (2 * (_WIDTH * wave) ** 2))
        bell = bell / bell.sum()
        for turn in range(_TURNS):
            angle = math.pi * turn / _TURNS
            phase = (x * math.cos(angle) + y * math.sin(angle)) * (2 * math.pi / wave)
            cosine = bell * torch.cos(phase)
            even.append(cosine - bell * cosine.sum())
            odd.append(bell * torch.sin(phase))
    return torch.stack(even + odd).unsqueeze(1)
