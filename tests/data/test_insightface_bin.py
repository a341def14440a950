import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.data import insightface_bin
from mien.data.insightface_bin import read_bin, write_bin
from mien.errors import InputError, NotFoundError

PICTURES = [b"\xff\xd8one\xff\xd9", b"two'\"\\\n\x00", b"\x80" * 300, b"four"]
SAME = [True, False]
SMALL = ([b"\xff\xd8", b"b"], [True])


def python2_string(data):
    """The opcode by which Python 2 wrote a str at protocol 1 and above."""
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<I", len(data)) + data


def python2_file(pictures, same):
    """What Python 2's cPickle wrote at protocol 2, memo entries included."""
    items = b"".join(python2_string(p) + b"q" + bytes([i + 3]) for i, p in enumerate(pictures))
    flags = b"".join(b"\x88" if s else b"\x89" for s in same)
    return b"\x80\x02]q\x01(" + items + b"e]r\x02\x01\x00\x00(" + flags + b"e\x86q\x02."


def check(path, pictures=PICTURES, same=SAME):
    found = read_bin(path)
    assert [bytes(p) for p in found.pictures] == pictures
    assert found.same.tolist() == same
    assert found.same.dtype == np.bool_
    assert len(found) == len(same)


@pytest.fixture
def written(tmp_path):
    def write(data):
        path = tmp_path / "pairs.bin"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_python_3(written, protocol):
    check(written(pickle.dumps((PICTURES, SAME), protocol)))


