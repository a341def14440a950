"""CSV: a header, a line a face, the embedding as base64 of little-endian float32.

A cell that a spreadsheet could take for a formula, or that begins with an apostrophe, has an apostrophe put before it;
reading takes one away. So names survive the way out and back, and no spreadsheet runs them.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
from typing import IO, TYPE_CHECKING, Protocol

import numpy as np

from mien.errors import InputError
from mien.gallery.exchange.formats import checked_embeddings, identity_from, identity_text
from mien.gallery.exchange.rows import COLUMNS, cells_of, row_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mien.gallery.exchange.formats import Read
    from mien.gallery.exchange.rows import Row
    from mien.types import ModelIdentity

__all__ = ["read", "write"]

_HEADER = (*COLUMNS, "model", "embedding")
_DANGEROUS = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "'")
_LONGEST_LINE = 4 << 20  # characters; an embedding of 65,536 numbers is 350,000
_TEXT = ("name", "external_id", "groups", "metadata", "consent", "picture")


class _Lines(Protocol):
    """What `csv.reader` gives."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...
    def __next__(self) -> list[str]: ...


def write(file: IO[bytes], rows: Iterable[Row], identity: ModelIdentity) -> None:
    """Write rows as UTF-8 CSV."""
    text = io.TextIOWrapper(file, "utf-8", newline="", errors="surrogatepass")
    out = csv.writer(text, lineterminator="\n")
    out.writerow(_HEADER)
    model = identity_text(identity)
    for row in rows:
        cells = cells_of(row)
        for column in _TEXT:
            cells[column] = _guarded(cells[column])
        blob = b"" if row.embedding is None else np.asarray(row.embedding, "<f4").tobytes()
        out.writerow([*(cells[c] for c in COLUMNS), model, base64.b64encode(blob).decode()])
    text.detach()


def read(path: Path, identity: ModelIdentity | None) -> Read:
    """Read rows, one at a time.

    Raises:
        InputError: the file or a line of it cannot be used; names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            limit = csv.field_size_limit(_LONGEST_LINE)
            try:
                yield from _rows(csv.reader(file, strict=True), path, identity)
            finally:
                csv.field_size_limit(limit)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected CSV in UTF-8; byte {error.start} is none") from error
    except csv.Error as error:
        raise InputError(f"{path}: not CSV as expected: {error}") from error


def _rows(lines: _Lines, path: Path, given: ModelIdentity | None) -> Read:
    header: list[str] = next(lines, [])
    missing = [c for c in ("name", "embedding") if c not in header]
    if missing or len(set(header)) != len(header):
        raise InputError(
            f"{path}: expected a header with the columns {', '.join(_HEADER)}, got {', '.join(header)!r:.90}"
        )
    for cells in lines:
        if not cells:
            continue
        where = f"{path}, line {lines.line_num}"
        if len(cells) != len(header):
            raise InputError(f"{where}: expected {len(header)} cells, got {len(cells)}")
        row = dict(zip(header, cells, strict=True))
        for column in _TEXT:
            row[column] = _unguarded(row.get(column, ""))
        identity = identity_from(row.get("model"), where, given)
        embedding = None
        if row["embedding"]:
            try:
                blob = base64.b64decode(row["embedding"], validate=True)
            except (binascii.Error, ValueError) as error:
                raise InputError(f"{where}: embedding: expected base64, got {row['embedding']!r:.40}") from error
            if len(blob) % 4:
                raise InputError(f"{where}: embedding: expected whole float32 numbers, got {len(blob)} bytes")
            embedding = checked_embeddings(np.frombuffer(blob, "<f4").astype(np.float32)[None], identity, where)[0]
        yield identity, row_of(row, embedding, where)


def _guarded(text: str | None) -> str | None:
    return f"'{text}" if text and text.lstrip().startswith(_DANGEROUS) else text


def _unguarded(text: str) -> str:
    """Without the apostrophe that `_guarded` puts; a name that merely begins with one, from elsewhere, keeps it."""
    return text[1:] if text.startswith("'") and text[1:].lstrip().startswith(_DANGEROUS) else text
