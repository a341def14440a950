"""One photo and its faces to finished crops.

All of this runs in a worker (a thread of the engine, or a process of a cluster), so that a run is as fast as its
detector.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from mien.engine import TOO_LARGE
from mien.errors import ImageError, MienError
from mien.images import encode
from mien.prepare.manifest import marks_of, stamp
from mien.types import Faces, Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from mien.prepare.cropping_options import Choice, CropOptions
    from mien.types import Analysis, Floats

__all__ = ["Cutter", "Photo", "Piece", "central", "content_sha256"]

_QUALITY: Final = 95
_CANDIDATES: Final = 8  # faces of a photo that are compared with the others of its folder, largest first
_BLOCK: Final = 1 << 18  # bytes of a file read at a time
_AT_ONCE: Final = 1 << 23  # bytes of crops, before they are encoded
_NO_FACES: Final = Faces.none()
_NO_EMBEDDINGS: Final[Floats] = np.zeros((0, 0), np.float32)


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
        crops: their pictures, encoded: N, or none where the photo is only compared with. Those that would fill the
            memory together come one by one, once, while they are cut, and may raise a `MienError` then.
        sizes: (width, height) of each crop that has come.
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
    crops: Iterable[bytes] = ()
    sizes: Sequence[tuple[int, int]] = ()
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
            crops=tuple(self.crops)[i : i + 1],
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
        """Cut one photo. Never raises a `MienError`: the piece holds it, and all of its crops."""
        piece = _encoded(photo, *self._cut(photo, analysis))
        if isinstance(piece.crops, tuple):
            return piece
        try:
            crops = tuple(piece.crops)
        except MienError as error:
            return Piece(photo=photo, found=piece.found, error=error)
        return replace(piece, crops=crops, sizes=tuple(piece.sizes))

    def batches(self, photos: Sequence[Photo], analyses: Sequence[Analysis]) -> Iterator[list[Piece]]:
        """Cut many photos, first all and then encode all, which takes a quarter less time than one after the other.

        Yields:
            Pieces, in order, as many at a time as `_AT_ONCE` allows. Crops of one photo that take more than that come
            one by one.
        """
        waiting: list[tuple[Photo, dict[str, Any], Iterable[Image]]] = []
        size = 0
        for photo, analysis in zip(photos, analyses, strict=True):
            facts, chips = self._cut(photo, analysis)
            waiting.append((photo, facts, chips))
            size += sum([chip.pixels.nbytes for chip in chips]) if isinstance(chips, list) else _AT_ONCE + 1
            if size > _AT_ONCE:
                yield [_encoded(*each) for each in waiting]
                waiting, size = [], 0
        yield [_encoded(*each) for each in waiting]

    def _cut(self, photo: Photo, analysis: Analysis) -> tuple[dict[str, Any], Iterable[Image]]:
        """What a piece will say of a photo, and the pictures of its faces: a list, or cut while they are taken."""
        count = len(analysis.faces)
        facts: dict[str, Any] = {"found": count}
        chips: Iterable[Image] = []
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
                pixels = analysis.image.pixels
                if len(faces) > 1 and (one := self.options.bytes_of_one(pixels, faces)) * len(faces) > _AT_ONCE:
                    chips = self._by_parts(analysis, faces, max(1, _AT_ONCE // one))
                else:
                    cut = self.options.cut(pixels, faces, analysis.turns)
                    chips = [Image(chip, analysis.source) for chip in cut]
        except MienError as error:
            return {"found": count, "error": error}, []
        except (MemoryError, cv2.error) as error:
            return {"found": count, "error": _unworkable(photo, error)}, []
        facts["faces"] = faces
        if self.candidates:
            main = analysis.main()
            facts |= {"embeddings": analysis.embeddings[chosen], "main": main if main in chosen else -1}
        return facts, chips

    def _by_parts(self, analysis: Analysis, faces: Faces, part: int) -> Iterator[Image]:
        """The pictures of many faces, of which only `part` are in memory at a time."""
        if analysis.image is None:
            raise ValueError("the picture is gone")
        for start in range(0, len(faces), part):
            some = faces.take(list(range(start, min(start + part, len(faces)))))
            for chip in self.options.cut(analysis.image.pixels, some, analysis.turns):
                yield Image(chip, analysis.source)

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


def _encoded(photo: Photo, facts: dict[str, Any], chips: Iterable[Image]) -> Piece:
    suffix = os.path.splitext(photo.place)[1]  # noqa: PTH122
    if not isinstance(chips, list):
        sizes: list[tuple[int, int]] = []
        return Piece(photo=photo, **facts, crops=_one_by_one(photo, chips, suffix, sizes), sizes=sizes)
    try:
        crops = tuple([encode(chip, suffix, quality=_QUALITY) for chip in chips])
    except MienError as error:
        return Piece(photo=photo, found=facts["found"], error=error)
    except MemoryError as error:
        return Piece(photo=photo, found=facts["found"], error=_unworkable(photo, error))
    return Piece(photo=photo, **facts, crops=crops, sizes=tuple([chip.size for chip in chips]))


def _one_by_one(photo: Photo, chips: Iterable[Image], suffix: str, sizes: list[tuple[int, int]]) -> Iterator[bytes]:
    """Encode chips while they are cut; their sizes go to `sizes`."""
    try:
        for chip in chips:
            content = encode(chip, suffix, quality=_QUALITY)
            sizes.append(chip.size)
            yield content
    except (MemoryError, cv2.error) as error:
        raise _unworkable(photo, error) from error


def _unworkable(photo: Photo, error: Exception) -> ImageError:
    """One photo's fault, for which the others must not suffer."""
    memory = isinstance(error, MemoryError) or getattr(error, "code", None) == cv2.Error.StsNoMem
    return ImageError(str(photo.path), TOO_LARGE if memory else str(error))


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
