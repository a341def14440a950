import importlib.util
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.errors import MissingExtraError, ModelError, ModelFileError
from mien.models import session_choice, session_openvino
from mien.models.session import available_cores, open_session
from mien.models.session_choice import Choice, choose, worst_cosine

HAS_OPENVINO = importlib.util.find_spec("openvino") is not None
ENGINES = ["onnxruntime", pytest.param("openvino", marks=pytest.mark.skipif(not HAS_OPENVINO, reason="no OpenVINO"))]
needs_openvino = pytest.mark.skipif(not HAS_OPENVINO, reason="needs the extra openvino")

WEIGHTS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def linear():
    """(N, 6) -> sum and product: x @ W, and x @ W * 2."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["first"]),
            helper.make_node("Add", ["first", "first"], ["second"]),
        ],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("first", "second")],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(session_choice, "_cache_folder", lambda: tmp_path / "engines")
    return tmp_path / "engines"


def rows(n, seed=1):
    return np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("from_file", [False, True])
def test_runs_and_keeps_the_order_of_outputs(engine, from_file, tmp_path):
    model = linear()
    if from_file:
        path = tmp_path / "模型 é.onnx"
        path.write_bytes(model)
        model = path
    session = open_session(model, threads=1, engine=engine, precision="f32")
    assert (session.engine, session.precision) == (engine, "f32")
    for n in (1, 5):
        first, second = session.run(rows(n))
        np.testing.assert_allclose(first, rows(n) @ WEIGHTS, rtol=1e-5)
        np.testing.assert_allclose(second, 2 * first, rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_results_belong_to_the_caller(engine):
    session = open_session(linear(), threads=1, engine=engine, precision="f32")
    first = session.run(rows(3, seed=1))[0]
    before = first.copy()
    session.run(rows(3, seed=2))
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("engine", ENGINES)
def test_inputs_need_not_be_contiguous(engine):
    session = open_session(linear(), threads=1, engine=engine, precision="f32")
    wide = np.random.default_rng(5).normal(size=(6, 7)).astype(np.float32)
    np.testing.assert_allclose(session.run(wide.T)[0], wide.T @ WEIGHTS, rtol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_many_threads_at_once_get_their_own_answers(engine):
    session = open_session(linear(), threads=1, callers=2, engine=engine, precision="f32")

    def work(seed):
        for step in range(30):
            x = rows(1 + (seed + step) % 7, seed * 100 + step)
            np.testing.assert_allclose(session.run(x)[0], x @ WEIGHTS, rtol=1e-4, atol=1e-5)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_no_model_is_refused_by_name(engine, tmp_path):
    path = tmp_path / "broken.onnx"
    for content in (b"", b"no model", linear()[:-40]):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"broken\.onnx"):
            open_session(path, engine=engine, precision="f32")
    with pytest.raises(ModelFileError, match="expected a model file, found none"):
        open_session(tmp_path / "missing.onnx", engine=engine, precision="f32")


@pytest.mark.parametrize("engine", ENGINES)
def test_inputs_that_do_not_fit(engine):
    session = open_session(linear(), engine=engine, precision="f32", name="linear net")
    with pytest.raises(ModelError, match="linear net: expected 1 inputs, got 2"):
        session.run(rows(1), rows(1))
    with pytest.raises(ModelError, match=r"linear net: .* cannot run it"):
        session.run(np.zeros((2, 5), np.float32))
    assert session.run(rows(2))[0].shape == (2, 4)  # and it still works


def test_wrong_numbers():
    for wrong in ({"threads": 0}, {"callers": 0}, {"threads": -2}):
        with pytest.raises(ValueError, match="at least 1"):
            open_session(linear(), **wrong)
    with pytest.raises(ValueError, match="bf16 needs"):
        open_session(linear(), engine="onnxruntime", precision="bf16")
    assert available_cores() >= 1


def test_missing_openvino_names_the_extra(monkeypatch):
    monkeypatch.setattr(session_openvino.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"mien\[openvino\]"):
        open_session(linear(), engine="openvino")
    assert open_session(linear(), probe=[rows(4)]).engine == "onnxruntime"


@pytest.mark.parametrize("fails", ["computes_bf16", "OpenVinoSession"])
def test_an_openvino_that_does_not_work_is_left_alone(fails, monkeypatch, caplog):
    def broken(*_):
        raise ImportError("libopenvino.so: cannot open shared object file")

    monkeypatch.setattr(session_openvino, "installed", lambda: True)
    monkeypatch.setattr(session_choice.metadata, "version", lambda name: f"{name} 1")  # also where it is not installed
    monkeypatch.setattr(session_choice, fails, broken)
    if fails == "computes_bf16":
        monkeypatch.setattr(session_choice, "OpenVinoSession", lambda *_: None)
    session = open_session(linear(), probe=[rows(4)])
    assert session.engine == "onnxruntime"
    assert session.run(rows(2))[0].shape == (2, 4)
    assert "libopenvino.so" in caplog.text


def test_without_a_probe_auto_is_onnxruntime():
    session = open_session(linear())
    assert (session.engine, session.precision) == ("onnxruntime", "f32")


@needs_openvino
def test_the_choice_is_measured_once_and_remembered(cache, monkeypatch):
    probe = [rows(8)]
    first = choose(linear(), "x", probe)
    (file,) = cache.iterdir()
    assert Choice(**json.loads(file.read_text())) == first
    monkeypatch.setattr(session_choice, "OnnxRuntimeSession", None)  # measuring again would fail
    assert choose(linear(), "x", probe) == first
    with pytest.raises(TypeError):
        choose(linear(), "x", [rows(9)])


@needs_openvino
@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"engine": "x"}', None])
def test_a_damaged_memory_is_replaced(cache, content):
    choose(linear(), "x", [rows(8)])
    (file,) = cache.iterdir()
    if content is None:
        content = json.dumps({**json.loads(file.read_bytes()), "engine": "evil"}).encode()
    file.write_bytes(content)
    choice = choose(linear(), "x", [rows(8)])
    assert Choice(**json.loads(file.read_text())) == choice


@needs_openvino
def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(session_choice, "_cache_folder", lambda: tmp_path / "file" / "engines")
    assert choose(linear(), "x", [rows(4)]).engine in ("onnxruntime", "openvino")


class Slow:
    """A session that answers as told, after a while."""

    def __init__(self, engine, precision, answer, seconds):
        self.engine, self.precision, self._answer, self._seconds = engine, precision, answer, seconds

    def run(self, *inputs):
        self.clock[0] += self._seconds
        return [np.array(self._answer, np.float32)]


@pytest.mark.parametrize(
    ("ov_time", "bf16_time", "bf16_answer", "expected"),
    [
        (1.0, 0.5, [[1, 0]], ("openvino", "bf16")),
        (1.0, 0.5, [[1, 0.02]], ("onnxruntime", "f32")),  # cosine 0.9998
        (0.8, 0.5, [[1, 0.02]], ("openvino", "f32")),
        (0.8, 0.7, [[1, 0.005]], ("openvino", "bf16")),
        (0.95, 0.95, [[1, 0]], ("onnxruntime", "f32")),  # not enough of a gain
        (2.0, 0.5, [[float("nan"), 0]], ("onnxruntime", "f32")),
    ],
)
@needs_openvino
def test_the_rule(monkeypatch, ov_time, bf16_time, bf16_answer, expected):
    clock = Slow.clock = [0.0]
    monkeypatch.setattr(session_choice.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(session_choice, "computes_bf16", lambda: True)
    monkeypatch.setattr(session_choice, "OnnxRuntimeSession", lambda *_: Slow("onnxruntime", "f32", [[1, 0]], 1.0))
    rival = {
        "f32": Slow("openvino", "f32", [[1, 0]], ov_time),
        "bf16": Slow("openvino", "bf16", bf16_answer, bf16_time),
    }
    monkeypatch.setattr(session_choice, "OpenVinoSession", lambda *arguments: rival[arguments[-1]])
    choice = choose(b"model", "x", [rows(1)])
    assert (choice.engine, choice.precision) == expected
    if expected[1] == "bf16":
        assert choose(b"model", "x", [rows(1)], "f32").precision == "f32"


def test_worst_cosine():
    a = np.array([[1.0, 0], [0, 2]])
    assert worst_cosine([a], [a * 3]) == pytest.approx(1)
    assert worst_cosine([a], [np.array([[1.0, 0], [1, 1]])]) == pytest.approx(0.5**0.5)
    assert worst_cosine([np.zeros((1, 2))], [np.zeros((1, 2))]) == 1
    assert worst_cosine([np.zeros((1, 2))], [np.ones((1, 2))]) == 0
    assert worst_cosine([a, np.array([np.nan, 1])], [a, np.ones(2)]) <= 0


@needs_openvino
def test_bf16_for_a_forced_openvino_needs_the_same_answers(monkeypatch):
    assert open_session(linear(), engine="openvino").precision == "f32"  # nothing shows that bf16 would do
    monkeypatch.setattr(session_choice, "computes_bf16", lambda: True)
    answers = {"good": [[1, 0.001]], "bad": [[1, 0.1]]}
    Slow.clock = [0.0]
    monkeypatch.setattr(session_choice, "OnnxRuntimeSession", lambda *_: Slow("", "", [[1, 0]], 0))
    for kind, expected in (("good", "bf16"), ("bad", "f32")):
        monkeypatch.setattr(session_choice, "OpenVinoSession", lambda *_, k=kind: Slow("", "", answers[k], 0))
        assert session_choice.precision(b"model", "x", [rows(1)]) == expected


def test_importing_is_light():
    import subprocess

    code = "import sys, mien.models.session; assert not {'onnxruntime', 'openvino', 'onnx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path.cwd())
