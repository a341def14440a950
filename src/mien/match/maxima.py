"""A stranger's highest score with a gallery, measured by sampling who is enrolled and who is a stranger.

Scores are counted in steps of 2^-16, and a threshold is the lower end of a step: memory does not grow with the draws,
and the thresholds are the smallest ones on that grid that keep their rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.match.rates import check_rate
from mien.match.scores import similarity_blocks, unit_embeddings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from mien.types import Floats

__all__ = ["Maxima", "ScoreCounts", "largest_gallery", "sample_maxima"]

_STEPS: Final = 1 << 16  # in a unit of score
_MOST_STRANGERS: Final = 4096  # of one draw, and as many faces of its galleries, unless one larger gallery is wanted
_BLOCK_BYTES: Final = 16 << 20

LARGEST_SHARE: Final = 0.75
"""At most this share of the people is enrolled; the others are the strangers."""


class ScoreCounts:
    """How many scores lie at and above each step. Not thread-safe.

    Attributes:
        total: how many scores were counted.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(2 * _STEPS + 1, np.int64)
        self.total = 0

    def add(self, scores: Floats, *, times: int = 1) -> None:
        """Count float32 scores in [-1, 1], of any shape; `times` -1 takes them away again."""
        steps = np.floor(scores * np.float32(_STEPS)).astype(np.int32)  # exact: a power of two changes no digit
        steps += _STEPS
        self._counts += times * np.bincount(steps.ravel(), minlength=2 * _STEPS + 1)
        self.total += times * scores.size

    def passing(self, threshold: float) -> int:
        """How many scores lie at or above the step of `threshold`: no fewer than at or above `threshold`."""
        step = int(np.floor(threshold * _STEPS)) + _STEPS
        return int(self._counts[min(max(step, 0), 2 * _STEPS + 1) :].sum())

    def threshold(self, rate: float) -> float:
        """The smallest step that no more than a share `rate` of the scores reaches; just above 1 if all reach 1."""
        allowed = int(check_rate("rate", rate) * self.total * (1 + 1e-12))
        reached = np.cumsum(self._counts[::-1])[::-1]
        return (int(np.count_nonzero(reached > allowed)) - _STEPS) / _STEPS


class Maxima:
    """Highest scores of strangers, by gallery size.

    Attributes:
        counts: for each gallery size.
        draws: how many times it was drawn who is enrolled.
        faces_per_person: how many faces of a person were enrolled at most.
    """

    def __init__(self, sizes: Sequence[int], draws: int, faces_per_person: int) -> None:
        self.counts = {size: ScoreCounts() for size in sizes}
        self.draws, self.faces_per_person = draws, faces_per_person

    def threshold(self, *, fpir: float, gallery_size: int) -> float:
        """The smallest step that at most a share `fpir` of the strangers reaches."""
        return self.counts[gallery_size].threshold(fpir)

    def fpir(self, *, threshold: float, gallery_size: int) -> float:
        """The share of strangers who reach the step of `threshold`."""
        counts = self.counts[gallery_size]
        return counts.passing(threshold) / counts.total


def largest_gallery(pictures: ArrayLike, faces_per_person: int = 1) -> int:
    """The largest gallery that every draw can fill, from people with so many pictures each.

    >>> largest_gallery([1, 5, 1, 1]), largest_gallery([2, 2, 2, 2], 2)
    (3, 6)
    """
    faces = np.sort(np.minimum(pictures, faces_per_person))
    return int(faces[: int(LARGEST_SHARE * len(faces))].sum())


def sample_maxima(
    embeddings: ArrayLike,
    subjects: NDArray[np.int64],
    sizes: Sequence[int],
    *,
    draws: int = 100,
    seed: int = 0,
    faces_per_person: int = 1,
) -> Maxima:
    """Sample galleries and strangers.

    A draw puts the people in a random order and enrols the first half of them, or as many as a larger gallery needs;
    all others are strangers, each with one picture drawn from theirs, so that every stranger counts the same. The
    enrolled faces are cut into as many galleries of each size as they fill.

    Args:
        embeddings: (N, D) unit rows, one a picture.
        subjects: (N,) whose picture each is: numbers from 0 without gaps.
        sizes: gallery sizes, in faces; none larger than `largest_gallery` says.
        draws: how many times to draw.
        seed: of the draws.
        faces_per_person: enrol so many of a person's pictures (drawn anew each time) where there are as many.

    Raises:
        InputError: there are too few people for a size, or the numbers make no sense.

    Memory: some 50 MiB beside the embeddings, and 1 MiB a size.
    """
    rows = unit_embeddings(embeddings)
    order = np.argsort(subjects, kind="stable")
    rows, pictures = rows[order], np.bincount(subjects)
    if draws < 1 or faces_per_person < 1 or not len(sizes) or min(sizes) < 1:
        raise InputError("galleries: expected at least 1 draw, 1 face a person, and sizes of at least 1")
    if max(sizes) > (largest := largest_gallery(pictures, faces_per_person)):
        raise InputError(
            f"galleries: {len(pictures)} people fill galleries of at most {largest} faces, got {max(sizes)}"
        )
    found, rng = Maxima(sizes, draws, faces_per_person), np.random.default_rng(seed)
    starts, wanted = np.cumsum(pictures) - pictures, np.minimum(pictures, faces_per_person)
    for _ in range(draws):
        people = rng.permutation(len(pictures))
        held = np.cumsum(wanted[people])
        half = min(int(held[max(1, len(people) // 2) - 1]), _MOST_STRANGERS)
        taken = rng.random(len(rows))
        for group in _by_reach(sizes, half):
            enough = max(half, *group)
            enrolled = people[: int(np.searchsorted(held, enough)) + 1]
            strangers = people[len(enrolled) :][:_MOST_STRANGERS]
            gallery = rows[_drawn(enrolled, starts, pictures, wanted, taken)]
            probes = rows[_drawn(strangers, starts, pictures, np.ones_like(wanted), taken)]
            for _, block in similarity_blocks(probes, gallery, block_bytes=_BLOCK_BYTES):
                scores = np.clip(block, -1, 1, out=block)
                for size in group:
                    full = scores.shape[1] // size * size
                    found.counts[size].add(np.maximum.reduceat(scores[:, :full], np.arange(0, full, size), axis=1))
    return found


def _by_reach(sizes: Sequence[int], half: int) -> list[list[int]]:
    """Sizes that one draw of the enrolled serves: all that half of the people fill; each larger one on its own."""
    within = [size for size in sizes if size <= half]
    return [group for group in (within, *([size] for size in sizes if size > half)) if group]


def _drawn(
    people: NDArray[np.intp],
    starts: NDArray[np.int64],
    pictures: NDArray[np.int64],
    wanted: NDArray[np.int64],
    taken: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Rows of `people`, in their order: of each the `wanted` pictures whose random numbers are the lowest."""
    if (wanted[people] == 1).all():  # one each: no sorting
        return starts[people] + (taken[starts[people]] * pictures[people]).astype(np.int64)
    parts = (
        start + np.argpartition(taken[start : start + n], k - 1)[:k]
        for start, n, k in zip(starts[people], pictures[people], wanted[people], strict=True)
    )
    return np.concatenate(list(parts))
