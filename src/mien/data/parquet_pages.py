"""How much a Parquet column will take once it is decoded, from the heads of its pages, before any page is decoded.

What a file's footer says of its sizes binds nobody; a page's own head does, for the decoder makes room for what it
announces and no more. Heads are Thrift's compact protocol.

Source: Apache Parquet, "parquet.thrift" and "Encodings"; Apache Thrift, "Thrift compact protocol encoding".
"""

from __future__ import annotations

import operator
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LARGEST_PAGE", "rows_at_once"]

LARGEST_PAGE: Final = 512 << 20
"""Bytes of a page, packed or not: twice the largest picture."""

_MOST_VALUES: Final = 1 << 24  # of a page
_LARGEST_HEAD: Final = 16 << 20
_FIRST_LOOK: Final = 1 << 10
_DICTIONARY, _DATA, _DATA_2 = 2, 0, 3  # types of pages
_PARTS: Final = {_DATA: 5, _DICTIONARY: 7, _DATA_2: 8}  # the field that a decoder looks in; others may say anything
_DELTA_BYTES: Final = 7  # an encoding whose values begin with the value before: few bytes make very many


class _Page(NamedTuple):
    """What a page's head says."""

    kind: int
    size: int
    packed: int
    values: int
    encoding: int


def rows_at_once(file: IO[bytes], column: Any, *, most: int, bytes_at_once: int, where: str) -> int:  # noqa: ANN401
    """How many rows of a column chunk may be decoded together, to stay at about `bytes_at_once`; at least 1.

    A row has one value: the column is not repeated.

    Args:
        file: the Parquet file.
        column: pyarrow's ColumnChunkMetaData.
        most: rows to decode together at most.
        bytes_at_once: what they should take; one row, or one page, may take more.
        where: names the file and the column.

    Raises:
        InputError: a page is damaged, or larger than `LARGEST_PAGE`.
    """
    rows, dictionary = most, 0
    for page in _pages(file, column, where):
        if not (0 <= page.size <= LARGEST_PAGE and 0 <= page.packed <= LARGEST_PAGE):
            raise InputError(f"{where}: a page of {max(page.size, page.packed):,} bytes; {LARGEST_PAGE:,} are the most")
        if not 0 <= page.values <= _MOST_VALUES:
            raise InputError(f"{where}: a page of {page.values:,} values; {_MOST_VALUES:,} are the most")
        if page.kind == _DICTIONARY:  # one entry may be all of it, and stand in every row
            dictionary = max(dictionary, page.size)
        elif page.kind in (_DATA, _DATA_2):  # all of them are looked at: the next may be a larger one
            fit = page.values * bytes_at_once // max(page.size, 1)
            rows = min(rows, 1 if page.encoding == _DELTA_BYTES else fit)
    return max(1, min(rows, bytes_at_once // max(dictionary, 1)))


def _pages(file: IO[bytes], column: Any, where: str) -> Iterator[_Page]:  # noqa: ANN401
    at = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < at:
        at = column.dictionary_page_offset
    end = at + column.total_compressed_size
    left = column.num_values
    while left > 0 and at < end:
        page, length = _head(file, at, where)
        yield page
        at += length + page.packed
        if page.kind in (_DATA, _DATA_2):
            left -= page.values
            if left < 0:
                raise InputError(f"{where}: its pages hold more values than the column; the file is damaged")


def _head(file: IO[bytes], at: int, where: str) -> tuple[_Page, int]:
    look = _FIRST_LOOK
    while True:
        file.seek(at)
        data = file.read(look)
        try:
            fields, length = _struct(data, 0)
            return _page(fields), length
        except IndexError:  # a head may hold the smallest and the largest value, at any length
            if len(data) < look or look >= _LARGEST_HEAD:
                raise InputError(f"{where}: the file is cut short or damaged") from None
            look *= 8
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError(f"{where}: the head of a page is damaged") from error


def _page(fields: dict[int, Any]) -> _Page:
    """Raises KeyError, TypeError or ValueError for fields that are not those of a page."""
    kind = fields[1]
    part = fields[_PARTS[kind]] if kind in _PARTS else {1: 0, 2: 0}
    page = _Page(*map(operator.index, (kind, fields[2], fields[3], part[1], part[4 if kind == _DATA_2 else 2])))
    if not all(-(1 << 31) <= number < 1 << 31 for number in page):  # a decoder would cut them to 32 bits
        raise ValueError("a number of more than 32 bits")
    return page


def _struct(data: bytes, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """The fields of a Thrift struct, by number. Raises IndexError where bytes are missing, ValueError for others."""
    found: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at)
        if number in found or not 0 < number < 1 << 15:  # decoders differ in which of two they take
            raise ValueError(f"the field {number} twice, or out of range")
        kind = head & 15
        if kind in (1, 2):
            found[number] = kind == 1
        elif kind == 3:
            found[number], at = data[at], at + 1
        elif kind in (4, 5, 6):
            found[number], at = _integer(data, at)
        elif kind == 8:
            size, at = _varint(data, at)
            found[number], at = None, at + size
        elif kind == 12 and depth < 3:
            found[number], at = _struct(data, at, depth + 1)
        else:
            raise ValueError(f"a field of type {kind}")
    return found, at + 1


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return value >> 1 ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number without an end")
