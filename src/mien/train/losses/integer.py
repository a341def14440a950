"""L-Softmax and SphereFace: the target's angle multiplied by an integer, at the embedding's own length."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.train.losses.angles import clamp_cosine, row_norms, unit_rows, wide
from mien.train.losses.inputs import Reduction, check_labels, check_number, check_rows, reduced
from mien.train.losses.margin_softmax import MarginSoftmax, margin_softmax, new_centres
from mien.train.losses.margins import IntegerMargin

__all__ = ["LSoftmax", "SphereFace", "annealed_lambda", "l_softmax", "sphereface"]


def annealed_lambda(
    step: int, *, start: float = 1000.0, least: float = 5.0, gamma: float = 0.12, power: float = 1.0
) -> float:
    """Lambda of a step: ``max(least, start (1 + gamma step)^-power)``.

    Integer margins do not converge from a random start; lambda blends the plain cosine in and fades.

    Args:
        step: optimizer steps done, 0 or more.
        start: lambda at step 0.
        least: where it stops (L-Softmax on small sets goes down to 0).
        gamma: how fast it falls.
        power: its exponent.

    Raises:
        InputError: a setting below 0.

    >>> [round(annealed_lambda(step), 1) for step in (0, 100, 10_000)]
    [1000.0, 76.9, 5.0]
    """
    for name, value in (("step", step), ("start", start), ("least", least), ("gamma", gamma), ("power", power)):
        check_number(value, name, 0.0)
    return max(least, start / float((1.0 + gamma * step) ** power))


def sphereface(
    embeddings: Tensor,
    centres: Tensor,
    labels: Tensor,
    *,
    m: int = 4,
    blend: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """SphereFace, also called A-Softmax: the target's angle times an integer, centres at unit length.

    ``L = -log( exp(|x| f(theta_y)) / ( exp(|x| f(theta_y)) + sum_{j != y} exp(|x| cos theta_j) ) )``

    ``f = (lambda cos theta + psi(theta)) / (1 + lambda)``, ``psi(theta) = (-1)^k cos(m theta) - 2k`` on
    ``[k pi/m, (k+1) pi/m]``: falls from 1 to 1 - 2m over [0, pi], continuous, so it needs no continuation past pi.
    Cosines of m theta are Chebyshev polynomials of cos theta: no ``acos``, finite gradients everywhere.

    The embedding keeps its length, so there is no scale; the loss can be lowered by longer embeddings. Lambda starts
    high (nearly plain softmax) and falls: see [annealed_lambda][], and set ``SphereFace.blend`` before each step.

    When to use: to reproduce the paper and for its figures. CosFace and ArcFace reach more with less care.

    Args:
        embeddings: (B, D); their length is part of the logits.
        centres: (C, D), brought to unit length; no bias.
        labels: int64 (B,), 0 to C - 1.
        m: 1 to 4; the paper takes 4.
        blend: lambda, 0 or more; 0 is the loss without blending.
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        The loss in nats, float32 (float64 where the inputs are), also under autocast.

    Raises:
        InputError: shapes, labels or settings that do not fit.

    Source:
        Liu et al.: SphereFace, CVPR 2017.
    """
    return margin_softmax(embeddings, centres, labels, IntegerMargin(m, blend), 1.0, reduction=reduction)


class SphereFace(MarginSoftmax):
    """[sphereface][] with centres of its own; set ``blend`` (lambda) before each step."""

    margin: IntegerMargin

    def __init__(
        self, dim: int, classes: int, m: int = 4, blend: float = 1000.0, *, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(dim, classes, IntegerMargin(m, blend), 1.0, reduction=reduction)

    @property
    def blend(self) -> float:
        """Lambda."""
        return self.margin.blend

    @blend.setter
    def blend(self, value: float) -> None:
        check_number(value, "blend", 0.0)
        self.margin.blend = value


def l_softmax(
    embeddings: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    m: int = 4,
    blend: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """L-Softmax: the target's angle times an integer, neither embeddings nor weights normalised.

    ``L = -log( exp(|w_y| |x| f(theta_y)) / ( exp(|w_y| |x| f(theta_y)) + sum_{j != y} exp(w_j . x) ) )``

    with ``f`` and lambda as in [sphereface][]. The first of the margin losses: softmax asks for
    ``|w_1| cos theta_1 > |w_2| cos theta_2``, this for the same with m theta_1.

    When to use: small closed sets (the paper: MNIST, CIFAR) and figures; for faces choose a later loss.

    Args:
        embeddings: (B, D); their length is part of the logits.
        weight: (C, D); so is theirs. No bias.
        labels: int64 (B,), 0 to C - 1.
        m: 1 to 4; 1 is plain softmax.
        blend: lambda, 0 or more; see [annealed_lambda][].
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        The loss in nats, float32 (float64 where the inputs are), also under autocast.

    Raises:
        InputError: shapes, labels or settings that do not fit.

    Source:
        Liu, Wen, Yu, Yang: Large-Margin Softmax Loss for Convolutional Neural Networks, ICML 2016.
    """
    check_rows(embeddings, "embeddings")
    check_rows(weight, "weight", embeddings.shape[1])
    check_labels(labels, embeddings.shape[0], weight.shape[0])
    with torch.autocast(embeddings.device.type, enabled=False):
        rows, columns = wide(embeddings), wide(weight)
        own = columns[labels]
        length = row_norms(rows) * row_norms(own)
        cosine = clamp_cosine((unit_rows(rows) * unit_rows(own)).sum(1))
        target = length * IntegerMargin(m, blend).target(cosine, length)
        logits = (rows @ columns.T).scatter(1, labels.unsqueeze(1), target.unsqueeze(1))
        return reduced(F.cross_entropy(logits, labels, reduction="none"), reduction)


class LSoftmax(nn.Module):
    """[l_softmax][] with weights of its own; set ``blend`` (lambda) before each step."""

    def __init__(
        self, dim: int, classes: int, m: int = 4, blend: float = 1000.0, *, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.weight = new_centres(classes, dim)
        self.m, self.blend, self.reduction = m, blend, reduction

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) and labels (B,) -> the loss."""
        return l_softmax(embeddings, self.weight, labels, m=self.m, blend=self.blend, reduction=self.reduction)
