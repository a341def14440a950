"""The numerics under every angular loss: unit rows, clamped cosines, angles added and multiplied, finite gradients.

Nothing here calls ``acos`` where its derivative could be infinite: ``cos(theta + m)`` is
``cos(theta) cos(m) - sin(theta) sin(m)`` with ``sin(theta) = sqrt((1 - c)(1 + c))``, and ``cos(m theta)`` is a
Chebyshev polynomial of the cosine.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from mien.errors import InputError

__all__ = [
    "ZERO_NORM",
    "GradientMode",
    "PastPi",
    "add_angle",
    "clamp_cosine",
    "combined_angle",
    "multiply_angle",
    "row_norms",
    "sine",
    "straight_through",
    "unit_rows",
    "wide",
]

GradientMode: TypeAlias = Literal["true", "straight-through"]
PastPi: TypeAlias = Literal["published", "continuous"]

ZERO_NORM = 1e-12
"""A row whose largest absolute value is not above this counts as the zero vector: unit row 0, gradient 0."""


def wide(values: Tensor) -> Tensor:
    """The values in float32 (float64 stays): what every loss calculates in, also under autocast."""
    return values if values.dtype == torch.float64 else values.float()


def _scaled(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows over their largest absolute value (a constant: squares neither overflow nor vanish), and that value."""
    peak = rows.detach().abs().amax(-1, keepdim=True)
    live = peak > ZERO_NORM
    peak = torch.where(live, peak, 1.0)
    return torch.where(live, rows / peak, 0.0), peak


def row_norms(rows: Tensor) -> Tensor:
    """L2 norm of each row (..., D) -> (...); gradient 0 at the zero vector."""
    scaled, peak = _scaled(rows)
    norms: Tensor = torch.linalg.vector_norm(scaled, dim=-1) * peak.squeeze(-1)
    return norms


def unit_rows(rows: Tensor) -> Tensor:
    """Rows (..., D) at unit length; the zero vector stays zero and receives no gradient."""
    scaled, _ = _scaled(rows)
    norms = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    return scaled / torch.where(norms > 0, norms, 1.0)


def clamp_cosine(cosine: Tensor) -> Tensor:
    """Cosines within [-1, 1]: rounding is cut off, the gradient passes unchanged."""
    return straight_through(cosine, cosine.detach().clamp(-1.0, 1.0))


def straight_through(cosine: Tensor, value: Tensor) -> Tensor:
    """The given value with the gradient of the identity in ``cosine``."""
    return value.detach() + (cosine - cosine.detach())


def sine(cosine: Tensor) -> Tensor:
    """Sine of the angle in [0, pi] whose cosine is given (in [-1, 1]); gradient 0, not inf, at 0 and pi."""
    square = (1.0 - cosine) * (1.0 + cosine)
    inside = square > 0
    return torch.where(inside, torch.sqrt(torch.where(inside, square, 1.0)), 0.0)


def _angle(cosine: Tensor) -> Tensor:
    return torch.atan2(sine(cosine), cosine)


def add_angle(cosine: Tensor, margin: float | Tensor, past_pi: PastPi = "published") -> Tensor:
    """``cos(theta + m)``, continued past pi so that it keeps falling while theta grows.

    Where ``theta + m > pi`` the value is ``cos(theta) - m sin(m)`` (``published``: it falls by
    ``m sin(m) - (1 - cos m)`` at the seam, 0.117 for m = 0.5) or ``cos(theta) - (1 - cos m)`` (``continuous``: no
    jump). Both keep slope 1 in the cosine beyond the seam, so the gradient of the worst samples does not turn round.

    Args:
        cosine: cos(theta), any shape, in [-1, 1].
        margin: m in radians, in [0, pi/2] for the promise to hold; a tensor holds one per sample and may carry
            gradients.
        past_pi: which continuation.
    """
    m = torch.as_tensor(margin, dtype=cosine.dtype, device=cosine.device)
    cos_m, sin_m = torch.cos(m), torch.sin(m)
    added = cosine * cos_m - sine(cosine) * sin_m
    drop = m * sin_m if _published(past_pi) else 1.0 - cos_m
    return torch.where((cosine >= -cos_m) | (m < 0), added, cosine - drop)  # below 0 it never passes pi


def combined_angle(cosine: Tensor, m1: float, m2: float, past_pi: PastPi = "published") -> Tensor:
    """``cos(m1 theta + m2)``, continued past pi by ``cos(theta)`` less a constant, as [add_angle][] does.

    The constant is ``1 + cos((pi - m2) / m1)``, which leaves no jump; ``published`` takes ``m2 sin(m2)`` where
    that is more.
    """
    if m1 == 1.0:
        return add_angle(cosine, m2, past_pi)
    inside = torch.cos(m1 * _angle(cosine) + m2)
    seam = (math.pi - m2) / m1
    if seam >= math.pi:
        return inside
    drop = 1.0 + math.cos(seam)
    if _published(past_pi):
        drop = max(drop, m2 * math.sin(m2))
    return torch.where(cosine >= math.cos(seam), inside, cosine - drop)


def _published(past_pi: PastPi) -> bool:
    if past_pi not in ("published", "continuous"):
        raise InputError(f'past_pi: expected "published" or "continuous", got {past_pi!r}')
    return past_pi == "published"


def multiply_angle(cosine: Tensor, m: int) -> Tensor:
    """``psi(theta) = (-1)^k cos(m theta) - 2k`` with ``k = floor(m theta / pi)``: falls from 1 to 1 - 2m, continuous.

    Args:
        cosine: cos(theta), any shape, in [-1, 1].
        m: 1, 2, 3 or 4.

    Raises:
        InputError: another m.
    """
    if m == 1:
        return cosine
    square = cosine * cosine
    if m == 2:
        multiple = 2.0 * square - 1.0
    elif m == 3:
        multiple = (4.0 * square - 3.0) * cosine
    elif m == 4:
        multiple = 8.0 * square * (square - 1.0) + 1.0
    else:
        raise InputError(f"m: expected 1, 2, 3 or 4, got {m!r}")
    with torch.no_grad():
        turns = torch.zeros_like(cosine)
        for k in range(1, m):
            turns += cosine <= math.cos(k * math.pi / m)
    return (1.0 - 2.0 * (turns % 2)) * multiple - 2.0 * turns
