"""Every picture of a set, embedded once: the face that the protocol means, by the recognizer that is measured."""

from __future__ import annotations

import hashlib
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.detect.boxes import overlaps
from mien.errors import MienError
from mien.evaluate.results import Failure
from mien.gallery.sources import content_sha256
from mien.models.session import available_cores
from mien.types import Faces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from mien.evaluate.embedding_cache import EmbeddingCache
    from mien.evaluate.protocols.pictures import Picture
    from mien.recognizer import Recognizer
    from mien.types import Analysis, Floats

    _Face = tuple[Floats, Floats]  # landmarks (5, 2), embedding (D,)

__all__ = ["Embedded", "embed_pictures"]

_AT_ONCE: Final = 64  # pictures between two writes to the cache
_LEAST_OVERLAP: Final = 0.2  # of a found box with the box that a protocol means

_NO_FACE: Final = "no face found"


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """The embeddings of N pictures. Immutable by agreement, so safe to share between threads.

    Attributes:
        vectors: float32 (N, D), unit rows; zero where there is none.
        found: bool (N,): whether there is one.
        landmarks: float32 (N, 5, 2) of the face that was embedded; NaN where there is none.
        failures: pictures without one, in order.
        cached: how many came from the cache.
    """

    vectors: Floats
    found: NDArray[np.bool_]
    landmarks: Floats
    failures: tuple[Failure, ...] = ()
    cached: int = 0


def embed_pictures(
    pictures: Sequence[Picture],
    recognizer: Recognizer,
    *,
    cache: EmbeddingCache | None = None,
    advance: Callable[[int], None] = lambda _n: None,
) -> Embedded:
    """Embed each picture of a set; pictures with the same content and the same face in mind only once.

    A picture with landmarks is aligned by them, and nothing is detected in it. In one with a box the face counts that
    overlaps it most, by an IoU of at least 0.2; in any other the main face.

    Args:
        pictures: N pictures.
        recognizer: what is measured; it works on all cores.
        cache: of this recognizer's embeddings, see `EmbeddingCache.of`; None to compute all.
        advance: is told how many more pictures are done.
    """
    dimension, n = recognizer.identity.dimension, len(pictures)
    rows = _Rows(np.zeros((n, dimension), np.float32), np.full((n, 5, 2), np.nan, np.float32))
    positions: dict[bytes, list[int]] = {}
    for i in range(n):
        positions.setdefault(_key(pictures[i], i), []).append(i)
    known = cache.get(list(positions)) if cache else {}
    cached = 0
    for key, value in known.items():
        if len(value) in (0, 4 * (10 + dimension)):
            rows.put(positions[key], _unpacked(value))
            cached += len(positions[key])
            advance(len(positions.pop(key)))
    pending: list[tuple[bytes, bytes]] = []
    try:
        for key, outcome in _computed({key: pictures[at[0]] for key, at in positions.items()}, recognizer):
            rows.put(positions[key], outcome)
            if cache and not isinstance(outcome, MienError):
                pending.append((key, _packed(outcome)))
                if len(pending) >= _AT_ONCE:
                    cache.put(pending)
                    pending = []
            advance(len(positions[key]))
    finally:  # what is done stays done when the user stops the rest
        if cache and pending:
            cache.put(pending)
    failures = tuple(Failure(pictures[i].name, *rows.reasons[i]) for i in sorted(rows.reasons))
    found = np.ones(n, np.bool_)
    found[list(rows.reasons)] = False
    return Embedded(rows.vectors, found, rows.landmarks, failures, cached)


@dataclass(slots=True)
class _Rows:
    """What is found out, picture by picture."""

    vectors: Floats
    landmarks: Floats
    reasons: dict[int, tuple[str, bool]]

    def __init__(self, vectors: Floats, landmarks: Floats) -> None:
        self.vectors, self.landmarks, self.reasons = vectors, landmarks, {}

    def put(self, positions: Sequence[int], outcome: _Face | MienError | None) -> None:
        for i in positions:
            if outcome is None:
                self.reasons[i] = (_NO_FACE, False)
            elif isinstance(outcome, MienError):
                self.reasons[i] = (str(getattr(outcome, "reason", outcome)), True)
            else:
                self.landmarks[i], self.vectors[i] = outcome


def _key(picture: Picture, position: int) -> bytes:
    """Content and the face that is meant; for a file that cannot be read, a key that nothing else has."""
    content = content_sha256(picture.source)
    if content is None:
        return b"unreadable" + struct.pack("<q", position)
    return hashlib.sha256(f"{content} {picture.box!r} {picture.landmarks!r}".encode()).digest()


def _computed(wanted: dict[bytes, Picture], recognizer: Recognizer) -> Iterator[tuple[bytes, _Face | MienError | None]]:
    given = {key: picture for key, picture in wanted.items() if picture.landmarks is not None}
    rest = {key: picture for key, picture in wanted.items() if picture.landmarks is None}
    if given:
        with ThreadPoolExecutor(available_cores(), thread_name_prefix="mien-embed") as pool:
            keys, pictures = list(given), list(given.values())
            for start in range(0, len(keys), 16 * _AT_ONCE):  # so that a stop does not wait for all of them
                part = slice(start, start + 16 * _AT_ONCE)
                yield from zip(keys[part], pool.map(lambda p: _given(p, recognizer), pictures[part]), strict=True)
    analyses = recognizer.analyze([picture.source for picture in rest.values()])
    for (key, picture), found in zip(rest.items(), analyses, strict=True):
        yield key, found.error or _meant(picture, found)


def _given(picture: Picture, recognizer: Recognizer) -> _Face | MienError:
    points = np.array(picture.landmarks, np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    box = np.concatenate([low, high]) if picture.box is None else np.array(picture.box, np.float32)
    try:
        vector = recognizer.embed_faces(picture.source, Faces(box[None], np.ones(1, np.float32), points[None]))[0]
    except MienError as error:
        return error
    return points, vector


def _meant(picture: Picture, found: Analysis) -> _Face | None:
    if not len(found.faces):
        return None
    if picture.box is None:
        i = found.main()
    else:
        shares = overlaps(np.array([picture.box], np.float32), found.faces.boxes)[0]
        i = int(shares.argmax())
        if shares[i] < _LEAST_OVERLAP:
            return None
    return found.faces.landmarks[i], found.embeddings[i]


def _packed(face: _Face | None) -> bytes:
    return b"" if face is None else b"".join(np.ascontiguousarray(part, "<f4").tobytes() for part in face)


def _unpacked(value: bytes) -> _Face | None:
    if not value:
        return None
    numbers = np.frombuffer(value, "<f4").astype(np.float32)
    return numbers[:10].reshape(5, 2), numbers[10:]
