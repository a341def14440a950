"""The snapshot file: an index as it was, mapped into memory instead of computed again.

It is derived, so it is never trusted further than it can be checked: whatever does not fit raises GalleryFileError, and
the caller builds the index anew from the truth. Layout, little-endian, every section starting at a multiple of 4096:

    head      magic, version, head's checksum, JSON: counts, the caller's note, and each section's place and checksum
    sections  rows, owners, live, and what the codebook and the codes are made of

Opening checks the head in full, that every section lies inside the file with the very size its shape asks for, the
checksums of the small sections, and a checksum of 64 evenly spread blocks of the large ones, which stay unread.
"""

from __future__ import annotations

import json
import mmap
import os
import stat
import struct
import tempfile
import zlib
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mien.errors import GalleryFileError
from mien.gallery.search.codebook import Codebook, Codes
from mien.gallery.search.compiled import available
from mien.gallery.search.exact import ExactIndex
from mien.gallery.search.nibbles import NibbleScanner
from mien.gallery.search.octets import OctetScanner
from mien.gallery.search.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

__all__ = ["OpenedIndex", "open_index", "read_index", "save_index"]

Mapped: TypeAlias = Any  # an mmap, or bytes where the file is empty

_MAGIC = b"mien-index\r\n\x1a\n\x00\x00"  # 16 bytes; a transfer as text breaks it
_VERSION = 1
_HEAD = struct.Struct("<16sIII")  # magic, version, length of the JSON, its CRC-32
_PAGE = 4096
_LONGEST_HEAD = 1 << 20
_SAMPLES = 64
_DTYPES = {"<f4", "<f8", "<i8", "<i2", "|u1", "|b1"}
_COLUMN = "column "  # how the names of the caller's own sections begin


@dataclass(frozen=True, slots=True, eq=False)
class OpenedIndex:
    """What is in a snapshot file.

    Attributes:
        index: the index, mapped.
        note: what the caller noted.
        columns: the caller's own arrays, mapped.
    """

    index: ExactIndex
    note: dict[str, Any]
    columns: dict[str, NDArray[Any]]


