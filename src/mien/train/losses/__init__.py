"""Every loss of the field as a pure function, and as a thin module that keeps its settings and centres.

All calculate in float32 (float64 where the inputs are), also under bf16/fp16 autocast; never change what they are
given; refuse labels out of range; and have finite gradients at zero vectors, at cosines of exactly 1 and -1, and past
pi.
[mien.train.losses.margins][] holds the margins as parts, for [mien.train.heads][].
"""

from __future__ import annotations

from mien.train.losses.adaptive import AdaFace, CurricularFace, MagFace, adaface, curricularface, magface
from mien.train.losses.additive import ArcFace, CombinedFace, CosFace, arcface, combined_face, cosface
from mien.train.losses.composed import ArcFaceTriplet, SubCenterArcFace, arcface_triplet, sub_center_arcface
from mien.train.losses.integer import LSoftmax, SphereFace, annealed_lambda, l_softmax, sphereface
from mien.train.losses.margin_softmax import MarginSoftmax, margin_logits, margin_softmax
from mien.train.losses.margins import (
    AdaptiveMargin,
    CombinedMargin,
    CurricularMargin,
    IntegerMargin,
    MagnitudeMargin,
    Margin,
)
from mien.train.losses.mining import Triplets, all_pairs, batch_all, batch_hard, semi_hard
from mien.train.losses.pairs import Contrastive, contrastive
from mien.train.losses.plain import CenterSoftmax, Softmax, center, moved_centers, softmax
from mien.train.losses.triplets import HarmonicTriplet, Triplet, harmonic_triplet, triplet, triplet_of

__all__ = [
    "AdaFace",
    "AdaptiveMargin",
    "ArcFace",
    "ArcFaceTriplet",
    "CenterSoftmax",
    "CombinedFace",
    "CombinedMargin",
    "Contrastive",
    "CosFace",
    "CurricularFace",
    "CurricularMargin",
    "HarmonicTriplet",
    "IntegerMargin",
    "LSoftmax",
    "MagFace",
    "MagnitudeMargin",
    "Margin",
    "MarginSoftmax",
    "Softmax",
    "SphereFace",
    "SubCenterArcFace",
    "Triplet",
    "Triplets",
    "adaface",
    "all_pairs",
    "annealed_lambda",
    "arcface",
    "arcface_triplet",
    "batch_all",
    "batch_hard",
    "center",
    "combined_face",
    "contrastive",
    "cosface",
    "curricularface",
    "harmonic_triplet",
    "l_softmax",
    "magface",
    "margin_logits",
    "margin_softmax",
    "moved_centers",
    "semi_hard",
    "softmax",
    "sphereface",
    "sub_center_arcface",
    "triplet",
    "triplet_of",
]
