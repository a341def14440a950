"""Distillation: the losses against loops, the teacher's file, and a student that comes to agree with its teacher."""

from __future__ import annotations

import json
import math
import shutil
import signal
import sys

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError, TrainingError  # noqa: E402
from mien.train import broken, code_record, step  # noqa: E402
from mien.train import distil as room  # noqa: E402
from mien.train.backbones import InputSpec, load_network, network_facts  # noqa: E402
from mien.train.config import (  # noqa: E402
    DataConfig,
    LoopConfig,
    NetworkConfig,
    OptimizerConfig,
    ScheduleConfig,
    SourceConfig,
    TrainConfig,
)
from mien.train.data import Source, open_training_set  # noqa: E402
from mien.train.display import Display  # noqa: E402
from mien.train.distil import DistilSettings, distil  # noqa: E402
from mien.train.distil_losses import Distillation, feature_loss, relation_loss  # noqa: E402
from mien.train.distil_teacher import TeacherRows, teacher_embeddings  # noqa: E402
from mien.types import ModelIdentity  # noqa: E402

SPEC = InputSpec.plain(32)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_losses_by_plain_loops():
    draw = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(6, 5, generator=draw).double(), torch.randn(6, 5, generator=draw).double()
    s, t = student.tolist(), teacher.tolist()
    feature = sum(1 - cosine(a, b) for a, b in zip(s, t, strict=True)) / 6
    assert float(feature_loss(student, teacher)) == pytest.approx(feature, abs=1e-12)
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    relation = sum((cosine(s[i], s[j]) - cosine(t[i], t[j])) ** 2 for i, j in pairs) / len(pairs)
    assert float(relation_loss(student, teacher)) == pytest.approx(relation, abs=1e-12)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: relation_loss(x, teacher) + feature_loss(x, teacher), student)


def test_relations_do_not_care_how_the_teacher_is_turned():
    draw = torch.Generator().manual_seed(1)
    rows = torch.randn(8, 6, generator=draw)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=draw))
    assert float(relation_loss(rows @ turn, rows)) < 1e-10
    assert float(relation_loss(torch.cat([rows, torch.zeros(8, 3)], 1), rows)) < 1e-10
    assert float(relation_loss(rows[:1], rows[:1])) == 0.0


def test_a_projection_only_where_the_widths_differ():
    assert Distillation(8, 8).projection is None
    assert Distillation(8, 5, feature=0.0).projection is None
    wide = Distillation(8, 5)
    assert wide.projection.weight.shape == (5, 8)
    loss, terms = wide(torch.randn(4, 8, requires_grad=True), torch.zeros(4), torch.randn(4, 5))
    assert float(loss.detach()) == pytest.approx(float(terms["feature"] + terms["relation"]), abs=1e-6)
    for bad in ({"feature": -1.0}, {"feature": 0.0, "relation": 0.0}, {"relation": float("nan")}):
        with pytest.raises(InputError):
            Distillation(8, 8, **bad)


class Told(Display):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


