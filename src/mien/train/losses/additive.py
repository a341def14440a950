"""CosFace, ArcFace and their common form: a constant taken from the cosine or added to the angle of the target."""

from __future__ import annotations

from torch import Tensor

from mien.train.losses.angles import GradientMode, PastPi
from mien.train.losses.inputs import Reduction
from mien.train.losses.margin_softmax import MarginSoftmax, margin_softmax
from mien.train.losses.margins import CombinedMargin

__all__ = ["ArcFace", "CombinedFace", "CosFace", "arcface", "combined_face", "cosface"]


def cosface(
    embeddings: Tensor,
    centres: Tensor,
    labels: Tensor,
    *,
    scale: float = 64.0,
    margin: float = 0.35,
    reduction: Reduction = "mean",
) -> Tensor:
    """CosFace, also called AM-Softmax: a margin taken from the cosine of the target.

    ``L = -log( exp(s (cos theta_y - m)) / ( exp(s (cos theta_y - m)) + sum_{j != y} exp(s cos theta_j) ) )``

    with theta_j the angle between the embedding and the centre of class j, both brought to unit length. The decision
    border moves by m in cosine, so a sample must be nearer to its own class by that much. Its target is linear in the
    cosine: the gradient has no singular point, which makes it the calmest of the margin losses.

    When to use: the first choice on small or noisy sets, and wherever ArcFace does not start. s should grow with the
    number of classes (30 for some thousand, 64 for a hundred thousand and more); m 0.35 to 0.4 for large sets, 0.2 for
    a hundred people.

    Args:
        embeddings: (B, D), of any length.
        centres: (C, D), of any length.
        labels: int64 (B,), 0 to C - 1.
        scale: s.
        margin: m, in units of cosine; 0 gives the normalised softmax.
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        The loss in nats, float32 (float64 where the inputs are), also under autocast.

    Raises:
        InputError: shapes, labels or settings that do not fit.

    Source:
        Wang et al.: CosFace, CVPR 2018 (s 64, m 0.35); Wang, Cheng, Liu, Liu: Additive Margin Softmax, 2018 (s 30).
    """
    return margin_softmax(embeddings, centres, labels, CombinedMargin(m3=margin), scale, reduction=reduction)


