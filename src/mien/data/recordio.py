"""MXNet's RecordIO as face recognition uses it: `.rec` with pictures, `.idx` with their offsets, `.lst` with names.

A record is the magic number, a word of 3 flag bits and 29 of length, and the payload, padded to 4 bytes. The payload
begins with a header (flag: how many labels follow, label, id, id2); the picture comes behind. InsightFace's sets begin
with record 0, whose two labels say where the pictures end and the people begin; a person's record holds the range of
the person's pictures. Those are written too, so that InsightFace's and mien's own readers take the files.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from mien.data.samples import Sample, checked_picture, picture_suffix, safe_key
from mien.errors import InputError
from mien.images import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mien.data.samples import Encoded

__all__ = ["MAGIC", "read_recordio", "write_recordio"]

MAGIC: Final = 0xCED7230A
_LARGEST: Final = MAX_BYTES + (1 << 16)
_LENGTH_BITS: Final = 29
_HEADER: Final = struct.Struct("<IfQQ")
_MOST_LABELS: Final = 4096


class _Record(NamedTuple):
    labels: tuple[float, ...]
    id: int
    content: memoryview


def write_recordio(rec: IO[bytes], idx: IO[bytes], lst: IO[bytes], samples: Iterable[Sample]) -> int:
    """Write samples, those of a person next to each other; returns how many.

    Args:
        rec: the pictures.
        idx: "id offset" lines.
        lst: "id label key person" lines, which carry what the labels alone cannot.
        samples: ordered by label, labels from 0 without gaps.

    Raises:
        InputError: the samples are not in that order.
    """
    ranges: list[tuple[int, int]] = []
    offsets: list[tuple[int, int]] = []
    start = rec.tell()
    # Record 0 is written first and filled in at the end: its size does not depend on its numbers.
    _put(rec, offsets, 0, (0.0, 0.0), b"")
    number = 0
    for number, sample in enumerate(samples, 1):
        if sample.label not in (len(ranges), len(ranges) - 1):
            raise InputError(f"{sample.key}: expected samples ordered by label from 0 without gaps, got {sample.label}")
        if sample.label == len(ranges):
            ranges.append((number, number))
        ranges[-1] = (ranges[-1][0], number + 1)
        _put(rec, offsets, number, (float(sample.label),), sample.picture)
        cells = (str(number), str(sample.label), sample.key, sample.person)
        if any("\t" in cell or "\n" in cell or "\r" in cell for cell in cells):
            raise InputError(f"{sample.key!r}: a key and a name are expected to hold no tabs or line ends")
        lst.write(("\t".join(cells) + "\n").encode())
    pictures = number + 1
    for person, (first, last) in enumerate(ranges):
        _put(rec, offsets, pictures + person, (float(first), float(last)), b"")
    if pictures + len(ranges) > 1 << 24:
        raise InputError(f"{pictures:,} pictures: RecordIO keeps positions as float32, which holds 16,777,216 at most")
    end = rec.tell()
    rec.seek(start)
    _put(rec, [], 0, (float(pictures), float(pictures + len(ranges))), b"")
    rec.seek(end)
    idx.write("".join(f"{i}\t{offset}\n" for i, offset in offsets).encode())
    return number


def _put(
    rec: IO[bytes], offsets: list[tuple[int, int]], number: int, labels: tuple[float, ...], content: Encoded
) -> None:
    offsets.append((number, rec.tell()))
    if len(labels) == 1:
        header = _HEADER.pack(0, labels[0], number, 0)
    else:
        header = _HEADER.pack(len(labels), 0.0, number, 0) + struct.pack(f"<{len(labels)}f", *labels)
    size = len(header) + len(content)
    if size >= 1 << _LENGTH_BITS:
        raise InputError(f"record {number}: expected fewer than {1 << _LENGTH_BITS:,} bytes, got {size:,}")
    # Payloads that hold the magic number at a multiple of 4 are cut there, as dmlc's own writer does.
    payload = bytes(header) + bytes(content)
    parts = _cut(payload)
    for i, part in enumerate(parts):
        flag = 0 if len(parts) == 1 else 1 if i == 0 else 3 if i == len(parts) - 1 else 2
        rec.write(struct.pack("<II", MAGIC, flag << _LENGTH_BITS | len(part)) + part + bytes(-len(part) % 4))


def _cut(payload: bytes) -> list[bytes]:
    magic = struct.pack("<I", MAGIC)
    parts, begin, at = [], 0, payload.find(magic)
    while at >= 0:
        if at % 4 == 0 and at + 4 <= len(payload) // 4 * 4:
            parts.append(payload[begin:at])
            begin = at + 4
            at = payload.find(magic, begin)
        else:
            at = payload.find(magic, at + 1)
    return [*parts, payload[begin:]]


def read_recordio(rec: Path) -> Iterator[Sample]:
    """Read the pictures of a `.rec` file in order; a `.lst` beside it gives keys and names.

    The `.idx` is not needed for that, for the records follow each other. Records of people (InsightFace) are left out.

    Raises:
        InputError: the file cannot be read, is cut short or damaged, or holds something else.
    """
    names = _names(rec.with_suffix(".lst"))
    try:
        with rec.open("rb") as file:
            last = math.inf  # id of the first record that is no picture
            for count, record in enumerate(_records(file, rec)):
                where = f"{rec}, record {record.id}"
                if not count and record.id == 0 and not len(record.content) and len(record.labels) == 2:
                    last = record.labels[0]
                    continue
                if record.id >= last:
                    return
                label = record.labels[0] if record.labels else math.nan
                if not 0 <= label < 1 << 24 or label != int(label):
                    raise InputError(f"{where}: expected a whole number as label, got {label}")
                picture = checked_picture(bytes(record.content), where)
                key, person = names.get(record.id, ("", ""))
                key = key or f"{int(label)}/{record.id:08d}.{picture_suffix(picture)}"
                yield Sample(safe_key(key, where), int(label), person, picture)
    except OSError as error:
        raise InputError(f"{rec}: cannot be read ({error.strerror})") from error


def _records(file: IO[bytes], path: Path) -> Iterator[_Record]:
    count = 0
    while (payload := _payload(file, f"{path}, record {count} in the file")) is not None:
        where = f"{path}, record {count} in the file"
        if len(payload) < _HEADER.size:
            raise InputError(f"{where}: too short for a header")
        flag, label, number, _ = _HEADER.unpack_from(payload)
        if flag > _MOST_LABELS or len(payload) < _HEADER.size + 4 * flag:
            raise InputError(f"{where}: expected at most {_MOST_LABELS} labels, its header says {flag}")
        labels = struct.unpack_from(f"<{flag}f", payload, _HEADER.size) if flag else (label,)
        yield _Record(labels, number, memoryview(payload)[_HEADER.size + 4 * flag :])
        count += 1


def _payload(file: IO[bytes], where: str) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while True:
        head = file.read(8)
        if not head and not parts:
            return None
        if len(head) < 8:
            raise InputError(f"{where}: the file is cut short")
        magic, word = struct.unpack("<II", head)
        flag, length = word >> _LENGTH_BITS, word & (1 << _LENGTH_BITS) - 1
        size += length + 4
        if magic != MAGIC or flag > 3 or (flag in (0, 1)) == bool(parts) or size > _LARGEST:
            raise InputError(f"{where}: not a RecordIO file, or damaged")
        part = file.read(length + -length % 4)
        if len(part) < length + -length % 4:
            raise InputError(f"{where}: the file is cut short")
        parts.append(part[:length])
        if flag in (0, 3):
            return struct.pack("<I", MAGIC).join(parts)


def _names(lst: Path) -> dict[int, tuple[str, str]]:
    """Key and person by id, from a `.lst` file: of mien's own ("id label key person") or MXNet's ("id label path")."""
    found: dict[int, tuple[str, str]] = {}
    try:
        with lst.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                cells = line.rstrip("\r\n").split("\t")
                if len(cells) < 3 or not cells[0].isdecimal():
                    raise InputError(f"{lst}, line {number}: expected id, label and key, got {line!r:.80}")
                key, person = (cells[2], cells[3]) if len(cells) == 4 else (cells[-1], "")
                found[int(cells[0])] = (key, person or (key.rpartition("/")[0].rpartition("/")[2]))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{lst}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{lst}: expected UTF-8; byte {error.start} is none") from error
    return found
