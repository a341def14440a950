"""Faces followed from frame to frame: by where they are, and by what they look like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mien.detect.boxes import overlaps
from mien.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.types import Faces, Floats

__all__ = ["Track", "Tracker"]


@dataclass(slots=True, eq=False)
class Track:
    """One face, as long as it was followed.

    Attributes:
        id: 1, 2, 3, ... in order of appearance.
        seen: how often.
        times: when, in seconds; the last `history` times.
        boxes: (x0, y0, x1, y1) each of these times.
        score: the best detection score it had.
        embedding: float32 (D,) mean of what it looked like, unit norm; empty without embeddings.
    """

    id: int
    seen: int = 0
    times: list[float] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    score: float = 0.0
    embedding: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    _sum: Floats = field(default_factory=lambda: np.zeros(0, np.float32))

    def _seen(self, time: float, box: Floats, score: float, vector: Floats, history: int | None) -> None:
        x0, y0, x1, y1 = box.tolist()
        self.times.append(time)
        self.boxes.append((x0, y0, x1, y1))
        self.seen += 1
        if history is not None:
            del self.times[:-history], self.boxes[:-history]
        self.score = max(self.score, score)
        self._sum = self._sum + vector if len(self._sum) else vector.astype(np.float32)
        length = float(np.linalg.norm(self._sum))
        self.embedding = self._sum / length if length > 0 else self._sum


class Tracker:
    """Gives the faces of successive frames to tracks. Belongs to one thread.

    A face goes to the track whose last box it overlaps most; where it overlaps none (fast movement, a cut), to the one
    that looks like it. Two faces of one frame never share a track. A new shot of the same person within `patience`
    goes on with the track, if embeddings are given.

    Args:
        overlap: least intersection over union of a box with a track's last one.
        alike: least cosine of a face with a track it does not overlap; and of one it does overlap, less `slack`, so
            that somebody who steps into another's place begins a track of their own. The model's threshold for
            verification suits.
        slack: see `alike`.
        patience: seconds after which a track that was not seen has ended.
        history: how many times and boxes each track keeps, at least 1; None for all.
    """

    def __init__(
        self, *, overlap: float = 0.3, alike: float | None = None, slack: float = 0.1, patience: float = 1.0,
        history: int | None = None,
    ) -> None:  # fmt: skip
        if not 0 < overlap <= 1 or (alike is not None and not -1 <= alike <= 1) or not patience >= 0:
            raise InputError(f"tracker: expected 0 < overlap <= 1, a cosine and patience >= 0, got {overlap}, {alike}")
        if history is not None and history < 1:
            raise InputError(f"tracker: history: expected at least 1, got {history}")
        self._history = history
        self._overlap, self._alike, self._slack, self._patience = overlap, alike, slack, patience
        self.tracks: list[Track] = []
        self._live: list[Track] = []

    def update(self, time: float, faces: Faces, embeddings: Floats | None = None) -> list[Track]:
        """Take the faces of the next frame; returns the track of each.

        Args:
            time: seconds; later than the frame before.
            faces: N faces.
            embeddings: float32 (N, D) of unit norm, or None.
        """
        n = len(faces)
        vectors = np.zeros((n, 0), np.float32) if embeddings is None else embeddings
        self._live = [track for track in self._live if time - track.times[-1] <= self._patience]
        found: list[Track | None] = [None] * n
        for face, track in _best_first(self._scores(faces, vectors)):
            if found[face] is None and self._live[track] not in found:
                found[face] = self._live[track]
        result: list[Track] = []
        for i in range(n):
            track_of = found[i]
            if track_of is None:
                track_of = Track(len(self.tracks) + 1)
                self.tracks.append(track_of)
                self._live.append(track_of)
            track_of._seen(time, faces.boxes[i], float(faces.scores[i]), vectors[i], self._history)
            result.append(track_of)
        return result

    def _scores(self, faces: Faces, vectors: Floats) -> NDArray[np.float64]:
        """(N, T) how well each face fits each live track; -inf where it must not go there. Overlap beats likeness."""
        live = self._live
        if not live or not len(faces):
            return np.zeros((len(faces), 0))
        boxes = np.array([track.boxes[-1] for track in live], np.float32)
        overlap = overlaps(faces.boxes, boxes)
        score = np.where(overlap >= self._overlap, 1 + overlap, -np.inf)
        if self._alike is not None and vectors.shape[1]:
            cosine = vectors @ np.stack([track.embedding for track in live]).T
            score = np.where(score > 0, np.where(cosine >= self._alike - self._slack, score + cosine, -np.inf), score)
            score = np.where((score < 0) & (cosine >= self._alike), cosine - 1, score)
        return score


def _best_first(scores: NDArray[np.float64]) -> list[tuple[int, int]]:
    flat = np.argsort(-scores, axis=None, kind="stable")
    face, track = np.unravel_index(flat, scores.shape)
    return [(int(i), int(j)) for i, j in zip(face, track, strict=True) if scores[i, j] > -np.inf]
