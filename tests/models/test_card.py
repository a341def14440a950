"""Model cards: what is accepted, what is refused, and that the message names the file and the field."""

from __future__ import annotations

import copy
import pickle
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import CardError
from mien.images import augment as images
from mien.models.card import ModelCard, ModelFile, load_card
from mien.types import EVENINGS

CARD = """
name = "my-net"
title = "My net"
task = "embedder"
family = "aligned"
licence = "MIT"
commercial_use = true

[input]
size = [112, 112]
colour = "rgb"
mean = [127.5, 127.5, 127.5]
std = [128, 128, 128]
batch = 8

[alignment]
template = [[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]]

[output]
dimension = 256
metric = "cosine"

[presets.fast]
description = "one look"
views = [1, 2]

[accuracy.LFW]
value = 0.99
source = "us"
date = 2024-01-02

[[files]]
name = "net.onnx"
url = "https://example.org/net.onnx"
size = 12
sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
"""


def edited(**changes: object) -> dict:
    """CARD's values with dotted paths replaced (`input__size=...`); None removes."""
    values = tomllib.loads(CARD)
    for path, value in changes.items():
        *parents, key = path.split("__")
        table = values
        for parent in parents:
            table = table[int(parent)] if parent.isdigit() else table.setdefault(parent, {})
        if value is None:
            table.pop(key)
        else:
            table[key] = value
    return values


def test_every_field_is_read():
    card = load_card(CARD.encode())
    assert (card.name, card.task, card.family, card.licence, card.commercial_use) == (
        *("my-net", "embedder", "aligned", "MIT", True),
    )
    assert card.input_size == (112, 112)
    assert (card.colour, card.mean, card.std, card.batch) == ("rgb", (127.5,) * 3, (128, 128, 128), 8)
    assert card.template == ((38, 51), (73, 51), (56, 71), (41, 92), (70, 92))
    assert (card.dimension, card.metric) == (256, "cosine")
    assert card.presets["fast"]["views"] == (1, 2)
    assert card.accuracy["LFW"]["value"] == 0.99
    assert card.files == (ModelFile(name="net.onnx", url="https://example.org/net.onnx", size=12, sha256="a" * 64),)


def test_how_light_is_evened_out_is_read_and_written():
    card = load_card(CARD.encode())
    assert card.evening == ()
    assert "evening" not in card.to_dict()["input"]
    even = ModelCard.from_dict(edited(input__evening=["gamma", "clahe"]))
    assert even.evening == ("gamma", "clahe")
    assert even.to_dict()["input"]["evening"] == ["gamma", "clahe"]
    assert ModelCard.from_dict(even.to_dict()).evening == even.evening
    assert even != card
    assert pickle.loads(pickle.dumps(even)).evening == even.evening
    assert EVENINGS == images.EVENINGS


def test_round_trip_through_plain_values():
    card = load_card(CARD.encode().replace(b"date = 2024-01-02", b""))
    assert ModelCard.from_dict(card.to_dict()) == card


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("colour_order", {"input__colour_order": "rgb"}),
        ("nonsense", {"nonsense": 1}),
        ("md5", {"files__0__md5": "x"}),
        ("name", {"name": None}),
        ("licence", {"licence": None}),
        ("commercial_use", {"commercial_use": None}),
        ("commercial_use", {"commercial_use": "no"}),
        ("files", {"files": None}),
        ("files", {"files": []}),
        ("files", {"files": "net.onnx"}),
        ("files", {"files": ["net.onnx"]}),
        ("name", {"name": "../evil"}),
        ("name", {"name": ".hidden"}),
        ("name", {"name": "Upper"}),
        ("name", {"name": "nul"}),
        ("name", {"name": 3}),
        ("title", {"title": " "}),
        ("task", {"task": "recogniser"}),
        ("task", {"task": "detector"}),
        ("family", {"family": "resnet"}),
        ("input", {"input": 3}),
        ("input.size", {"input__size": [112]}),
        ("input.size", {"input__size": [0, 112]}),
        ("input.size", {"input__size": [112.5, 112]}),
        ("input.size", {"input__size": 112}),
        ("input_size", {"input__size": None}),
        ("input.colour", {"input__colour": "RGB"}),
        ("input.mean", {"input__mean": [1, 2]}),
        ("input.mean", {"input__mean": [1, 2, float("nan")]}),
        ("input.mean", {"input__mean": [1, 2, True]}),
        ("input.std", {"input__std": [1, 0, 1]}),
        ("input.batch", {"input__batch": 0}),
        ("input.evening", {"input__evening": "clahe"}),
        ("input.evening", {"input__evening": ["flat"]}),
        ("input.evening", {"input__evening": ["none"]}),
        ("input.evening", {"input__evening": ["clahe", "clahe"]}),
        ("input.evening", {"input__evening": [["clahe"]]}),
        ("input.evening", {"family": "dlib-resnet", "input__evening": ["clahe"]}),
        ("alignment.template", {"alignment__template": "eyes"}),
        ("alignment.template", {"alignment__template": [[1, 2]]}),
        ("alignment.template", {"alignment__template": [[1, 2]] * 5}),
        ("alignment.template", {"alignment__template": [1, 2, 3, 4, 5]}),
        ("template", {"alignment": None}),
        ("output.dimension", {"output__dimension": 1}),
        ("output.dimension", {"output__dimension": "128"}),
        ("dimension", {"output__dimension": None}),
        ("output.metric", {"output__metric": "euclid"}),
        ("output.strides", {"output__strides": 8}),
        ("output.strides", {"output__strides": ["8"]}),
        ("output.kinds", {"output__kinds": "cls"}),
        ("output.kinds", {"output__kinds": [1]}),
        ("accuracy.LFW", {"accuracy__LFW": 0.99}),
        ("accuracy.LFW", {"accuracy__LFW__source": None}),
        ("accuracy.LFW.value", {"accuracy__LFW__value": "high"}),
        ("presets.fast", {"presets__fast__description": None}),
        ("presets.fast.description", {"presets__fast__description": ""}),
        ("presets", {"presets": [1]}),
        ("sha256", {"files__0__sha256": "A" * 64}),
        ("sha256", {"files__0__sha256": "a" * 63}),
        ("size", {"files__0__size": 0}),
        ("size", {"files__0__size": 10**15}),
        ("url", {"files__0__url": "http://example.org/net.onnx"}),
        ("url", {"files__0__url": "file:///etc/passwd"}),
        ("url", {"files__0__url": "https:///net.onnx"}),
        ("url", {"files__0__url": "https://user:secret@example.org/net.onnx"}),
        ("url", {"files__0__url": "https://example.org/a b"}),
        ("url", {"files__0__url": "https://[broken"}),
        ("url", {"files__0__url": 3}),
        ("files", {"files__0__name": "../net.onnx"}),
        ("files", {"files__0__name": "a/b"}),
        ("files", {"files__0__name": "a\\b"}),
        ("files", {"files__0__name": ".part"}),
        ("files", {"files__0__name": "con.onnx"}),
        ("files", {"files__0__name": ""}),
        ("files.name", {"files__0__name": None}),
        ("packaged", {"files__0__packaged": "mtcnn-pnet"}),
        ("packaged", {"files__0__packaged": 7}),
        ("path", {"files__0__path": "net.onnx"}),
    ],
)
def test_a_bad_field_is_named(field, changes, tmp_path):
    with pytest.raises(CardError, match=r"my\.toml.*" + field.replace(".", r"\.")):
        ModelCard.from_dict(edited(**changes), origin="my.toml", folder=tmp_path if field != "path" else None)