def save_index(
    index: ExactIndex,
    path: Path,
    note: Mapping[str, Any],
    *,
    columns: Mapping[str, NDArray[Any]] | None = None,
    guard: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Write an index to a file, all or nothing, readable by its owner only.

    Args:
        index: removed rows keep their places, and what they hold; see `ExactIndex.purged`.
        path: replaced if it exists, once the new file is on the disk.
        note: what it was built from, for the caller to compare at opening; plain JSON.
        columns: more arrays to keep, of one or two dimensions.
        guard: entered and left when the file is there but holds no row yet, and entered around its being put in place;
            what it raises stops the saving.

    Raises:
        GalleryFileError: the file cannot be written.
    """
    if len(index.segments) > 1:  # a file holds one
        index = index.purged()
    parts, kind = _parts(index)
    parts |= {f"{_COLUMN}{name}": array for name, array in (columns or {}).items()}
    sections: list[tuple[str, str, list[int], int, int]] = []
    at = _PAGE * 16
    for name, array in parts.items():
        crc = zlib.crc32(_sampled(_flat(array)))
        sections.append((name, array.dtype.str, list(array.shape), at, crc))
        at += -(-array.nbytes // _PAGE) * _PAGE
    text = json.dumps(
        {
            "kind": kind,
            "count": index.count,
            "coded": index.segments[0].coded if index.segments else 0,
            "size": at,
            "note": dict(note),
            "sections": sections,
        }
    ).encode()
    if _HEAD.size + len(text) > _PAGE * 16:
        raise GalleryFileError(f"{path}: the note is too long for the head")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_HEAD.pack(_MAGIC, _VERSION, len(text), zlib.crc32(text)) + text)
                file.flush()  # who looks for index files now finds this one, by how it begins
                with guard():
                    pass
                for (_, _, _, start, _), array in zip(sections, parts.values(), strict=True):
                    file.seek(start)
                    file.write(_flat(array))
                file.truncate(at)
                file.flush()
                os.fsync(file.fileno())
            with guard():
                Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise GalleryFileError(f"{path}: the search snapshot cannot be written: {error}") from error


def open_index(path: Path, *, compiled: bool | None = None) -> tuple[ExactIndex, dict[str, Any]]:
    """The index in a file and the note that was given to `save_index`; see `read_index`."""
    opened = read_index(path, compiled=compiled)
    return opened.index, opened.note


def read_index(path: Path, *, compiled: bool | None = None, owner: int | None = None) -> OpenedIndex:
    """What is in a snapshot file, mapped: memory is used for what is searched. What is appended goes to memory.

    Args:
        path: from `save_index`.
        compiled: scan with numba; None where it is installed. A file made the other way is refused.
        owner: number of the user whose file it must be, a regular one which nobody else may read or write.

    Raises:
        GalleryFileError: the file is missing, damaged, inconsistent, or of another version or kind; build it anew.
    """
    try:
        with open(path, "rb", opener=_no_link) as file:
            status = os.fstat(file.fileno())
            if owner is not None and (status.st_uid != owner or stat.S_IMODE(status.st_mode) & 0o077):
                raise GalleryFileError(f"{path}: others may write the search snapshot; it is built anew")
            if not stat.S_ISREG(status.st_mode):
                raise GalleryFileError(f"{path}: is not a regular file")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if status.st_size else b""
    except OSError as error:
        raise GalleryFileError(f"{path}: the search snapshot cannot be read: {error}") from error
    try:
        head = _head(mapped)
        kind = "nibbles" if (available() if compiled is None else compiled) else "octets"
        if head["kind"] not in ("rows", kind):
            raise ValueError(f"made for scanning by {head['kind']!r}, not {kind!r}")  # noqa: TRY301
        arrays = {name: _section(mapped, name, *rest) for name, *rest in head["sections"]}
        columns = {name.removeprefix(_COLUMN): array for name, array in arrays.items() if name.startswith(_COLUMN)}
        return OpenedIndex(_index(head, arrays, compiled), dict(head["note"]), columns)
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise GalleryFileError(f"{path}: not a usable search snapshot ({error}); it is built anew") from error


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _parts(index: ExactIndex) -> tuple[Arrays, str]:
    segment = index.segments[0] if index.segments else Segment()
    parts: Arrays = {"rows": segment.rows, "owners": segment.owners}
    if index.live is not None:
        parts["live"] = index.live
    scanner, coded = segment.scanner, segment.coded
    if isinstance(scanner, NibbleScanner):
        book, codes, room = scanner.book, scanner.codes, len(scanner.codes.shifts)
        parts |= {f.name: np.asarray(getattr(book, f.name)) for f in fields(book)}
        for f in fields(codes):
            whole = getattr(codes, f.name)
            parts[f.name] = whole[: len(whole) * coded // room]
        return parts, "nibbles"
    if isinstance(scanner, OctetScanner):
        parts |= {"mean": scanner.mean, "step": scanner.step}
        parts |= {name: getattr(scanner, name)[:coded] for name in ("codes", "shifts", "residuals")}
        return parts, "octets"
    return parts, "rows"


def _head(mapped: Mapped) -> dict[str, Any]:
    if len(mapped) < _HEAD.size:
        raise ValueError("shorter than its head")
    magic, version, length, crc = _HEAD.unpack_from(mapped)
    if magic != _MAGIC:
        raise ValueError("another kind of file")
    if version != _VERSION:
        raise ValueError(f"version {version}, expected {_VERSION}")
    if length > _LONGEST_HEAD or _HEAD.size + length > len(mapped):
        raise ValueError("its head ends behind its end")
    text = bytes(mapped[_HEAD.size : _HEAD.size + length])
    if zlib.crc32(text) != crc:
        raise ValueError("its head is damaged")
    head = json.loads(text)
    if not isinstance(head, dict) or head["size"] != len(mapped):
        raise ValueError(f"expected {head['size']} bytes, found {len(mapped)}")
    return head


def _section(  # noqa: PLR0917
    mapped: Mapped, name: str, dtype: str, shape: list[int], at: int, crc: int
) -> NDArray[Any]:
    if dtype not in _DTYPES or not all(type(n) is int and n >= 0 for n in (*shape, at)) or len(shape) > 2:
        raise ValueError(f"{name}: {dtype} {shape} at {at}")
    count = 1
    for n in shape:
        count *= n
    if at + count * np.dtype(dtype).itemsize > len(mapped):
        raise ValueError(f"{name}: ends behind the file")
    array = np.frombuffer(mapped, np.dtype(dtype), count, at).reshape(shape)
    if zlib.crc32(_sampled(_flat(array))) != crc:
        raise ValueError(f"{name}: checksum")
    return array


def _index(head: dict[str, Any], arrays: Arrays, compiled: bool | None) -> ExactIndex:
    count, coded = head["count"], head["coded"]
    rows, owners, live = arrays["rows"], arrays["owners"], arrays.get("live")
    if type(count) is not int or type(coded) is not int or not 0 <= coded <= count:
        raise ValueError(f"{count} rows, {coded} of them coded")
    dimension = rows.shape[1] if rows.ndim == 2 else 0
    _expect("rows", rows, "<f4", (count, dimension))
    _expect("owners", owners, "<i8", (count,))
    if live is not None:
        _expect("live", live, "|b1", (min(len(live), count),))
        if live.view(np.uint8).max(initial=0) > 1:
            raise ValueError("live: not boolean")
    scanner: NibbleScanner | OctetScanner | None = None
    if head["kind"] == "nibbles":
        scanner = _nibbles(arrays, dimension, coded)
    elif head["kind"] == "octets":
        scanner = _octets(arrays, dimension, coded)
    elif coded:
        raise ValueError("coded rows without codes")
    gone = 0 if live is None else len(live) - int(np.count_nonzero(live))
    segment = Segment(count, coded, rows, owners, scanner)
    return ExactIndex(gone, compiled=compiled, segments=(segment,) if count else (), live=live)


def _nibbles(arrays: Arrays, dimension: int, coded: int) -> NibbleScanner:
    slots = len(arrays["slot_axis"])
    if coded % 16 or not slots or slots % 8:
        raise ValueError(f"{coded} coded rows of {slots} slots")
    for name, dtype, shape in (
        ("mean", "<f8", (dimension,)),
        ("axes", "<f8", (dimension, dimension)),
        ("slot_axis", "<i8", (slots,)),
        ("slot_step", "<f8", (slots,)),
        ("slot_last", "|u1", (slots,)),
        ("shift_step", "<f8", ()),
        ("coarse", "|u1", (coded * slots // 2,)),
        ("fine", "|u1", (coded * slots // 2,)),
        ("shifts", "<i2", (coded,)),
        ("bounds", "<f4", (coded // 16, 4)),
    ):
        _expect(name, arrays[name], dtype, shape)
    axis, last = arrays["slot_axis"], arrays["slot_last"]
    if axis.min() < 0 or axis.max() >= dimension or last.max() > 1 or not (arrays["slot_step"] >= 0).all():
        raise ValueError("slots: out of bounds")
    if not float(arrays["shift_step"]) > 0:
        raise ValueError("shift_step: not positive")
    book = Codebook(**{f.name: arrays[f.name] for f in fields(Codebook) if f.name != "shift_step"}, shift_step=float(arrays["shift_step"]))  # fmt: skip  # noqa: E501
    return NibbleScanner(book, Codes(**{f.name: arrays[f.name] for f in fields(Codes)}))


def _octets(arrays: Arrays, dimension: int, coded: int) -> OctetScanner:
    for name, dtype, shape in (
        ("mean", "<f8", (dimension,)),
        ("step", "<f8", (dimension,)),
        ("codes", "|u1", (coded, dimension)),
        ("shifts", "<f4", (coded,)),
        ("residuals", "<f4", (coded,)),
    ):
        _expect(name, arrays[name], dtype, shape)
    return OctetScanner(**{f.name: arrays[f.name] for f in fields(OctetScanner)})


def _expect(name: str, array: NDArray[Any], dtype: str, shape: tuple[int, ...]) -> None:
    if array.dtype.str != dtype or array.shape != shape:
        raise ValueError(f"{name}: expected {dtype} {shape}, found {array.dtype.str} {array.shape}")
    small = name != "rows" or array.nbytes <= _PAGE * 1024  # reading all rows would take the time that a map saves
    if array.dtype.kind == "f" and small and not np.isfinite(array).all():
        raise ValueError(f"{name}: not finite")


def _flat(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _sampled(data: memoryview) -> bytes:
    """All of a small section, evenly spread pages of a large one, its first and last among them."""
    if len(data) <= 2 * _SAMPLES * _PAGE:
        return bytes(data)
    starts = np.linspace(0, len(data) - _PAGE, _SAMPLES).astype(np.int64).tolist()
    return b"".join(data[start : start + _PAGE] for start in starts)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
