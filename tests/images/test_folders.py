"""Which files of a folder are pictures, whose they are, and in which order."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import InputError, NotFoundError
from mien.images import is_image_name, list_images, people_of, person_name


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(root: Path, paths: list[Path]) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "x/b.c.png", "é.HEIC", "a.webp", "a.pgm", "a.tif"])
def test_picture_names(name):
    assert is_image_name(name)
    assert is_image_name(Path(name))


@pytest.mark.parametrize("name", ["a.txt", "jpg", ".jpg", "._a.jpg", "a.jpg.part", "a", "a.ico", "a.svg", ""])
def test_other_names(name):
    assert not is_image_name(name)


def test_list_is_sorted_and_skips_what_is_hidden(tmp_path):
    touch(
        tmp_path, "b.jpg", "a.png", "z/2.jpg", "z/1.jpg", "c/d/e.gif", "note.txt", ".hidden.jpg", ".git/x.jpg", "B.jpg"
    )
    (tmp_path / "folder.jpg").mkdir()
    assert names(tmp_path, list_images(tmp_path)) == ["B.jpg", "a.png", "b.jpg", "c/d/e.gif", "z/1.jpg", "z/2.jpg"]
    assert names(tmp_path, list_images(str(tmp_path), recursive=False)) == ["B.jpg", "a.png", "b.jpg"]


def test_list_ends_in_circles_and_visits_each_folder_once(tmp_path):
    touch(tmp_path, "real/a.jpg", "real/deep/b.jpg")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "real" / "self").symlink_to(".")
    (tmp_path / "again").symlink_to("real")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    found = list_images(tmp_path)
    assert len({path.resolve() for path in found}) == len(found)
    assert sorted(path.name for path in found) == ["a.jpg", "b.jpg", "gone.jpg"]  # decoding says what is wrong with it


def test_list_of_a_deep_tree(tmp_path):
    deep, here = tmp_path, os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(300):
            os.mkdir("d")
            os.chdir("d")
        Path("a.jpg").touch()
    finally:
        os.chdir(here)
    assert [path.name for path in list_images(deep)] == ["a.jpg"]


def test_folders_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(NotFoundError, match=r"nowhere: there is no such folder"):
        list_images(tmp_path / "nowhere")
    touch(tmp_path, "a.jpg", "locked/b.jpg")
    with pytest.raises(InputError, match="expected a folder, got a file"):
        list_images(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="cannot be read"):
        list_images("a\0b")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"locked: the folder cannot be read \(Permission denied\)"):
        list_images(tmp_path)
    problems: list[InputError] = []
    assert names(tmp_path, list_images(tmp_path, on_error=problems.append)) == ["a.jpg"]
    assert len(problems) == 1


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_link_to_itself_is_listed_as_a_dangling_one_is(tmp_path):
    touch(tmp_path, "a.jpg", "z/b.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    assert names(tmp_path, list_images(tmp_path)) == ["a.jpg", "gone.jpg", "loop.jpg", "z/b.jpg"]
    assert [name for name, _ in people_of(tmp_path)] == ["a", "gone", "loop", "z"]


def test_people_in_folders_and_flat_and_both(tmp_path):
    touch(
        tmp_path, "Grace Hopper/1.jpg", "Grace Hopper/old/2.png", "Ada.jpg", "empty/readme.txt", "notes.txt", ".x/a.jpg"
    )
    touch(tmp_path, "Grace Hopper.jpg")
    people = people_of(tmp_path)
    assert [(name, names(tmp_path, paths)) for name, paths in people] == [
        ("Ada", ["Ada.jpg"]),
        ("Grace Hopper", ["Grace Hopper/1.jpg", "Grace Hopper/old/2.png", "Grace Hopper.jpg"]),
        ("empty", []),
    ]


def test_people_whose_names_differ_in_normal_form_are_one(tmp_path):
    touch(tmp_path, unicodedata.normalize("NFD", "Amélie") + ".jpg", unicodedata.normalize("NFC", "Amélie") + "/1.jpg")
    [(name, pictures)] = people_of(tmp_path)
    assert name == unicodedata.normalize("NFC", "Amélie")
    assert len(pictures) == 2


def test_people_with_names_that_hide_something(tmp_path):
    touch(tmp_path, "evil\x1b[2Jname/1.jpg")
    with pytest.raises(InputError, match=r"U\+001B; rename it"):
        people_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "clean"),
    [(" Ada ", "Ada"), ("王小明", "王小明"), ("Ame\u0301lie", "Amélie"), ("مح\u200cمد", "مح\u200cمد")],
)
def test_person_names(name, clean):
    assert person_name(name) == clean


@pytest.mark.parametrize("name", ["", " \t", "a\nb", "a\0", "\ud800", "a\u202eb", "a\u2028b", "\x7f", "a" * 256])
def test_names_that_are_refused(name):
    with pytest.raises(InputError, match="a person's name is expected"):
        person_name(name)


@given(st.text(max_size=50))
def test_a_clean_name_stays(name):
    try:
        clean = person_name(name)
    except InputError:
        return
    assert person_name(clean) == clean


@pytest.mark.data
def test_the_known_people_of_face_recognition(mien_data):
    people = people_of(mien_data / "photos/face_recognition/examples/knn_examples/train")
    assert [name for name, _ in people] == ["alex_lacamoire", "biden", "kit_harington", "obama", "rose_leslie"]
    assert all(pictures for _, pictures in people)
