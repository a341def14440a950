"""Exact search from estimates with a proven error, in numpy: the small galleries' way, and the base install's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.gallery.search.ranking import exact_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.gallery.records import Ids
    from mien.gallery.search.ranking import Ranking
    from mien.types import Floats

__all__ = ["float_margin", "sift"]

_FEW = 64  # rows read in full before the first bar is known
_AT_ONCE = 8192  # rows read in full in one step


def float_margin(dimension: int) -> float:
    """How wrong a float32 product of unit vectors can be, whatever the order of its sums (Higham 2002, section 3.1)."""
    steps = (dimension + 2) * 2.0**-24
    return steps / (1 - steps) * 1.03  # rows and probes are unit vectors within one percent


def sift(
    ranking: Ranking,
    estimates: Floats,
    margin: Floats | float,
    *,
    first: int,
    rows: Floats,
    owners: Ids,
    probe: Floats,
    allowed: NDArray[np.bool_] | None,
) -> None:
    """Offer to `ranking` every row that its estimate leaves a chance.

    Args:
        ranking: of this probe.
        estimates: float32 (n,), of rows first, first + 1, ...; used up.
        margin: float32 (n,) or one number, the largest error of each.
        first: row of the first estimate.
        rows: float32 (N, D), the truth; float32 unit vectors.
        owners: int64 (N,).
        probe: float32 (D,).
        allowed: bool, False for rows to pass over; rows behind its end are allowed. None for all.
    """
    estimates += margin
    if allowed is not None:
        known = allowed[first : first + len(estimates)]
        estimates[: len(known)][~known] = -np.inf
    left = np.flatnonzero(estimates >= ranking.bar) if ranking.bar > -np.inf else None
    if left is None:  # the likeliest first: they set a bar that spares most others
        few = min(_FEW, len(estimates))
        likely = np.argpartition(estimates, len(estimates) - few)[len(estimates) - few :]
        likely = likely[estimates[likely] > -np.inf]
        _read(ranking, likely + first, rows, owners, probe)
        estimates[likely] = -np.inf
        left = np.flatnonzero(estimates >= ranking.bar)
    left = left[estimates[left] > -np.inf]
    for start in range(0, len(left), _AT_ONCE):
        part = left[start : start + _AT_ONCE]
        _read(ranking, part[estimates[part] >= ranking.bar] + first, rows, owners, probe)


def _read(ranking: Ranking, row: Ids, rows: Floats, owners: Ids, probe: Floats) -> None:
    if len(row):
        row = np.sort(row)  # in the order of memory
        ranking.offer(exact_scores(rows[row], probe), row, owners[row])
