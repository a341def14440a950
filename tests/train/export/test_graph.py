"""Exported graphs against the networks they were made of, and against a wrong one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError, MissingExtraError, ModelError  # noqa: E402
from mien.models.session import open_session  # noqa: E402
from mien.train.export import graph as graphs  # noqa: E402
from mien.train.export.graph import check_graph, graph_input, to_onnx  # noqa: E402
from mien.train.export.variants import to_fp16, to_int8  # noqa: E402


@pytest.fixture(scope="module")
def model(network):
    return to_onnx(network)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)


def test_the_graph_computes_what_the_network_does_at_any_batch(model, network, pictures):
    session = open_session(model, threads=1)
    spec = network.spec
    for n in (1, 3, 20):
        by_hand = (pictures[:n].astype(np.float32) - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
        planes = np.ascontiguousarray(by_hand.transpose(0, 3, 1, 2))
        with torch.no_grad():
            wanted = network(torch.from_numpy(planes)).numpy()
        (found,) = session.run(planes)
        np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
    agreement = check_graph(model, network, pictures)
    assert agreement.good
    assert agreement.pictures == 20


def test_pixels_go_in_as_they_are(network, pictures, model):
    whole = to_onnx(network, pixels=True)
    (found,) = open_session(whole, threads=1).run(pictures)
    (wanted,) = open_session(model, threads=1).run(graph_input(network, pictures, pixels=False))
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_batch_norms_after_convolutions_are_folded_and_nothing_of_this_machine_is_inside(model):
    made = onnx.load_from_string(model)
    consumers = {name: node.op_type for node in made.graph.node for name in node.input}
    after_conv = [
        n for n in made.graph.node if n.op_type == "Conv" and consumers.get(n.output[0]) == "BatchNormalization"
    ]
    assert not after_conv
    assert b"/src/mien" not in model
    assert b"site-packages" not in model
    assert b".py" not in model
    onnx.checker.check_model(made, full_check=True)


def test_the_same_network_gives_the_same_bytes(model, network):
    assert to_onnx(network) == model


def test_a_graph_of_other_weights_is_found_out(model, pictures, tiny):
    found = check_graph(model, tiny(seed=1), pictures)
    assert not found.good
    assert found.cosine < 0.99


def test_a_network_that_answers_nan_is_refused(pictures, tiny):
    bad = tiny(seed=2)
    with torch.no_grad():
        next(bad.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="NaN"):
        check_graph(to_onnx(bad), bad, pictures)


def test_fp16_keeps_its_inputs_and_outputs(model, network, pictures):
    small = to_fp16(model)
    assert len(small) < 0.7 * len(model)
    made = onnx.load_from_string(small)
    assert {v.type.tensor_type.elem_type for v in (*made.graph.input, *made.graph.output)} == {onnx.TensorProto.FLOAT}
    assert any(t.data_type == onnx.TensorProto.FLOAT16 for t in made.graph.initializer)
    assert check_graph(small, network, pictures).cosine > 0.999


def test_int8_is_calibrated_on_pictures(model, network, pictures):
    batch = graph_input(network, pictures, pixels=False)
    small = to_int8(model, [batch])
    made = onnx.load_from_string(small)
    assert any(node.op_type == "QuantizeLinear" for node in made.graph.node)
    scales = [t for t in made.graph.initializer if t.name.endswith("_scale") and len(t.dims) == 1 and t.dims[0] > 1]
    assert scales  # one a channel
    assert b"mien-int8" not in small
    assert 0.8 < check_graph(small, network, pictures).cosine < 0.99999
    with pytest.raises(InputError, match="at least 16"):
        to_int8(model, [batch[:15]])


def test_what_onnx_cannot_say_is_an_error_of_mien(network):
    class Odd(type(network)):
        def test_features(self, pictures):
            return torch.linalg.eigh(pictures[:, 0])[1].flatten(1)

    odd = network.__class__.__new__(Odd)
    odd.__dict__.update(network.__dict__)
    with pytest.raises(ModelError, match="cannot be written as ONNX"):
        to_onnx(odd)


def test_without_onnxscript_the_pip_line_is_told(network, monkeypatch):
    monkeypatch.setattr(graphs, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"mien\[train\]"):
        to_onnx(network)
