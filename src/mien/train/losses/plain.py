"""Softmax and center loss: the base line, and the pull towards the class centre beside it."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.train.losses.angles import wide
from mien.train.losses.inputs import Reduction, check_labels, check_number, check_rows, reduced
from mien.train.losses.margin_softmax import new_centres

__all__ = ["CenterSoftmax", "Softmax", "center", "moved_centers", "softmax"]


def softmax(
    embeddings: Tensor, weight: Tensor, labels: Tensor, bias: Tensor | None = None, *, reduction: Reduction = "mean"
) -> Tensor:
    """Softmax cross entropy of a linear layer: the base line every other loss is measured against.

    ``L = -log( exp(w_y . x + b_y) / sum_j exp(w_j . x + b_j) )``

    Neither embeddings nor weights are normalised, so the length of an embedding carries confidence and the angle alone
    separates people less well than under a margin. Calculated with log-sum-exp, never as the log of a clamped
    probability, so a hopeless sample keeps its gradient.

    When to use: as a first stage (it converges from any start, also where margins stall), for small sets, and as the
    reference in a table. For embeddings that are compared by cosine take [mien.train.losses.cosface][] or
    [mien.train.losses.arcface][].

    Args:
        embeddings: (B, D).
        weight: (C, D), one row a class.
        labels: int64 (B,), 0 to C - 1.
        bias: (C,), or None.
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        The loss in nats, float32 (float64 where the inputs are), also under autocast.

    Raises:
        InputError: shapes or labels that do not fit.

    Source:
        Bridle 1990; for faces Taigman et al. 2014 (DeepFace).
    """
    check_rows(embeddings, "embeddings")
    check_rows(weight, "weight", embeddings.shape[1])
    check_labels(labels, embeddings.shape[0], weight.shape[0])
    with torch.autocast(embeddings.device.type, enabled=False):
        logits = F.linear(wide(embeddings), wide(weight), None if bias is None else wide(bias))
        return reduced(F.cross_entropy(logits, labels, reduction="none"), reduction)


class Softmax(nn.Module):
    """[softmax][] with a weight (and a bias) of its own; weights start at length about 1."""

    def __init__(self, dim: int, classes: int, *, bias: bool = False, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.weight = new_centres(classes, dim)
        self.bias = nn.Parameter(torch.zeros(classes)) if bias else None
        self.reduction = reduction

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) and labels (B,) -> the loss."""
        return softmax(embeddings, self.weight, labels, self.bias, reduction=self.reduction)


def center(embeddings: Tensor, labels: Tensor, centers: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Center loss: half the squared distance between an embedding and its class's center.

    ``L_C = 1/2 ||x - c_y||^2`` (the paper sums over the batch; the mean is the default here, so that lambda does not
    depend on the batch size).

    The centers are not learnt by gradient: after each step they move towards the batch's class means, see
    [moved_centers][]. Alone the loss collapses (all embeddings at one point satisfy it); add it to softmax with a small
    lambda, as [CenterSoftmax][] does: ``L = L_softmax + lambda L_C``, lambda 0.003 in the paper.

    When to use: closed or small sets where clusters must be tight in Euclidean distance, and for the well-known MNIST
    picture. For faces the angular margins have taken its place.

    Args:
        embeddings: (B, D), in whatever units the network gives; not normalised.
        labels: int64 (B,), 0 to C - 1.
        centers: (C, D); no gradient flows to them.
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        The loss in squared embedding units.

    Raises:
        InputError: shapes or labels that do not fit.

    Source:
        Wen, Zhang, Li, Qiao: A Discriminative Feature Learning Approach for Deep Face Recognition, ECCV 2016.
    """
    check_rows(embeddings, "embeddings")
    check_rows(centers, "centers", embeddings.shape[1])
    check_labels(labels, embeddings.shape[0], centers.shape[0])
    with torch.autocast(embeddings.device.type, enabled=False):
        gap = wide(embeddings) - wide(centers.detach())[labels]
        return reduced(0.5 * gap.square().sum(1), reduction)


@torch.no_grad()
def moved_centers(embeddings: Tensor, labels: Tensor, centers: Tensor, rate: float = 0.5) -> Tensor:
    """New centers (C, D) after a batch: ``c_j - rate * sum_{y_i = j} (c_j - x_i) / (1 + n_j)``; the given ones stay.

    Args:
        embeddings: (B, D).
        labels: int64 (B,).
        centers: (C, D).
        rate: alpha of the paper, 0 to 1.

    Raises:
        InputError: shapes, labels or a rate that do not fit.
    """
    check_rows(embeddings, "embeddings")
    check_rows(centers, "centers", embeddings.shape[1])
    check_labels(labels, embeddings.shape[0], centers.shape[0])
    check_number(rate, "rate", 0.0, 1.0)
    gap = centers[labels] - embeddings.to(centers.dtype)
    total = torch.zeros_like(centers).index_add_(0, labels, gap)
    count = torch.bincount(labels, minlength=centers.shape[0]).to(centers.dtype)
    return centers - rate * total / (1.0 + count.unsqueeze(1))


class CenterSoftmax(nn.Module):
    """``L_softmax + lambda L_C``; the centers live in a buffer and move at each training step.

    Args:
        dim: D.
        classes: C.
        weight: lambda.
        rate: alpha, how fast centers follow.
        bias: whether the softmax has a bias.
        reduction: ``mean``, ``sum`` or ``none``.
    """

    centers: Tensor

    def __init__(
        self,
        dim: int,
        classes: int,
        weight: float = 0.003,
        rate: float = 0.5,
        *,
        bias: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_number(weight, "weight", 0.0)
        check_number(rate, "rate", 0.0, 1.0)
        self.softmax = Softmax(dim, classes, bias=bias, reduction=reduction)
        self.weight, self.rate, self.reduction = weight, rate, reduction
        self.register_buffer("centers", torch.zeros(classes, dim))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) and labels (B,) -> the loss; in training mode the centers then move."""
        pull = center(embeddings, labels, self.centers, reduction=self.reduction)
        loss: Tensor = self.softmax(embeddings, labels) + self.weight * pull
        if self.training:
            self.centers.copy_(moved_centers(embeddings.detach(), labels, self.centers, self.rate))
        return loss
