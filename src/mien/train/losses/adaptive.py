"""Margins that look at the sample: CurricularFace (are its negatives hard?), MagFace and AdaFace (is it good?)."""

from __future__ import annotations

from torch import Tensor

from mien.train.losses.angles import PastPi
from mien.train.losses.inputs import Reduction
from mien.train.losses.margin_softmax import MarginSoftmax, margin_softmax
from mien.train.losses.margins import AdaptiveMargin, CurricularMargin, MagnitudeMargin

__all__ = ["AdaFace", "CurricularFace", "MagFace", "adaface", "curricularface", "magface"]


def curricularface(
    embeddings: Tensor,
    centres: Tensor,
    labels: Tensor,
    *,
    hardness: float | Tensor,
    scale: float = 64.0,
    margin: float = 0.5,
    past_pi: PastPi = "published",
    reduction: Reduction = "mean",
) -> Tensor:
    """CurricularFace: ArcFace's target, easy samples first, hard negatives later.

    ``L = -log( exp(s T) / ( exp(s T) + sum_{j != y} exp(s N(cos theta_j)) ) )``, ``T = cos(theta_y + m)``

    ``N(c) = c`` where ``c <= T`` (easy), else ``c (t + c)`` (hard). t is the running mean of the target cosine
    (momentum 0.99 in the paper): near 0 at first, so hard negatives weigh less than under ArcFace, and grows with
    training until they weigh more. Which negatives are hard, and t, carry no gradient. N jumps where c passes T, as
    published: the loss is not continuous there.

    When to use: large sets with clean labels; where ArcFace stalls early. This function is pure: give it t;
    [CurricularFace][] keeps t itself, in a buffer that a checkpoint saves.

    Args:
        embeddings: (B, D), of any length.
        centres: (C, D), of any length.
        labels: int64 (B,), 0 to C - 1.
        hardness: t, -1 to 1.
        scale: s.
        margin: m in **radians**, 0 to pi/2.
        past_pi: the target's continuation past pi; see [mien.train.losses.arcface][].
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        The loss in nats, float32 (float64 where the inputs are), also under autocast.

    Raises:
        InputError: shapes, labels or settings that do not fit.

    Source:
        Huang et al.: CurricularFace, CVPR 2020.
    """
    rule = CurricularMargin(margin, hardness=hardness, past_pi=past_pi).eval()
    return margin_softmax(embeddings, centres, labels, rule, scale, reduction=reduction)


class CurricularFace(MarginSoftmax):
    """[curricularface][] with centres of its own; t starts at 0 and follows the batches in training mode."""

    def __init__(
        self,
        dim: int,
        classes: int,
        scale: float = 64.0,
        margin: float = 0.5,
        momentum: float = 0.01,
        *,
        past_pi: PastPi = "published",
        reduction: Reduction = "mean",
    ) -> None:
        rule = CurricularMargin(margin, momentum, past_pi=past_pi)
        super().__init__(dim, classes, rule, scale, reduction=reduction)


def magface(
    embeddings: Tensor,
    centres: Tensor,
    labels: Tensor,
    *,
    scale: float = 64.0,
    norm_range: tuple[float, float] = (10.0, 110.0),
    margin_range: tuple[float, float] = (0.45, 0.8),
    penalty_weight: float = 35.0,
    past_pi: PastPi = "published",
    reduction: Reduction = "mean",
) -> Tensor:
    """MagFace: the embedding's length becomes the picture's quality.

    ``L = -log( exp(s cos(theta_y + m(a))) / ( the same + sum_{j != y} exp(s cos theta_j) ) ) + lambda_g g(a)``

    a is the embedding's length, cut to [l_a, u_a]; ``m(a) = l_m + (u_m - l_m) (a - l_a) / (u_a - l_a)`` grows with it,
    ``g(a) = 1/a + a/u_a^2`` falls with it. A good picture can afford the larger margin that its length costs; a bad one
    stays short. The gradient flows through the length as well. Outside [l_a, u_a] the length gets none.

    When to use: when one number should say how good a face is for recognition (rejecting, picking the best frame,
    weighing templates): afterwards it is the norm. Watch that norms fall into the range; the network's last
    batch normalisation decides it.

    Args:
        embeddings: (B, D); their length matters.
        centres: (C, D), of any length.
        labels: int64 (B,), 0 to C - 1.
        scale: s.
        norm_range: (l_a, u_a).
        margin_range: (l_m, u_m) in **radians**.
        penalty_weight: lambda_g; 35 suits these ranges.
        past_pi: the target's continuation past pi; see [mien.train.losses.arcface][].
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        The loss, float32 (float64 where the inputs are), also under autocast.

    Raises:
        InputError: shapes, labels or settings that do not fit.

    Source:
        Meng, Zhao, Huang, Zhou: MagFace, CVPR 2021.
    """
    rule = MagnitudeMargin(norm_range, margin_range, penalty_weight, past_pi=past_pi)
    return margin_softmax(embeddings, centres, labels, rule, scale, reduction=reduction)


