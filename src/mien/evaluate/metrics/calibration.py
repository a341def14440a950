"""From scores to log-likelihood ratios, and how much such ratios are worth.

A log-likelihood ratio (natural logarithm) says how much more often a score arises from one person than from two. Unlike
a threshold it does not assume how likely either was beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.curves import roc_points
from mien.evaluate.metrics.scores import chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from mien.evaluate.metrics.scores import ScoreSet
    from mien.types import Floats

__all__ = ["IsotonicLlr", "LogisticLlr", "cllr", "isotonic_llr", "logistic_llr", "min_cllr"]

_STEPS = 200
_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class IsotonicLlr:
    """A rising staircase from scores to log-likelihood ratios. Immutable, so safe to share between threads.

    Attributes:
        edges: (B,) float32, rising: where each step begins; scores below the first belong to the first step.
        values: (B,) float64, rising: the log-likelihood ratio on each step.
    """

    edges: Floats
    values: NDArray[np.float64]

    def __call__(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Log-likelihood ratios of scores of any shape; NaN stays NaN."""
        given = np.asarray(scores, np.float32)
        step = np.maximum(np.searchsorted(self.edges, given, side="right") - 1, 0)
        return np.asarray(np.where(np.isnan(given), np.nan, self.values[step]))


@dataclass(frozen=True, slots=True)
class LogisticLlr:
    """Log-likelihood ratio = slope x score + offset."""

    slope: float
    offset: float

    def __call__(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Log-likelihood ratios of scores of any shape."""
        return np.asarray(np.asarray(scores, np.float64) * self.slope + self.offset)


def isotonic_llr(scores: ScoreSet, *, bounded: bool = True) -> IsotonicLlr:
    """Fit the best rising function from scores to log-likelihood ratios (pool adjacent violators).

    The pools are the segments of the ROC's upper convex hull, so only the vertices of the ROC are visited.

    Args:
        scores: the scores.
        bounded: add one genuine pair below and one impostor pair above all scores, so that no ratio is infinite.

    Source:
        N. Brummer and J. du Preez, "Application-independent evaluation of speaker detection", 2006; and "The PAV
        algorithm optimizes binary proper scoring rules", 2013.
    """
    edges, genuine, impostor = _pools(scores, bounded=bounded)
    with np.errstate(divide="ignore"):
        values = np.log(genuine / genuine.sum()) - np.log(impostor / impostor.sum())
    return IsotonicLlr(edges, values)


def min_cllr(scores: ScoreSet) -> float:
    """The least `cllr` that any rising function of the scores can reach: what is lost to discrimination alone."""
    _, genuine, impostor = _pools(scores, bounded=False)
    share_g, share_i = genuine / genuine.sum(), impostor / impostor.sum()
    whole = share_g + share_i

    def loss(share: NDArray[np.float64]) -> float:
        seen = share > 0
        return math.fsum(share[seen] * np.log2(whole[seen] / share[seen]))

    return (loss(share_g) + loss(share_i)) / 2


def cllr(scores: ScoreSet, to_llr: Callable[[Floats], NDArray[np.float64]] | None = None) -> float:
    """Cost of log-likelihood ratios: 0 for perfect ones, 1 for those that say nothing, more for those that mislead.

    Args:
        scores: scores, or log-likelihood ratios.
        to_llr: what turns the scores into log-likelihood ratios; None where they already are. Called a chunk at a time.

    Raises:
        InputError: a ratio is NaN.

    Source:
        N. Brummer and J. du Preez, "Application-independent evaluation of speaker detection", 2006, Cllr.
    """

    def loss(values: Floats, sign: int) -> float:
        parts = []
        for part in chunks(values):
            llr = np.asarray(part if to_llr is None else to_llr(part), np.float64)
            if np.isnan(llr).any():
                raise InputError("cllr: expected log-likelihood ratios, got NaN")
            parts.append(float(np.logaddexp(0, -sign * llr).sum()))
        return math.fsum(parts) / len(values) / math.log(2) if math.inf not in parts else math.inf

    return (loss(scores.genuine, 1) + loss(scores.impostor, -1)) / 2


def logistic_llr(scores: ScoreSet) -> LogisticLlr:
    """Fit slope and offset by logistic regression in which both classes weigh the same (Newton's method).

    Raises:
        InputError: the classes do not overlap, so that no steepest slope exists, or all scores are equal.

    Source:
        N. Brummer et al., "Fusion of heterogeneous speaker recognition systems", 2007.
    """
    genuine, impostor = scores.genuine, scores.impostor
    if genuine[0] >= impostor[-1] or impostor[0] >= genuine[-1]:
        raise InputError(
            "logistic fit: genuine and impostor scores do not overlap (or are all equal), so no best slope exists; "
            "use isotonic_llr()"
        )
    low, high = float(min(genuine[0], impostor[0])), float(max(genuine[-1], impostor[-1]))
    centre, scale = (low + high) / 2, (high - low) / 2  # keeps Newton's matrix well conditioned
    point = _newton(np.zeros(2), [_Summed(v, sign, centre, scale) for v, sign in ((genuine, 1.0), (impostor, -1.0))])
    point = _newton(point, [_Each(v, sign, centre, scale) for v, sign in ((genuine, 1.0), (impostor, -1.0))])
    return LogisticLlr(float(point[0] / scale), float(point[1] - point[0] * centre / scale))


class _Each:
    """Standardised scores of one class, a chunk at a time, each with its weight; a class weighs a half."""

    def __init__(self, values: Floats, sign: float, centre: float, scale: float) -> None:
        self.values, self.sign, self.centre, self.scale = values, sign, centre, scale

    def __iter__(self) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64] | float]]:
        for part in chunks(self.values):
            yield (part.astype(np.float64) - self.centre) / self.scale, 0.5 / len(self.values)


class _Summed(_Each):
    """The same in a few thousand bins, each at its mean: where Newton's method starts when there are many scores."""

    def __iter__(self) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64] | float]]:
        bounds = np.linspace(self.values[0], self.values[-1], 4096, dtype=np.float32)
        starts = np.unique(np.searchsorted(self.values, bounds))
        counts = np.diff(starts, append=len(self.values))
        means = np.add.reduceat(self.values, starts, dtype=np.float64) / counts
        yield (means - self.centre) / self.scale, 0.5 * counts / len(self.values)


