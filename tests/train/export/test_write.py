"""The exported folder: used at once, whole or not there, and nothing of a stranger's file is believed."""

from __future__ import annotations

import hashlib
import json
import re
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError, LicenceError, ModelFileError, NotFoundError  # noqa: E402
from mien.images.align import similarity  # noqa: E402
from mien.models import catalogue  # noqa: E402
from mien.recognizer import open_embedder  # noqa: E402
from mien.train.backbones import InputSpec, network_facts, normalise  # noqa: E402
from mien.train.export import ExportSettings, export_run, read_run  # noqa: E402
from mien.train.export.card_file import looks_as_default, to_toml  # noqa: E402
from mien.train.export.run_folder import model_name  # noqa: E402
from mien.types import Faces  # noqa: E402

SECRET = re.compile(rb"/home/me|secret|Users")


def test_the_folder_names_its_model(run, exported, network):
    assert exported.folder == run / "export"
    names = {path.name for path in exported.folder.iterdir()}
    cards = {"card.toml", "card-fp16.toml", "model.onnx", "model-fp16.onnx"}
    assert names == {*cards, "README.md", "export.json", "network.json", "network.safetensors"}
    card = catalogue.get(str(run))
    assert card == catalogue.get(exported.folder) == exported.card
    assert (card.name, card.family, card.dimension, card.input_size) == ("my-run-1", "aligned", 16, (32, 32))
    assert card.files[0].sha256 == hashlib.sha256((exported.folder / "model.onnx").read_bytes()).hexdigest()
    np.testing.assert_allclose(card.template, network.spec.template, atol=1e-4)
    catalogue.require_licence(card, "commercial")
    assert exported.agreement.good
    assert [form.variant for form in exported.forms] == ["fp32", "fp16"]
    assert not list(run.glob(".export*"))


def test_the_embedder_gives_what_the_network_gives(run, network):
    embedder = open_embedder(str(run), "fast", threads=1)
    picture = np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)
    points = np.array([network.spec.template], np.float32) + np.array([11, 7], np.float32)  # a plain crop
    faces = Faces(np.array([[11, 7, 43, 39]]), np.ones(1), points)
    assert np.abs(similarity(points[0], np.array(network.spec.template)) - [[1, 0, -11], [0, 1, -7]]).max() < 1e-4
    (found,) = embedder.embed(embedder.chips(picture, faces))
    with torch.no_grad():
        wanted = network(normalise(torch.from_numpy(picture[None, 7:39, 11:43].copy()), network.spec))[0].numpy()
    assert float(found @ wanted / np.linalg.norm(wanted)) > 0.9995
    assert embedder.identity.sha256 == catalogue.get(run).files[0].sha256
    half = open_embedder(str(run / "export" / "card-fp16.toml"), "fast", threads=1)
    assert half.identity.name == "my-run-1-fp16"
    assert float(half.embed(half.chips(picture, faces))[0] @ found) > 0.999


def test_the_model_card_tells_data_recipe_seed_and_metrics_but_no_folders(exported):
    text = (exported.folder / "README.md").read_text(encoding="utf-8")
    for told in ("Apache-2.0", "| data.sources.0.path | celebs |", "| loop.seed | 7 |", "2.5", "0.75", "iresnet-small"):
        assert told in text
    assert "tiny\\|&lt;b>" in text
    assert "/home/me" not in text
    assert "No licence" not in text
    assert json.loads((exported.folder / "export.json").read_text())["name"] == "my-run-1"


def test_no_file_tells_a_folder_of_the_machine_that_trained(run, exported):
    assert network_facts(run / "best")["facts"]["config"]["data"]["sources"][0]["path"] == "/home/me/secret/celebs"
    told = [path.name for path in exported.folder.iterdir() if SECRET.search(path.read_bytes())]
    assert not told
    facts = network_facts(exported.folder)["facts"]
    assert facts["lists"] == ["pairs.txt", "more.txt"]
    assert facts["config"]["data"]["sources"] == [{"path": "celebs"}]


