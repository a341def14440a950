import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from mien.errors import ModelFileError
from mien.models.graphs.mtcnn import onet_graph, pnet_graph, rnet_graph
from mien.models.packaged import read_packaged
from mien.models.readers.joblib_arrays import read_joblib_arrays

BUILD = {"pnet": pnet_graph, "rnet": rnet_graph, "onet": onet_graph}
WEIGHTS = {net: read_joblib_arrays(read_packaged(f"mtcnn-{net}"), source=net) for net in BUILD}


def run(net, pixels):
    session = onnxruntime.InferenceSession(BUILD[net](WEIGHTS[net]), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"pixels": pixels}), strict=True))


# The same networks in float64, channels last, from the layer lists of the paper: no ONNX and no folding.


def convolve(x, kernel, bias):
    windows = sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("nyxchw,hwco->nyxo", windows, kernel.astype(float)) + bias


def prelu(x, slopes):
    return np.where(x > 0, x, x * slopes.reshape(-1))


def pool(x, size, *, ceil):
    if ceil:  # rounding up means that the last window hangs over the border
        pads = [max(0, ((n + 1) // 2 - 1) * 2 + size - n) for n in x.shape[1:3]]
        x = np.pad(x, [(0, 0), (0, pads[0]), (0, pads[1]), (0, 0)], constant_values=-np.inf)
    return sliding_window_view(x, (size, size), axis=(1, 2))[:, ::2, ::2].max(axis=(-1, -2))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def oracle(net, pixels):
    w = iter(WEIGHTS[net])
    x = (pixels.astype(float) - 127.5) / 128

    def block(x):
        return prelu(convolve(x, next(w), next(w)), next(w))

    def dense(x):
        return x @ next(w).astype(float) + next(w)

    if net == "pnet":
        x = block(block(pool(block(x), 2, ceil=True)))
        offsets = convolve(x, next(w), next(w))
        return {"offsets": offsets, "probability": softmax(convolve(x, next(w), next(w)))[..., 1]}
    x = pool(block(x), 3, ceil=True)
    x = pool(block(x), 3, ceil=False)
    x = block(x)
    if net == "onet":
        x = block(pool(x, 2, ceil=True))
    x = prelu(dense(x.transpose(0, 2, 1, 3).reshape(len(x), -1)), next(w))
    result = {"offsets": dense(x)}
    if net == "onet":
        result["landmarks"] = dense(x).reshape(-1, 2, 5).transpose(0, 2, 1)
    result["probability"] = softmax(dense(x))[:, 1]
    return result


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        ("pnet", (2, 12, 12)),
        ("pnet", (1, 13, 40)),
        ("pnet", (2, 31, 14)),
        ("rnet", (5, 24, 24)),
        ("onet", (3, 48, 48)),
    ],
)
def test_equals_a_plain_implementation(net, shape):
    pixels = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    ours, theirs = run(net, pixels), oracle(net, pixels)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, theirs[name], atol=2e-5, err_msg=name)


# Grace Hopper's face in matplotlib's picture: a square around it, and its points, read off by eye.
FACE = (165, 130, 365, 330)
POINTS = [(222, 190), (305, 187), (269, 235), (229, 280), (305, 277)]


def test_the_networks_know_a_face_the_right_way_up(hopper):
    picture = Image.open(hopper).convert("RGB")
    for net, size in (("pnet", 12), ("rnet", 24), ("onet", 48)):
        chip = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR, box=FACE))
        upright, turned = (float(run(net, c[None])["probability"].item()) for c in (chip, chip.transpose(1, 0, 2)))
        assert upright > max(0.9, turned), (net, upright, turned)
    points = run("onet", chip[None])["landmarks"][0] * 200 + FACE[:2]
    np.testing.assert_allclose(points, POINTS, atol=8)


@pytest.mark.parametrize("net", list(BUILD))
def test_valid_and_reproducible(net):
    onnx.checker.check_model(BUILD[net](WEIGHTS[net]), full_check=True)
    assert BUILD[net](WEIGHTS[net]) == BUILD[net](WEIGHTS[net])


@pytest.mark.parametrize("net", list(BUILD))
def test_other_arrays_are_refused(net):
    for wrong in (WEIGHTS[net][:-1], [], WEIGHTS[net][::-1], [w.astype(np.float64) for w in WEIGHTS[net]]):
        with pytest.raises(ModelFileError, match="expected float32 arrays of shapes"):
            BUILD[net](wrong)