class CosFace(MarginSoftmax):
    """[cosface][] with centres of its own."""

    def __init__(
        self, dim: int, classes: int, scale: float = 64.0, margin: float = 0.35, *, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(dim, classes, CombinedMargin(m3=margin), scale, reduction=reduction)


def arcface(
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
    """ArcFace: a margin in radians added to the angle of the target.

    ``L = -log( exp(s cos(theta_y + m)) / ( exp(s cos(theta_y + m)) + sum_{j != y} exp(s cos theta_j) ) )``

    A constant geodesic margin on the sphere. Where theta_y + m passes pi, cos would rise again and push the worst
    samples the wrong way; there the target goes on as ``cos theta_y - m sin m`` (``published``; at the seam it falls by
    ``m sin m - (1 - cos m)``, 0.117 for m = 0.5) or ``cos theta_y - (1 - cos m)`` (``continuous``). Either way it never
    rises with theta.

    ``gradient``: ``true`` is the derivative of the loss above: the target's slope is ``sin(theta + m) / sin(theta)``,
    large for samples near their centre. ``straight-through`` has the same loss but slope 1, as a famous implementation
    (which applies the margin outside autograd) has it; choose it to reproduce that implementation's runs.

    When to use: the default for large clean sets. On small sets or from a poor start warm the margin up from 0, begin
    with softmax, or take [cosface][]. On noisy sets see [mien.train.losses.sub_center_arcface][].

    Args:
        embeddings: (B, D), of any length.
        centres: (C, D), of any length.
        labels: int64 (B,), 0 to C - 1.
        scale: s; 64 for large sets, about 32 for some hundred people.
        margin: m in **radians**, 0 to pi/2.
        gradient: ``true`` or ``straight-through``.
        past_pi: ``published`` or ``continuous``.
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        The loss in nats, float32 (float64 where the inputs are), also under autocast.

    Raises:
        InputError: shapes, labels or settings that do not fit.

    Source:
        Deng, Guo, Xue, Zafeiriou: ArcFace, CVPR 2019.
    """
    rule = CombinedMargin(m2=margin, gradient=gradient, past_pi=past_pi)
    return margin_softmax(embeddings, centres, labels, rule, scale, reduction=reduction)


class ArcFace(MarginSoftmax):
    """[arcface][] with centres of its own."""

    def __init__(
        self,
        dim: int,
        classes: int,
        scale: float = 64.0,
        margin: float = 0.5,
        *,
        gradient: GradientMode = "true",
        past_pi: PastPi = "published",
        reduction: Reduction = "mean",
    ) -> None:
        rule = CombinedMargin(m2=margin, gradient=gradient, past_pi=past_pi)
        super().__init__(dim, classes, rule, scale, reduction=reduction)


def combined_face(
    embeddings: Tensor,
    centres: Tensor,
    labels: Tensor,
    *,
    scale: float = 64.0,
    m1: float = 1.0,
    m2: float = 0.3,
    m3: float = 0.2,
    gradient: GradientMode = "true",
    past_pi: PastPi = "published",
    reduction: Reduction = "mean",
) -> Tensor:
    """The combined margin: ``cos(m1 theta + m2) - m3`` in the target's place.

    ``L = -log( exp(s (cos(m1 theta_y + m2) - m3)) / ( the same + sum_{j != y} exp(s cos theta_j) ) )``

    (m1, m2, m3) = (1, 0.5, 0) is ArcFace, (1, 0, 0.35) CosFace, (m, 0, 0) a normalised SphereFace with any real m;
    (1, 0.3, 0.2) and (0.9, 0.4, 0.15) are mixtures that the ArcFace paper tries.

    Where ``m1 theta + m2`` passes pi the target goes on as ``cos theta`` less a constant, so that it never rises with
    theta: with ``continuous`` the constant ``1 + cos((pi - m2) / m1)`` leaves no jump, ``published`` takes
    ``m2 sin m2`` where that is more.

    When to use: to tune between ArcFace and CosFace on a development set; (1, 0.3, 0.2) is a good middle.

    Args:
        embeddings: (B, D), of any length.
        centres: (C, D), of any length.
        labels: int64 (B,), 0 to C - 1.
        scale: s.
        m1: times the angle, above 0.
        m2: added to the angle, radians, 0 to pi/2.
        m3: taken from the cosine, 0 or more.
        gradient: ``true`` or ``straight-through``; see [arcface][].
        past_pi: ``published`` or ``continuous``.
        reduction: ``mean``, ``sum`` or ``none``.

    Returns:
        The loss in nats, float32 (float64 where the inputs are), also under autocast.

    Raises:
        InputError: shapes, labels or settings that do not fit.

    Source:
        Deng, Guo, Xue, Zafeiriou: ArcFace, CVPR 2019, section 2.3.
    """
    rule = CombinedMargin(m1, m2, m3, gradient=gradient, past_pi=past_pi)
    return margin_softmax(embeddings, centres, labels, rule, scale, reduction=reduction)


class CombinedFace(MarginSoftmax):
    """[combined_face][] with centres of its own."""

    def __init__(
        self,
        dim: int,
        classes: int,
        scale: float = 64.0,
        *,
        m1: float = 1.0,
        m2: float = 0.3,
        m3: float = 0.2,
        gradient: GradientMode = "true",
        past_pi: PastPi = "published",
        reduction: Reduction = "mean",
    ) -> None:
        rule = CombinedMargin(m1, m2, m3, gradient=gradient, past_pi=past_pi)
        super().__init__(dim, classes, rule, scale, reduction=reduction)
