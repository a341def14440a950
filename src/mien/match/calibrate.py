"""Making a calibration from measured scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.match.calibration import Calibration, OperatingPoint, ScoreSpread
from mien.match.rates import MIN_FALSE_MATCHES, check_rate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike

    from mien.types import ModelIdentity

__all__ = ["calibrate"]

RATES = tuple(float(f"{m}e{e}") for e in range(-1, -9, -1) for m in (1, 0.5, 0.2))
"""False match rates of a table: three a decade."""


def calibrate(
    identity: ModelIdentity,
    *,
    genuine: ArrayLike,
    impostor: ArrayLike,
    made_on: str,
    date: str,
    provisional: bool = True,
    rates: Iterable[float] = RATES,
) -> Calibration:
    """Make a calibration from measured scores.

    The threshold of a rate is the smallest one at which the share of impostor pairs that score at or above it does not
    exceed the rate.

    Args:
        identity: the model that made the embeddings.
        genuine: (G,) cosines of pairs of one person.
        impostor: (I,) cosines of pairs of different people.
        made_on: the data, in words.
        date: YYYY-MM-DD.
        provisional: whether the data is development data only.
        rates: false match rates of the table; those that allow not even one of the impostor pairs are left out.

    Raises:
        InputError: too few scores, or a score that is not finite.
    """
    same, other = (np.sort(np.asarray(s, np.float64).ravel()) for s in (genuine, impostor))
    if not len(same) or len(other) < 2 * MIN_FALSE_MATCHES or not np.isfinite([same.sum(), other.sum()]).all():
        raise InputError(
            f"calibration: expected finite scores, at least 1 genuine and {2 * MIN_FALSE_MATCHES} impostor, "
            f"got {len(same)} and {len(other)}"
        )
    table = []
    for fmr in sorted({check_rate("rates", r) for r in rates}, reverse=True):
        allowed = int(fmr * len(other) * (1 + 1e-12))  # impostor pairs that may pass; 0.3 * 10 is 3, not 2.99...
        if not allowed:
            break
        threshold = float(np.nextafter(other[-allowed - 1], 2.0))  # just above the first that may not
        tar = 1 - np.searchsorted(same, threshold, side="left") / len(same)
        table.append(OperatingPoint(fmr, threshold, float(tar), allowed >= MIN_FALSE_MATCHES))
    return Calibration(
        model=identity.name,
        preset=identity.preset,
        sha256=identity.sha256,
        provisional=provisional,
        made_on=made_on,
        date=date,
        genuine=_spread(same),
        impostor=_spread(other),
        table=tuple(table),
    )


def _spread(scores: np.ndarray[tuple[int], np.dtype[np.float64]]) -> ScoreSpread:
    return ScoreSpread(len(scores), float(scores.mean()), float(scores.std(ddof=1)) if len(scores) > 1 else 0.0)
