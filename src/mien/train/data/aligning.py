"""Photos to aligned pictures, once: the main face of each, found by mien's default detector."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.errors import MienError
from mien.images import aligned_crops
from mien.recognizer import Recognizer
from mien.train.data.store import Stored, open_store
from mien.train.data.training_set import Decoding, fitted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mien.images import Border
    from mien.train.data.sources import PictureRecords, PictureSpec
    from mien.types import Analysis, Pixels

__all__ = ["aligned_store", "decoded_store"]

_DETECTOR: Final = "mtcnn/1"  # changes whenever other landmarks would come out
_CHUNK: Final = 16  # divides the store's pieces, so that a run that was stopped gives the same pictures
_NO_FACE: Final = "no face found"


def aligned_store(
    cache: Path,
    records: PictureRecords,
    spec: PictureSpec,
    *,
    workers: int,
    progress: Callable[[int, int], None] | None,
    border: Border = "constant",
) -> Stored:
    """The aligned main face of each picture (see `Faces.main`); pictures without one are left out.

    Raises:
        InputError: the cache cannot be used.
    """
    template, size = np.array(spec.template, np.float64), spec.size

    def job(_source: object, found: Analysis) -> Pixels | str:
        if found.error is not None:
            return str(getattr(found.error, "reason", found.error))
        if not len(found.faces) or found.image is None:
            return _NO_FACE
        face = found.faces.take([found.main()])
        try:
            chip = aligned_crops(found.image.pixels, face, template, (size, size), border=border)[0]
        except MienError:
            return _NO_FACE  # its landmarks coincide
        return fitted(chip, size, spec.channels)

    def made(numbers: range) -> Iterator[Pixels | str]:
        recognizer = Recognizer(workers=workers)
        return recognizer.map(map(records.encoded, numbers), job, embed=False, chunk=_CHUNK)

    head: dict[str, Any] = {"template": template.tolist(), "detector": _DETECTOR}
    if border != "constant":
        head["border"] = border
    return _opened(cache, records, spec, made, head=head, progress=progress)


def decoded_store(
    cache: Path,
    records: PictureRecords,
    spec: PictureSpec,
    *,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Stored:
    """Aligned pictures decoded once and for all; those that cannot be read are left out.

    Raises:
        InputError: the cache cannot be used.
    """
    decoding = Decoding(records, spec.size, spec.channels)

    def one(i: int) -> Pixels | str:
        try:
            return decoding.picture(i)
        except MienError as error:
            return str(getattr(error, "reason", error))

    def made(numbers: range) -> Iterator[Pixels | str]:
        with ThreadPoolExecutor(workers) as pool:
            for start in range(numbers.start, numbers.stop, 256):
                yield from pool.map(one, range(start, min(start + 256, numbers.stop)))

    return _opened(cache, records, spec, made, head={}, progress=progress)


def _opened(
    cache: Path,
    records: PictureRecords,
    spec: PictureSpec,
    made: Callable[[range], Iterator[Pixels | str]],
    *,
    head: dict[str, Any],
    progress: Callable[[int, int], None] | None,
) -> Stored:
    shape = (spec.size, spec.size, spec.channels)
    head = {"source": records.stamp(), **head}
    key = hashlib.blake2b(json.dumps([*shape, head], sort_keys=True).encode(), digest_size=12).hexdigest()
    kind = "aligned" if "detector" in head else "decoded"
    return open_store(cache / f"{kind}-{key}", records, shape, made, head=head, progress=progress)
