"""Margins as parts: what becomes of the cosine between an embedding and its own class's centre.

A margin sees B target cosines and B embedding norms, never B x C logits; so the dense losses and the exact head
([mien.train.heads][]) take the same ones. Margins with a memory (AdaFace, CurricularFace) keep it in buffers, which a
checkpoint saves; they learn only in training mode.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mien.train.losses.angles import (
    GradientMode,
    PastPi,
    add_angle,
    combined_angle,
    multiply_angle,
    straight_through,
)
from mien.train.losses.inputs import check_choice, check_number

__all__ = ["AdaptiveMargin", "CombinedMargin", "CurricularMargin", "IntegerMargin", "MagnitudeMargin", "Margin"]


class Margin(nn.Module):
    """No margin; the base of the others. Not safe for use by several threads at once while training."""

    def target(self, cosine: Tensor, norms: Tensor) -> Tensor:
        """Target cosines (B,) in [-1, 1] -> what takes their place (B,); norms (B,) are the embeddings'."""
        return cosine

    def row_scale(self, norms: Tensor, scale: float) -> Tensor:
        """What each row's cosines are multiplied by (B,): the scale s, unless the margin says otherwise."""
        return torch.full_like(norms, scale).detach()

    def penalty(self, norms: Tensor) -> Tensor | None:
        """Something to add to each sample's loss (B,), or None."""
        return None

    def observe(self, cosine: Tensor, norms: Tensor) -> None:
        """Learn from a batch's target cosines and norms, before [target][] is asked; called in training mode only."""

    @property
    def hardness(self) -> Tensor | None:
        """The t of CurricularFace (0-d): negatives above the margined target become ``cos (t + cos)``; None: stay."""
        return None


class CombinedMargin(Margin):
    """``cos(m1 theta + m2) - m3``: CosFace is (1, 0, m), ArcFace (1, m, 0).

    Args:
        m1: times the angle; above 0.
        m2: added to the angle, radians, 0 to pi/2.
        m3: taken from the cosine, 0 or more.
        gradient: ``true``, or ``straight-through`` (slope 1 in the cosine, as a famous implementation has it).
        past_pi: the continuation where ``m1 theta + m2 > pi``; see [mien.train.losses.angles.add_angle][].
    """

    def __init__(
        self,
        m1: float = 1.0,
        m2: float = 0.0,
        m3: float = 0.0,
        *,
        gradient: GradientMode = "true",
        past_pi: PastPi = "published",
    ) -> None:
        super().__init__()
        check_number(m1, "m1", 1e-3)
        check_number(m2, "m2", 0.0, math.pi / 2)
        check_number(m3, "m3", 0.0)
        check_choice(gradient, "gradient", ("true", "straight-through"))
        check_choice(past_pi, "past_pi", ("published", "continuous"))
        self.m1, self.m2, self.m3, self.gradient, self.past_pi = m1, m2, m3, gradient, past_pi

    def target(self, cosine: Tensor, norms: Tensor) -> Tensor:  # noqa: D102
        margined = (
            combined_angle(cosine, self.m1, self.m2, self.past_pi) if (self.m1, self.m2) != (1.0, 0.0) else cosine
        )
        margined = margined - self.m3
        return straight_through(cosine, margined) if self.gradient == "straight-through" else margined

    def extra_repr(self) -> str:  # noqa: D102
        return f"m1={self.m1:g}, m2={self.m2:g}, m3={self.m3:g}, gradient={self.gradient!r}, past_pi={self.past_pi!r}"


class IntegerMargin(Margin):
    """``(lambda cos(theta) + psi(theta)) / (1 + lambda)`` at the embedding's own norm: SphereFace and L-Softmax.

    Args:
        m: 1 to 4; see [mien.train.losses.angles.multiply_angle][].
        blend: lambda, 0 or more; an attribute, to be lowered while training (see ``annealed_lambda``).
    """

    def __init__(self, m: int = 4, blend: float = 0.0) -> None:
        super().__init__()
        check_number(m, "m", 1, 4)
        check_number(blend, "blend", 0.0)
        self.m, self.blend = m, blend

    def target(self, cosine: Tensor, norms: Tensor) -> Tensor:  # noqa: D102
        return (self.blend * cosine + multiply_angle(cosine, self.m)) / (1.0 + self.blend)

    def row_scale(self, norms: Tensor, scale: float) -> Tensor:
        """The norms themselves: these two losses have no scale, it must be 1."""
        check_number(scale, "scale", 1.0, 1.0)
        return norms

    def extra_repr(self) -> str:  # noqa: D102
        return f"m={self.m}, blend={self.blend:g}"


