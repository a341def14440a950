"""What tells copies of a picture from other pictures: fingerprints of the whole and of the aligned face.

The whole picture's fingerprint survives scaling and re-encoding, the aligned face's also cropping; a mirrored copy is
found by comparing with the mirrored fingerprints. Colour counts in none of them.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from mien.errors import MienError
from mien.gallery.sources import content_sha256
from mien.images import ARCFACE_112, decode, similarity, warp
from mien.images.fingerprint import fingerprint as whole_print
from mien.models.session import available_cores
from mien.quality.fingerprint import FINGERPRINT_BITS
from mien.quality.fingerprint import fingerprint as face_print

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mien.evaluate.embedding_cache import EmbeddingCache
    from mien.types import Floats, Pixels

__all__ = ["Prints", "face_distances", "take_prints"]

_CHIP: Final = 112
_AT_ONCE: Final = 256
_WAY: Final = b"prints 1"  # raise it with every change that changes numbers
_FACE_BYTES: Final = FINGERPRINT_BITS // 8
_SHARP_SIDE: Final = 256  # pixels of the longer side at which sharpness is measured: sizes then do not count

_ROW: Final = np.dtype(
    [
        ("whole", "<u8"),
        ("mirrored", "<u8"),
        ("face", "u1", (_FACE_BYTES,)),
        ("face_mirrored", "u1", (_FACE_BYTES,)),
        ("width", "<i4"),
        ("height", "<i4"),
        ("sharpness", "<f4"),
        ("has_face", "?"),
        ("readable", "?"),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Prints:
    """Fingerprints of N pictures. Immutable by agreement, so safe to share between threads.

    Attributes:
        rows: (N,) records: `whole`, `mirrored` (64 bits), `face`, `face_mirrored` (256 bits), `width`, `height` in
            pixels, `sharpness`, `has_face`, `readable`.
        sha256: content checksum of each file in hexadecimal; None where it cannot be read.
        reasons: why pictures cannot be read, by their position.
    """

    rows: NDArray[np.void]
    sha256: tuple[str | None, ...]
    reasons: dict[int, str]

    def __len__(self) -> int:
        return len(self.rows)


def take_prints(
    paths: Sequence[Path],
    landmarks: Floats,
    *,
    cache: EmbeddingCache | None = None,
    advance: Callable[[int], None] = lambda _n: None,
) -> Prints:
    """Fingerprint pictures on all cores; memory is that of a few pictures and 100 bytes for each.

    Args:
        paths: N files.
        landmarks: (N, 5, 2) of each one's face; NaN where there is none.
        cache: of fingerprints taken before; of any model.
        advance: is told how many more are done.
    """
    rows = np.zeros(len(paths), _ROW)
    sums: list[str | None] = []
    reasons: dict[int, str] = {}
    with ThreadPoolExecutor(available_cores(), thread_name_prefix="mien-prints") as pool:
        for start in range(0, len(paths), _AT_ONCE):
            part = range(start, min(start + _AT_ONCE, len(paths)))
            contents = list(pool.map(lambda i: content_sha256(paths[i]), part))
            sums += contents
            keys = {i: _key(c, landmarks[i]) for i, c in zip(part, contents, strict=True) if c is not None}
            known = cache.get(list(set(keys.values()))) if cache else {}
            todo = [i for i in part if len(known.get(keys.get(i, b""), b"")) != _ROW.itemsize]
            fresh = dict(zip(todo, pool.map(lambda i: _taken(paths[i], landmarks[i]), todo), strict=True))
            for i in part:
                found = fresh.get(i)
                if isinstance(found, str):
                    reasons[i] = found
                else:
                    rows[i] = np.frombuffer(known[keys[i]], _ROW)[0] if found is None else found[0]
            if cache:
                cache.put(
                    (keys[i], row.tobytes()) for i, row in fresh.items() if i in keys and not isinstance(row, str)
                )
            advance(len(part))
    return Prints(rows, tuple(sums), reasons)


def face_distances(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of bits in which fingerprints of faces differ, row by row.

    Args:
        a: (N, 32) bytes.
        b: (N, 32) bytes.
    """
    shares: NDArray[np.float64] = np.unpackbits(a ^ b, axis=-1).sum(-1) / FINGERPRINT_BITS
    return shares


def _key(content: str, landmarks: Floats) -> bytes:
    points = b"" if np.isnan(landmarks).any() else np.ascontiguousarray(landmarks, "<f4").tobytes()
    return b"|".join((_WAY, bytes.fromhex(content), points))


def _taken(path: Path, landmarks: Floats) -> NDArray[np.void] | str:
    """The fingerprints of one picture, (1,), or why there are none."""
    try:
        pixels = decode(path).pixels
    except MienError as error:
        return str(getattr(error, "reason", error))
    row = np.zeros(1, _ROW)
    row["whole"] = whole_print(pixels)
    row["mirrored"] = whole_print(np.ascontiguousarray(pixels[:, ::-1]))
    row["height"], row["width"] = pixels.shape[:2]
    row["sharpness"] = _sharpness(pixels)
    row["readable"] = True
    if not np.isnan(landmarks).any() and _spread(landmarks):
        chip = warp(pixels, similarity(landmarks[None], ARCFACE_112), (_CHIP, _CHIP), border="replicate")[0]
        grey = cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY)
        row["face"] = np.frombuffer(face_print(grey), np.uint8)
        row["face_mirrored"] = np.frombuffer(face_print(np.ascontiguousarray(grey[:, ::-1])), np.uint8)
        row["has_face"] = True
    return row


def _spread(landmarks: Floats) -> bool:
    return max(float(np.abs(a - b).max()) for a, b in itertools.pairwise(landmarks)) > 1e-3


def _sharpness(pixels: Pixels) -> float:
    """How strong the edges are, at one size for all: the standard deviation of the Laplacian."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    scale = _SHARP_SIDE / max(grey.shape)
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return float(cv2.meanStdDev(cv2.Laplacian(small, cv2.CV_32F))[1].item())
