"""Parquet, in the layout of Hugging Face's image data sets: `image` {bytes, path}, `label`, and `person`.

Pages are written with checksums, and those of a file that has them are verified: a flipped byte of a picture is found.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Final

from mien.data.parquet_pages import rows_at_once
from mien.data.samples import Sample, checked_picture, safe_key
from mien.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["read_parquet", "write_parquet"]

_AT_ONCE: Final = 256  # pictures of a row group, and of what is decoded at a time
_BYTES_AT_ONCE: Final = 64 << 20  # of them; a larger picture is alone
_BUFFER: Final = 1 << 20
_COLUMNS: Final = ("image", "image.bytes", "image.path", "label", "person")


def write_parquet(file: IO[bytes], samples: Iterable[Sample]) -> int:
    """Write samples; returns how many.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    pa, pq = _arrow()
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("label", pa.int64()), ("person", pa.string())])
    count = 0
    options = {
        "compression": "none",  # pictures are compressed already
        "use_dictionary": ["person"],
        "write_statistics": ["label", "person"],  # the smallest picture is of no use to anybody
        "write_page_checksum": True,
    }
    with pq.ParquetWriter(file, schema, **options) as out:
        for part in _row_groups(samples):
            columns = {
                "image": [{"bytes": bytes(s.picture), "path": s.key} for s in part],
                "label": [s.label for s in part],
                "person": [s.person for s in part],
            }
            out.write_table(pa.Table.from_pydict(columns, schema=schema))
            count += len(part)
    return count


def _row_groups(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    part: list[Sample] = []
    size = 0
    for sample in samples:
        if part and (len(part) == _AT_ONCE or size + len(sample.picture) > _BYTES_AT_ONCE):
            yield part
            part, size = [], 0
        part.append(sample)
        size += len(sample.picture)
    if part:
        yield part


def read_parquet(path: Path) -> Iterator[Sample]:
    """Read samples, some at a time: memory is bounded by the largest page, whatever the file says of its sizes.

    Raises:
        InputError: the file cannot be read, is damaged, holds other columns or values, or would take too much memory.
        MissingExtraError: pyarrow is not installed.
    """
    pa, pq = _arrow()
    try:
        with (
            path.open("rb") as heads,
            pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True) as file,
        ):
            leaves = _leaves(file.schema, path)
            number = 0
            for group in range(file.metadata.num_row_groups):
                rows = _rows_at_once(heads, file.metadata.row_group(group), leaves, path)
                for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=list(leaves)):
                    for row in batch.to_pylist():
                        yield _sample(row, number, f"{path}, row {number + 1}")
                        number += 1
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not Parquet as expected: {error}") from error


def _leaves(schema: Any, path: Path) -> dict[str, int]:  # noqa: ANN401 - pyarrow's
    """The columns that are read, and their places; of an image, its bytes and path alone."""
    leaves: dict[str, int] = {}
    for i in range(len(schema)):
        column = schema.column(i)
        if column.path in _COLUMNS:
            leaves[column.path] = i
            if column.max_repetition_level:
                raise InputError(f"{path}: expected one {column.path} a row, the column holds lists")
    missing = [name for name in ("image", "label") if not {name, f"{name}.bytes"} & set(leaves)]
    if missing:
        raise InputError(f"{path}: expected the columns image and label; missing: {', '.join(missing)}")
    return leaves


def _rows_at_once(heads: IO[bytes], group: Any, leaves: dict[str, int], path: Path) -> int:  # noqa: ANN401 - pyarrow's
    bounds = {"most": _AT_ONCE, "bytes_at_once": _BYTES_AT_ONCE}
    return min(
        rows_at_once(heads, group.column(i), where=f"{path}, column {name}", **bounds) for name, i in leaves.items()
    )


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
