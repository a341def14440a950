"""Perceptual fingerprints: 64 bits that stay nearly the same when a picture is scaled, re-encoded or lightened."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from mien.types import Pixels

__all__ = ["BITS", "bit_distance", "fingerprint", "near_pairs"]

BITS: Final = 64
_SIDE: Final = 32  # pixels of the small picture
_LOW: Final = 9  # frequencies a side; the first row and column are left out: they hold what light changes
_AT_ONCE: Final = 1 << 22  # pairs that are compared at a time


def fingerprint(pixels: Pixels) -> int:
    """The signs of the 8 x 8 lowest frequencies of the grey picture, as one number of 64 bits.

    Pictures of one scene differ in a few bits, others in 32 on average. A mirrored or strongly cropped copy is another
    picture to it.

    Args:
        pixels: RGB uint8 (H, W, 3).

    Source:
        C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010 (the DCT hash).
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[1:_LOW, 1:_LOW].ravel()
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def bit_distance(a: ArrayLike, b: ArrayLike) -> NDArray[np.int64]:
    """In how many bits fingerprints differ; arrays of numbers below 2**64, which broadcast.

    >>> int(bit_distance(0b1011, 0b0010))
    2
    """
    different = np.bitwise_xor(np.asarray(a, np.uint64), np.asarray(b, np.uint64))
    if hasattr(np, "bitwise_count"):  # numpy 2
        count: NDArray[np.int64] = np.bitwise_count(different).astype(np.int64)
        return count
    bytes_of = np.ascontiguousarray(different)[..., None].view(np.uint8)
    counted: NDArray[np.int64] = np.unpackbits(bytes_of, axis=-1).sum(-1, dtype=np.int64)
    return counted


def near_pairs(fingerprints: ArrayLike, *, most: int) -> Iterator[NDArray[np.intp]]:
    """All pairs (i < j) of fingerprints that differ in at most `most` bits, each once.

    Fingerprints that differ in at most k bits agree in at least one of k + 1 parts: only those that share a part are
    compared, so 100,000 take a second and a million two minutes. Exact.

    Args:
        fingerprints: (N,) numbers below 2**64.
        most: bits, 0 to 15.

    Yields:
        intp (P, 2) blocks of pairs, in no order.

    Raises:
        ValueError: `most` is out of range.
    """
    if not 0 <= most <= 15:
        raise ValueError(f"near_pairs: expected 0 to 15 bits, got {most}")
    values = np.asarray(fingerprints, np.uint64).ravel()
    edges = np.linspace(0, BITS, most + 2).round().astype(int).tolist()
    masks = [((1 << (b - a)) - 1) << a for a, b in itertools.pairwise(edges)]
    for number, mask in enumerate(masks):
        part = values & np.uint64(mask)
        order = np.argsort(part, kind="stable")
        groups = [0, *(np.flatnonzero(np.diff(part[order])) + 1).tolist(), len(values)]
        for start, stop in itertools.pairwise(groups):
            if stop - start > 1:
                for pairs in _within(values, order[start:stop], most):
                    # A pair that also shares an earlier part was given there.
                    seen = np.zeros(len(pairs), bool)
                    different = values[pairs[:, 0]] ^ values[pairs[:, 1]]
                    for earlier in masks[:number]:
                        seen |= (different & np.uint64(earlier)) == 0
                    if not seen.all():
                        yield pairs[~seen]


def _within(values: NDArray[np.uint64], rows: NDArray[np.intp], most: int) -> Iterator[NDArray[np.intp]]:
    """Near pairs of some rows, all with all."""
    step = max(1, _AT_ONCE // len(rows))
    for start in range(0, len(rows), step):
        left = rows[start : start + step]
        near = bit_distance(values[left][:, None], values[rows[start:]][None, :]) <= most
        near &= np.arange(len(rows) - start) > np.arange(len(left))[:, None]
        i, j = np.nonzero(near)
        if len(i):
            yield np.sort(np.stack([left[i], rows[start:][j]], axis=1), axis=1)
