"""Cross entropy over cosines with a margin on the target: the dense form, which holds B x C logits.

The one body under every margin loss of this package. [mien.train.heads][] computes the same numbers without the
B x C logits; use that above some ten thousand classes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.errors import InputError
from mien.train.losses.angles import clamp_cosine, row_norms, unit_rows, wide
from mien.train.losses.inputs import Reduction, check_labels, check_number, check_rows, reduced
from mien.train.losses.margins import Margin

__all__ = ["MarginSoftmax", "margin_logits", "margin_softmax", "new_centres"]


def margin_logits(embeddings: Tensor, centres: Tensor, labels: Tensor, margin: Margin, scale: float = 64.0) -> Tensor:
    """The logits (B, C) that the cross entropy of [margin_softmax][] is taken of.

    Args:
        embeddings: (B, D), of any length.
        centres: (C, D), of any length; or (C, K, D): K sub-centres a class, the nearest counts.
        labels: int64 (B,), 0 to C - 1.
        margin: what becomes of the target's cosine.
        scale: s, what cosines are multiplied by.

    Returns:
        Float32 (float64 where the inputs are), also under autocast.

    Raises:
        InputError: shapes or labels that do not fit.
    """
    check_rows(embeddings, "embeddings")
    if centres.ndim not in (2, 3) or centres.shape[-1] != embeddings.shape[1] or not centres.is_floating_point():
        want = f"floating-point (C, {embeddings.shape[1]}) or (C, K, {embeddings.shape[1]})"
        raise InputError(f"centres: expected {want}, got {centres.dtype} {tuple(centres.shape)}")
    check_labels(labels, embeddings.shape[0], centres.shape[0])
    check_number(scale, "scale", 1e-6)
    with torch.autocast(embeddings.device.type, enabled=False):
        rows, columns = wide(embeddings), wide(centres)
        norms = row_norms(rows)
        cosines = torch.tensordot(unit_rows(rows), unit_rows(columns), dims=([1], [columns.ndim - 1]))
        if columns.ndim == 3:
            cosines = cosines.amax(-1)
        cosines = clamp_cosine(cosines)
        at = labels.unsqueeze(1)
        cosine = cosines.gather(1, at).squeeze(1)
        if margin.training:
            with torch.no_grad():
                margin.observe(cosine, norms)
        target = margin.target(cosine, norms)
        if (hardness := margin.hardness) is not None:
            hard = cosines.detach() > target.detach().unsqueeze(1)
            cosines = torch.where(hard, cosines * (hardness.to(cosines.dtype) + cosines), cosines)
        return cosines.scatter(1, at, target.unsqueeze(1)) * margin.row_scale(norms, scale).unsqueeze(1)


def margin_softmax(
    embeddings: Tensor,
    centres: Tensor,
    labels: Tensor,
    margin: Margin,
    scale: float = 64.0,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross entropy of [margin_logits][], plus the margin's penalty where it has one.

    Args:
        embeddings: (B, D).
        centres: (C, D) or (C, K, D).
        labels: int64 (B,).
        margin: what becomes of the target's cosine.
        scale: s.
        reduction: ``mean``, ``sum`` or ``none``.

    Raises:
        InputError: shapes or labels that do not fit.
    """
    logits = margin_logits(embeddings, centres, labels, margin, scale)
    with torch.autocast(embeddings.device.type, enabled=False):
        losses = F.cross_entropy(logits, labels, reduction="none")
        penalty = margin.penalty(row_norms(wide(embeddings)))
        return reduced(losses if penalty is None else losses + penalty, reduction)


def new_centres(*shape: int) -> nn.Parameter:
    """Fresh class centres: normal numbers of deviation ``1 / sqrt(D)``, so rows have length about 1.

    Raises:
        InputError: a size below 1.
    """
    if min(shape) < 1:
        raise InputError(f"classes and dim: expected 1 or more, got {shape}")
    return nn.Parameter(torch.randn(shape) / math.sqrt(shape[-1]))


class MarginSoftmax(nn.Module):
    """Any margin with centres of its own; the losses with a name are built on it. Not thread-safe while training.

    Args:
        dim: D, numbers an embedding.
        classes: C.
        margin: what becomes of the target's cosine.
        scale: s.
        reduction: ``mean``, ``sum`` or ``none``.
        sub_centres: K; 1 keeps one centre a class.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        margin: Margin,
        scale: float = 64.0,
        *,
        reduction: Reduction = "mean",
        sub_centres: int = 1,
    ) -> None:
        super().__init__()
        self.centres = new_centres(classes, dim) if sub_centres == 1 else new_centres(classes, sub_centres, dim)
        self.margin, self.scale, self.reduction = margin, scale, reduction

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) and labels (B,) -> the loss."""
        reduction = self.reduction
        return margin_softmax(embeddings, self.centres, labels, self.margin, self.scale, reduction=reduction)
