"""Presentation attacks: how many are taken for a live face, and how many live faces are taken for an attack.

Scores are higher for live faces; a score at or above the threshold passes. Error rates are counted for each attack type
on its own, and the worst type speaks for all: an attacker chooses the type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.intervals import Rate
from mien.evaluate.metrics.scores import flat_float32
from mien.evaluate.metrics.thresholds import float32_at_least, smallest_threshold
from mien.match.calibration import check_rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from mien.types import Floats

__all__ = ["BpcerAtApcer", "LivenessRates", "bpcer_at_apcer", "liveness_rates"]


@dataclass(frozen=True, slots=True)
class LivenessRates:
    """Error rates at one threshold.

    Attributes:
        threshold: scores at or above it pass as live.
        bpcer: bona fide presentations that are refused.
        apcer: attacks that pass, by type.
    """

    threshold: float
    bpcer: Rate
    apcer: Mapping[str, Rate]

    @property
    def worst(self) -> str:
        """The attack type with the highest APCER; the first by name of several."""
        return min(self.apcer, key=lambda name: (-(self.apcer[name].value or 0.0), name))

    @property
    def acer(self) -> float:
        """Mean of the worst type's APCER and of BPCER."""
        return ((self.apcer[self.worst].value or 0.0) + (self.bpcer.value or 0.0)) / 2


@dataclass(frozen=True, slots=True)
class BpcerAtApcer:
    """BPCER where no attack type passes more often than stated.

    Attributes:
        target: the stated APCER.
        rates: all rates at the smallest such threshold.
        sufficient: whether every type has at least 1 / `target` attacks.
    """

    target: float
    rates: LivenessRates
    sufficient: bool


def liveness_rates(bona_fide: ArrayLike, attacks: Mapping[str, ArrayLike], threshold: float) -> LivenessRates:
    """APCER of each attack type, and BPCER, at a threshold.

    Args:
        bona_fide: scores of live faces.
        attacks: attack type -> scores.
        threshold: scores at or above it pass as live.

    Raises:
        InputError: no live face, no attack type, a type without attacks, or a number that is not finite.

    Source:
        ISO/IEC 30107-3:2023.

    >>> liveness_rates([0.9, 0.4], {"print": [0.1, 0.2], "replay": [0.6, 0.2]}, 0.5).acer
    0.5
    """
    live, types = _checked(bona_fide, attacks)
    least = float32_at_least(threshold)
    return LivenessRates(
        threshold=float(threshold),
        bpcer=Rate(int(np.searchsorted(live, least)), len(live)),
        apcer={name: Rate(len(s) - int(np.searchsorted(s, least)), len(s)) for name, s in types.items()},
    )


def bpcer_at_apcer(bona_fide: ArrayLike, attacks: Mapping[str, ArrayLike], apcer: float) -> BpcerAtApcer:
    """BPCER at the smallest threshold at which no attack type's APCER exceeds `apcer`.

    Raises:
        InputError: as `liveness_rates`, or `apcer` does not lie between 0 and 1.
    """
    apcer = check_rate("apcer", apcer)
    live, types = _checked(bona_fide, attacks)
    threshold = max(smallest_threshold(scores, apcer) for scores in types.values())
    enough = all(apcer * len(scores) * (1 + 1e-12) >= 1 for scores in types.values())
    return BpcerAtApcer(apcer, liveness_rates(live, types, threshold), enough)


def _checked(bona_fide: ArrayLike, attacks: Mapping[str, ArrayLike]) -> tuple[Floats, dict[str, Floats]]:
    if not attacks:
        raise InputError("liveness: expected at least one attack type")
    every = {"bona fide": bona_fide, **{f"attack {name!r}": scores for name, scores in attacks.items()}}
    ordered = []
    for name, scores in every.items():
        values = np.sort(flat_float32(name, scores))
        if not len(values) or not np.isfinite(values[[0, -1]]).all():
            raise InputError(f"liveness, {name}: expected at least one score, all finite, got {len(values)}")
        ordered.append(values)
    return ordered[0], dict(zip(attacks, ordered[1:], strict=True))
