"""Triplet loss with online mining, and the harmonic triplet loss across two models."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.errors import InputError
from mien.train.losses.angles import unit_rows, wide
from mien.train.losses.inputs import Reduction, check_choice, check_labels, check_number, check_rows, reduced
from mien.train.losses.mining import Mining, Triplets, mine

__all__ = ["Distance", "HarmonicTriplet", "Triplet", "distance_matrix", "harmonic_triplet", "triplet", "triplet_of"]

Distance: TypeAlias = Literal["squared", "cosine"]


def _check(distance: str, margin: float) -> None:
    check_choice(distance, "distance", ("squared", "cosine"))
    check_number(margin, "margin", 0.0)


def distance_matrix(embeddings: Tensor, distance: Distance = "squared") -> Tensor:
    """Distances (B, B) between rows: ``||x_i - x_j||^2``, or ``1 - cos``. Never below 0; no square root, so no NaN."""
    if distance == "cosine":
        rows = unit_rows(embeddings)
        return (1.0 - rows @ rows.T).clamp_min(0.0)
    squares = embeddings.square().sum(1)
    return (squares.unsqueeze(1) + squares.unsqueeze(0) - 2.0 * embeddings @ embeddings.T).clamp_min(0.0)


def _pull_and_push(anchor: Tensor, positive: Tensor, negative: Tensor, distance: Distance) -> tuple[Tensor, Tensor]:
    """Distances anchor-positive and anchor-negative (T,), from differences: exact where the matrix form cancels."""
    if distance == "cosine":
        anchor = unit_rows(anchor)
        return 1.0 - (anchor * unit_rows(positive)).sum(1), 1.0 - (anchor * unit_rows(negative)).sum(1)
    return (anchor - positive).square().sum(1), (anchor - negative).square().sum(1)


def triplet_of(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float = 0.2,
    distance: Distance = "squared",
    soft: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """Triplet loss of triplets already chosen: ``max(0, d_ap - d_an + m)``, or ``log(1 + exp(d_ap - d_an))`` if soft.

    Args:
        anchor: (T, D).
        positive: (T, D), the same people.
        negative: (T, D), others.
        margin: m, in the distance's units; unused where soft.
        distance: ``squared`` L2 of the embeddings as given, or ``cosine`` (1 - cos).
        soft: the soft margin.
        reduction: ``mean``, ``sum`` or ``none``.

    Raises:
        InputError: shapes or settings that do not fit.
    """
    _check(distance, margin)
    check_rows(anchor, "anchor")
    if positive.shape != anchor.shape or negative.shape != anchor.shape:
        shapes = f"{tuple(positive.shape)} and {tuple(negative.shape)}"
        raise InputError(f"positive, negative: expected shape {tuple(anchor.shape)} like anchor, got {shapes}")
    with torch.autocast(anchor.device.type, enabled=False):
        near, far = _pull_and_push(wide(anchor), wide(positive), wide(negative), distance)
        losses = F.softplus(near - far) if soft else (near - far + margin).clamp_min(0.0)
        return reduced(losses, reduction)


def triplet(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.2,
    mining: Mining = "semi-hard",
    distance: Distance = "squared",
    soft: bool = False,
    normalise: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    """Triplet loss with online mining: a person's pictures nearer to each other than to anybody else's, by a margin.

    ``L = max(0, d(a, p) - d(a, n) + m)``; soft: ``L = log(1 + exp(d(a, p) - d(a, n)))``, which never stops pulling.

    ``mining`` chooses the triplets of the batch:

    - ``semi-hard`` (FaceNet): for every positive pair the nearest negative that is farther than the positive but within
      the margin. Stable from the start.
    - ``batch-hard`` (Hermans et al.): for every anchor its farthest positive and nearest negative. Learns fastest once
      the embedding is sound; from a random start it may collapse: warm up, or use ``soft``.
    - ``batch-all``: all of them; the mean is taken over those with a loss above 0, else it would vanish as
      training goes well.

    When to use: to fine-tune a softmax-trained net, for sets with many people and few pictures each, where a
    classification layer would not learn. Needs batches of P people x K pictures (K >= 2; 4 is common).

    Args:
        embeddings: (B, D).
        labels: int64 (B,).
        margin: m, in the distance's units: squared L2 at unit length goes from 0 to 4, cosine distance from 0 to 2.
            Squared L2 there is twice the cosine distance, so m 0.2 squared is m 0.1 cosine.
        mining: ``semi-hard``, ``batch-hard`` or ``batch-all``.
        distance: ``squared`` L2 or ``cosine``.
        soft: the soft margin; ``margin`` then only steers semi-hard mining.
        normalise: bring embeddings to unit length first.
        reduction: ``mean``, ``sum`` or ``none`` (over the triplets mined, of which there may be none: 0).

    Returns:
        The loss, float32 (float64 where the inputs are), also under autocast; 0 with zero gradients where the batch
        holds no such triplet.

    Raises:
        InputError: shapes or settings that do not fit.

    Source:
        Schroff, Kalenichenko, Philbin: FaceNet, CVPR 2015; Hermans, Beyer, Leibe: In Defense of the Triplet Loss, 2017.
    """
    _check(distance, margin)
    check_rows(embeddings, "embeddings")
    check_labels(labels, embeddings.shape[0], None)
    with torch.autocast(embeddings.device.type, enabled=False):
        rows = wide(embeddings)
        rows = unit_rows(rows) if normalise else rows
        chosen = mine(distance_matrix(rows.detach(), distance), labels, mining, margin)
        return _mined(rows, chosen, margin=margin, distance=distance, soft=soft, mining=mining, reduction=reduction)


def _mined(
    rows: Tensor,
    chosen: Triplets,
    *,
    margin: float,
    distance: Distance,
    soft: bool,
    mining: Mining,
    reduction: Reduction,
) -> Tensor:
    matrix = distance_matrix(rows, distance) if mining == "batch-all" else None
    if matrix is None:
        parts = (rows[chosen.anchor], rows[chosen.positive], rows[chosen.negative])
        losses = triplet_of(*parts, margin=margin, distance=distance, soft=soft, reduction="none")
    else:  # B^3 triplets: their distances are looked up, not their embeddings copied
        gap = matrix[chosen.anchor, chosen.positive] - matrix[chosen.anchor, chosen.negative]
        losses = F.softplus(gap) if soft else (gap + margin).clamp_min(0.0)
    if reduction == "mean" and mining == "batch-all":
        return losses.sum() / (losses.detach() > 0).sum().clamp_min(1)
    return reduced(losses, reduction)


class Triplet(nn.Module):
    """[triplet][] with its settings kept; see there for their meaning."""

    def __init__(
        self,
        margin: float = 0.2,
        *,
        mining: Mining = "semi-hard",
        distance: Distance = "squared",
        soft: bool = False,
        normalise: bool = True,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        _check(distance, margin)
        self.margin, self.mining, self.distance = margin, mining, distance
        self.soft, self.normalise, self.reduction = soft, normalise, reduction

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) and labels (B,) -> the loss."""
        return triplet(
            embeddings,
            labels,
            margin=self.margin,
            mining=self.mining,
            distance=self.distance,
            soft=self.soft,
            normalise=self.normalise,
            reduction=self.reduction,
        )