class Means:
    """A teacher whose embedding is the mean colour of each quarter of its chip: float32 (N, 12), unit rows."""

    identity = ModelIdentity("means", "fast", "d" * 64, 12)
    calls = 0

    def chips(self, image, faces):
        assert image.shape == (32, 32, 3)
        np.testing.assert_allclose(faces.landmarks[0], np.array(SPEC.template), atol=1e-4)
        return image[None, None]

    def embed(self, chips):
        Means.calls += len(chips)
        blocks = chips[:, 0].reshape(-1, 2, 16, 2, 16, 3).mean(axis=(2, 4)).reshape(len(chips), 12) - 100
        return (blocks / np.linalg.norm(blocks, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    for i in range(48):
        place = folder / f"p{i // 8}"
        place.mkdir(exist_ok=True)
        small = np.random.default_rng(i).integers(0, 256, (2, 2, 3), np.uint8)
        cv2.imwrite(str(place / f"{i}.png"), cv2.resize(small, (32, 32), interpolation=cv2.INTER_NEAREST))
    return folder


@pytest.fixture
def data(people):
    with_pictures = open_training_set([Source(path=str(people), aligned=True)], spec=SPEC)
    yield with_pictures
    with_pictures.close()


def test_the_teachers_file_is_made_once_and_goes_on(tmp_path, data):
    teacher = Means()
    rows = TeacherRows(tmp_path, teacher, data, SPEC)
    assert rows.fill() == 48
    pictures = np.stack([data.picture(i) for i in (3, 40)])
    np.testing.assert_array_equal(rows.rows([3, 40]), teacher_embeddings(teacher, pictures, SPEC))
    assert TeacherRows(tmp_path, teacher, data, SPEC).fill() == 0
    about = json.loads((tmp_path / "teacher.json").read_text())
    (tmp_path / "teacher.json").write_text(json.dumps({**about, "done": 40}))
    again = TeacherRows(tmp_path, teacher, data, SPEC)
    assert again.fill() == 8
    np.testing.assert_array_equal(again.rows(np.arange(48)), rows.rows(np.arange(48)))
    for text in ("{", "[]", json.dumps({**about, "done": -1}), json.dumps({**about, "key": "other"})):
        (tmp_path / "teacher.json").write_text(text)
        assert TeacherRows(tmp_path, teacher, data, SPEC).fill() == 48
    (tmp_path / "teacher.f32").write_bytes(b"short")
    assert TeacherRows(tmp_path, teacher, data, SPEC).fill() == 48


def config(people, epochs=6, **loop):
    tiny = {"blocks": [1, 1, 1, 1], "widths": [8, 8, 8, 16]}
    return TrainConfig(
        network=NetworkConfig(name="iresnet-small", dim=12, size=32, options=tiny),
        data=DataConfig(sources=(SourceConfig(path=str(people), aligned=True),), batch=16, workers=0),
        optimizer=OptimizerConfig(name="adamw", lr=3e-3),
        schedule=ScheduleConfig(epochs=epochs, warm_up=0.0, name="constant"),
        loop=LoopConfig(precision="fp32", device="cpu", tensorboard=False, log_steps=1, threads=1, **loop),
    )


def recorded(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def opened(monkeypatch):
    monkeypatch.setattr(room, "open_embedder", lambda *_given, **_options: Means())


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("live", [False, True])
def test_the_student_comes_to_agree_with_its_teacher(tmp_path, people, live):
    Means.calls = 0
    result = distil(config(people), tmp_path / "run", DistilSettings(teacher="means", live=live))
    assert (result.stopped, result.step, result.epoch) == ("finished", 18, 6)
    assert Means.calls == (18 * 16 if live else 48)
    losses = recorded(tmp_path / "run")
    assert losses[-1] < 0.6 * losses[0]
    student = load_network(tmp_path / "run" / "best")
    assert student.dim == 12


@pytest.mark.usefixtures("opened")
def test_it_goes_on_as_if_it_had_not_stopped(tmp_path, people, monkeypatch):
    settings = DistilSettings(teacher="means")
    distil(config(people, epochs=2), tmp_path / "whole", settings)
    real, count = room._Distiller._step, 0

    def stopping(self, batch):
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        real(self, batch)

    monkeypatch.setattr(room._Distiller, "_step", stopping)
    monkeypatch.setattr(code_record, "code_now", lambda: {"mien": "1.0"})
    with pytest.raises(KeyboardInterrupt):
        distil(config(people, epochs=2), tmp_path / "cut", settings)
    monkeypatch.setattr(room._Distiller, "_step", real)
    monkeypatch.setattr(code_record, "code_now", lambda: {"mien": "1.1", "commit": "a" * 40})
    distil(config(people, epochs=2), tmp_path / "cut", settings)
    code = network_facts(tmp_path / "cut" / "last")["facts"]["code"]
    assert code == [{"from_step": 1, "mien": "1.0"}, {"from_step": 4, "mien": "1.1", "commit": "a" * 40}]
    np.testing.assert_allclose(recorded(tmp_path / "cut"), recorded(tmp_path / "whole"), rtol=1e-6)
    told = Told()
    again = distil(config(people, epochs=2), tmp_path / "cut", settings, display=told)
    assert (again.stopped, again.step, again.loss) == ("finished", 6, None)
    assert told.said == ["done already, after step 6 (epoch 2); --no-resume starts anew"]
    with pytest.raises(TrainingError, match="another teacher"):
        distil(config(people, epochs=2), tmp_path / "cut", DistilSettings(teacher="means", relation=2.0))


@pytest.mark.usefixtures("opened")
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_signal_ends_it_after_the_step_and_is_told(tmp_path, people, monkeypatch):
    real = room._Distiller._step

    def struck(self, batch):
        real(self, batch)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(room._Distiller, "_step", struck)
    result = distil(config(people), tmp_path / "run", DistilSettings(teacher="means"))
    assert (result.stopped, result.step, result.signal) == ("interrupted", 1, signal.SIGTERM)
    assert len(list((tmp_path / "run" / "checkpoints").glob("step-00000001-*.pt"))) == 1


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("live", [False, True])
def test_nan_loses_nothing_of_what_was_before(tmp_path, people, monkeypatch, live):
    settings = DistilSettings(teacher="means", live=live)
    distil(config(people, keep=1), tmp_path / "whole", settings)
    network_input, count = step.network_input, [0]

    def poisoned(*args, **options):
        count[0] += 1
        shown = network_input(*args, **options)
        return shown * math.nan if count[0] == 6 else shown  # running statistics take it in

    monkeypatch.setattr(step, "network_input", poisoned)
    monkeypatch.setattr(broken, "FEW", 5)
    with pytest.raises(TrainingError, match=r"epoch 2, step 6: NaN.* in another folder\. .*last: .*network\.weights"):
        distil(config(people, keep=1), tmp_path / "run", settings)
    kept, facts = load_network(tmp_path / "run" / "last"), network_facts(tmp_path / "run" / "last")["facts"]
    assert all(value.isfinite().all() for value in kept.state_dict().values())
    assert (facts["step"], facts["measured"]) == (5, [])
    names = sorted(path.name[:13] for path in (tmp_path / "run" / "checkpoints").glob("step-*.pt"))
    assert names == ["step-00000003", "step-00000005"]  # the epoch's stays beside, though one is to be kept
    distil(config(people, keep=1), tmp_path / "run", settings)  # whatever caused it is gone
    np.testing.assert_allclose(recorded(tmp_path / "run"), recorded(tmp_path / "whole"), rtol=1e-6)


@pytest.mark.usefixtures("opened")
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("steps", [0, 2])
def test_a_signal_that_also_hits_the_compiler_is_a_wish_to_stop(tmp_path, people, monkeypatch, steps):
    settings, real, count = DistilSettings(teacher="means"), room._Student.gradients, [0]
    distil(config(people), tmp_path / "whole", settings)

    def struck(self, batch, side=None):
        count[0] += 1
        found = real(self, batch, side)
        if count[0] == steps + 1:
            signal.raise_signal(signal.SIGINT)
            raise InputError("loop.compile: the network could not be compiled on this machine")
        return found

    monkeypatch.setattr(room._Student, "gradients", struck)
    result = distil(config(people), tmp_path / "run", settings)
    assert (result.stopped, result.step, result.signal) == ("interrupted", steps, signal.SIGINT)
    assert distil(config(people), tmp_path / "run", settings).stopped == "finished"
    np.testing.assert_allclose(recorded(tmp_path / "run"), recorded(tmp_path / "whole"), rtol=1e-6)


@pytest.mark.usefixtures("opened")
def test_what_needs_no_pictures_is_told_before_they_are_looked_at(tmp_path, people, monkeypatch):
    monkeypatch.setattr(room, "opened_data", lambda *_given: pytest.fail("looked at the pictures first"))
    for setting, told in (
        ("optimizer.start_share=0.5", "starting weights"),
        ("optimizer.accumulate=17", "expected at most 16"),
        ("data.augment.blurs=2", "blurs: expected a probability"),
    ):
        with pytest.raises(InputError, match=told):
            distil(config(people).with_settings([setting]), tmp_path / "run", DistilSettings(teacher="means"))
    with pytest.raises(InputError, match="feature and relation"):
        distil(config(people), tmp_path / "run", DistilSettings(teacher="means", feature=-1.0))


def test_settings_that_it_would_pass_over_are_refused(tmp_path, people):
    for setting in (
        "schedule.minutes=1",
        "schedule.sizes=[[0, 32]]",
        "measure.first=true",
        "measure.patience=2",
        "loss.keep=1",
    ):
        with pytest.raises(InputError, match=setting.split("=")[0].removesuffix(".keep")):
            distil(config(people).with_settings([setting]), tmp_path / "run", DistilSettings(teacher="means"))
    with pytest.raises(InputError, match=r"data\.virtual_people: .*--live"):
        distil(
            config(people).with_settings(["data.virtual_people=2"]), tmp_path / "run", DistilSettings(teacher="means")
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("opened")
def test_pictures_that_cannot_be_read_are_passed_over_by_the_teacher_too(tmp_path, people):
    shutil.copytree(people, tmp_path / "people")
    (tmp_path / "people" / "p2" / "20.png").write_bytes(b"torn")
    (tmp_path / "people" / "p5" / "47.png").write_bytes(b"torn")  # one that the file's key looks at
    Means.calls = 0
    result = distil(config(tmp_path / "people"), tmp_path / "run", DistilSettings(teacher="means"))
    assert (result.stopped, result.step, Means.calls) == ("finished", 18, 46)
    assert np.isfinite(recorded(tmp_path / "run")).all()
    shutil.copy(people / "p2" / "20.png", tmp_path / "people" / "p2" / "20.png")  # it was the disk
    again = config(tmp_path / "people", epochs=7)
    distil(again, tmp_path / "other", DistilSettings(teacher="means"))
    (tmp_path / "run" / "config.json").unlink()
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    distil(again, tmp_path / "run", DistilSettings(teacher="means"), resume=False)
    rows = np.fromfile(tmp_path / "run" / "teacher.f32", np.float32).reshape(48, 12)
    np.testing.assert_array_equal(rows, np.fromfile(tmp_path / "other" / "teacher.f32", np.float32).reshape(48, 12))
    assert (np.flatnonzero(np.isnan(rows[:, 0])) == [47]).all()


@pytest.mark.usefixtures("opened")
def test_checkpoints_by_steps(tmp_path, people):
    distil(config(people, epochs=2, checkpoint_steps=2, keep=9), tmp_path / "run", DistilSettings(teacher="means"))
    steps = sorted(int(path.name[5:13]) for path in (tmp_path / "run" / "checkpoints").glob("step-*.pt"))
    assert steps == [2, 3, 4, 6]  # and after each epoch of three
