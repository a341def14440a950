"""Parquet, through pyarrow: one row group at a time, the embedding as a fixed-size list of float32."""

from __future__ import annotations

import itertools
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError, MissingExtraError
from mien.gallery.exchange.formats import checked_embeddings, identity_from, identity_text
from mien.gallery.exchange.rows import COLUMNS, cells_of, row_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mien.gallery.exchange.formats import Read
    from mien.gallery.exchange.rows import Row
    from mien.types import ModelIdentity

__all__ = ["read", "write"]

_AT_ONCE = 8192  # rows of a row group
_NUMBERS = ("expires", "x0", "y0", "x1", "y1", "score", "quality")
_MODEL = b"mien.model"


def write(file: IO[bytes], rows: Iterable[Row], identity: ModelIdentity) -> None:
    """Write rows; the model's identity goes into the file's metadata."""
    pa, pq = _arrow()
    fields = [(c, pa.float64() if c in _NUMBERS else pa.bool_() if c == "negative" else pa.string()) for c in COLUMNS]
    fields.append(("embedding", pa.list_(pa.float32(), identity.dimension)))
    schema = pa.schema(fields, metadata={_MODEL: identity_text(identity).encode()})
    with pq.ParquetWriter(file, schema, compression="zstd") as out:
        whole = iter(rows)
        while part := list(itertools.islice(whole, _AT_ONCE)):
            cells = [cells_of(row) for row in part]
            data: dict[str, list[Any]] = {c: [row[c] for row in cells] for c in COLUMNS}
            data["embedding"] = [row.embedding for row in part]
            out.write_table(pa.Table.from_pydict(data, schema=schema))


def read(path: Path, identity: ModelIdentity | None) -> Read:
    """Read rows, a group at a time.

    Raises:
        InputError: the file or a row of it cannot be used.
        MissingExtraError: pyarrow is not installed.
    """
    pa, pq = _arrow()
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            missing = [c for c in ("name", "embedding") if c not in names]
            if missing:
                raise InputError(f"{path}: expected the columns name and embedding; missing: {', '.join(missing)}")
            stated = (file.schema_arrow.metadata or {}).get(_MODEL, b"").decode("utf-8", "replace")
            found = identity_from(stated, str(path), identity)
            wanted = [c for c in (*COLUMNS, "embedding") if c in names]
            start = 0
            for batch in file.iter_batches(batch_size=_AT_ONCE, columns=wanted):
                columns = batch.to_pydict()
                embeddings = columns.pop("embedding")
                for i, values in enumerate(embeddings):
                    where = f"{path}, row {start + i + 1}"
                    vector = None
                    if values is not None:
                        try:
                            row = np.array(values, np.float32)[None]
                        except (TypeError, ValueError) as error:
                            raise InputError(f"{where}: embedding: expected numbers") from error
                        vector = checked_embeddings(row, found, where)[0]
                    yield found, row_of({c: column[i] for c, column in columns.items()}, vector, where)
                start += len(embeddings)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not Parquet as expected: {error}") from error


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("Parquet files", "parquet") from error
    return pa, pq
