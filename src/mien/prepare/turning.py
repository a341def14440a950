"""Which way up a video is: decided once for the clip, by votes over frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.types import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.recognizer import Recognizer
    from mien.types import Faces, Pixels
    from mien.video import Video

__all__ = ["clip_turns", "turned", "votes"]

SAMPLES = 12  # frames that vote
_VOTES = 0.5  # evidence from which a frame has a vote: one good face


def clip_turns(video: Video, recognizer: Recognizer, *, samples: int = SAMPLES) -> int:
    """Quarter turns counter-clockwise that make a clip upright, 0 to 3.

    Frames spread over the clip are searched in all four directions. Each frame in which faces are found votes for the
    direction in which they are found best; the most votes win, and 0 does where there are none.

    Raises:
        InputError: no frame can be decoded.
    """
    every = (video.duration or 0.0) / samples
    pictures = [frame.pixels for frame, _ in zip(video.frames(every=every), range(samples), strict=False)]
    ways = [Image(turned(pixels, turns)) for pixels in pictures for turns in range(4)]
    found = [analysis.faces for analysis in recognizer.analyze(ways, embed=False)]
    return votes([found[i : i + 4] for i in range(0, len(found), 4)])


def votes(found: Sequence[Sequence[Faces]]) -> int:
    """The direction most frames are for.

    Args:
        found: for each frame, the faces found after 0, 1, 2 and 3 quarter turns.
    """
    count = np.zeros(4)
    for ways in found:
        sure = np.array([_upright_confidence(faces) for faces in ways])
        if sure.max() >= _VOTES:
            count[int(sure.argmax())] += 1
    return int(count.argmax())


def turned(pixels: Pixels, turns: int) -> Pixels:
    """The picture after quarter turns counter-clockwise."""
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns % 4 else pixels


def _upright_confidence(faces: Faces) -> float:
    """How surely there are upright faces: confidences, weighted by how far the eyes stand above the mouth.

    A detector that is only just sure finds faces in shop windows and bushes too, whichever way up they are: confidences
    count by how far they stand above 0.9.
    """
    if not len(faces):
        return 0.0
    points = faces.landmarks
    down = points[:, 3:].mean(1) - points[:, :2].mean(1)
    upright = down[:, 1] / np.maximum(np.hypot(down[:, 0], down[:, 1]), 1e-6)
    sure = np.clip((faces.scores - 0.9) / 0.1, 0, 1)
    return float(((sure * np.clip(upright, 0, 1)) ** 2).sum())