def test_doing_it_again_gives_the_same_and_replaces_only_exports(tmp_path, run, exported):
    copy = shutil.copytree(run, tmp_path / "My Run_1")
    before = {p.name: p.read_bytes() for p in exported.folder.iterdir()}
    again = export_run(copy, settings=ExportSettings(licence="Apache-2.0", commercial=True))
    after = {p.name: p.read_bytes() for p in again.folder.iterdir()}
    for name in ("model.onnx", "card.toml", "network.safetensors"):
        assert after[name] == before[name]
    assert "model-fp16.onnx" not in after
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "holiday.jpg").write_bytes(b"x")
    for place in (mine, mine / "holiday.jpg"):
        with pytest.raises(InputError, match=r"did not write|expected a folder"):
            export_run(run, place)
    assert (mine / "holiday.jpg").read_bytes() == b"x"


def test_a_changed_file_is_not_used(tmp_path, exported):
    copy = shutil.copytree(exported.folder, tmp_path / "export")
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"!")
    with pytest.raises(ModelFileError, match="expected sha256"):
        open_embedder(str(copy), "fast")


def test_settings_that_make_no_sense(tmp_path):
    for bad in (
        {"variants": ("int4",)},
        {"variants": ("int8",)},
        {"pairs": tmp_path},
        {"commercial": True},
    ):
        with pytest.raises(InputError):
            ExportSettings(**bad)


def test_hostile_run_folders(tmp_path, run, write_run, tiny):
    with pytest.raises(NotFoundError, match="no such training run"):
        read_run(tmp_path / "none")
    with pytest.raises(NotFoundError, match="no trained network"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="part"):
        read_run(run, part="../best")
    copy = shutil.copytree(run, tmp_path / "copy")
    for text in (b"{", b"[]", b"\xff", b"[" * 100_000):
        (copy / "config.json").write_bytes(text)
        with pytest.raises(InputError, match=r"config\.json"):
            read_run(copy)
    (copy / "config.json").unlink()
    (copy / "metrics.jsonl").write_bytes(b"\xff\n{}\nnull\n" + b"[" * 5000 + b"\n")
    assert read_run(copy).metrics == {}
    (copy / "best" / "network.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ModelFileError):
        read_run(copy)
    bad = tiny(seed=3)
    write_run(tmp_path / "nan", bad)
    from safetensors.torch import load_file, save_file

    path = tmp_path / "nan" / "best" / "network.safetensors"
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    state = load_file(path)
    next(value for value in state.values() if value.is_floating_point()).fill_(float("nan"))
    save_file(state, path, metadata=header)
    with pytest.raises(ModelFileError, match=r"NaN|finite"):
        export_run(tmp_path / "nan")
    assert not (tmp_path / "nan" / "export").exists()


def test_names_of_folders_become_names_of_cards(run):
    import dataclasses

    for folder, name in (("Ümläut & Co", "ml-ut-co"), ("面", "model"), ("x" * 99, "x" * 48), ("...", "model")):
        assert model_name(dataclasses.replace(run_of(run), folder=run.parent / folder)) == name


def run_of(folder):
    return read_run(folder)


def test_a_model_without_a_licence_is_not_for_commerce(exported):
    import dataclasses

    with pytest.raises(LicenceError):
        catalogue.require_licence(dataclasses.replace(exported.card, commercial_use=False), "commercial")


def test_which_networks_get_the_defaults_looks():
    from mien.embed.views import DETECTOR_TEMPLATE

    def spec(points, size=150):
        return InputSpec(size=size, template=tuple((float(x), float(y)) for x, y in points))

    middle = 74.5
    assert looks_as_default(spec(DETECTOR_TEMPLATE))
    assert looks_as_default(spec(middle + 1.08 * (DETECTOR_TEMPLATE - middle)))
    assert not looks_as_default(spec(middle + 1.5 * (DETECTOR_TEMPLATE - middle)))
    assert not looks_as_default(spec(DETECTOR_TEMPLATE + 3))
    assert not looks_as_default(InputSpec.plain(150))
    assert not looks_as_default(InputSpec.plain(112))


def test_toml_says_everything_back():
    import tomllib

    values = {
        "name": 'quote " and \\ and \x7f\n',
        "n": 3,
        "yes": True,
        "input": {"mean": [1.0, 2.5e-7], "size": [1, 2]},
        "accuracy": {"LFW View 1, pairs": {"value": 0.99, "source": "面"}},
        "files": [{"name": "a", "size": 1}, {"name": "b"}],
    }
    assert tomllib.loads(to_toml(values)) == values
