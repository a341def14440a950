"""The three stages of MTCNN as functions over a whole batch: no loop over candidates, few and large network runs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from mien.detect.boxes import Overlap, areas, nms, overlaps, squares

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mien.detect.mtcnn_pyramid import Pyramid
    from mien.types import Floats, Pixels

__all__ = ["Candidates", "Nets", "Settings", "output", "propose", "refine"]

CELL, STRIDE = 12, 2  # window and step of the proposal network, in pixels of its level
_RUN_PIXELS = 12_000  # pixels a run of the proposal network sees: its maps then stay in the cache
_PARTS = 16  # more small arrays than this, kept between large runs, would leave the heap full of holes
_SAME_FACE = 0.7  # IoU of two looks at one face
_DOUBT = 32  # power of the score that weighs a look: one at 0.9 counts a thirtieth of one at 1
_MEANS_AT_ONCE = 256  # bounds the matrix of faces against looks
_NEIGHBOURS = np.ones((3, 3), np.uint8)


class Nets(Protocol):
    """The three networks: uint8 RGB pixels in; face probabilities and offsets, in sides of the window, out."""

    def propose(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Probabilities (N, h, w) and offsets (N, h, w, 4) of every window of every picture."""
        ...

    def refine(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Probabilities (N,) and offsets (N, 4) of 24-pixel crops."""
        ...

    def output(self, pixels: Pixels) -> tuple[Floats, Floats, Floats]:
        """Probabilities (N,), offsets (N, 4) and landmarks (N, 5, 2), in sides, of 48-pixel crops."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What the stages are told.

    Attributes:
        thresholds: the least probability that passes each stage.
        nms: the largest overlaps of two candidates: within a level, across levels, after the second and third stage.
        max_candidates: how many candidates of one picture go on, the best first.
    """

    thresholds: tuple[float, float, float]
    nms: tuple[float, float, float, float]
    max_candidates: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes that may be faces.

    Attributes:
        pictures: (N,) index of the picture.
        boxes: float32 (N, 4) xyxy pixels of the picture.
        scores: float32 (N,) probabilities.
        landmarks: float32 (N, 5, 2) pixels; (N, 0, 2) before the last stage.
    """

    pictures: NDArray[np.intp]
    boxes: Floats
    scores: Floats
    landmarks: Floats

    @classmethod
    def of(cls, pictures: NDArray[np.intp], boxes: Floats, scores: Floats) -> Candidates:
        """Candidates without landmarks."""
        return cls(pictures, boxes, scores, np.zeros((len(boxes), 0, 2), np.float32))

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """Several sets as one."""
        if not parts:
            return cls.of(np.zeros(0, np.intp), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, keep: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Candidates:
        """The candidates at some indices or where a mask is true."""
        return Candidates(*(getattr(self, f.name)[keep] for f in fields(self)))

    def best(self, limit: int) -> Candidates:
        """At most `limit` candidates of each picture, those that score highest, in their present order."""
        counts = np.bincount(self.pictures)
        if counts.max(initial=0) <= limit:
            return self
        order = np.lexsort((-self.scores, self.pictures))
        rank = np.arange(len(order)) - (np.cumsum(counts) - counts)[self.pictures[order]]
        return self.take(np.sort(order[rank < limit]))

    def apart(self, overlap: float, *, smaller: bool = False) -> Candidates:
        """What suppression within each picture leaves; `smaller` measures overlap against the smaller box."""
        mode: Overlap = "min" if smaller else "union"
        return self.take(nms(self.boxes, self.scores, overlap, groups=self.pictures, mode=mode))


def propose(nets: Nets, pyramid: Pyramid, scales: Sequence[float], settings: Settings) -> Candidates:
    """First stage: slide the proposal network over every level of a pyramid.

    Args:
        nets: the networks.
        pyramid: the pictures; candidates name them by their place in it.
        scales: the levels to look at.
        settings: thresholds and limits.
    """
    found, levels = [], []
    for i, scale in enumerate(scales):
        level = pyramid.level(scale)
        windows: list[Candidates] = []
        for run in _runs(level.shape):
            windows.append(_windows(nets, level, run, settings.thresholds[0]))
            if len(windows) > _PARTS:
                windows = [Candidates.joined(windows).best(settings.max_candidates)]
        here = Candidates.joined(windows).best(settings.max_candidates)
        to_picture = np.array([pyramid.width / level.shape[2], pyramid.height / level.shape[1]], np.float32)
        found.append(Candidates.of(here.pictures, here.boxes * np.tile(to_picture, 2), here.scores))
        levels.append(here.pictures * len(scales) + i)
    every = Candidates.joined(found)
    if len(every):
        every = every.take(nms(every.boxes, every.scores, settings.nms[0], groups=np.concatenate(levels)))
    return every.apart(settings.nms[1]).best(settings.max_candidates)


def refine(nets: Nets, cut: Callable[[Candidates, int], Pixels], found: Candidates, settings: Settings) -> Candidates:
    """Second stage: look at each candidate again, in 24 x 24 pixels.

    Args:
        nets: the networks.
        cut: cuts the boxes of candidates out of their pictures, resized to a side.
        found: the candidates of all pictures.
        settings: thresholds and limits.
    """
    found = Candidates.of(found.pictures, squares(found.boxes), found.scores)
    scores, offsets = nets.refine(cut(found, 24))
    passed = np.flatnonzero(scores > settings.thresholds[1])
    # Suppress before moving the boxes: moved, several looks at one face fall together, and the best of them here is
    # not always the one that the last stage accepts.
    kept = nms(found.boxes[passed], scores[passed], settings.nms[2], groups=found.pictures[passed])
    passed = passed[kept]
    return Candidates.of(found.pictures[passed], _moved(found.boxes[passed], offsets[passed]), scores[passed])


def output(nets: Nets, cut: Callable[[Candidates, int], Pixels], found: Candidates, settings: Settings) -> Candidates:
    """Last stage: final boxes, scores and landmarks, from 48 x 48 pixels. Arguments as for `refine`.

    Several candidates usually pass for one face. The paper keeps the best and throws the others away; here box and
    landmarks are the weighted mean of all that overlap the best, which takes 40 % off the
    landmarks' jitter (LFW, small turns and shifts) at no cost.
    """
    found = Candidates.of(found.pictures, squares(found.boxes), found.scores)
    scores, offsets, points = nets.output(cut(found, 48))
    boxes = _moved(found.boxes, offsets)
    landmarks = found.boxes[:, None, :2] + points * (found.boxes[:, 2:] - found.boxes[:, :2])[:, None]
    passed = (scores > settings.thresholds[2]) & (areas(boxes) > 0)
    looks = Candidates(found.pictures, boxes, scores, landmarks).take(passed)
    best = looks.apart(settings.nms[3], smaller=True)
    return Candidates.joined(
        [_mean_looks(best.take(slice(i, i + _MEANS_AT_ONCE)), looks) for i in range(0, len(best), _MEANS_AT_ONCE)]
    )


def _mean_looks(best: Candidates, looks: Candidates) -> Candidates:
    """Faces at the weighted mean of all looks at them, with the score of the best look, which is one of them."""
    together = (overlaps(best.boxes, looks.boxes) > _SAME_FACE) & (best.pictures[:, None] == looks.pictures)
    weight = together * looks.scores**_DOUBT
    places = np.concatenate([looks.boxes, looks.landmarks.reshape(-1, 10)], axis=1)
    mean = weight @ places / weight.sum(axis=1, keepdims=True)
    return Candidates(best.pictures, mean[:, :4], best.scores, mean[:, 4:].reshape(-1, 5, 2))


def _greatest_near(scores: Floats) -> Floats:
    """The greatest score among each window of (N, h, w) and its eight neighbours."""
    if len(scores) == 1:
        return np.asarray(cv2.dilate(scores[0], _NEIGHBOURS))[None]
    rows = scores.copy()  # many small maps: few calls over all instead of one each
    np.maximum(rows[:, 1:], scores[:, :-1], out=rows[:, 1:])
    np.maximum(rows[:, :-1], scores[:, 1:], out=rows[:, :-1])
    both = rows.copy()
    np.maximum(both[:, :, 1:], rows[:, :, :-1], out=both[:, :, 1:])
    np.maximum(both[:, :, :-1], rows[:, :, 1:], out=both[:, :, :-1])
    return both


def _moved(boxes: Floats, offsets: Floats) -> Floats:
    """Boxes whose corners are moved by offsets given in their sides."""
    side = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(boxes + offsets * np.concatenate([side, side], axis=1))


def _runs(shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """How to share a level (n, h, w, 3) among runs: pictures and rows, overlapping by what the windows need."""
    count, height, width = shape[:3]
    at_once = _RUN_PIXELS // (height * width)
    if at_once:
        return [(slice(first, first + at_once), slice(0, height)) for first in range(0, count, at_once)]
    rows = max(4 * CELL, _RUN_PIXELS // width // STRIDE * STRIDE)
    step = rows - (CELL - STRIDE)  # the first window of a run follows the last of the run before
    tops = range(0, max(1, height - (CELL - STRIDE)), step)
    return [(slice(i, i + 1), slice(top, min(top + rows, height))) for i in range(count) for top in tops]


def _windows(nets: Nets, level: Pixels, run: tuple[slice, slice], threshold: float) -> Candidates:
    """The windows of one run that may hold a face, in level pixels, moved by their offsets."""
    scores, offsets = nets.propose(level[run])
    # Windows one step apart overlap by more than half, so that suppression would leave only the peaks of the map:
    # taking the peaks at once leaves a few boxes to compare instead of hundreds.
    picture, row, column = np.nonzero((scores > threshold) & (scores >= _greatest_near(scores)))
    corner = np.stack([column * STRIDE, row * STRIDE + run[1].start], axis=1).astype(np.float32)
    boxes = np.concatenate([corner, corner + CELL], axis=1) + CELL * offsets[picture, row, column]
    return Candidates.of(picture + run[0].start, boxes, scores[picture, row, column])
