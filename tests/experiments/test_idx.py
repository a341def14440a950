"""The idx reader against bytes made by hand, and against broken and hostile files."""

from __future__ import annotations

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError, NotFoundError
from mien.experiments.idx import read_idx

SMALL = b"\x00\x00\x08\x02" + b"\x00\x00\x00\x02" + b"\x00\x00\x00\x03" + bytes([1, 2, 3, 250, 251, 252])


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_bytes_made_by_hand(tmp_path, pack) -> None:
    path = tmp_path / "a"
    path.write_bytes(pack(SMALL))
    found = read_idx(path)
    assert found.dtype == np.uint8
    assert found.tolist() == [[1, 2, 3], [250, 251, 252]]
    found[0, 0] = 9  # writable, for torch


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an idx file"),
        (b"\x00\x00\x08", "not an idx file"),
        (b"PK\x03\x04" + SMALL, "not an idx file"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01" + bytes(4), "type 13"),
        (b"\x00\x00\x08\x00", "dimensions"),
        (b"\x00\x00\x08\xff" + bytes(1020), "dimensions"),
        (SMALL[:7], "cut short in its header"),
        (SMALL[:-1], "announces 6 values, holds 5"),
        (SMALL + b"\x00", "more than the 6 values"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "limit"),
        (gzip.compress(SMALL)[:-9], "damaged gzip|cut short"),
        (gzip.compress(SMALL)[:-6] + bytes(6), "damaged gzip"),
        (b"\x1f\x8b" + bytes(30), "damaged gzip"),
    ],
)
def test_broken_files_are_named(tmp_path, content, said) -> None:
    path = tmp_path / "digits.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_idx(path)
    assert "digits.gz" in str(caught.value)


def test_what_is_not_a_file(tmp_path) -> None:
    with pytest.raises(NotFoundError):
        read_idx(tmp_path / "none")
    with pytest.raises(InputError, match="cannot be read"):
        read_idx(tmp_path)


def test_a_header_that_announces_much_takes_little_memory(tmp_path) -> None:
    path = tmp_path / "liar"
    path.write_bytes(b"\x00\x00\x08\x01" + struct.pack(">I", 200 << 20) + bytes(10))
    bomb = tmp_path / "bomb"
    bomb.write_bytes(gzip.compress(SMALL + bytes(64 << 20)))
    tracemalloc.start()
    try:
        for one in (path, bomb):
            with pytest.raises(InputError):
                read_idx(one)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40), st.integers(0, len(SMALL)))
def test_no_bytes_make_it_fail_otherwise(tmp_path_factory, noise, at) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.idx"
    for content in (SMALL[:at] + noise, gzip.compress(SMALL)[:at] + noise):
        path.write_bytes(content)
        try:
            read_idx(path)
        except InputError:
            pass
