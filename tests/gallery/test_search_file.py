"""The snapshot file comes back as it was, or is refused; never anything between."""

from __future__ import annotations

import json
import os
import stat
import struct
import zlib

import numpy as np
import pytest

from mien.errors import GalleryFileError
from mien.gallery.search import ExactIndex, open_index, save_index
from mien.gallery.search.compiled import available

COMPILED = [pytest.param(True, marks=pytest.mark.skipif(not available(), reason="needs numba"), id="numba"), False]


def unit(rng, n, d=16):
    rows = rng.standard_normal((n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def filled(n=200, *, compiled=False, coded_from=100):
    rng = np.random.default_rng(0)
    return ExactIndex(coded_from=coded_from, compiled=compiled).append(unit(rng, n), np.arange(n) // 2), unit(rng, 5)


def same(a, b):
    for name in ("rows", "owners", "scores"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("compiled", COMPILED)
@pytest.mark.parametrize("n", [0, 1, 99, 100, 200])
def test_comes_back_as_it_was(tmp_path, compiled, n):
    index, probes = filled(n, compiled=compiled)
    if n > 9:
        index = index.remove(np.array([3, 9]))
    file = tmp_path / "index"
    save_index(index, file, {"position": [n, 2], "of": "人"})
    opened, note = open_index(file, compiled=compiled)
    assert note == {"position": [n, 2], "of": "人"}
    assert (len(opened), opened.count, opened.resident_bytes) == (len(index), index.count, index.resident_bytes)
    same(opened.search(probes, k=4), index.search(probes, k=4))
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("compiled", COMPILED)
def test_goes_on_growing(tmp_path, compiled):
    index, probes = filled(compiled=compiled)
    file = tmp_path / "index"
    save_index(index.remove(np.array([0])), file, {})
    opened, _ = open_index(file, compiled=compiled)
    more = unit(np.random.default_rng(1), 150)
    grown = index.remove(np.array([0])).append(more, np.arange(150)).remove(np.array([7, 333]))
    opened = opened.append(more[:70], np.arange(70)).append(more[70:], np.arange(70, 150)).remove(np.array([7, 333]))
    assert not opened.segments[0].buffer.flags.writeable  # the file's rows stay in the file
    same(opened.search(probes, k=9), grown.search(probes, k=9))
    allowed = np.arange(350) % 3 == 0
    same(opened.search(probes, k=9, allowed=allowed), grown.search(probes, k=9, allowed=allowed))
    rows = np.array([5, 199, 200, 340])
    np.testing.assert_array_equal(opened.read(rows), grown.read(rows))
    moved = opened.reassign(rows, np.array([1000, 1001, 1002, 1003]))
    assert moved.owners[rows].tolist() == [1000, 1001, 1002, 1003]
    assert opened.owners[rows].tolist() != [1000, 1001, 1002, 1003]
    compact, kept = opened.compacted()
    assert (len(compact), compact.gone, len(kept)) == (347, 0, 347)
    np.testing.assert_array_equal(compact.owners, opened.owners[kept])
    same(compact.search(probes, k=1, by_owner=False), grown.compacted()[0].search(probes, k=1, by_owner=False))
    save_index(opened, file, {})  # replaced while it is mapped
    again, _ = open_index(file, compiled=compiled)
    same(again.search(probes, k=9), grown.search(probes, k=9))


def test_a_file_made_for_the_other_way_is_refused(tmp_path):
    index, _ = filled()
    save_index(index, tmp_path / "index", {})
    with pytest.raises(GalleryFileError, match="made for scanning by 'octets', not 'nibbles'"):
        open_index(tmp_path / "index", compiled=True)


@pytest.mark.parametrize("compiled", COMPILED)
def test_every_byte_of_a_small_file_counts(tmp_path, compiled):
    """Flip or cut anywhere that is not padding: refused, or (in bytes nothing reads) the same answers."""
    index, probes = filled(120, compiled=compiled)
    file = tmp_path / "index"
    save_index(index, file, {"n": 1})
    good = file.read_bytes()
    expected = index.search(probes, k=3)
    rng = np.random.default_rng(0)
    used = np.flatnonzero(np.frombuffer(good, np.uint8))
    for at in [*range(60), *rng.choice(used, 120).tolist()]:
        bad = bytearray(good)
        bad[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(bad)
        try:
            opened, _ = open_index(file, compiled=compiled)
        except GalleryFileError:
            continue
        same(opened.search(probes, k=3), expected)
    for size in (0, 1, 27, 28, 100, 4096, len(good) // 2, len(good) - 1):
        file.write_bytes(good[:size])
        with pytest.raises(GalleryFileError):
            open_index(file, compiled=compiled)
    file.write_bytes(good + b"x")
    with pytest.raises(GalleryFileError, match="bytes, found"):
        open_index(file, compiled=compiled)


def _rewritten(good, change):
    """A hostile file: its head says what `change` makes of it, with a right checksum."""
    magic, version, length, _ = struct.unpack_from("<16sIII", good)
    head = json.loads(good[28 : 28 + length])
    change(head)
    text = json.dumps(head).encode()
    return (struct.pack("<16sIII", magic, version, len(text), zlib.crc32(text)) + text).ljust(65536, b"\0") + good[
        65536:
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.update(count=1000),
        lambda h: h.update(count=-1),
        lambda h: h.update(count=True),
        lambda h: h.update(coded=10**9),
        lambda h: h.update(coded=0),
        lambda h: h.update(kind="rows"),
        lambda h: h.update(kind=["octets"]),
        lambda h: h.pop("note"),
        lambda h: h.update(note=3),
        lambda h: h.update(sections=None),
        lambda h: h.update(sections=h["sections"][1:]),
        lambda h: h["sections"][0].__setitem__(1, "|O"),
        lambda h: h["sections"][0].__setitem__(1, "<f8"),
        lambda h: h["sections"][0].__setitem__(2, [10**12, 16]),
        lambda h: h["sections"][0].__setitem__(2, [-1, 16]),
        lambda h: h["sections"][0].__setitem__(2, [1e2, 16]),
        lambda h: h["sections"][0].__setitem__(3, 10**18),
        lambda h: h["sections"][0].__setitem__(3, -4096),
        lambda h: h["sections"][0].append(1),
        lambda h: h["sections"].__setitem__(0, "rows"),
    ],
)
def test_hostile_heads(tmp_path, change):
    index, _ = filled()
    file = tmp_path / "index"
    save_index(index, file, {})
    file.write_bytes(_rewritten(file.read_bytes(), change))
    with pytest.raises(GalleryFileError, match="index"):
        open_index(file, compiled=False)


@pytest.mark.skipif(not available(), reason="needs numba")
def test_hostile_contents_never_read_outside(tmp_path):
    """Slots that point anywhere, codes of anything, not-a-number rows: refused, or harmless."""
    index, probes = filled(compiled=True)
    book, segment = index.segments[0].scanner.book, index.segments[0]
    file = tmp_path / "index"
    book.slot_axis[0] = 10**6
    save_index(index, file, {})
    with pytest.raises(GalleryFileError, match="slots: out of bounds"):
        open_index(file, compiled=True)
    book.slot_axis[0] = 0
    segment.scanner.codes.bounds[0] = np.nan
    save_index(index, file, {})
    with pytest.raises(GalleryFileError, match="bounds: not finite"):
        open_index(file, compiled=True)
    segment.scanner.codes.bounds[0] = 1
    segment.buffer[:150] = np.nan
    segment.scanner.codes.coarse[:] = 255
    save_index(index, file, {})
    try:
        opened, _ = open_index(file, compiled=True)
    except GalleryFileError:
        return
    assert not np.isnan(opened.search(probes, k=200, by_owner=False).scores).any()


def test_files_that_are_none(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(GalleryFileError, match="cannot be read"):
            open_index(path)
    (tmp_path / "text").write_bytes(b"x" * 100)
    with pytest.raises(GalleryFileError, match="another kind of file"):
        open_index(tmp_path / "text")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    index, _ = filled()
    file = tmp_path / "index"
    save_index(index, file, {"n": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GalleryFileError, match="No space left"):
        save_index(index.remove(np.array([0])), file, {"n": 2})
    monkeypatch.undo()
    assert open_index(file, compiled=False)[1] == {"n": 1}
    assert list(tmp_path.iterdir()) == [file]
