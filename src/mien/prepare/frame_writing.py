"""What `frames` keeps of a clip: faces cut out and written; no near duplicates, nothing that never surely was one."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.images import ARCFACE_112, aligned_crops, loose_crops, save
from mien.images.fingerprint import bit_distance, fingerprint
from mien.quality import measure_quality
from mien.types import Image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Set
    from pathlib import Path

    from numpy.typing import NDArray

    from mien.prepare.clips import FrameOptions
    from mien.types import Face, Faces, Pixels

__all__ = ["FrameRecord", "FrameWriter"]

_KEPT: Final = 0
_NEAR, _WORSE, _SMALL, _UNSURE = 1, 2, 3, 4
_WHY: Final = {
    _NEAR: "nearly the same as the one before",
    _WORSE: "there are better ones of this face",
    _SMALL: "too small",
    _UNSURE: "never surely a face",
}
# A camera's day has a million faces: 77 bytes each.
_ROW: Final = np.dtype([
    ("time", "f8"), ("track", "u4"), ("box", "f4", 4), ("landmarks", "f4", (5, 2)), ("score", "f4"), ("quality", "f4"),
    ("fate", "u1"),
])  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class FrameRecord:
    """What was seen in a clip, and what became of it.

    Attributes:
        kept: rows of what has a picture, by track and time.
        dropped: rows of what has none, by time.
    """

    kept: NDArray[np.void]
    dropped: NDArray[np.void]

    def reasons(self) -> Counter[str]:
        """How many were dropped, and why."""
        return Counter(
            {why: count for fate, why in _WHY.items() if (count := int((self.dropped["fate"] == fate).sum()))}
        )

    def pictures(self, most: int) -> Iterator[list[dict[str, Any]]]:
        """The pictures as they stand in the manifest, so many at a time."""
        for i in range(0, len(self.kept), most):
            yield [{"file": _file(row), **_place(row)} for row in self.kept[i : i + most]]

    def left_out(self, most: int) -> Iterator[list[dict[str, Any]]]:
        """What has no picture, likewise."""
        for i in range(0, len(self.dropped), most):
            yield [{"reason": _WHY[int(row["fate"])], **_place(row)} for row in self.dropped[i : i + most]]


class FrameWriter:
    """Cuts faces out and writes them as they come; one for a clip. Belongs to one thread.

    Args:
        folder: the clip's.
        options: see `FrameOptions`.
    """

    def __init__(self, folder: Path, options: FrameOptions) -> None:
        self._folder, self._options = folder, options
        self._last: dict[int, int] = {}  # track -> fingerprint of the last picture kept
        self._best: dict[int, list[int]] = {}  # track -> rows of its pictures so far, where only the best stay
        self._rows, self._count = np.zeros(64, _ROW), 0

    def take(self, time: float, pixels: Pixels, faces: Faces, tracks: Sequence[int]) -> None:
        """The next frame, upright; `tracks` says of each face which one it is."""
        if self._options.whole:
            self._keep(self._noted(time), pixels)
            return
        if not len(faces):
            return
        qualities = [quality.score for quality in measure_quality(pixels, faces)]
        for i, (crop, track, quality) in enumerate(zip(self._cut(pixels, faces), tracks, qualities, strict=True)):
            face = faces[i]
            row = self._noted(time, track, face, quality)
            if min(face.width, face.height) < self._options.least:
                self._rows[row]["fate"] = _SMALL
            else:
                self._keep(row, crop)

    def finish(self, sure: Set[int]) -> FrameRecord:
        """Everything that was seen.

        Args:
            sure: the tracks of what surely was a face; the pictures of others are removed.
        """
        rows = self._rows[: self._count]
        unsure = (rows["track"] > 0) & ~np.isin(rows["track"], np.fromiter(sure, np.uint32, len(sure)))
        for row in np.flatnonzero(unsure).tolist():
            self._remove(row, _UNSURE)
        has_picture = rows["fate"] == _KEPT
        kept = rows[has_picture]
        return FrameRecord(kept[np.lexsort((kept["time"], kept["track"]))], rows[~has_picture])

    def _cut(self, pixels: Pixels, faces: Faces) -> Sequence[Pixels]:
        side = (self._options.size, self._options.size)
        if self._options.align:
            return list(aligned_crops(pixels, faces, ARCFACE_112, (112, 112), size=side, margin=self._options.margin))
        return loose_crops(pixels, faces, size=side, margin=self._options.margin)

    def _noted(self, time: float, track: int = 0, face: Face | None = None, quality: float = 0.0) -> int:
        """A row more: a face, or a whole frame (track 0)."""
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        row = self._rows[self._count]
        row["time"], row["track"], row["quality"] = round(time, 6), track, quality
        if face is not None:
            row["box"], row["landmarks"], row["score"] = face.box, face.landmarks, face.score
        self._count += 1
        return self._count - 1

    def _keep(self, row: int, pixels: Pixels) -> None:
        """Write a picture, unless it is nearly the last one; of each face the best, where only they are wanted."""
        track = int(self._rows[row]["track"])
        mark = fingerprint(pixels)
        last = self._last.get(track)
        if last is not None and int(bit_distance(last, mark)) <= self._options.near:
            self._rows[row]["fate"] = _NEAR
            return
        self._last[track] = mark
        place = self._folder / _file(self._rows[row])
        place.parent.mkdir(parents=True, exist_ok=True)
        save(Image(pixels), place, quality=95)
        if self._options.sample == "quality" and track:
            best = self._best.setdefault(track, [])
            best.append(row)
            if len(best) > self._options.best:
                worst = min(best, key=lambda i: float(self._rows[i]["quality"]))
                best.remove(worst)
                self._remove(worst, _WORSE)

    def _remove(self, row: int, why: int) -> None:
        if self._rows[row]["fate"] == _KEPT:
            place = self._folder / _file(self._rows[row])
            place.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others of this face are still there
                place.parent.rmdir()
        self._rows[row]["fate"] = why


def _file(row: np.void) -> str:
    """The picture, relative to the clip's folder."""
    name = f"{row['time']:09.3f}s.jpg"
    return f"face-{row['track']:04d}/{name}" if row["track"] else name


def _place(row: np.void) -> dict[str, Any]:
    """Where and what was seen; of a whole frame the time alone."""
    if not row["track"]:
        return {"time": float(row["time"])}
    return {
        "time": float(row["time"]),
        "track": int(row["track"]),
        "box": [round(float(v), 2) for v in row["box"]],
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in row["landmarks"]],
        "score": round(float(row["score"]), 4),
        "quality": round(float(row["quality"]), 4),
    }
