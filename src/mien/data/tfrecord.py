"""TFRecord: length, masked CRC of the length, payload, masked CRC of the payload; payloads are `tf.train.Example`.

Features written: `image/encoded`, `image/format`, `image/key`, `image/class/label`, `image/class/text`, the names that
TensorFlow's own image pipelines use. Read are also `image`, `image_raw`, `label` and `name`, which others write.
"""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING, Final

from mien.data.crc32c import masked_crc32c
from mien.data.samples import Sample, checked_picture, picture_suffix, safe_key
from mien.errors import InputError
from mien.images import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mien.data.samples import Encoded

__all__ = ["read_tfrecord", "write_tfrecord"]

_LARGEST: Final = MAX_BYTES + (1 << 20)  # payload: a picture and its names
_AT_ONCE: Final = 64  # records whose checksums are computed together
_PICTURE: Final = ("image/encoded", "image", "image_raw", "jpeg", "png")
_LABEL: Final = ("image/class/label", "label", "class")
_KEY: Final = ("image/key", "image/filename", "key", "filename", "name")
_TEXT: Final = ("image/class/text", "person", "text")


def write_tfrecord(file: IO[bytes], samples: Iterable[Sample]) -> int:
    """Write samples; returns how many."""
    count = 0
    batch: list[bytes] = []
    for sample in samples:
        batch.append(_example(sample))
        count += 1
        if len(batch) == _AT_ONCE:
            _flush(file, batch)
    _flush(file, batch)
    return count


def _flush(file: IO[bytes], batch: list[bytes]) -> None:
    lengths = [struct.pack("<Q", len(payload)) for payload in batch]
    sums = masked_crc32c([*lengths, *batch])
    for length, payload, first, second in zip(lengths, batch, sums[: len(batch)], sums[len(batch) :], strict=True):
        file.write(length + struct.pack("<I", first) + payload + struct.pack("<I", second))
    batch.clear()


def read_tfrecord(path: Path) -> Iterator[Sample]:
    """Read samples in order; every checksum is verified.

    Raises:
        InputError: the file cannot be read, is cut short or damaged, or a record is no picture with a label.
    """
    try:
        with path.open("rb") as file:
            batch: list[tuple[bytes, bytes, int, int]] = []
            number = 0
            while record := _record(file, f"{path}, record {number + len(batch)}"):
                batch.append(record)
                if len(batch) == _AT_ONCE:
                    yield from _samples(batch, number, path)
                    number += len(batch)
                    batch = []
            yield from _samples(batch, number, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _record(file: IO[bytes], where: str) -> tuple[bytes, bytes, int, int] | None:
    head = file.read(12)
    if not head:
        return None
    if len(head) < 12:
        raise InputError(f"{where}: the file is cut short")
    length, first = struct.unpack("<QI", head)
    if length > _LARGEST:
        raise InputError(
            f"{where}: expected at most {_LARGEST:,} bytes, its header says {length:,}; not a TFRecord file?"
        )
    payload = file.read(length)
    tail = file.read(4)
    if len(payload) < length or len(tail) < 4:
        raise InputError(f"{where}: the file is cut short")
    return head[:8], payload, first, struct.unpack("<I", tail)[0]


def _samples(batch: list[tuple[bytes, bytes, int, int]], number: int, path: Path) -> Iterator[Sample]:
    sums = masked_crc32c([b[0] for b in batch] + [b[1] for b in batch])
    for i, (_, payload, first, second) in enumerate(batch):
        where = f"{path}, record {number + i}"
        if (sums[i], sums[len(batch) + i]) != (first, second):
            raise InputError(f"{where}: its checksum does not fit; the file is damaged")
        yield _sample(payload, where, number + i)


# tf.train.Example in protocol buffers' wire format:
#   Example { Features features = 1 }  Features { map<string, Feature> feature = 1 }
#   Feature { BytesList = 1 | FloatList = 2 | Int64List = 3 }, each with `repeated value = 1`


def _example(sample: Sample) -> bytes:
    features = {
        "image/encoded": _bytes_feature(bytes(sample.picture)),
        "image/format": _bytes_feature(picture_suffix(sample.picture).replace("jpg", "jpeg").encode()),
        "image/key": _bytes_feature(sample.key.encode()),
        "image/class/label": _field(3, _field(1, _varint(sample.label))),
        "image/class/text": _bytes_feature(sample.person.encode()),
    }
    entries = (_field(1, _field(1, name.encode()) + _field(2, value)) for name, value in features.items())
    return _field(1, b"".join(entries))


def _bytes_feature(value: bytes) -> bytes:
    return _field(1, _field(1, value))


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


class _WireError(Exception):
    """The bytes are no message."""


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: (number, a number or the bytes of a length-delimited one)."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _read_varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _read_varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise _WireError
        if at + length > len(data):
            raise _WireError
        yield tag >> 3, data[at : at + length]
        at += length


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise _WireError


def _part(data: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, value in _fields(data):
        if number == wanted and isinstance(value, memoryview):
            yield value


def _features(payload: bytes) -> dict[str, list[int | memoryview]]:
    found: dict[str, list[int | memoryview]] = {}
    for features in _part(memoryview(payload), 1):
        for entry in _part(features, 1):
            name, values = "", list[int | memoryview]()
            for number, value in _fields(entry):
                if number == 1 and isinstance(value, memoryview):
                    name = str(bytes(value), "utf-8", "replace")
                elif number == 2 and isinstance(value, memoryview):
                    for kind, content in _fields(value):
                        if kind in (1, 3) and isinstance(content, memoryview):
                            values += _values(kind, content)
            found[name] = values
    return found


def _values(kind: int, content: memoryview) -> Iterator[int | memoryview]:
    for number, value in _fields(content):
        if number == 1 and kind == 3 and isinstance(value, memoryview):  # packed integers
            at = 0
            while at < len(value):
                integer, at = _read_varint(value, at)
                yield integer
        elif number == 1:
            yield value


def _sample(payload: bytes, where: str, number: int) -> Sample:
    try:
        features = _features(payload)
    except _WireError as error:
        raise InputError(f"{where}: expected a tf.train.Example, got other bytes") from error

    def first(names: tuple[str, ...], kind: type[int] | type[memoryview]) -> int | memoryview | None:
        return next((v[0] for n in names if (v := features.get(n)) and isinstance(v[0], kind)), None)

    picture, label = first(_PICTURE, memoryview), first(_LABEL, int)
    if not isinstance(picture, memoryview) or not isinstance(label, int) or label >> 63:
        listed = ", ".join(sorted(features))
        raise InputError(f"{where}: expected features with a picture and a label, got {listed!r:.120}")
    key, text = first(_KEY, memoryview), first(_TEXT, memoryview)
    encoded: Encoded = checked_picture(bytes(picture), where)
    person = str(bytes(text), "utf-8", "replace") if isinstance(text, memoryview) else ""
    named = str(bytes(key), "utf-8", "replace") if isinstance(key, memoryview) else ""
    return Sample(safe_key(named or f"{label}/{number:08d}.{picture_suffix(encoded)}", where), label, person, encoded)