class MagFace(MarginSoftmax):
    """[magface][] with centres of its own."""

    def __init__(
        self,
        dim: int,
        classes: int,
        scale: float = 64.0,
        *,
        norm_range: tuple[float, float] = (10.0, 110.0),
        margin_range: tuple[float, float] = (0.45, 0.8),
        penalty_weight: float = 35.0,
        past_pi: PastPi = "published",
        reduction: Reduction = "mean",
    ) -> None:
        rule = MagnitudeMargin(norm_range, margin_range, penalty_weight, past_pi=past_pi)
        super().__init__(dim, classes, rule, scale, reduction=reduction)


def adaface(
    embeddings: Tensor,
    centres: Tensor,
    labels: Tensor,
    *,
    norm_mean: float | Tensor,
    norm_std: float | Tensor,
    scale: float = 64.0,
    margin: float = 0.4,
    sharpness: float = 0.333,
    reduction: Reduction = "mean",
) -> Tensor:
    """AdaFace: hard samples count where the picture is good, and count little where it is bad.

    ``L = -log( exp(s (cos(theta_y + g_angle) - g_add)) / ( the same + sum_{j != y} exp(s cos theta_j) ) )``

    ``g_angle = -m z``, ``g_add = m + m z``, ``z = clip( h (a - mean) / std, -1, 1 )``: z is the quality, read off the
    embedding's length a against a running mean and deviation (momentum 0.99; lengths cut to [0.001, 100]; 0.001 is
    added to the deviation). z carries no gradient. At z = -1 this is ArcFace, at 0 CosFace, at 1 an ArcFace of
    negative angle with a shift.

    ``theta + g_angle`` is kept within [0, pi]: below 0 the cosine stays 1, as published; above pi the published
    code stays at -1, where hopeless samples would get no pull, and here it goes on without a jump as
    ``cos theta - (1 - cos g_angle)``.

    When to use: sets that mix good and bad pictures (surveillance, small faces, web finds). This function is pure: give
    it the running values; [AdaFace][] keeps them itself, in buffers that a checkpoint saves.

    Args:
        embeddings: (B, D); their length tells the quality.
        centres: (C, D), of any length.
        labels: int64 (B,), 0 to C - 1.
        norm_mean: running mean of the lengths.
        norm_std: running deviation of the lengths.
        scale: s.
        margin: m: radians in g_angle, units of cosine in g_add.
        sharpness: h.
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        The loss in nats, float32 (float64 where the inputs are), also under autocast.

    Raises:
        InputError: shapes, labels or settings that do not fit.

    Source:
        Kim, Jain, Liu: AdaFace, CVPR 2022.
    """
    rule = AdaptiveMargin(margin, sharpness, norm_mean=norm_mean, norm_std=norm_std).eval()
    return margin_softmax(embeddings, centres, labels, rule, scale, reduction=reduction)


class AdaFace(MarginSoftmax):
    """[adaface][] with centres of its own; the running values start at 20 and 100 and follow in training mode."""

    def __init__(
        self,
        dim: int,
        classes: int,
        scale: float = 64.0,
        margin: float = 0.4,
        *,
        sharpness: float = 0.333,
        momentum: float = 0.01,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(dim, classes, AdaptiveMargin(margin, sharpness, momentum), scale, reduction=reduction)
