import io
import pickle
import struct

import joblib
import lz4.frame
import numpy as np
import pytest

from mien.errors import ModelFileError
from mien.models.packaged import packaged_file, read_packaged
from mien.models.readers import joblib_arrays
from mien.models.readers.joblib_arrays import read_joblib_arrays


def dumped(value):
    target = io.BytesIO()
    joblib.dump(value, target)
    return target.getvalue()


def packed(plain):
    return lz4.frame.compress(plain)


def refuse(plain, match):
    with pytest.raises(ModelFileError, match=match) as caught:
        read_joblib_arrays(packed(plain), source="evil.lz4")
    assert "evil.lz4" in str(caught.value)


@pytest.mark.parametrize("net", ["pnet", "rnet", "onet"])
def test_equals_joblib_on_the_packaged_files(net):
    ours = read_joblib_arrays(read_packaged(f"mtcnn-{net}"), source=net)
    theirs = joblib.load(packaged_file(f"mtcnn-{net}"))
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_round_trip_of_kinds_orders_and_shapes():
    rng = np.random.default_rng(0)
    arrays = [
        rng.normal(size=(3, 4, 5)),
        np.asfortranarray(rng.normal(size=(3, 4)).astype(np.float32)),
        np.arange(7, dtype=">i4"),
        np.array(2.5, np.float16),
        np.zeros((0, 3), np.uint8),
        np.arange(300, dtype=np.int64).reshape(1, 300),
    ]
    ours = read_joblib_arrays(packed(dumped(arrays)), source="x")
    for a, b in zip(ours, arrays, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype.isnative
        assert a.flags.c_contiguous
        assert a.flags.writeable


def test_a_repeated_array_is_read_once():
    a = np.arange(3.0)
    first, second = read_joblib_arrays(packed(dumped([a, a])), source="x")
    np.testing.assert_array_equal(first, second)


class Shell:
    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/mien-must-not-exist",)


class Evaluate:
    def __reduce__(self):
        return eval, ("1/0",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("bomb", [Shell(), Evaluate()])
def test_code_in_the_pickle_is_refused_and_not_run(bomb, protocol):
    refuse(pickle.dumps([bomb], protocol), "only joblib's array wrapper|no place")


@pytest.mark.parametrize(
    "value", [{"a": 1}, "text", [1, 2], [np.array([1, "a", None], object)], [np.array(["a"])], (), None]
)
def test_anything_but_a_list_of_numeric_arrays_is_refused(value):
    refuse(dumped(value), "evil")


def hand_made(shape, *, kind=b"f4", raw=b""):
    """A list of one array with a shape of our choice."""
    wrapper = dumped([np.zeros((2, 3), np.float32)])
    wrapper = wrapper.replace(b"K\x02K\x03\x86", shape).replace(b"\x02f4", bytes([len(kind)]) + kind)
    head = wrapper[: wrapper.rindex(b"ub") + 2]
    return head + raw + b"e."


@pytest.mark.parametrize(
    "shape",
    [
        b"(" + b"J\xff\xff\xff\x7f" * 4 + b"t",  # more elements than the world has memory
        b"J\xff\xff\xff\xffK\x03\x86",  # a negative length
        b"\x88K\x03\x86",  # True is not a length
        b"(" + b"K\x01" * 40 + b"t",  # more axes than numpy knows
        b"K\x05",  # not a tuple
    ],
)
def test_absurd_shapes_are_refused(shape):
    refuse(hand_made(shape), "evil")


@pytest.mark.parametrize("kind", [b"O8", b"V9", b"U1", b"f99", b"c8", b"i4,f4"])
def test_other_dtypes_are_refused(kind):
    refuse(hand_made(b"K\x02K\x03\x86", kind=kind), "dtype")


def test_every_truncation_is_refused():
    plain = dumped([np.arange(6.0).reshape(2, 3), np.arange(3, dtype=np.int8)])
    for cut in range(len(plain)):
        refuse(plain[:cut], "evil")
    whole = packed(plain)
    for cut in range(len(whole)):
        with pytest.raises(ModelFileError, match=r"cut\.lz4"):
            read_joblib_arrays(whole[:cut], source="cut.lz4")


def test_flipped_bytes_never_escape_as_another_error():
    plain = dumped([np.arange(6, dtype=np.float32).reshape(2, 3)])
    for at in range(len(plain)):
        for change in (1, 0x80, 0xFF):
            broken = bytearray(plain)
            broken[at] ^= change
            try:
                arrays = read_joblib_arrays(packed(bytes(broken)), source="x")
            except ModelFileError:
                continue
            assert all(isinstance(a, np.ndarray) for a in arrays)


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b".",
        b"]",
        b"e.",
        b"(.",
        b"]h\xff.",
        b"]j\xff\xff\xff\xff.",
        b"}(K\x01K\x02u.",
        b"KKK\x86R.",
        b"\x8c\x02\xff\xfe.",
        b"X\xff\xff\xff\xff.",
        struct.pack("<BBQ", 0x80, 4, 2**63) + b".",
    ],
)
def test_broken_stack_use_is_refused(plain):
    refuse(plain, "evil")


def test_a_bomb_is_stopped_at_the_limit(monkeypatch):
    monkeypatch.setattr(joblib_arrays, "_LIMIT", 1 << 20)
    refuse(b"\0" * (64 << 20), "more than 1048576 bytes")


def test_containers_that_hold_themselves_many_times_do_not_explode():
    nested = b"K\x01\x94" + b"".join(bytes([0x68, i, 0x68, i, 0x86, 0x94]) for i in range(100))
    refuse(nested + b"h\x64h\x64\x93.", "names a tuple")
    refuse(hand_made(b"(" + nested + b"t"), "shape")


def test_not_lz4():
    with pytest.raises(ModelFileError, match="junk: expected an lz4 frame"):
        read_joblib_arrays(b"no lz4 at all, just text", source="junk")
