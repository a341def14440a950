"""The idx format of MNIST: arrays of bytes, plain or gzipped, read without trusting what a header announces.

A file is: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a big-endian 32-bit
number, and the values, row by row.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import numpy as np

from mien.errors import InputError, NotFoundError
from mien.images import source_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MAX_BYTES", "read_idx"]

MAX_BYTES: Final = 256 << 20
"""Most values of a file; the pictures of all 60,000 training digits are 47 MB."""

_GZIP: Final = b"\x1f\x8b"
_UNSIGNED_BYTE: Final = 8
_MOST_DIMENSIONS: Final = 4
_CHUNK: Final = 1 << 20


def read_idx(path: str | os.PathLike[str], *, most_bytes: int = MAX_BYTES) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes; gzip is recognised by its content.

    Memory: the values and a megabyte, whatever the header or the compressed data announce.

    Args:
        path: the file.
        most_bytes: refuse a file that announces more values.

    Returns:
        uint8, of the file's dimensions, writable.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is not an idx file of bytes, cut short, too long, or damaged.
    """
    shown = source_name(path)
    try:
        with Path(path).open("rb") as file:
            zipped = file.read(2) == _GZIP
            file.seek(0)
            if not zipped:
                return _read(file, shown, most_bytes)
            with gzip.GzipFile(fileobj=file) as opened:
                return _read(cast("BinaryIO", opened), shown, most_bytes)
    except FileNotFoundError as error:
        raise NotFoundError(f"{shown}: no such file") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{shown}: damaged gzip data ({error})") from error
    except OSError as error:
        raise InputError(f"{shown}: cannot be read ({error.strerror or error})") from error


def _read(file: BinaryIO, shown: str, most_bytes: int) -> NDArray[np.uint8]:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise InputError(f"{shown}: not an idx file (it does not begin with two zero bytes)")
    kind, dimensions = head[2], head[3]
    if kind != _UNSIGNED_BYTE:
        raise InputError(f"{shown}: expected values of type 8 (unsigned byte), got type {kind}")
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise InputError(f"{shown}: expected 1 to {_MOST_DIMENSIONS} dimensions, got {dimensions}")
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise InputError(f"{shown}: cut short in its header")
    shape = struct.unpack(f">{dimensions}I", sizes)
    total = math.prod(shape)
    if total > most_bytes:
        raise InputError(f"{shown}: announces {total} values ({shape}), more than the limit of {most_bytes}")
    return _values(file, total, shown).reshape(shape)


def _values(file: BinaryIO, total: int, shown: str) -> NDArray[np.uint8]:
    """Read in pieces, so that a short file that announces much takes little memory."""
    content = bytearray()
    while len(content) < total and (part := file.read(min(_CHUNK, total - len(content)))):
        content += part
    if len(content) < total:
        raise InputError(f"{shown}: cut short: announces {total} values, holds {len(content)}")
    if file.read(1):
        raise InputError(f"{shown}: holds more than the {total} values that it announces")
    return np.frombuffer(content, np.uint8)