def test_two_files_of_one_name_are_refused():
    values = edited()
    values["files"].append({**values["files"][0], "name": "NET.onnx"})
    with pytest.raises(CardError, match="different names"):
        ModelCard.from_dict(values)


def test_a_detector_needs_strides_and_outputs():
    with pytest.raises(CardError, match="outputs"):
        ModelCard.from_dict(edited(task="detector", family="yunet", output={"strides": [8]}))


def test_a_local_path_is_relative_to_the_card(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(CARD.replace('url = "https://example.org/net.onnx"', 'path = "weights/net.onnx"'))
    assert load_card(path).files[0].path == tmp_path / "weights" / "net.onnx"
    assert load_card(str(path)) == load_card(path)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"name = ", b"x" * 300_000, b"a = " + b"[" * 5000, b"\0"])
def test_what_is_no_card_is_refused(data, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_bytes(data)
    with pytest.raises(CardError, match=r"bad\.toml"):
        load_card(path)


@pytest.mark.parametrize("path", ["missing.toml", "folder", "nul\0.toml"])
def test_a_file_that_cannot_be_read(path, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(CardError, match="cannot be read"):
        load_card(tmp_path / path)


def test_a_card_cannot_change():
    card = load_card(CARD.encode())
    with pytest.raises(FrozenInstanceError):
        card.name = "other"
    with pytest.raises(TypeError):
        card.presets["fast"]["views"] = ()
    with pytest.raises(TypeError):
        card.accuracy["new"] = 1


def test_a_card_travels_between_processes():
    card = load_card(CARD.encode().replace(b"date = 2024-01-02", b""))
    assert pickle.loads(pickle.dumps(card)) == copy.deepcopy(card) == card


def test_cards_may_be_read_by_many_threads(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(CARD)
    with ThreadPoolExecutor(8) as pool:
        cards = list(pool.map(lambda _: load_card(path), range(64)))
    assert all(card == cards[0] for card in cards)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PLACES = [
    *("name", "title", "task", "family", "licence", "commercial_use", "input", "output", "alignment", "files"),
    *("presets", "accuracy", "source", "paper"),
    *(("input", k) for k in ("size", "colour", "mean", "std", "batch")),
    *(("output", k) for k in ("kinds", "strides", "anchors", "dimension", "metric")),
    *(("files", 0, k) for k in ("name", "sha256", "size", "packaged", "url", "path")),
    *(("presets", "fast"), ("accuracy", "LFW"), ("alignment", "template")),
]


@given(st.sampled_from(PLACES), JSON)
def test_any_value_anywhere_makes_a_card_or_a_card_error(place, value):
    values = copy.deepcopy(edited())
    *parents, key = (place,) if isinstance(place, str) else place
    table = values
    for parent in parents:
        table = table[parent]
    table[key] = value
    try:
        card = ModelCard.from_dict(values, folder=Path("/cards"))
    except CardError:
        return
    card.to_dict()