def _newton(point: NDArray[np.float64], classes: list[_Each] | list[_Summed]) -> NDArray[np.float64]:
    cost, slope, bend = _logistic(point, classes)
    for _ in range(_STEPS):
        if np.abs(slope).max() < _TOLERANCE:
            break
        move, step = -np.linalg.solve(bend, slope), 1.0
        after = _logistic(point + move, classes)
        while after[0] > cost + 1e-4 * step * float(slope @ move) + 1e-14 and step > 1e-6:
            step /= 2
            after = _logistic(point + step * move, classes)
        if step <= 1e-6 or (after[0] >= cost and np.abs(after[1]).max() >= np.abs(slope).max()):
            break  # rounding is all that is left
        point, (cost, slope, bend) = point + step * move, after
    return point


def _logistic(
    point: NDArray[np.float64], classes: list[_Each] | list[_Summed]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Mean cross-entropy with equally heavy classes, its gradient and its Hessian."""
    cost, slope, bend = 0.0, np.zeros(2), np.zeros((2, 2))
    for side in classes:
        for x, weight in side:
            margin = side.sign * (point[0] * x + point[1])
            small = np.exp(-np.abs(margin))  # never overflows
            loss = np.log1p(small) - np.minimum(margin, 0)
            wrong = np.where(margin >= 0, small, 1) / (1 + small) * weight
            curve = wrong / (1 + small) * np.where(margin >= 0, 1, small)
            cost += float((loss * weight).sum())
            slope -= side.sign * np.array([wrong @ x, wrong.sum()])
            cross = curve @ x
            bend += np.array([[(curve * x) @ x, cross], [cross, curve.sum()]])
    return cost, slope, bend


def _pools(scores: ScoreSet, *, bounded: bool) -> tuple[Floats, NDArray[np.float64], NDArray[np.float64]]:
    """Lower edge of each pool, rising, and how many genuine and impostor scores lie in it."""
    curve = roc_points(scores)
    x, y = curve.false_accepts.tolist(), curve.true_accepts.tolist()
    edges = curve.thresholds.tolist()
    if bounded:
        x, y, edges = [0, *(v + 1 for v in x), x[-1] + 1], [0, *y, y[-1] + 1], [math.inf, *edges, -math.inf]
    hull: list[int] = []
    for i in range(len(x)):  # the upper convex hull by a monotone chain, in whole numbers
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (x[b] - x[a]) * (y[i] - y[a]) < (y[b] - y[a]) * (x[i] - x[a]):
                break
            hull.pop()
        hull.append(i)
    at = np.array(hull)
    genuine, impostor = (np.diff(np.array(v, np.float64)[at])[::-1] for v in (y, x))
    return np.array(edges, np.float32)[at[1:]][::-1], genuine, impostor
