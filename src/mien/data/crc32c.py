"""CRC-32C (Castagnoli), which TFRecord guards its records with: many buffers at once, in numpy.

A buffer is cut into short lanes; all lanes of all buffers go through the table together, and are then put together two
by two: the register of the left lane, sent through as many zero bytes as the right one is long, plus the right one's.
Where `google-crc32c` is installed, it is used instead: it computes at memory speed.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    U32 = NDArray[np.uint32]

__all__ = ["crc32c", "masked_crc32c"]

_POLYNOMIAL: Final = 0x82F63B78  # reflected
_LANE: Final = 64  # bytes
_MASK_DELTA: Final = 0xA282EAD8


def crc32c(buffers: Sequence[bytes | memoryview]) -> list[int]:
    """The checksum of each buffer.

    >>> [hex(c) for c in crc32c([b"123456789", b""])]
    ['0xe3069283', '0x0']
    """
    fast = _library()
    if fast is not None:
        return [int(fast(bytes(buffer))) for buffer in buffers]
    return crc32c_numpy(buffers)


def masked_crc32c(buffers: Sequence[bytes | memoryview]) -> list[int]:
    """The checksums as TFRecord stores them: rotated by 15 bits, plus a constant."""
    return [((c >> 15 | c << 17) + _MASK_DELTA) & 0xFFFFFFFF for c in crc32c(buffers)]


def crc32c_numpy(buffers: Sequence[bytes | memoryview]) -> list[int]:
    """As `crc32c`, without the library."""
    found = [0] * len(buffers)
    by_lanes: dict[int, list[int]] = {}  # buffers that need equally many lanes go together
    for i, buffer in enumerate(buffers):
        if len(buffer):
            lanes = 1 << max(0, (-(-len(buffer) // _LANE) - 1).bit_length())
            by_lanes.setdefault(lanes, []).append(i)
    for lanes, members in by_lanes.items():
        together = max(1, (1 << 22) // (lanes * _LANE))
        for start in range(0, len(members), together):
            part = members[start : start + together]
            for i, value in zip(part, _registers([buffers[i] for i in part], lanes).tolist(), strict=True):
                found[i] = value ^ _shift_int(0xFFFFFFFF, len(buffers[i])) ^ 0xFFFFFFFF
    return found


@functools.cache
def _library() -> Callable[[bytes], int] | None:
    try:
        import google_crc32c
    except ImportError:
        return None
    module: Any = google_crc32c
    value: Callable[[bytes], int] = module.value
    return value if module.implementation == "c" else None


def _registers(buffers: Sequence[bytes | memoryview], lanes: int) -> U32:
    """The register after each buffer, begun at 0, so that zeros put before a buffer change nothing."""
    padded = np.zeros((len(buffers), lanes * _LANE), np.uint8)
    for row, buffer in zip(padded, buffers, strict=True):
        row[row.size - len(buffer) :] = np.frombuffer(buffer, np.uint8)
    words = np.ascontiguousarray(padded.reshape(-1, _LANE).view("<u4").T)
    t0, t1, t2, t3 = _tables()
    register: U32 = np.zeros(words.shape[1], np.uint32)
    for word in words:
        register ^= word
        register = t3[register & 255] ^ t2[(register >> 8) & 255] ^ t1[(register >> 16) & 255] ^ t0[register >> 24]
    length = _LANE
    while register.size > len(buffers):
        pairs = register.reshape(-1, 2)
        register = _shift(pairs[:, 0], length) ^ pairs[:, 1]
        length *= 2
    return register


@functools.cache
def _tables() -> tuple[U32, U32, U32, U32]:
    """What one byte does to the register now, and one, two and three bytes later."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    tables = [table]
    for _ in range(3):
        before = tables[-1]
        tables.append(table[before & 255] ^ (before >> 8))
    return tables[0], tables[1], tables[2], tables[3]


def _through(columns: U32, value: U32) -> U32:
    """The product over GF(2) of a 32 x 32 matrix, a column a bit, with each value."""
    out: U32 = np.zeros_like(value)
    for bit in range(32):
        out ^= np.where((value >> np.uint32(bit)) & 1, columns[bit], 0).astype(np.uint32)
    return out


@functools.cache
def _zeros(power: int) -> U32:
    """The matrix that sends the register through 2**power zero bytes."""
    if power == 0:
        one = np.uint32(1) << np.arange(32, dtype=np.uint32)
        sent: U32 = _tables()[0][one & 255] ^ (one >> np.uint32(8))
        return sent
    half = _zeros(power - 1)
    return _through(half, half)


def _shift(value: U32, length: int) -> U32:
    for power in range(length.bit_length()):
        if length >> power & 1:
            value = _through(_zeros(power), value)
    return value


def _shift_int(value: int, length: int) -> int:
    return int(_shift(np.array([value], np.uint32), length)[0])
