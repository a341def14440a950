import contextlib
import math
import struct

import numpy as np
import pytest

from mien.errors import ModelFileError
from mien.models.packaged import packaged_file, read_packaged
from mien.models.readers.dlib_resnet import read_dlib_resnet
from mien.models.readers.dlib_stream import DlibStream, all_integers, as_floats
from mien.models.readers.dlib_trees import read_shape_predictor


def integer(value):
    """dlib's integer, written from the format's description."""
    magnitude = abs(value)
    raw = magnitude.to_bytes(max(1, (magnitude.bit_length() + 7) // 8), "little")
    return bytes([len(raw) | (0x80 if value < 0 else 0)]) + raw


def real(value):
    mantissa, exponent = math.frexp(value)
    return integer(int(mantissa * 2**24)) + integer(exponent - 24)


NUMBERS = [0, 1, -1, 127, 255, 256, -256, 65535, 2**24 - 1, -(2**40), 2**62, -(2**62)]


def test_integers_one_by_one_and_all_at_once():
    data = b"".join(map(integer, NUMBERS))
    stream = DlibStream(data, source="x")
    assert [stream.integer() for _ in NUMBERS] == NUMBERS
    assert stream.exhausted
    assert all_integers(data, source="x").tolist() == NUMBERS


def test_all_integers_over_chunk_borders():
    rng = np.random.default_rng(1)
    numbers = (rng.integers(-(2**40), 2**40, 150_000) >> rng.integers(0, 40, 150_000)).tolist()
    assert all_integers(b"".join(map(integer, numbers)), source="x").tolist() == numbers


def test_reals():
    values = [0.0, 1.0, -0.04, 122.782, 1e-30, -3e30]
    data = b"".join(map(real, values))
    stream = DlibStream(data, source="x")
    np.testing.assert_allclose([stream.real() for _ in values], values, rtol=1e-6)
    pairs = all_integers(data, source="x").reshape(-1, 2)
    np.testing.assert_allclose(as_floats(pairs, source="x"), np.float32(values), rtol=1e-6)


def test_tensor_text_and_flag():
    values = np.arange(6, dtype="<f4")
    data = integer(2) + b"".join(map(integer, (1, 2, 3, 1))) + values.tobytes() + integer(4) + b"con_" + b"1"
    stream = DlibStream(data, source="x")
    np.testing.assert_array_equal(stream.tensor(), values.reshape(1, 2, 3, 1))
    assert stream.text() == "con_"
    assert stream.flag() is True
    for cut in range(len(data)):
        stream = DlibStream(data[:cut], source="cut.dat")
        with pytest.raises(ModelFileError, match=r"cut\.dat"):
            stream.tensor(), stream.text(), stream.flag()


@pytest.mark.parametrize("data", [b"\x00", b"\x09" + b"\0" * 9, b"\x11\x00", b"\x02\x00", b""])
def test_broken_integers(data):
    with pytest.raises(ModelFileError, match="bad"):
        DlibStream(data, source="bad").integer()
    if data:
        with pytest.raises(ModelFileError, match="bad"):
            all_integers(data, source="bad")


def test_integers_beyond_63_bits():
    with pytest.raises(ModelFileError, match="63 bits"):
        all_integers(b"\x08" + b"\xff" * 8, source="bad")


def test_infinite_numbers_are_refused():
    for pair in [(1, 32000), (2**60, 1000), (1, -40000)]:
        with pytest.raises(ModelFileError, match="finite"):
            as_floats(np.array(pair), source="bad")
    with pytest.raises(ModelFileError, match="finite"):
        DlibStream(integer(1) + integer(32000), source="bad").real()


def test_absurd_tensor_is_refused_before_memory_is_taken():
    data = integer(2) + integer(2**40) * 4
    with pytest.raises(ModelFileError, match="more bytes"):
        DlibStream(data, source="bad").tensor()
    nan = integer(2) + integer(1) * 4 + struct.pack("<f", math.nan)
    with pytest.raises(ModelFileError, match="finite"):
        DlibStream(nan, source="bad").tensor()


@pytest.fixture(scope="module")
def resnet_bytes():
    return read_packaged("dlib-resnet")


def test_resnet_has_the_published_shape(resnet_bytes):
    net = read_dlib_resnet(resnet_bytes, source="x")
    np.testing.assert_allclose(net.mean, [122.782, 117.001, 104.298], atol=1e-4)
    assert net.size == (150, 150)
    assert net.dimension == 128
    assert net.stem.kernel.shape == (32, 3, 7, 7)
    assert [len(b.second.bias) for b in net.blocks] == [32] * 3 + [64] * 4 + [128] * 3 + [256] * 4
    assert [i for i, b in enumerate(net.blocks) if b.shrinks] == [3, 7, 10, 13]


def test_resnet_truncations_and_flips(resnet_bytes):
    for cut in [0, 1, 5, 20, 100, 300, 337, 400, 19_000, 19_400, 5_000_000, len(resnet_bytes) - 1]:
        with pytest.raises(ModelFileError, match=r"net\.dat"):
            read_dlib_resnet(resnet_bytes[:cut], source="net.dat")
    with pytest.raises(ModelFileError, match="expected the end"):
        read_dlib_resnet(resnet_bytes + b"\0", source="net.dat")
    for at in [*range(0, 360, 3), *range(19_340, 19_400, 2)]:
        broken = bytearray(resnet_bytes)
        broken[at] ^= 0xFF
        with contextlib.suppress(ModelFileError):  # some bytes are numbers that may be anything
            read_dlib_resnet(bytes(broken), source="net.dat")


def test_another_network_is_refused(resnet_bytes):
    with pytest.raises(ModelFileError, match="expected the layer 'loss_metric_2'"):
        read_dlib_resnet(resnet_bytes.replace(b"loss_metric_2", b"loss_metric_3", 1), source="x")


@pytest.fixture(scope="module")
def trees_bytes():
    return read_packaged("dlib-landmarks-5")


@pytest.fixture(scope="module")
def trees(trees_bytes):
    return read_shape_predictor(trees_bytes, source="x")


def predict(trees, grey, box):
    """Kazemi 2014, one face, written as plain loops: the reader's numbers must mean what dlib means by them."""
    left, top, right, bottom = box
    size = np.array([right - left, bottom - top], np.float64)
    shape = trees.initial_shape.astype(np.float64)
    for c in range(len(trees.anchors)):
        a = trees.initial_shape - trees.initial_shape.mean(0)
        b = shape - shape.mean(0)
        # The least-squares rotation and scale from the mean face to the present one, as a complex number.
        turn = np.vdot(a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]) / (a**2).sum()
        matrix = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
        places = (trees.deltas[c] @ matrix.T + shape[trees.anchors[c]]) * size + (left, top)
        x, y = np.floor(places + 0.5).astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < grey.shape[1]) & (y < grey.shape[0])
        pixels = np.where(inside, grey[y.clip(0, grey.shape[0] - 1), x.clip(0, grey.shape[1] - 1)], 0).astype(float)
        splits = trees.thresholds.shape[2]
        for t in range(trees.thresholds.shape[1]):
            node = 0
            while node < splits:
                first, second = trees.split_pixels[c, t, node]
                node = 2 * node + (1 if pixels[first] - pixels[second] > trees.thresholds[c, t, node] else 2)
            shape = shape + trees.leaves[c, t, node - splits].reshape(-1, 2)
    return shape * size + (left, top)


