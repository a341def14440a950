"""The scores of a verification experiment: checked, sorted once, and read by every metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.thresholds import float32_at_least

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from mien.types import Floats

__all__ = ["Invalid", "ScoreHistogram", "ScoreSet", "histogram", "score_set", "split_scores"]

Invalid: TypeAlias = Literal["refuse", "exclude"]
"""What happens to a NaN or an infinite score: an error, or left out and counted."""

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class ScoreSet:
    """Scores of genuine and of impostor pairs. Make one with `score_set`.

    Immutable, so safe to share between threads.

    Attributes:
        genuine: (G,) float32, finite, ascending: pairs of one person.
        impostor: (I,) float32, finite, ascending: pairs of two people.
        excluded_genuine, excluded_impostor: how many scores were left out because they were NaN or infinite.

    Raises:
        InputError: at construction, when a class is empty, unsorted, or not finite.
    """

    genuine: Floats
    impostor: Floats
    excluded_genuine: int = 0
    excluded_impostor: int = 0

    def __post_init__(self) -> None:
        for name, values in (("genuine", self.genuine), ("impostor", self.impostor)):
            if values.ndim != 1 or values.dtype != np.float32:
                raise InputError(f"{name} scores: expected float32 (N,), got {values.dtype} {values.shape}")
            if not len(values):
                raise InputError(
                    f"scores: expected genuine and impostor ones, got {len(self.genuine)} genuine and "
                    f"{len(self.impostor)} impostor; error rates need both"
                )
            rising = all((part[1:] >= part[:-1]).all() for part in chunks(values, overlap=1))
            if not rising or not np.isfinite(values[[0, -1]]).all():
                raise InputError(f"{name} scores: expected finite numbers in ascending order; use score_set()")
            values.flags.writeable = False

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.genuine, self.impostor, self.excluded_genuine, self.excluded_impostor)


@dataclass(frozen=True, slots=True, eq=False)
class ScoreHistogram:
    """How many scores fall into each bin.

    Attributes:
        edges: (B + 1,) float32; a bin holds its lower edge, the last bin its upper one too.
        genuine, impostor: (B,) int64 counts.
    """

    edges: Floats
    genuine: NDArray[np.int64]
    impostor: NDArray[np.int64]


def score_set(
    genuine: ArrayLike, impostor: ArrayLike, *, invalid: Invalid = "refuse", in_place: bool = False
) -> ScoreSet:
    """Check and sort scores.

    Args:
        genuine: scores of pairs of one person, of any shape; higher is closer.
        impostor: scores of pairs of two people.
        invalid: what to do with NaN and infinite scores. They are never counted silently.
        in_place: sort the given arrays themselves (float32, contiguous) and keep them, instead of a copy.

    Returns:
        The scores as float32; numbers that float32 cannot tell apart become ties.

    Raises:
        InputError: not numbers, no finite score in a class, or an invalid score where they are refused.

    >>> score_set([0.9, 0.8], [0.1, float("nan")], invalid="exclude").excluded_impostor
    1
    """
    same, lost_same = _sorted("genuine", genuine, invalid, in_place)
    other, lost_other = _sorted("impostor", impostor, invalid, in_place)
    return ScoreSet(same, other, lost_same, lost_other)


def split_scores(scores: ArrayLike, same: ArrayLike, *, invalid: Invalid = "refuse") -> ScoreSet:
    """Check, split and sort scores that come with a label.

    Args:
        scores: (N,) scores.
        same: (N,) whether each is of a genuine pair: booleans, or 0 and 1.
        invalid: see `score_set`.

    Raises:
        InputError: as `score_set`, or the shapes differ.
    """
    values, is_same = np.asarray(scores), labels("same", same, np.shape(scores))
    return score_set(values[is_same], values[~is_same], invalid=invalid)


def histogram(scores: ScoreSet, bins: int | ArrayLike = 100) -> ScoreHistogram:
    """Histograms of both classes over the same bins; exact, and as quick for 87 million scores as for a hundred.

    Args:
        scores: the scores.
        bins: number of bins of equal width between the lowest and the highest score, or the rising edges.

    Raises:
        InputError: no bins, or edges that do not rise.
    """
    if isinstance(bins, int | np.integer):
        low = min(scores.genuine[0], scores.impostor[0])
        high = max(scores.genuine[-1], scores.impostor[-1])
        if low == high:  # one value only still gets bins around it
            low, high = low - np.float32(0.5), high + np.float32(0.5)
        edges = np.linspace(low, high, max(int(bins), 0) + 1, dtype=np.float32)
        edges[-1] = max(edges[-1], high)
    else:
        edges = np.asarray(bins, np.float32)
    if edges.ndim != 1 or len(edges) < 2 or not (edges[1:] > edges[:-1]).all():
        raise InputError("histogram: expected at least one bin, with rising edges that float32 can tell apart")
    inner = [float32_at_least(float(edge)) for edge in edges[:-1]]

    def count(values: Floats) -> NDArray[np.int64]:
        at = [*np.searchsorted(values, np.array(inner)), np.searchsorted(values, edges[-1], side="right")]
        return np.asarray(np.diff(at), np.int64)

    return ScoreHistogram(edges, count(scores.genuine), count(scores.impostor))


def labels(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Booleans of a stated shape, from booleans or from 0 and 1; raises InputError."""
    array = np.asarray(value)
    if array.shape != shape or array.ndim != 1:
        raise InputError(f"{name}: expected one label a score, got shape {array.shape} for scores of shape {shape}")
    if array.dtype != np.bool_ and (array.dtype.kind not in "iu" or not np.isin(array, (0, 1)).all()):
        raise InputError(f"{name}: expected booleans, or 0 and 1, got {array.dtype}")
    return array.astype(np.bool_)


def chunks(values: Floats, *, overlap: int = 0) -> Iterator[Floats]:
    """Views of consecutive parts, each beginning with the last `overlap` numbers of the one before."""
    for start in range(0, len(values), _CHUNK):
        yield values[max(0, start - overlap) : start + _CHUNK]


def flat_float32(name: str, value: ArrayLike) -> Floats:
    """A new flat float32 array, or the same one where it already is flat, contiguous float32; raises InputError."""
    try:
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and is then refused or counted
            return np.ascontiguousarray(value, dtype=np.float32).reshape(-1)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} scores: expected numbers, got {type(value).__name__}: {error}") from error


def _sorted(name: str, value: ArrayLike, invalid: Invalid, in_place: bool) -> tuple[Floats, int]:
    values = flat_float32(name, value)
    if not in_place and isinstance(value, np.ndarray) and np.shares_memory(values, value):
        values = values.copy()
    values.sort()  # NaN goes last
    low = int(np.searchsorted(values, np.float32(-np.inf), side="right"))
    high = int(np.searchsorted(values, np.float32(np.inf), side="left"))
    lost = len(values) - (high - low)
    if lost and invalid == "refuse":
        raise InputError(f"{name} scores: {lost} of {len(values)} are NaN or infinite; exclude them or mend the source")
    return values[low:high], lost
