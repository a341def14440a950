"""NumPy: an .npz of one array a column, read without pickle.

`embeddings` is float32 (N, D); `names`, `pictures` and the like are text arrays (N,), so that `numpy.load(path)` gives
what a notebook wants. Subjects without faces are left out, for they have no row in `embeddings`.
"""

from __future__ import annotations

import zipfile
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError
from mien.gallery.exchange.formats import checked_embeddings, identity_from, identity_text
from mien.gallery.exchange.rows import COLUMNS, cells_of, row_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from mien.gallery.exchange.formats import Read
    from mien.gallery.exchange.rows import Row
    from mien.types import ModelIdentity

__all__ = ["read", "write"]

_NUMBERS = ("expires", "x0", "y0", "x1", "y1", "score", "quality")
_UNPACKED, _ALWAYS = 64, 64 << 20  # what all arrays may unpack to: times the file's size, and bytes that are no bomb


def write(file: IO[bytes], rows: Iterable[Row], identity: ModelIdentity) -> None:
    """Write the rows that have an embedding."""
    columns: dict[str, list[Any]] = {column: [] for column in COLUMNS}
    blobs = bytearray()
    for row in rows:
        if row.embedding is not None:
            blobs += np.asarray(row.embedding, "<f4").tobytes()
            for column, cell in cells_of(row).items():
                columns[column].append(cell)
    arrays: dict[str, NDArray[Any]] = {
        "model": np.array(identity_text(identity)),
        "embeddings": np.frombuffer(bytes(blobs), "<f4").reshape(-1, identity.dimension),
    }
    for column, cells in columns.items():
        if column in _NUMBERS:
            arrays[column] = np.array([np.nan if c is None else c for c in cells], np.float64)
        elif column == "negative":
            arrays[column] = np.array(cells, np.bool_)
        else:
            arrays[f"{column}s" if column in ("name", "picture") else column] = np.array(
                [c or "" for c in cells], np.str_
            )
    np.savez(file, allow_pickle=False, **arrays)


def read(path: Path, identity: ModelIdentity | None) -> Read:
    """Read rows.

    Raises:
        InputError: the file or a row of it cannot be used.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: expected an .npz of several arrays")
            unpacked = sum(info.file_size for info in file.zip.infolist()) if file.zip else 0
            if unpacked > _UNPACKED * path.stat().st_size + _ALWAYS:
                raise InputError(f"{path}: would unpack to {unpacked:,} bytes, far more than embeddings and names do")
            arrays = {name: file[name] for name in file.files}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise InputError(f"{path}: not an .npz of plain arrays: {error}") from error
    missing = [name for name in ("embeddings", "names") if name not in arrays]
    if missing:
        raise InputError(f"{path}: expected the arrays embeddings and names; missing: {', '.join(missing)}")
    found = identity_from(str(arrays["model"]) if "model" in arrays else None, str(path), identity)
    vectors = arrays["embeddings"]
    if vectors.dtype.kind != "f":
        raise InputError(f"{path}: embeddings: expected floating-point numbers, got {vectors.dtype}")
    vectors = checked_embeddings(np.ascontiguousarray(vectors, np.float32), found, str(path))
    columns: dict[str, list[Any]] = {}
    for column in COLUMNS:
        array = arrays.get(f"{column}s" if column in ("name", "picture") else column)
        if array is not None:
            if array.shape != (len(vectors),) or array.dtype.kind not in "USfiub":
                raise InputError(f"{path}: {column}: expected {len(vectors)} values, got {array.dtype} {array.shape}")
            columns[column] = array.tolist()
    for i, embedding in enumerate(vectors):
        yield found, row_of({c: values[i] for c, values in columns.items()}, embedding, f"{path}, row {i + 1}")
