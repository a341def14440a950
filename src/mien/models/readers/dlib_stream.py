"""The primitives of dlib's serialization: variable-length integers, floats made of two of them, text, tensors.

An integer is one control byte (low nibble: how many bytes follow; bit 7: sign) and a little-endian magnitude. A float
is a mantissa and an exponent: value = mantissa * 2 ** exponent. A tensor is a version (2), four dimensions and raw
little-endian float32.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import ModelFileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.types import Floats

__all__ = ["DlibStream", "all_integers", "as_floats"]

_CHUNK: Final = 1 << 16
_TEXT_LIMIT: Final = 256
# dlib writes infinities and NaN as exponents from 32000 on; a finite float32 needs no more than this.
_EXPONENT_LIMIT: Final = 1024


class DlibStream:
    """Reads dlib's primitives one after the other; never beyond the end of its bytes.

    Not thread-safe: it has a position.

    Args:
        data: the file's bytes.
        source: the file's name, for messages.
    """

    def __init__(self, data: bytes, *, source: str) -> None:
        self._data = data
        self._at = 0
        self._source = source

    def fail(self, problem: str) -> ModelFileError:
        """The error to raise for a problem at the present position."""
        return ModelFileError(f"{self._source}: {problem} at byte {self._at}; the file is damaged or of another kind")

    @property
    def exhausted(self) -> bool:
        """Whether all bytes were read."""
        return self._at == len(self._data)

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise self.fail(f"expected {count} more bytes, found {len(self._data) - self._at}")
        self._at += count
        return self._data[self._at - count : self._at]

    def integer(self) -> int:
        """Read one integer."""
        control = self._take(1)[0]
        if control & 0x70 or not 1 <= control & 0x0F <= 8:
            raise self.fail(f"expected an integer, found the control byte 0x{control:02x}")
        value = int.from_bytes(self._take(control & 0x0F), "little")
        return -value if control & 0x80 else value

    def real(self) -> float:
        """Read one finite floating-point number."""
        mantissa, exponent = self.integer(), self.integer()
        if abs(exponent) > _EXPONENT_LIMIT:
            raise self.fail(f"expected a finite number, found the exponent {exponent}")
        try:
            return math.ldexp(mantissa, exponent)
        except OverflowError:
            raise self.fail("expected a finite number, found one that overflows") from None

    def text(self) -> str:
        """Read one short ASCII text, such as a layer's name."""
        length = self.integer()
        if not 0 <= length <= _TEXT_LIMIT:
            raise self.fail(f"expected a short text, found one of {length} bytes")
        raw = self._take(length)
        if not raw.isascii():
            raise self.fail("expected ASCII text")
        return raw.decode("ascii")

    def flag(self) -> bool:
        """Read one boolean, written as the character 0 or 1."""
        raw = self._take(1)
        if raw not in (b"0", b"1"):
            raise self.fail(f"expected a flag, found {raw!r}")
        return raw == b"1"

    def tensor(self) -> Floats:
        """Read one tensor: float32 of the four dimensions that stand before the numbers."""
        version = self.integer()
        if version != 2:
            raise self.fail(f"expected a tensor of version 2, found {version}")
        shape = tuple(self.integer() for _ in range(4))
        if min(shape) < 0:
            raise self.fail(f"expected a tensor, found the shape {shape}")
        values = np.frombuffer(self._take(4 * math.prod(shape)), "<f4").reshape(shape).astype(np.float32)
        if not np.isfinite(values).all():
            raise self.fail("expected finite numbers in a tensor")
        return values


def all_integers(data: bytes, *, source: str) -> NDArray[np.int64]:
    """Read a file that consists of integers only, quickly.

    Where an integer begins depends on the one before it, so a plain loop finds the beginnings; numpy then reads all
    integers of one length at once.

    Args:
        data: the file's bytes.
        source: the file's name, for messages.

    Returns:
        int64 (N,): all integers of the file, in order.

    Raises:
        ModelFileError: the bytes are not a sequence of such integers, or the last one is cut short.
    """
    # A forbidden control byte leads far beyond the end, which stops the loop and is reported below.
    steps = [1 + (c & 0x0F) if not c & 0x70 and 1 <= c & 0x0F <= 8 else len(data) + 16 for c in range(256)]
    at, end, chunks = 0, len(data), []
    while at < end:
        starts = []
        for _ in range(_CHUNK):  # in pieces: a list of all beginnings would take ten times the array's memory
            starts.append(at)
            at += steps[data[at]]
            if at >= end:
                break
        chunks.append(np.array(starts, np.int64))
    if at != end:
        where = int(chunks[-1][-1]) if chunks else 0
        raise ModelFileError(f"{source}: expected an integer at byte {where}; the file is damaged or of another kind")
    begins = np.concatenate(chunks) if chunks else np.zeros(0, np.int64)
    raw = np.frombuffer(data, np.uint8)
    control = raw[begins]
    values = np.zeros(len(begins), np.uint64)
    for length in range(1, 9):
        these = np.flatnonzero((control & 0x0F) >= length)
        values[these] |= raw[begins[these] + length].astype(np.uint64) << np.uint64(8 * (length - 1))
    if values.size and int(values.max()) > np.iinfo(np.int64).max:
        raise ModelFileError(f"{source}: expected integers of 63 bits; the file is damaged or of another kind")
    signed = values.astype(np.int64)
    return np.where(control & 0x80, -signed, signed)


def as_floats(pairs: NDArray[np.int64], *, source: str) -> Floats:
    """Turn (mantissa, exponent) pairs into numbers.

    Args:
        pairs: int64 (..., 2).
        source: the file's name, for messages.

    Returns:
        float32 (...).

    Raises:
        ModelFileError: a number is infinite or not a number.
    """
    mantissa, exponent = pairs[..., 0], pairs[..., 1]
    if exponent.size and int(np.abs(exponent).max()) > _EXPONENT_LIMIT:
        raise ModelFileError(f"{source}: expected finite numbers; the file is damaged or of another kind")
    with np.errstate(over="ignore"):
        values = np.ldexp(mantissa.astype(np.float64), exponent.astype(np.int32)).astype(np.float32)
    if not np.isfinite(values).all():
        raise ModelFileError(f"{source}: expected finite numbers; the file is damaged or of another kind")
    return values
