"""What the documentation shows is true: its card loads, its links lead somewhere, its examples run."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

import mien
from mien.models.card import load_card

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_card_of_the_docs_is_a_card(tmp_path) -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "card.toml"
    path.write_text(text.replace('sha256 = "..."', f'sha256 = "{"0" * 64}"'), encoding="utf-8")
    card = load_card(path)
    assert card.name == "my-arcface"
    assert card.dimension == 512


def example(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_examples_run(hopper, astronaut, tmp_path, capsys) -> None:
    people = tmp_path / "people"
    people.mkdir()
    shutil.copy(hopper, people / "Grace Hopper.jpg")
    example("who_is_in_this_photo")(people, hopper)
    assert "Grace Hopper" in capsys.readouterr().out
    example("who_is_in_this_photo")(people, astronaut)
    assert "unknown" in capsys.readouterr().out

    assert example("same_person")(hopper, hopper)
    assert not example("same_person")(hopper, astronaut, 1e-4)

    database = tmp_path / "people.db"
    with mien.Gallery.open(database) as gallery:
        gallery.enrol_folder(people)
    (people / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    capsys.readouterr()
    example("attendance")(database, people)
    out, err = capsys.readouterr()
    assert "Grace Hopper" in out.splitlines()[1]
    assert "broken.jpg" in err


def test_examples_are_short() -> None:
    for path in ROOT.glob("examples/*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 75
