"""Losses made of others: sub-center ArcFace (several centres a class) and ArcFace with a triplet term."""

from __future__ import annotations

from torch import Tensor

from mien.errors import InputError
from mien.train.losses.additive import arcface
from mien.train.losses.angles import GradientMode, PastPi
from mien.train.losses.inputs import Reduction, check_number
from mien.train.losses.margin_softmax import MarginSoftmax, margin_softmax
from mien.train.losses.margins import CombinedMargin
from mien.train.losses.mining import Mining
from mien.train.losses.triplets import Distance, triplet

__all__ = ["ArcFaceTriplet", "SubCenterArcFace", "arcface_triplet", "sub_center_arcface"]


def sub_center_arcface(
    embeddings: Tensor,
    centres: Tensor,
    labels: Tensor,
    *,
    scale: float = 64.0,
    margin: float = 0.5,
    gradient: GradientMode = "true",
    past_pi: PastPi = "published",
    reduction: Reduction = "mean",
) -> Tensor:
    """Sub-center ArcFace: K centres a class, of which the nearest counts; wrong labels find a corner of their own.

    ``cos theta_j = max_k cos(x, w_jk)``, then ArcFace: ``L = -log( exp(s cos(theta_y + m)) / (... ) )``

    The person's clean pictures gather at one dominant sub-centre; mislabelled ones and odd pictures at the others,
    and no longer drag the first. After training, pictures whose angle to the dominant sub-centre is above some 75
    degrees are dropped (the paper), and ArcFace is trained on the rest. The gradient of a pair (sample,
    class) flows to the nearest sub-centre only, shared evenly where several are equally near.

    When to use: sets from the web with wrong labels, and to find those. On clean sets it loosens the classes for
    nothing: take [mien.train.losses.arcface][].

    Args:
        embeddings: (B, D), of any length.
        centres: (C, K, D), of any length; K 3 in the paper.
        labels: int64 (B,), 0 to C - 1.
        scale: s.
        margin: m in **radians**, 0 to pi/2.
        gradient: ``true`` or ``straight-through``; see [mien.train.losses.arcface][].
        past_pi: ``published`` or ``continuous``.
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        The loss in nats, float32 (float64 where the inputs are), also under autocast.

    Raises:
        InputError: shapes, labels or settings that do not fit.

    Source:
        Deng, Guo, Liu, Gong, Zafeiriou: Sub-center ArcFace, ECCV 2020.
    """
    if centres.ndim != 3:
        raise InputError(f"centres: expected (C, K, D), got {tuple(centres.shape)}")
    rule = CombinedMargin(m2=margin, gradient=gradient, past_pi=past_pi)
    return margin_softmax(embeddings, centres, labels, rule, scale, reduction=reduction)


class SubCenterArcFace(MarginSoftmax):
    """[sub_center_arcface][] with centres (C, K, D) of its own."""

    def __init__(
        self,
        dim: int,
        classes: int,
        sub_centres: int = 3,
        scale: float = 64.0,
        margin: float = 0.5,
        *,
        gradient: GradientMode = "true",
        past_pi: PastPi = "published",
        reduction: Reduction = "mean",
    ) -> None:
        check_number(sub_centres, "sub_centres", 2)
        rule = CombinedMargin(m2=margin, gradient=gradient, past_pi=past_pi)
        super().__init__(dim, classes, rule, scale, reduction=reduction, sub_centres=sub_centres)


def arcface_triplet(
    embeddings: Tensor,
    centres: Tensor,
    labels: Tensor,
    *,
    scale: float = 64.0,
    margin: float = 0.5,
    weight: float = 1.0,
    triplet_margin: float = 0.2,
    mining: Mining = "semi-hard",
    distance: Distance = "squared",
    gradient: GradientMode = "true",
    past_pi: PastPi = "published",
) -> Tensor:
    """ArcFace and the triplet loss jointly, over the same batch at unit length.

    ``L = L_arcface + w L_triplet``

    The classification term sees all centres and gives the global order; the triplet term sees the batch's own pairs and
    sharpens what verification asks. Their units differ (nats at scale s against distances), hence w.

    When to use: fine-tuning on sets with many people and few pictures each. Needs batches of P people x K pictures.

    Args:
        embeddings: (B, D), of any length.
        centres: (C, D), of any length.
        labels: int64 (B,), 0 to C - 1.
        scale: s of ArcFace.
        margin: m of ArcFace, radians.
        weight: w, 0 or more.
        triplet_margin: m of the triplet loss, in the distance's units.
        mining: which triplets; see [mien.train.losses.triplet][].
        distance: ``squared`` or ``cosine``.
        gradient: ``true`` or ``straight-through``, for ArcFace.
        past_pi: ``published`` or ``continuous``, for ArcFace.

    Returns:
        The mean loss (0-d), float32 (float64 where the inputs are), also under autocast.

    Raises:
        InputError: shapes, labels or settings that do not fit.

    Source:
        Deng, Guo, Xue, Zafeiriou: ArcFace, CVPR 2019 (its triplet ablation); the training scripts published with it.
    """
    check_number(weight, "weight", 0.0)
    by_class = arcface(embeddings, centres, labels, scale=scale, margin=margin, gradient=gradient, past_pi=past_pi)
    return by_class + weight * triplet(embeddings, labels, margin=triplet_margin, mining=mining, distance=distance)


class ArcFaceTriplet(MarginSoftmax):
    """[arcface_triplet][] with centres of its own."""

    def __init__(
        self,
        dim: int,
        classes: int,
        scale: float = 64.0,
        margin: float = 0.5,
        *,
        weight: float = 1.0,
        triplet_margin: float = 0.2,
        mining: Mining = "semi-hard",
        distance: Distance = "squared",
        gradient: GradientMode = "true",
        past_pi: PastPi = "published",
    ) -> None:
        check_number(weight, "weight", 0.0)
        super().__init__(dim, classes, CombinedMargin(m2=margin, gradient=gradient, past_pi=past_pi), scale)
        self.weight, self.triplet_margin, self.mining, self.distance = weight, triplet_margin, mining, distance

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) and labels (B,) -> the loss."""
        near = triplet(embeddings, labels, margin=self.triplet_margin, mining=self.mining, distance=self.distance)
        return super().forward(embeddings, labels) + self.weight * near
