"""Contrastive loss over pairs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mien.errors import InputError
from mien.train.losses.angles import row_norms, unit_rows, wide
from mien.train.losses.inputs import Reduction, check_number, check_rows, reduced
from mien.train.losses.mining import all_pairs

__all__ = ["Contrastive", "contrastive"]


def contrastive(
    first: Tensor,
    second: Tensor,
    same: Tensor,
    *,
    margin: float = 1.0,
    normalise: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    """Contrastive loss: the same person's pairs are pulled together, others pushed apart up to a margin.

    ``L = 1/2 d^2`` for the same person, ``1/2 max(0, m - d)^2`` for two people, ``d = ||x_1 - x_2||``

    Where d is 0 for two people the direction of the push is unknown: the gradient there is 0, not NaN.

    When to use: few samples a person (two are enough), verification of pairs, as a second term beside a softmax
    (DeepID2). Most pairs of a large set are easy and teach nothing: triplets with mining, or a margin
    softmax, learn faster.

    Args:
        first: (N, D).
        second: (N, D); row i makes a pair with row i of ``first``.
        same: bool (N,), whether the pair is one person. From a batch with labels: [mien.train.losses.all_pairs][].
        margin: m, in units of distance (at unit length distances go from 0 to 2).
        normalise: bring embeddings to unit length first.
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        The loss, float32 (float64 where the inputs are), also under autocast.

    Raises:
        InputError: shapes or settings that do not fit.

    Source:
        Hadsell, Chopra, LeCun: Dimensionality Reduction by Learning an Invariant Mapping, CVPR 2006.
    """
    check_rows(first, "first")
    check_rows(second, "second", first.shape[1])
    if second.shape != first.shape or same.dtype != torch.bool or same.shape != first.shape[:1]:
        want = f"second like first {tuple(first.shape)} and same bool ({first.shape[0]},)"
        raise InputError(f"pairs: expected {want}, got {tuple(second.shape)} and {same.dtype} {tuple(same.shape)}")
    check_number(margin, "margin", 0.0)
    with torch.autocast(first.device.type, enabled=False):
        one, two = wide(first), wide(second)
        if normalise:
            one, two = unit_rows(one), unit_rows(two)
        gap = one - two
        apart = (margin - row_norms(gap)).clamp_min(0.0)
        return reduced(0.5 * torch.where(same, gap.square().sum(1), apart.square()), reduction)


class Contrastive(nn.Module):
    """[contrastive][] over all pairs of a batch."""

    def __init__(self, margin: float = 1.0, *, normalise: bool = True, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.margin, self.normalise, self.reduction = margin, normalise, reduction

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) and labels (B,) -> the loss over the B (B - 1) / 2 pairs."""
        first, second, same = all_pairs(labels)
        return contrastive(
            embeddings[first],
            embeddings[second],
            same,
            margin=self.margin,
            normalise=self.normalise,
            reduction=self.reduction,
        )
