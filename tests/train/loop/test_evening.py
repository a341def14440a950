"""A network that learned from evened light is shown evened light for ever: measured, exported, used and taught."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError  # noqa: E402
from mien.images import decode  # noqa: E402
from mien.images.align import similarity, warp  # noqa: E402
from mien.images.augment import evened  # noqa: E402
from mien.models.card import load_card  # noqa: E402
from mien.recognizer import Recognizer, open_embedder  # noqa: E402
from mien.train import distil as distilling  # noqa: E402
from mien.train.backbones import InputSpec, load_network, normalise, save_network  # noqa: E402
from mien.train.distil import DistilSettings, distil  # noqa: E402
from mien.train.distil_teacher import TeacherRows, teacher_embeddings  # noqa: E402
from mien.train.export import export_run  # noqa: E402
from mien.train.export.card_file import looks_as_default  # noqa: E402
from mien.train.export.faces import example_faces  # noqa: E402
from mien.train.parts import made_batches, made_network, old_network, opened_data  # noqa: E402
from mien.train.processes import Processes  # noqa: E402
from mien.train.trainer import train  # noqa: E402
from mien.types import ModelIdentity  # noqa: E402

ALONE = Processes(0, 1, torch.device("cpu"))


def quiet(*_told):
    """No progress."""


def even(config, setting="data.evening=clahe"):
    return config.with_settings([setting])


@pytest.fixture(scope="module")
def run(people, tmp_path_factory):
    """A run of one epoch on pictures evened by CLAHE, exported."""
    from mien.train.config import TrainConfig

    network = {"name": "iresnet-small", "size": 32, "dim": 16,
               "options": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1], "norm": "group"}}  # fmt: skip
    plain = {
        "network": network,
        "data": {"sources": [{"path": str(people), "aligned": True}], "batch": 12, "workers": 0},
        "schedule": {"epochs": 1},
        "loop": {"precision": "fp32", "threads": 1, "tensorboard": False, "device": "cpu"},
    }
    folder = tmp_path_factory.mktemp("runs") / "even"
    assert train(even(TrainConfig.from_dict(plain)), folder).stopped == "finished"
    export_run(folder)
    return folder


def test_network_and_card_say_what_light_it_was_trained_in(run):
    assert load_network(run / "last").spec.evening == ("clahe",)
    assert json.loads((run / "last" / "network.json").read_text())["spec"]["evening"] == ["clahe"]
    card = load_card(run / "export" / "card.toml")
    assert (card.family, card.evening) == ("aligned", ("clahe",))
    assert load_network(run / "export").spec.evening == ("clahe",)
    assert "| light | evened by clahe |" in (run / "export" / "README.md").read_text()


@pytest.mark.parametrize("preset", ["fast", "accurate"])
def test_recognition_evens_as_training_did(run, astronaut, preset):
    network = load_network(run / "last")
    embedder, card = open_embedder(str(run), preset, threads=1), load_card(run / "export" / "card.toml")
    assert embedder.identity.sha256 == card.embedding_sha256 != card.files[0].sha256
    recognizer = Recognizer(preset, embedder=lambda threads: open_embedder(str(run), preset, threads=threads))
    found = recognizer.analyze_one(astronaut)
    pixels, side = decode(astronaut).pixels, (32, 32)
    landmarks = found.faces.landmarks[[found.main()]]
    (chip,) = warp(pixels, similarity(landmarks, np.array(network.spec.template, np.float32)), side)

    def wanted(picture):
        views = [picture] if preset == "fast" else [picture, picture[:, ::-1]]
        with torch.no_grad():
            rows = [network(normalise(torch.from_numpy(view.copy()[None]), network.spec))[0] for view in views]
        return torch.nn.functional.normalize(sum(rows), dim=0).numpy()

    mine = wanted(evened(chip, ["clahe"]))
    assert float(found.embeddings[found.main()] @ mine) > 0.99999
    assert float(found.embeddings[found.main()] @ wanted(chip)) < 0.999
    chips = embedder.chips(pixels, found.faces.take([found.main()]))
    np.testing.assert_array_equal(chips[0, 0], evened(chip, ["clahe"]))


def test_batches_hold_evened_pictures(tiny):
    config = even(tiny(data={"augment": {"flip": 0.0}}), "data.evening=['gamma', 'clahe']")
    spec = made_network(config.network, 0, config.data.evening).spec
    assert spec.evening == ("gamma", "clahe")
    data = opened_data(config.data, spec, quiet)
    plain = opened_data(config.data, dataclasses.replace(spec, evening=()), quiet)
    with made_batches(config, data, ALONE) as batches:
        batch = next(iter(batches.epoch(0)))
    for picture, i in zip(batch.pictures.numpy(), batch.indices.tolist(), strict=True):
        np.testing.assert_array_equal(picture, evened(plain.picture(i), ["gamma", "clahe"]))


def test_weights_bring_their_evening_along(run, tiny, tmp_path):
    for weights in (run / "last", run / "last" / "network.safetensors"):
        config = tiny(network={"weights": str(weights)})
        assert made_network(config.network, 0, config.data.evening).spec.evening == ("clahe",)
        for setting, found in (("none", ()), ("gamma", ("gamma",))):
            given = even(config, f"data.evening={setting}")
            assert made_network(given.network, 0, given.data.evening).spec.evening == found
    save_network(made_network(tiny().network, 0), tmp_path)
    assert made_network(tiny(network={"weights": str(tmp_path)}).network, 0).spec.evening == ()


def test_a_copy_of_weights_keeps_its_evening_and_broken_notes_beside_them_mean_nothing(run, tiny, tmp_path):
    copied = tmp_path / "mine.safetensors"
    shutil.copy(run / "last" / "network.safetensors", copied)
    shutil.copytree(run / "last", tmp_path / "whole")
    (tmp_path / "whole" / "network.json").write_text("{")
    (tmp_path / "network.json").write_text("[]")
    for weights in (copied, tmp_path / "whole", tmp_path / "whole" / "network.safetensors"):
        assert made_network(tiny(network={"weights": str(weights)}).network, 0).spec.evening == ("clahe",)
    from safetensors.torch import load_file, save_file

    plain = tmp_path / "plain.safetensors"
    save_file(load_file(copied), plain, metadata={"mien": "{"})
    assert made_network(tiny(network={"weights": str(plain)}).network, 0).spec.evening == ()


def test_an_old_network_is_never_shown_light_that_it_does_not_know(run, tiny):
    started = tiny(network={"weights": str(run / "last")}, loss={"keep": 1.0})
    for config, fits in (
        (started, True),
        (even(started), True),
        (even(started, "data.evening=none"), False),
        (even(tiny(loss={"keep": 1.0})), True),
        (tiny(loss={"old": str(run / "last")}), False),
        (even(tiny(loss={"old": str(run / "last")})), True),
    ):
        network = made_network(config.network, 0, config.data.evening)
        if fits:
            assert old_network(config.loss, network, config.network, 0).spec.evening == network.spec.evening
            continue
        with pytest.raises(InputError, match=r"data.evening: the old network .* knows pictures evened by clahe"):
            old_network(config.loss, network, config.network, 0)


def test_the_run_before_learns_in_the_same_light(tiny):
    config = even(tiny(before={"loss": {"name": "softmax"}}))
    assert config.stage_before().data.evening == ("clahe",)
    assert even(config, "before.data.evening=gamma").stage_before().data.evening == ("gamma",)


def test_a_graph_is_checked_and_calibrated_on_evened_faces():
    plain = InputSpec.plain(32, "grey")
    faces = example_faces(plain)
    found = example_faces(dataclasses.replace(plain, evening=("self-quotient",)))
    assert len(faces) == len(found) == 16
    for one, other in zip(faces, found, strict=True):
        np.testing.assert_array_equal(evened(one, ["self-quotient"]), other)


def test_the_defaults_looks_do_not_even_light():
    spec = made_network(_dlib(), 0).spec
    assert looks_as_default(spec)
    assert not looks_as_default(dataclasses.replace(spec, evening=("clahe",)))


def _dlib():
    from mien.train.config import NetworkConfig

    return NetworkConfig(name="dlib-resnet29")


class Pale:
    """A teacher that remembers what it was shown."""

    identity = ModelIdentity("pale", "fast", "d" * 64, 4)

    def __init__(self):
        self.seen = []

    def chips(self, image, faces):
        self.seen.append(image)
        return image[None, None]

    def embed(self, chips):
        return np.eye(4, dtype=np.float32)[np.arange(len(chips)) % 4]


def test_a_teacher_sees_pictures_as_they_were_taken(tiny, tmp_path, monkeypatch):
    config = even(tiny(schedule={"epochs": 1}))
    spec = made_network(config.network, 0, config.data.evening).spec
    data = opened_data(config.data, spec, quiet)
    plain = data.uneven()
    teacher = Pale()
    assert TeacherRows(tmp_path, teacher, data, spec).fill() == len(data)
    for i, seen in enumerate(teacher.seen):
        np.testing.assert_array_equal(seen, plain.picture(i))
    monkeypatch.setattr(distilling, "open_embedder", lambda *_given, **_options: Pale())
    plain_loss = dataclasses.replace(config, loss=type(config.loss)())
    with pytest.raises(InputError, match=r"data\.evening: a teacher that is asked live"):
        distil(plain_loss, tmp_path / "live", DistilSettings(teacher="pale", live=True))
    distil(plain_loss, tmp_path / "student", DistilSettings(teacher="pale"))
    assert load_network(tmp_path / "student" / "last").spec.evening == ("clahe",)


def test_an_evened_teacher_evens_what_a_student_shows_it(run, tiny):
    teacher, network = open_embedder(str(run), "fast", threads=1), load_network(run / "last")
    data = opened_data(tiny().data, InputSpec.plain(32), quiet)
    pictures = np.stack([data.picture(i) for i in (3, 30)])
    found = teacher_embeddings(teacher, pictures, InputSpec.plain(32))
    even_ones = np.stack([evened(one, ["clahe"]) for one in pictures])
    with torch.no_grad():
        rows = network(normalise(torch.from_numpy(even_ones), network.spec))
    assert (torch.nn.functional.normalize(rows, dim=1).numpy() * found).sum(1).min() > 0.9999


def test_pictures_of_one_name_in_two_sources(tiny, people, tmp_path):
    twice = [{"path": str(people), "aligned": True}] * 2
    spec = InputSpec.plain(32)
    for joined, count in ((False, 12), (True, 6)):
        config = tiny(data={"sources": twice, "same_names": joined})
        assert len(opened_data(config.data, spec, quiet).people) == count
    kept = tiny(data={"decode_once": True, "cache": str(tmp_path)}).data
    once = opened_data(kept, spec, quiet)
    assert [path.name.split("-")[0] for path in tmp_path.iterdir() if path.is_dir()] == ["decoded"]
    np.testing.assert_array_equal(once.picture(5), opened_data(tiny().data, spec, quiet).picture(5))
