"""The catalogue: the shipped cards say what can be checked here, and users' cards are found but not trusted."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from mien.errors import CardError, InputError, LicenceError, NotFoundError
from mien.models import catalogue
from mien.models.packaged import PACKAGED


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CARDS", str(tmp_path))
    return tmp_path


def test_the_shipped_cards():
    assert set(catalogue.names()) == {
        *("mtcnn", "yunet", "scrfd-10g-kps", "scrfd-500m-kps"),
        *("dlib-resnet29", "sface", "arcface-r50", "auraface-v1", "arcface", "dlib-trees5"),
    }
    assert catalogue.names("landmarks") == ("dlib-trees5",)
    assert all(name == card.name for name, card in catalogue.shipped().items())


def test_the_defaults_are_free_and_installed():
    for name, task in (
        (catalogue.DEFAULT_DETECTOR, "detector"),
        (catalogue.DEFAULT_EMBEDDER, "embedder"),
        (catalogue.DEFAULT_LANDMARKS, "landmarks"),
    ):
        card = catalogue.get(name)
        assert card.task == task
        assert card.commercial_use
        assert all(file.packaged for file in card.files)


def test_packaged_files_agree_with_the_table_of_packages():
    files = [f for card in catalogue.shipped().values() for f in card.files if f.packaged]
    assert {f.packaged for f in files} == set(PACKAGED)
    for file in files:
        entry = PACKAGED[file.packaged]
        assert (file.name, file.size, file.sha256) == (entry.path.split("/")[-1], entry.size, entry.sha256)


def test_every_download_is_pinned_to_one_content():
    for card in catalogue.shipped().values():
        for file in card.files:
            if file.url:
                assert file.sha256
                assert file.size
                assert re.search(r"[0-9a-f]{40}|/releases/download/", file.url), "a branch may move"


def test_only_the_generic_card_leaves_the_file_to_the_user():
    without = [c.name for c in catalogue.shipped().values() if not all(f.sha256 for f in c.files)]
    assert without == ["arcface"]
    assert not catalogue.get("arcface").commercial_use, "nobody knows the terms of a file we have not seen"


def test_embedders_offer_both_presets():
    for name in catalogue.names("embedder"):
        assert set(catalogue.get(name).presets) == {"fast", "accurate"}


def test_insightface_weights_are_refused_for_commercial_use():
    refused = {c.name for c in catalogue.shipped().values() if not catalogue.allows(c, "commercial")}
    assert refused == {"scrfd-10g-kps", "scrfd-500m-kps", "arcface-r50", "arcface"}
    for name in refused:
        card = catalogue.get(name)
        catalogue.require_licence(card, "any")
        with pytest.raises(LicenceError, match=f"{name}.*{card.licence}"):
            catalogue.require_licence(card, "commercial")
    for name in set(catalogue.names()) - refused:
        catalogue.require_licence(catalogue.get(name), "commercial")


def test_the_refusal_names_models_that_are_allowed():
    with pytest.raises(LicenceError, match=r"mtcnn, yunet$"):
        catalogue.require_licence(catalogue.get("scrfd-10g-kps"), "commercial")


def test_an_unknown_use_is_refused():
    with pytest.raises(InputError, match="any, commercial"):
        catalogue.require_licence(catalogue.get("mtcnn"), "research")


def test_a_users_card_is_found_by_name_and_by_path(folder, embedder_card):
    path = folder / "mine.toml"
    path.write_text(embedder_card("mine"))
    assert catalogue.names()[-1] == "mine"
    assert catalogue.names("embedder")[-1] == "mine"
    assert catalogue.get("mine") == catalogue.get(path) == catalogue.get(str(path))


def test_a_users_card_must_be_called_like_its_file(folder, embedder_card):
    (folder / "mine.toml").write_text(embedder_card("other"))
    with pytest.raises(CardError, match=r"expected 'mine'.*got 'other'"):
        catalogue.get("mine")


@pytest.mark.parametrize("by_path", [False, True])
def test_a_users_card_cannot_pass_for_a_shipped_model(folder, by_path, embedder_card):
    path = folder / "sface.toml"
    path.write_text(embedder_card("sface"))
    if by_path:
        with pytest.raises(CardError, match="choose another"):
            catalogue.get(path)
    else:
        assert catalogue.get("sface") is catalogue.shipped()["sface"]
        assert "choose another" in str(catalogue.user_cards()[1][0])


def test_a_broken_card_does_not_hide_the_others(folder, embedder_card):
    (folder / "good.toml").write_text(embedder_card("good"))
    (folder / "broken.toml").write_text("name =")
    cards, errors = catalogue.user_cards()
    assert [card.name for card in cards] == ["good"]
    assert len(errors) == 1
    assert "broken.toml" in str(errors[0])


def test_a_misspelt_name_gets_a_hint():
    with pytest.raises(NotFoundError, match="did you mean 'yunet'"):
        catalogue.get("yunnet")


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "no\0name", "missing.toml", "/"])
def test_names_that_are_not_there(name):
    with pytest.raises(NotFoundError):
        catalogue.get(name)


def test_many_threads_may_ask():
    catalogue.shipped.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: catalogue.get("mtcnn"), range(32)))
    assert all(card == found[0] for card in found)


def test_a_folder_is_the_card_in_it(tmp_path, monkeypatch, embedder_card):
    run = tmp_path / "runs" / "x"
    (run / "export").mkdir(parents=True)
    with pytest.raises(NotFoundError, match=r"no card\.toml in this folder.*mien export"):
        catalogue.get(str(run))
    (run / "card.toml").write_text(embedder_card("outer"), encoding="utf-8")
    assert catalogue.get(run).name == "outer"
    (run / "export" / "card.toml").write_text(embedder_card("inner"), encoding="utf-8")
    assert catalogue.get(str(run)).name == catalogue.get(run).name == "inner"
    assert catalogue.get(run / "export").name == "inner"
    monkeypatch.chdir(tmp_path)
    assert catalogue.get("runs/x").name == "inner"


def test_a_folder_of_a_models_name_does_not_hide_the_model(tmp_path, monkeypatch, embedder_card):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sface").mkdir()
    (tmp_path / "sface" / "card.toml").write_text(embedder_card("other"), encoding="utf-8")
    assert catalogue.get("sface").name == "sface"
    assert catalogue.get("./sface").name == "other"
    (tmp_path / "thief").mkdir()
    (tmp_path / "thief" / "card.toml").write_text(embedder_card("sface"), encoding="utf-8")
    with pytest.raises(CardError, match="name of a model that mien ships"):
        catalogue.get("thief")


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "..", "/dev/null"])
def test_odd_names_are_no_folder(name):
    with pytest.raises(NotFoundError):
        catalogue.get(name)
