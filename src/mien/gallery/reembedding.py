"""Embedding faces anew that are enrolled already: from their pictures, or from the crops that were kept of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import cv2
import numpy as np

from mien.detect.boxes import overlaps
from mien.errors import ImageError, ModelError
from mien.gallery.crops import places_in_crop
from mien.gallery.sources import content_sha256
from mien.images import decode, list_images

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mien.errors import InputError
    from mien.gallery.two_models import WhoseFace
    from mien.interfaces import Analyzer
    from mien.types import Analysis, Floats

    Chosen: TypeAlias = Callable[[Analysis, WhoseFace], "int | str"]

__all__ = ["Reembedded", "Source", "originals_in", "reembedded"]

Source: TypeAlias = Literal["original", "crop"]

_LARGER: Final = 2

_SAME_PLACE: Final = 0.3
"""Overlap (IoU) from which a face is the one that stood there; two detectors' boxes of one face share 0.5 and more."""


@dataclass(frozen=True, slots=True, eq=False)
class Reembedded:
    """What became of one face.

    Attributes:
        whose: the face.
        embedding: float32 (D,), or None.
        source: what it was made from, or None.
        reason: why there is none; empty where there is one.
    """

    whose: WhoseFace
    embedding: Floats | None = None
    source: Source | None = None
    reason: str = ""


def originals_in(
    places: Iterable[str | os.PathLike[str]], *, on_error: Callable[[InputError], None] | None = None
) -> dict[str, Path]:
    """Checksum -> picture, of the pictures in folders (their sub-folders included) and of single ones.

    Args:
        places: folders and pictures.
        on_error: called with the error of each sub-folder that cannot be read; by default such an error is raised.

    Raises:
        NotFoundError: there is no such folder.
    """
    found: dict[str, Path] = {}
    for place in map(Path, places):
        for path in [place] if place.is_file() else list_images(place, on_error=on_error):
            if (checksum := content_sha256(path)) is not None:
                found.setdefault(checksum, path)
    return found


def reembedded(
    wanted: Sequence[WhoseFace],
    analyzer: Analyzer,
    *,
    originals: Mapping[str, Path],
    crop_of: Callable[[int], bytes | None],
) -> Iterator[Reembedded]:
    """Embed faces anew, lazily; each picture is analysed once, whatever number of faces is in it.

    An original is taken where there is one, for it gives exactly what enrolling it now would give; else, or where the
    face is not found in it, the crop.

    Args:
        wanted: the faces.
        analyzer: of the new model.
        originals: checksum -> picture.
        crop_of: the encoded crop of a face, or None.

    Yields:
        What became of each face, those that cannot be had first.
    """
    pictures: dict[str, list[WhoseFace]] = {}
    cropped: list[WhoseFace] = []
    for one in wanted:
        if one.face.sha256 in originals:
            pictures.setdefault(one.face.sha256 or "", []).append(one)
        elif one.face.crop:
            cropped.append(one)
        else:
            why = "its picture is not among the originals" if originals else "no crop of it is kept; give its original"
            yield Reembedded(one, reason=why)
    jobs = ((originals[checksum], faces) for checksum, faces in pictures.items())
    for found in _analysed(jobs, analyzer, "original", _in_original):
        if found.embedding is None and found.whose.face.crop:
            cropped.append(found.whose)
        else:
            yield found
    unseen: list[WhoseFace] = []
    crops = ((crop_of(one.face.id) or b"", [one]) for one in cropped)
    for found in _analysed(crops, analyzer, "crop", _in_crop):
        if found.embedding is None:
            unseen.append(found.whose)
        else:
            yield found
    enlarged = ((_enlarged(crop_of(one.face.id) or b""), [one]) for one in unseen)
    yield from _analysed(enlarged, analyzer, "crop", _in_enlarged)


def _analysed(
    jobs: Iterator[tuple[Any, list[WhoseFace]]], analyzer: Analyzer, source: Source, chosen: Chosen
) -> Iterator[Reembedded]:
    waiting: deque[list[WhoseFace]] = deque()

    def feed() -> Iterator[Any]:
        for picture, faces in jobs:
            waiting.append(faces)
            yield picture

    for analysis in analyzer.analyze(feed()):
        if not waiting:
            raise ModelError("the analyzer gave more analyses than it was given pictures")
        for one in waiting.popleft():
            if analysis.error is not None:
                yield Reembedded(one, reason=getattr(analysis.error, "reason", None) or str(analysis.error))
                continue
            which = chosen(analysis, one) if len(analysis.faces) else f"no face is found in its {source}"
            if isinstance(which, str):
                yield Reembedded(one, reason=which)
            else:
                yield Reembedded(one, np.asarray(analysis.embeddings[which], np.float32), source)
    if waiting:
        raise ModelError(f"the analyzer gave no analysis for {len(waiting)} pictures")


def _in_original(analysis: Analysis, one: WhoseFace) -> int | str:
    """The face of a picture that stands where the enrolled one stood."""
    if one.face.face is None:
        if len(analysis.faces) > 1:
            return f"its picture shows {len(analysis.faces)} faces, and it is not known where it stood"
        return 0
    best, share = _nearest(np.array(one.face.face.box, np.float32), analysis)
    return best if share >= _SAME_PLACE else "no face is found where it stood in its picture"


def _enlarged(crop: bytes) -> Any:  # noqa: ANN401 - a picture
    """A crop in twice its size: detectors overlook the smallest faces where a picture shows little else."""
    try:
        pixels = decode(crop).pixels
    except ImageError:
        return crop  # and the analyzer says why
    return cv2.resize(pixels, None, fx=_LARGER, fy=_LARGER, interpolation=cv2.INTER_CUBIC)


def _in_enlarged(analysis: Analysis, one: WhoseFace) -> int | str:
    return _in_crop(analysis, one, scale=_LARGER)


def _in_crop(analysis: Analysis, one: WhoseFace, *, scale: int = 1) -> int | str:
    """The face of a crop that it was cut for: others may look in from its side."""
    if one.face.face is None:
        return analysis.main()
    width, height = analysis.size
    for place in places_in_crop(one.face.face.box, (width // scale, height // scale)):
        best, share = _nearest(place * np.float32(scale), analysis)
        if share >= _SAME_PLACE:
            return best
    return "no face is found in the middle of its crop"


def _nearest(box: Floats, analysis: Analysis) -> tuple[int, float]:
    shares = overlaps(box[None], analysis.faces.boxes)[0]
    best = int(np.argmax(shares))
    return best, float(shares[best])
