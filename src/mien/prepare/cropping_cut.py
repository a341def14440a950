"""One photo and its faces to finished crops: which faces, how they are cut, and in which format.

All of this runs in a worker (a thread of the engine, or a process of a cluster), so that a run is as fast as its
detector.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np

from mien.embed.views import CHIP, DETECTOR_TEMPLATE
from mien.errors import ImageError, InputError, MienError
from mien.images import ARCFACE_112, aligned_crops, encode, loose_crops
from mien.prepare.manifest import marks_of, stamp
from mien.types import Faces, Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mien.types import Analysis, Floats, Pixels

__all__ = [
    "CHOICES",
    "SIZES",
    "TEMPLATES",
    "Choice",
    "CropOptions",
    "Cutter",
    "Photo",
    "Piece",
    "central",
    "content_sha256",
]

Choice: TypeAlias = Literal["main", "largest", "central", "all"]
"""Large and near the middle (see `Faces.main`); the largest; the nearest to the middle; every face."""

CHOICES: Final[tuple[Choice, ...]] = get_args(Choice)
SIZES: Final = (8, 4096)
"""Least and greatest side of a crop in pixels."""

TEMPLATES: Final = {"arcface112": (ARCFACE_112, (112, 112)), "dlib150": (DETECTOR_TEMPLATE, (CHIP, CHIP))}
"""Where `align` puts the landmarks, and the size that is drawn for."""

_QUALITY: Final = 95
_CANDIDATES: Final = 8  # faces of a photo that are compared with the others of its folder, largest first
_LOOSE_MARGIN: Final = 0.2
_BLOCK: Final = 1 << 18  # bytes of a file read at a time
_AT_ONCE: Final = 1 << 23  # bytes of crops, before they are encoded
_NO_FACES: Final = Faces.none()
_NO_EMBEDDINGS: Final[Floats] = np.zeros((0, 0), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class CropOptions:
    """How faces are cut.

    Attributes:
        choose: which face of a photo; see `Choice`. Without meaning where a person is looked for.
        align: turned upright by the landmarks, or the box as it is.
        size: (width, height) of the crops; None for the template's, and without `align` for uncut pixels.
        template: where `align` puts the landmarks; a name in `TEMPLATES`.
        margin: more around the face on each side, as a share of it; None for 0, and without `align` for 0.2.

    Raises:
        InputError: a value makes no sense.
    """

    choose: Choice = "main"
    align: bool = True
    size: tuple[int, int] | None = None
    template: str = "arcface112"
    margin: float | None = None

    def __post_init__(self) -> None:
        if self.choose not in CHOICES:
            raise InputError(f"choose: expected {', '.join(CHOICES)}, got {self.choose!r}")
        if self.template not in TEMPLATES:
            raise InputError(f"template: expected {' or '.join(TEMPLATES)}, got {self.template!r}")
        if self.size is not None and not (min(self.size) >= SIZES[0] and max(self.size) <= SIZES[1]):
            raise InputError(f"size: expected sides of {SIZES[0]} to {SIZES[1]} pixels, got {self.size}")
        if self.margin is not None and not 0 <= self.margin <= 4:
            raise InputError(f"margin: expected a share from 0 to 4, got {self.margin}")

    def cut(self, pixels: Pixels, faces: Faces, turns: int = 0) -> list[Pixels]:
        """The crops of `faces`; `turns` are the quarter turns that make them upright."""
        if self.align:
            points, base = TEMPLATES[self.template]
            return list(aligned_crops(pixels, faces, points, base, size=self.size, margin=self.margin or 0.0))
        margin = _LOOSE_MARGIN if self.margin is None else self.margin
        return loose_crops(pixels, faces, size=self.size, margin=margin, turns=turns)


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture that is to be cut; goes to `mien.images.decode` as its path does.

    Attributes:
        path: the file.
        name: relative to the source folder, with forward slashes.
        place: relative to the output folder, where its one crop belongs.
        marks: size and time of change, see `mien.prepare.manifest.stamp`; of the moment when the file was read, once it
            was. Empty when nobody has looked at it, or it cannot be looked at.
        todo: False for one that is only compared with.
        sha256: of the file as it was decoded; "" before.
    """

    path: Path
    name: str
    place: str
    marks: dict[str, int] = field(default_factory=dict)
    todo: bool = True
    sha256: str = field(default="", init=False, compare=False)

    def __fspath__(self) -> str:
        """The file's path."""
        return os.fspath(self.path)

    def see(self, content: bytes, status: os.stat_result) -> None:
        """Take the checksum of the file's content, and its marks; `mien.images.decode` hands them over."""
        if self.todo:
            object.__setattr__(self, "sha256", hashlib.sha256(content).hexdigest())
            object.__setattr__(self, "marks", marks_of(status))

    def look(self) -> Photo:
        """Take the marks of the file, where it can be looked at; itself."""
        with contextlib.suppress(OSError, ValueError):
            object.__setattr__(self, "marks", stamp(self.path))
        return self

    def numbered(self, mark: str) -> str:
        """`place` with a mark between stem and suffix."""
        if not mark:
            return self.place
        stem, suffix = os.path.splitext(self.place)  # noqa: PTH122
        return f"{stem}{mark}{suffix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What became of one photo, before anything is written.

    Attributes:
        photo: which.
        sha256: of its file; "" when it could not be read.
        found: faces in it.
        faces: N faces that were chosen, or that may still be.
        crops: their pictures, encoded: N, or none where the photo is only compared with.
        sizes: (width, height) of each crop.
        embeddings: float32 (N, D); (N, 0) where none were needed.
        similarity: of the chosen face to the person that is looked for.
        main: index in `faces` of the main face; -1 where it is not among them.
        reason: why no face was chosen, though there are some.
        error: why the photo could not be worked on.
    """

    photo: Photo
    sha256: str = ""
    found: int = 0
    faces: Faces = _NO_FACES
    crops: tuple[bytes, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    embeddings: Floats = field(default_factory=lambda: _NO_EMBEDDINGS)
    similarity: float | None = None
    main: int = -1
    reason: str = ""
    error: MienError | None = None

    def only(self, i: int, similarity: float) -> Piece:
        """The piece with its i-th face alone."""
        return replace(
            self,
            faces=self.faces.take([i]),
            crops=self.crops[i : i + 1],
            sizes=self.sizes[i : i + 1],
            embeddings=self.embeddings[i : i + 1],
            similarity=similarity,
        )

    def without(self, reason: str) -> Piece:
        """The piece with no face chosen."""
        return replace(self, faces=_NO_FACES, crops=(), sizes=(), embeddings=self.embeddings[:0], reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutter:
    """The job of a worker: a photo and its analysis, with the decoded picture, to a piece.

    Thread-safe, and travels between processes.

    Attributes:
        options: how faces are cut.
        person: float32 (M, D) embeddings of the person that is looked for, or None.
        threshold: the least similarity to one of them.
        candidates: keep all faces (the largest, if there are very many) for a later choice.
    """

    options: CropOptions
    person: Floats | None = None
    threshold: float = 0.0
    candidates: bool = False

    @property
    def embeds(self) -> bool:
        """Whether the analyses must hold embeddings."""
        return self.candidates or self.person is not None

    def __call__(self, photo: Photo, analysis: Analysis) -> Piece:
        """Cut one photo. Never raises a `MienError`: the piece holds it."""
        return _encoded(photo, *self._cut(photo, analysis))

    def batches(self, photos: Sequence[Photo], analyses: Sequence[Analysis]) -> Iterator[list[Piece]]:
        """Cut many photos, first all and then encode all, which takes a quarter less time than one after the other.

        Yields:
            Pieces, in order, as many at a time as `_AT_ONCE` allows.
        """
        waiting: list[tuple[Photo, dict[str, Any], list[Image]]] = []
        size = 0
        for photo, analysis in zip(photos, analyses, strict=True):
            facts, chips = self._cut(photo, analysis)
            waiting.append((photo, facts, chips))
            size += sum([chip.pixels.nbytes for chip in chips])
            if size > _AT_ONCE:
                yield [_encoded(*each) for each in waiting]
                waiting, size = [], 0
        yield [_encoded(*each) for each in waiting]

    def _cut(self, photo: Photo, analysis: Analysis) -> tuple[dict[str, Any], list[Image]]:
        """What a piece will say of a photo, and the pictures of its faces."""
        count = len(analysis.faces)
        facts: dict[str, Any] = {"found": count}
        chips: list[Image] = []
        if analysis.error is not None:
            return {"error": analysis.error}, chips
        try:
            facts["sha256"] = (photo.sha256 or content_sha256(photo.look().path)) if photo.todo else ""
            if not count or analysis.image is None:
                return facts, chips
            chosen, facts["similarity"], facts["reason"] = self._choose(analysis)
            if facts["reason"]:
                return facts, chips
            faces = analysis.faces if len(chosen) == count else analysis.faces.take(chosen)
            if photo.todo:
                cut = self.options.cut(analysis.image.pixels, faces, analysis.turns)
                chips = [Image(pixels, analysis.source) for pixels in cut]
        except MienError as error:
            return {"found": count, "error": error}, []
        facts["faces"] = faces
        if self.candidates:
            main = analysis.main()
            facts |= {"embeddings": analysis.embeddings[chosen], "main": main if main in chosen else -1}
        return facts, chips

    def _choose(self, analysis: Analysis) -> tuple[list[int], float | None, str]:
        """Indices of the chosen faces, similarity to the person, and why there is none."""
        faces = analysis.faces
        if self.candidates:
            return list(range(min(len(faces), _CANDIDATES))), None, ""
        if self.person is not None:
            scores = (analysis.embeddings @ self.person.T).max(axis=1)
            best = int(scores.argmax())
            similarity = float(scores[best])
            return [best], similarity, "" if similarity >= self.threshold else "not the person"
        if self.options.choose == "all" or len(faces) == 1:
            return list(range(len(faces))), None, ""
        rules: dict[Choice, Callable[[tuple[int, int]], int]] = {
            "main": faces.main,
            "largest": lambda _size: 0,
            "central": partial(central, faces),
        }
        return [rules[self.options.choose](analysis.size)], None, ""


def _encoded(photo: Photo, facts: dict[str, Any], chips: Sequence[Image]) -> Piece:
    suffix = os.path.splitext(photo.place)[1]  # noqa: PTH122
    try:
        crops = tuple([encode(chip, suffix, quality=_QUALITY) for chip in chips])
    except MienError as error:
        return Piece(photo=photo, found=facts["found"], error=error)
    return Piece(photo=photo, **facts, crops=crops, sizes=tuple([chip.size for chip in chips]))


def central(faces: Faces, size: tuple[int, int]) -> int:
    """Index of the face nearest to the middle of a picture of `size` (width, height); of equals the larger."""
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 - np.array(size, np.float32) / 2
    return int(np.argmin((centres**2).sum(axis=1)))


def content_sha256(path: Path) -> str:
    """Checksum of a file, in lower-case hex. Raises ImageError when it cannot be read."""
    try:
        # As plain as can be: `hashlib.file_digest` takes twice the time of hashing for files of some kilobytes.
        digest, file = hashlib.sha256(), os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            while block := os.read(file, _BLOCK):
                digest.update(block)
        finally:
            os.close(file)
        return digest.hexdigest()
    except OSError as error:
        raise ImageError(str(path), error.strerror or str(error)) from error
