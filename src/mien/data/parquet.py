"""Parquet, in the layout of Hugging Face's image data sets: `image` {bytes, path}, `label`, and `person`."""

from __future__ import annotations

import itertools
from typing import IO, TYPE_CHECKING, Any, Final

from mien.data.samples import Sample, checked_picture, safe_key
from mien.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["read_parquet", "write_parquet"]

_AT_ONCE: Final = 256  # pictures of a row group


def write_parquet(file: IO[bytes], samples: Iterable[Sample]) -> int:
    """Write samples; returns how many.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    pa, pq = _arrow()
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("label", pa.int64()), ("person", pa.string())])
    count = 0
    # Pictures are compressed already.
    with pq.ParquetWriter(file, schema, compression="none", use_dictionary=["person"]) as out:
        rest = iter(samples)
        while part := list(itertools.islice(rest, _AT_ONCE)):
            columns = {
                "image": [{"bytes": bytes(s.picture), "path": s.key} for s in part],
                "label": [s.label for s in part],
                "person": [s.person for s in part],
            }
            out.write_table(pa.Table.from_pydict(columns, schema=schema))
            count += len(part)
    return count


def read_parquet(path: Path) -> Iterator[Sample]:
    """Read samples, a row group at a time.

    Raises:
        InputError: the file cannot be read, or holds other columns or values.
        MissingExtraError: pyarrow is not installed.
    """
    pa, pq = _arrow()
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            missing = [column for column in ("image", "label") if column not in names]
            if missing:
                raise InputError(f"{path}: expected the columns image and label; missing: {', '.join(missing)}")
            wanted = [column for column in ("image", "label", "person") if column in names]
            number = 0
            for batch in file.iter_batches(batch_size=_AT_ONCE, columns=wanted):
                for row in batch.to_pylist():
                    yield _sample(row, number, f"{path}, row {number + 1}")
                    number += 1
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not Parquet as expected: {error}") from error


def _sample(row: dict[str, Any], number: int, where: str) -> Sample:
    image, label = row["image"], row["label"]
    picture = image.get("bytes") if isinstance(image, dict) else image
    key = image.get("path") if isinstance(image, dict) else None
    if not isinstance(picture, bytes) or not isinstance(label, int) or not 0 <= label < 1 << 63:
        raise InputError(
            f"{where}: expected an encoded picture and a label, got {type(picture).__name__}, {label!r:.40}"
        )
    person = row.get("person") or ""
    return Sample(
        safe_key(key or f"{label}/{number:08d}.jpg", where), label, str(person), checked_picture(picture, where)
    )


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("Parquet files", "parquet") from error
    return pa, pq