@pytest.mark.parametrize("protocol", range(6))
def test_more_pictures_than_a_batch_and_a_list_for_the_tuple(written, protocol):
    pictures = [bytes([i % 251, i // 251]) for i in range(5000)]
    same = [i % 3 == 0 for i in range(2500)]
    check(written(pickle.dumps([pictures, same], protocol)), pictures, same)


def test_a_file_of_python_2(written):
    data = python2_file(PICTURES, SAME)
    assert pickle.loads(data, encoding="bytes") == (PICTURES, SAME)  # the file itself is right
    check(written(data))


def test_a_file_of_python_2_as_text(written):
    data = b"(lp1\nS'\\xff\\xd8one\\xff\\xd9'\np2\naS\"two'\\\"\\\\\\n\\x00\"\naS'\\x41\\tB'\nag2\na(lI01\naI00\na\x86."
    expected = [b"\xff\xd8one\xff\xd9", b"two'\"\\\n\x00", b"A\tB", b"\xff\xd8one\xff\xd9"]
    assert pickle.loads(data, encoding="bytes") == (expected, SAME)
    check(written(data), expected)


def test_pictures_shared_through_the_memo_and_numbers_for_booleans(written):
    shared = b"again"
    check(written(pickle.dumps(([shared, shared, shared, shared], [1, 0]))), [shared] * 4)


def test_pictures_are_views_of_the_file(written):
    big = [os.urandom(4 << 20) for _ in range(4)]
    path = written(pickle.dumps((big, SAME), 2 + 2))
    del big
    tracemalloc.start()
    found = read_bin(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert sum(len(p) for p in found.pictures) == 16 << 20


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=1), st.binary(min_size=1), st.booleans()), min_size=1, max_size=20))
def test_round_trip_that_pickle_itself_reads(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("bin") / "x.bin"
    pictures = [p for a, b, _ in rows for p in (a, b)]
    same = [s for *_, s in rows]
    assert write_bin(path, iter(pictures), iter(same)) == path
    assert pickle.loads(path.read_bytes()) == (pictures, same)
    check(path, pictures, same)


def test_writing_many_from_files_and_bytes(tmp_path):
    picture = tmp_path / "人.jpg"
    picture.write_bytes(b"content")
    write_bin(tmp_path / "x.bin", [picture, b"b"] * 1500, [True] * 1500)
    check(tmp_path / "x.bin", [b"content", b"b"] * 1500, [True] * 1500)


@pytest.mark.parametrize(
    ("pictures", "same"),
    [([b"a"], [True]), ([b"a"] * 3, [True]), ([b"a", b""], [True]), ([], []), (["missing.jpg", b"a"], [True])],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path, pictures, same):
    with pytest.raises(InputError):
        write_bin(tmp_path / "x.bin", pictures, same)
    assert list(tmp_path.iterdir()) == []


class Shell:
    def __reduce__(self):
        return os.system, ("touch /tmp/mien-must-not-exist",)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("place", [0, 1])
def test_code_is_refused_and_not_run(written, protocol, place):
    value = ([Shell(), b"x"], [True]) if place == 0 else ([b"x", b"y"], [Shell()])
    with pytest.raises(InputError, match=r"pairs\.bin.*names (posix|nt)\.system"):
        read_bin(written(pickle.dumps(value, protocol)))
    assert not os.path.exists("/tmp/mien-must-not-exist")


@pytest.mark.parametrize(
    "data",
    [
        b"c_codecs\nencode\n(Vevil\nVrot13\ntR.",
        b"c_codecs\nencode\n(VA\\u0101\nVlatin1\ntR.",
        b"c_codecs\nencode\n(I5\nVlatin1\ntR.",
        b"c__builtin__\nbytes\n(I999999999\ntR.",
        b"c__builtin__\neval\n(V1\ntR.",
        b"c_codecs\nencode\n.",
        b"c_codecs\n",
        b"S'no end\n.",
        b"S'\\q'\n.",
        b"I1e9\n.",
        b"I99999999999999999999999\n.",
        b"\x8a\xff" + b"\x01" * 255 + b".",
        b"\x8e" + b"\xff" * 8 + b".",
        b"T\xff\xff\xff\xff.",
        b"]q\x00h\x00a.",
        b"g5\n.",
        b"Vbroken \\u12\n.",
    ],
)
def test_hostile_streams_are_refused(written, data):
    with pytest.raises(InputError, match=r"pairs\.bin: expected an InsightFace \.bin file"):
        read_bin(written(data))


@pytest.mark.parametrize(
    "value",
    [
        ([b"a", b"b"], []),
        ([b"a"], [True]),
        ([b"a", b""], [True]),
        (["a", "b"], [True]),
        ([b"a", b"b"], [2]),
        ([b"a", b"b"], [None]),
        ([b"a", b"b"], ["True"]),
        ([b"a", b"b"], True),
        ([b"a", b"b"], [True], 3),
        {"bins": []},
        [],
        None,
    ],
)
def test_other_values_are_refused(written, value):
    with pytest.raises(InputError, match=r"pairs\.bin"):
        read_bin(written(pickle.dumps(value)))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_every_truncation_is_refused(written, protocol):
    whole = pickle.dumps(SMALL, protocol)
    for cut in range(len(whole)):
        with pytest.raises(InputError, match=r"pairs\.bin"):
            read_bin(written(whole[:cut]))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_flipped_bytes_never_escape_as_another_error(written, protocol):
    whole = pickle.dumps(SMALL, protocol)
    for at in range(len(whole)):
        for change in (1, 0x80, 0xFF):
            broken = bytearray(whole)
            broken[at] ^= change
            try:
                found = read_bin(written(bytes(broken)))
            except InputError:
                continue
            assert all(isinstance(p, memoryview) for p in found.pictures)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([bytes([i]) for i in b"TBUC\x8e\x96qr\x94\x88(NKMJ\x8cX]})\x85\x86tlaeushj\x93\x81Rbcg"]))
)
def test_random_programs_never_escape_as_another_error(tmp_path_factory, codes):
    path = tmp_path_factory.mktemp("bin") / "x.bin"
    path.write_bytes(b"".join(codes) + b"\x00\x01\x02.")
    with pytest.raises(InputError):
        read_bin(path)


def test_a_small_file_cannot_take_much_memory(written, monkeypatch):
    monkeypatch.setattr(insightface_bin, "_MOST_STEPS", 10_000)
    with pytest.raises(InputError, match="instructions"):
        read_bin(written(b"]" * 1_000_000 + b"."))
    # Text that is encoded again and again would grow far beyond its file.
    again = b"c_codecs\nencode\nq\x00X\x10\x27\x00\x00" + b"a" * 10_000 + b"q\x01X\x06\x00\x00\x00latin1\x86q\x02"
    with pytest.raises(InputError, match="encodes something other"):
        read_bin(written(again + b"h\x00h\x02R" * 100 + b"."))


def test_files_that_are_none(tmp_path):
    with pytest.raises(NotFoundError, match=r"gone\.bin"):
        read_bin(tmp_path / "gone.bin")
    with pytest.raises(InputError, match="regular"):
        read_bin(tmp_path)
    (tmp_path / "empty.bin").touch()
    with pytest.raises(InputError, match=r"empty\.bin"):
        read_bin(tmp_path / "empty.bin")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.bin")
        with pytest.raises(InputError, match="regular"):
            read_bin(tmp_path / "pipe.bin")
