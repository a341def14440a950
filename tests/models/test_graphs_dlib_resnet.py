import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from mien.models.graphs.dlib_resnet import dlib_resnet_graph
from mien.models.packaged import packaged_file, read_packaged
from mien.models.readers.dlib_resnet import read_dlib_resnet


@pytest.fixture(scope="module")
def graph():
    return dlib_resnet_graph(read_dlib_resnet(read_packaged("dlib-resnet"), source="x"))


def embed(graph, chips):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(["embedding"], {"pixels": chips})[0]


def test_equals_dlib(graph, hopper, astronaut):
    dlib = pytest.importorskip("dlib")
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in (hopper, astronaut)]
    places = [(0, 60, 180), (0, 100, 200), (0, 300, 100), (1, 50, 150), (1, 0, 0)]
    chips = np.stack([pictures[p][y : y + 150, x : x + 150] for p, y, x in places])
    chips = np.concatenate([chips, np.zeros_like(chips[:1]), np.full_like(chips[:1], 255)])
    model = dlib.face_recognition_model_v1(str(packaged_file("dlib-resnet")))
    theirs = np.array([model.compute_face_descriptor(chip) for chip in chips])
    ours = embed(graph, chips)
    assert ours.shape == (7, 128)
    error = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    assert error.max() < 1e-5


def test_a_batch_equals_its_members(graph):
    chips = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), dtype=np.uint8)
    alone = np.concatenate([embed(graph, chip[None]) for chip in chips])
    np.testing.assert_allclose(embed(graph, chips), alone, atol=1e-6)


def test_valid_and_reproducible(graph):
    onnx.checker.check_model(graph, full_check=True)
    assert graph == dlib_resnet_graph(read_dlib_resnet(read_packaged("dlib-resnet"), source="y"))