def test_trees_predict_what_dlib_predicts(trees, hopper):
    dlib = pytest.importorskip("dlib")
    from PIL import Image

    grey = np.asarray(Image.open(hopper).convert("L"))
    predictor = dlib.shape_predictor(str(packaged_file("dlib-landmarks-5")))
    for box in [(200, 100, 320, 220), (180, 90, 330, 240), (-20, -30, 60, 50), (150, 60, 400, 310)]:
        points = predictor(grey, dlib.rectangle(*box)).parts()
        theirs = np.array([(p.x, p.y) for p in points], float)
        # dlib rounds its answer to whole pixels.
        np.testing.assert_allclose(predict(trees, grey, box), theirs, atol=0.51)


def test_trees_are_read_only(trees):
    with pytest.raises(ValueError, match="read-only"):
        trees.leaves[0] = 0


def test_trees_truncations_and_nonsense(trees_bytes):
    for cut in [0, 1, 3, 40, 71, 80, 5000, 9_000_000, len(trees_bytes) - 1]:
        with pytest.raises(ModelFileError, match=r"trees\.dat"):
            read_shape_predictor(trees_bytes[:cut], source="trees.dat")
    with pytest.raises(ModelFileError, match="expected the end"):
        read_shape_predictor(trees_bytes + b"\x01\x01", source="trees.dat")
    for data in [b"no trees", integer(2) * 50, integer(1) * 50, integer(1) + integer(-10) + integer(0) * 60]:
        with pytest.raises(ModelFileError, match=r"trees\.dat"):
            read_shape_predictor(data, source="trees.dat")


def test_a_pixel_index_out_of_range_is_refused(trees_bytes):
    # The first tree's first split compares pixels 0x15a and 0x2ca; 0xffff lies outside.
    at = trees_bytes.index(b"\x02\x5a\x01\x02\xca\x02\x83")
    broken = trees_bytes[:at] + b"\x02\x5a\x01\x02\xff\xff\x83" + trees_bytes[at + 7 :]
    with pytest.raises(ModelFileError, match="pixel index"):
        read_shape_predictor(broken, source="x")