def harmonic_triplet(
    new: Tensor,
    old: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.2,
    mining: Mining = "semi-hard",
    distance: Distance = "squared",
    soft: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """Harmonic triplet loss: a new model learns embeddings that compare with an old model's.

    The embeddings of both models over the same pictures make one batch of 2 B rows, and triplets are mined across it:
    anchor, positive and negative may each come from either model (a picture's old and new embedding are a positive
    pair). The old embeddings are constants; triplets of old rows alone teach nothing and are left out.

    When to use: to deploy a better model without embedding the whole gallery anew: old templates stay comparable with
    new queries. Train first with the usual loss, then fine-tune the new model (or its last layer) with this, and
    calibrate anew: mixed pairs have thresholds of their own.

    Args:
        new: (B, D) from the model in training; brought to unit length.
        old: (B, D) from the frozen model, same pictures in the same order; brought to unit length, no gradient.
        labels: int64 (B,).
        margin: m, in the distance's units.
        mining: ``semi-hard``, ``batch-hard`` or ``batch-all``.
        distance: ``squared`` L2 or ``cosine``.
        soft: the soft margin.
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        The loss, float32 (float64 where the inputs are), also under autocast.

    Raises:
        InputError: shapes or settings that do not fit.

    Source:
        Schroff, Kalenichenko, Philbin: FaceNet, CVPR 2015, section 5.6.
    """
    _check(distance, margin)
    check_rows(new, "new")
    check_rows(old, "old", new.shape[1])
    check_labels(labels, new.shape[0], None)
    check_labels(labels, old.shape[0], None)
    with torch.autocast(new.device.type, enabled=False):
        rows = torch.cat([unit_rows(wide(new)), unit_rows(wide(old.detach()).to(wide(new).dtype))])
        chosen = mine(distance_matrix(rows.detach(), distance), labels.repeat(2), mining, margin)
        count = new.shape[0]
        taught = (chosen.anchor < count) | (chosen.positive < count) | (chosen.negative < count)
        chosen = Triplets(*(part[taught] for part in chosen))
        return _mined(rows, chosen, margin=margin, distance=distance, soft=soft, mining=mining, reduction=reduction)


class HarmonicTriplet(nn.Module):
    """[harmonic_triplet][] with its settings kept; see there for their meaning."""

    def __init__(
        self,
        margin: float = 0.2,
        *,
        mining: Mining = "semi-hard",
        distance: Distance = "squared",
        soft: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        _check(distance, margin)
        self.margin, self.mining, self.distance, self.soft = margin, mining, distance, soft
        self.reduction = reduction

    def forward(self, new: Tensor, old: Tensor, labels: Tensor) -> Tensor:
        """New and old embeddings (B, D) and labels (B,) -> the loss."""
        return harmonic_triplet(
            new,
            old,
            labels,
            margin=self.margin,
            mining=self.mining,
            distance=self.distance,
            soft=self.soft,
            reduction=self.reduction,
        )