class MagnitudeMargin(Margin):
    """MagFace's ``cos(theta + m(a))``: the margin grows linearly with the norm a; the penalty pulls norms up.

    Args:
        norm_range: (l_a, u_a); norms are clamped to it.
        margin_range: (l_m, u_m) in radians.
        penalty_weight: lambda_g of the penalty ``1/a + a/u_a^2``.
        past_pi: see [mien.train.losses.angles.add_angle][].
    """

    def __init__(
        self,
        norm_range: tuple[float, float] = (10.0, 110.0),
        margin_range: tuple[float, float] = (0.45, 0.8),
        penalty_weight: float = 35.0,
        *,
        past_pi: PastPi = "published",
    ) -> None:
        super().__init__()
        check_number(norm_range[0], "norm_range[0]", 1e-6)
        check_number(norm_range[1], "norm_range[1]", norm_range[0] * (1 + 1e-6))
        check_number(margin_range[0], "margin_range[0]", 0.0, math.pi / 2)
        check_number(margin_range[1], "margin_range[1]", margin_range[0], math.pi / 2)
        check_number(penalty_weight, "penalty_weight", 0.0)
        check_choice(past_pi, "past_pi", ("published", "continuous"))
        self.norm_range, self.margin_range = norm_range, margin_range
        self.penalty_weight, self.past_pi = penalty_weight, past_pi

    def margins(self, norms: Tensor) -> Tensor:
        """m(a) of each norm, radians."""
        (low, high), (least, most) = self.norm_range, self.margin_range
        return (most - least) / (high - low) * (norms.clamp(low, high) - low) + least

    def target(self, cosine: Tensor, norms: Tensor) -> Tensor:  # noqa: D102
        return add_angle(cosine, self.margins(norms), self.past_pi)

    def penalty(self, norms: Tensor) -> Tensor:
        """``lambda_g (1/a + a/u_a^2)``, least at the largest norm."""
        clamped = norms.clamp(*self.norm_range)
        return self.penalty_weight * (1.0 / clamped + clamped / self.norm_range[1] ** 2)


class AdaptiveMargin(Margin):
    """AdaFace's ``cos(theta + g_angle) - g_add``: norms, standardised by a running mean and deviation, say the quality.

    Args:
        margin: m; with ``z`` in [-1, 1] the quality, g_angle is ``-m z`` and g_add ``m + m z``.
        sharpness: h, what the standardised norm is multiplied by before it is cut to [-1, 1].
        momentum: share of a new batch in the running values.
        norm_mean: where the running mean starts.
        norm_std: where the running deviation starts.
    """

    norm_mean: Tensor
    norm_std: Tensor

    def __init__(
        self,
        margin: float = 0.4,
        sharpness: float = 0.333,
        momentum: float = 0.01,
        norm_mean: float | Tensor = 20.0,
        norm_std: float | Tensor = 100.0,
    ) -> None:
        super().__init__()
        check_number(margin, "margin", 0.0, math.pi / 2)
        check_number(sharpness, "sharpness", 0.0)
        check_number(momentum, "momentum", 0.0, 1.0)
        check_number(float(norm_mean), "norm_mean", 0.0)
        check_number(float(norm_std), "norm_std", 0.0)
        self.margin, self.sharpness, self.momentum = margin, sharpness, momentum
        self.register_buffer("norm_mean", torch.as_tensor(norm_mean).clone())
        self.register_buffer("norm_std", torch.as_tensor(norm_std).clone())

    def observe(self, cosine: Tensor, norms: Tensor) -> None:  # noqa: D102
        seen = norms.detach().clamp(1e-3, 100.0)
        if seen.numel() < 2:  # one norm has no deviation
            return
        self.norm_mean.lerp_(seen.mean().to(self.norm_mean.dtype), self.momentum)
        self.norm_std.lerp_(seen.std().to(self.norm_std.dtype), self.momentum)

    def quality(self, norms: Tensor) -> Tensor:
        """The quality z of each norm, in [-1, 1]; carries no gradient."""
        clamped = norms.detach().clamp(1e-3, 100.0)
        mean, deviation = self.norm_mean.to(norms.dtype), self.norm_std.to(norms.dtype)
        return ((clamped - mean) / (deviation + 1e-3) * self.sharpness).clamp(-1.0, 1.0)

    def target(self, cosine: Tensor, norms: Tensor) -> Tensor:  # noqa: D102
        quality = self.quality(norms)
        angle = -self.margin * quality
        added = add_angle(cosine, angle, "continuous")
        # A negative margin would carry small angles through 0 to the other side: there the best is reached.
        past_zero = (angle < 0) & (cosine > torch.cos(angle))
        return torch.where(past_zero, 1.0, added) - (self.margin + self.margin * quality)

    def extra_repr(self) -> str:  # noqa: D102
        return f"margin={self.margin:g}, sharpness={self.sharpness:g}, momentum={self.momentum:g}"


class CurricularMargin(CombinedMargin):
    """CurricularFace: ArcFace's target, and hard negatives weighed up as training goes on.

    Args:
        margin: m in radians.
        momentum: share of a new batch in t, the running mean of the target cosine.
        hardness: where t starts.
        past_pi: see [mien.train.losses.angles.add_angle][].
    """

    t: Tensor

    def __init__(
        self,
        margin: float = 0.5,
        momentum: float = 0.01,
        hardness: float | Tensor = 0.0,
        *,
        past_pi: PastPi = "published",
    ) -> None:
        super().__init__(1.0, margin, 0.0, past_pi=past_pi)
        check_number(momentum, "momentum", 0.0, 1.0)
        check_number(float(hardness), "hardness", -1.0, 1.0)
        self.momentum = momentum
        self.register_buffer("t", torch.as_tensor(hardness).clone())

    def observe(self, cosine: Tensor, norms: Tensor) -> None:  # noqa: D102
        if cosine.numel():
            self.t.lerp_(cosine.detach().mean().to(self.t.dtype), self.momentum)

    @property
    def hardness(self) -> Tensor | None:
        """The running t."""
        return self.t
