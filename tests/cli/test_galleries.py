"""Which model a gallery's file may make the verbs open: one of the catalogue, by its name, and nothing else."""

from __future__ import annotations

import pytest

from mien import Gallery
from mien.cli.galleries import bound_model
from mien.errors import GalleryModelError
from mien.models.card import load_card
from mien.recognizer import Recognizer
from mien.types import ModelIdentity


def identity(name, sha256="cd" * 32):
    return ModelIdentity(name, "accurate", sha256, 128)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIEN_CARDS", str(tmp_path / "cards"))
    return tmp_path


@pytest.fixture
def exported(embedder_card):
    """exported(folder, name): a run's export."""

    def make(folder, name, sha256="cd" * 32):
        (folder / "export").mkdir(parents=True)
        (folder / "export" / "card.toml").write_text(embedder_card(name, sha256=sha256), encoding="utf-8")

    return make


def test_a_model_of_the_catalogue_is_its_name(here, embedder_card):
    assert bound_model(identity("sface"), "people.db") == "sface"
    (here / "cards").mkdir()
    (here / "cards" / "mine.toml").write_text(embedder_card("mine", sha256="cd" * 32))
    assert bound_model(identity("mine"), "people.db") == "mine"


@pytest.mark.parametrize("place", ["runs/firm", "firm"])
def test_a_runs_model_is_asked_for_by_the_folder_that_holds_it(here, place, exported):
    exported(here / place, "firm")
    expected = "runs/firm" if place == "runs/firm" else "./firm"
    with pytest.raises(GalleryModelError, match=rf"people.db: made with firm/accurate .*: --model {expected}$"):
        bound_model(identity("firm"), "people.db")
    with pytest.raises(GalleryModelError, match=rf"--present {expected}$"):
        bound_model(identity("firm"), "people.db", "--present")


def test_a_runs_model_in_another_light_is_another(here, exported):
    exported(here / "firm", "firm")
    card = here / "firm" / "export" / "card.toml"
    card.write_text(card.read_text().replace("input = {", 'input = { evening = ["clahe"],'))
    assert load_card(card).evening == ("clahe",)
    with pytest.raises(GalleryModelError, match="--model DIR, the folder of its run"):
        bound_model(identity("firm"), "people.db")
    with pytest.raises(GalleryModelError, match=r"--model ./firm$"):
        bound_model(identity("firm", load_card(card).embedding_sha256), "people.db")


def test_another_model_of_that_name_is_not_proposed(here, exported):
    exported(here / "runs" / "firm", "firm", "ef" * 32)
    exported(here / "firm", "other")
    with pytest.raises(GalleryModelError, match="--model DIR, the folder of its run"):
        bound_model(identity("firm"), "people.db")


@pytest.mark.parametrize("name", ["runs/evil", "./evil", "../evil", "evil/export/card.toml", "evil.toml", "a\0b", ""])
def test_a_gallerys_name_is_never_taken_for_a_path(here, name, embedder_card, exported):
    exported(here / "runs" / "evil", "evil")
    exported(here / "evil", "evil")
    (here / "evil.toml").write_text(embedder_card("evil", sha256="cd" * 32))
    with pytest.raises(GalleryModelError, match="--model DIR, the folder of its run"):
        bound_model(identity(name), "people.db")


@pytest.mark.usefixtures("squares")
def test_identify_says_which_option_to_give(run, paint, here, exported):
    import mien.recognizer

    plain = mien.recognizer.DlibResNet()

    class Mine:
        identity = ModelIdentity("firm", "accurate", "cd" * 32, 128)
        chips, embed = plain.chips, plain.embed

    paint(here / "a.png", (1, 0))
    with Gallery.open(here / "g.db", recognizer=Recognizer("accurate", embedder=lambda _threads: Mine())) as known:
        known.enrol("Ada", [here / "a.png"], policy="off")
    exported(here / "runs" / "firm", "firm")
    found = run("identify", here / "a.png", "-g", "g.db")
    assert found.code == 2
    assert found.err.endswith("--model runs/firm\n")
