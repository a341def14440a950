"""MTCNN, the default detector: three small networks, each of which looks closer at what the one before let through."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mien.detect.framing import framed, unframed
from mien.detect.mtcnn_nets import PackagedNets
from mien.detect.mtcnn_pyramid import Pyramid, scales_for
from mien.detect.mtcnn_stages import Candidates, Nets, Settings, output, propose, refine
from mien.errors import InputError
from mien.types import Faces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mien.models.session import Engine
    from mien.types import Pixels

__all__ = ["MTCNN"]

_SMALL_PICTURE = 320  # shorter side
_TIGHT = 0.2  # smallest face of the second look, as a share of the framed picture
_ROUND_PIXELS = 16_000_000  # pixels of small pictures that share one run of the later stages
_FINEST_LEVEL = 40_000_000  # pixels of the finest level; a larger one would mean faces too small for the picture


class MTCNN:
    """Finds upright faces and five landmarks on each. Safe to call from several threads at once.

    A batch costs less than its pictures one by one: pictures of one size go through the first network together, and
    all candidates of the batch go through the second and third together. Memory beyond the pictures is about 1.4 bytes
    per byte of picture plus a constant, whatever the pictures show.

    Args:
        min_face: side of the smallest face to find: pixels when 1 or more (at least 8), or a share of the picture's
            shorter side when less than 1. Time goes with 1 / min_face squared: 40 suits portraits, 20 group pictures,
            12 crowds (below 12 the picture is enlarged). None: 40 pixels in pictures whose shorter side has up to 320
            pixels, which are portraits and cut-outs, and 20 in larger ones. In pictures above 100 megapixels or so the
            smallest faces may be skipped.
        confidence: the least score of a face that is reported. On LFW 0.9 misses 1 of 7,151 pictures and 0.95 misses
            5; between 0.8 and 0.9 one box in four is no face in group pictures, between 0.9 and 0.95 one in 25.
        thresholds: the least probability that passes each of the three stages.
        tight: where nothing is found, look again for a face that fills the picture, with a black frame around it; a
            small fraction of the time of the first look at a large picture.
        factor: ratio of one pyramid scale to the one before.
        nms: the largest overlap of two candidates: IoU within a scale, across scales and after the second stage, and
            intersection over the smaller box among the faces reported.
        max_candidates: how many candidates of one picture each stage passes on, the best first.
        threads: threads that one network run may use; 1 is best when several threads call `detect`.
        engine: what runs the second and third network.

    Raises:
        InputError: an option is out of its range.
        ModelFileError: the weights are missing or damaged.

    Source:
        Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", 2016;
        the weights are those of the package ``mtcnn``.
    """

    name = "mtcnn"

    def __init__(
        self,
        *,
        min_face: float | None = None,
        confidence: float = 0.9,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        tight: bool = True,
        factor: float = 0.709,
        nms: tuple[float, float, float, float] = (0.5, 0.7, 0.7, 0.7),
        max_candidates: int = 5000,
        threads: int = 1,
        engine: Engine = "onnxruntime",
    ) -> None:
        if min_face is not None and not (0 < min_face < 1 or 8 <= min_face < np.inf):
            raise InputError(f"min_face: expected a share between 0 and 1, or 8 pixels and more, got {min_face}")
        if not 0 < factor <= 0.95:
            raise InputError(f"factor: expected more than 0 and at most 0.95, got {factor}")
        rates = {"thresholds": (thresholds, 3), "nms": (nms, 4), "confidence": ((confidence,), 1)}
        for option, (values, length) in rates.items():
            if len(values) != length or not all(0 <= value <= 1 for value in values):
                raise InputError(f"{option}: expected {length} numbers from 0 to 1, got {values}")
        if max_candidates < 1:
            raise InputError(f"max_candidates: expected at least 1, got {max_candidates}")
        self._min_face, self._factor, self._tight = min_face, factor, tight
        last = max(thresholds[2], confidence)
        self._settings = Settings((thresholds[0], thresholds[1], last), nms, max_candidates)
        self._nets: Nets = PackagedNets(threads=threads, engine=engine)

    def detect(self, images: Sequence[Pixels]) -> list[Faces]:
        """Find the faces of each picture.

        Args:
            images: RGB uint8 (H, W, 3) each; sizes may differ.

        Returns:
            One `Faces` per picture, largest face first. Boxes may reach over the border.

        Raises:
            InputError: an image is not RGB uint8 (H, W, 3).
        """
        for i, image in enumerate(images):
            if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                shape = getattr(image, "shape", type(image).__name__)
                raise InputError(f"image {i}: expected RGB uint8 (H, W, 3), got {getattr(image, 'dtype', '')} {shape}")
        results = self._found(images, self._min_face)
        again = {i: framed(images[i]) for i, faces in enumerate(results) if self._tight and not len(faces)}
        small = {i: image for i, image in again.items() if image is not None}
        for i, faces in zip(small, self._found(list(small.values()), _TIGHT), strict=True):
            results[i] = unframed(faces, images[i])
        return results

    def _found(self, images: Sequence[Pixels], min_face: float | None) -> list[Faces]:
        """The faces of each picture."""
        results = [Faces.none()] * len(images)
        for members in _rounds([image.shape for image in images]):
            order = [i for group in members for i in group]
            pyramids = [Pyramid([images[i] for i in group]) for group in members]
            for i, faces in zip(order, self._round(pyramids, min_face), strict=True):
                results[i] = faces
        return results

    def _round(self, pyramids: list[Pyramid], min_face: float | None) -> list[Faces]:
        """The faces of all pictures of some pyramids, in order."""
        starts = np.concatenate([[0], np.cumsum([pyramid.count for pyramid in pyramids])])

        def cut(found: Candidates, side: int) -> Pixels:
            crops = np.empty((len(found), side, side, 3), np.uint8)
            for pyramid, (first, last) in zip(pyramids, pairwise(starts.tolist()), strict=True):
                here = np.flatnonzero((found.pictures >= first) & (found.pictures < last))
                crops[here] = pyramid.crops(found.pictures[here] - first, found.boxes[here], side)
            return crops

        proposed = []
        for pyramid, first in zip(pyramids, starts.tolist(), strict=False):
            scales = _scales(pyramid.width, pyramid.height, min_face, self._factor)
            found = propose(self._nets, pyramid, scales, self._settings)
            proposed.append(Candidates(found.pictures + first, found.boxes, found.scores, found.landmarks))
        found = Candidates.joined(proposed)
        for stage in (refine, output):
            if len(found):
                found = stage(self._nets, cut, found, self._settings)
        none = Faces.none()
        if not len(found):
            return [none] * int(starts[-1])
        split = np.searchsorted(found.pictures, np.arange(starts[-1] + 1))  # suppression left them in order of picture
        return [
            Faces(found.boxes[a:b], found.scores[a:b], found.landmarks[a:b]).largest_first() if b > a else none
            for a, b in pairwise(split.tolist())
        ]


def _scales(width: int, height: int, min_face: float | None, factor: float) -> list[float]:
    shorter = min(width, height)
    if min_face is None:
        side = 40.0 if shorter <= _SMALL_PICTURE else 20.0
    else:
        side = min_face if min_face >= 1 else max(8.0, min_face * shorter)
    return [s for s in scales_for((width, height), side, factor) if width * height * s * s <= _FINEST_LEVEL]


def _rounds(shapes: Sequence[tuple[int, ...]]) -> Iterator[list[list[int]]]:
    """Share pictures among rounds of bounded size: lists of groups of one shape, given as indices."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, shape in enumerate(shapes):
        if 0 not in shape:
            by_shape.setdefault(shape, []).append(i)
    members: list[list[int]] = []
    pixels = 0
    for shape, indices in by_shape.items():
        at_once = Pyramid.at_once(shape)
        for first in range(0, len(indices), at_once):
            group = indices[first : first + at_once]
            members.append(group)
            pixels += len(group) * shape[0] * shape[1]
            if pixels >= _ROUND_PIXELS:
                yield members
                members, pixels = [], 0
    if members:
        yield members
