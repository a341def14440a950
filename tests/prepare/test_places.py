import os
from pathlib import Path

import pytest

from mien.errors import InputError
from mien.prepare import places
from mien.prepare.places import Shelter


@pytest.fixture
def asked(monkeypatch):
    """The paths that were looked at or made."""
    seen = []
    for name in ("stat", "mkdir"):
        plain = getattr(os, name)
        monkeypatch.setattr(
            places.os, name, lambda p, *a, plain=plain, **k: (seen.append(os.fspath(p)), plain(p, *a, **k))[1]
        )
    return seen


def test_a_new_folder_is_made_once_though_threads_take_turns(tmp_path, asked):
    shelter = Shelter(tmp_path / "out", [])
    assert not shelter.open(str(tmp_path / "out" / "first" / "0.jpg"))  # looks where the root lies
    asked.clear()
    for i in range(5):
        for person in ("Ada", "艾琳"):
            assert not shelter.open(str(tmp_path / "out" / person / f"{i}.jpg"))
    assert asked == [str(tmp_path / "out" / person) for person in ("Ada", "艾琳")]


def test_what_is_in_a_folder_that_was_there_is_seen(tmp_path):
    for person in ("Ada", "Bo"):
        (tmp_path / person).mkdir()
        (tmp_path / person / "1.jpg").touch()
    shelter = Shelter(tmp_path, [tmp_path / "Bo" / "1.jpg"])
    for _ in range(2):
        assert shelter.open(str(tmp_path / "Ada" / "1.jpg"))
        assert not shelter.open(str(tmp_path / "Ada" / "2.jpg"))
        with pytest.raises(InputError, match="one of the pictures"):
            shelter.open(str(tmp_path / "Bo" / "1.jpg"))


def test_a_folder_of_this_run_where_a_crop_belongs(tmp_path):
    shelter = Shelter(tmp_path, [])
    shelter.open(str(tmp_path / "a" / "0.png"))
    assert not shelter.open(str(tmp_path / "b" / "0.png"))
    shelter.open(str(tmp_path / "b" / "x.png" / "0.png"))
    with pytest.raises(InputError, match="got a folder"):
        shelter.open(str(tmp_path / "b" / "x.png"))


def test_of_very_many_folders_only_the_last_are_remembered(tmp_path):
    shelter = Shelter(tmp_path, [])
    for i in range(3 * places._READY):
        shelter.open(str(tmp_path / str(i) / "0.png"))
    assert len(shelter._ready) == places._READY
    Path(tmp_path / "0" / "0.png").touch()
    assert shelter.open(str(tmp_path / "0" / "0.png"))


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_link_out_is_refused_among_new_folders(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / "out" / "Bo").symlink_to(tmp_path / "precious")
    shelter = Shelter(tmp_path / "out", [])
    shelter.open(str(tmp_path / "out" / "Ada" / "0.jpg"))
    for _ in range(2):
        with pytest.raises(InputError, match="a link leads there"):
            shelter.open(str(tmp_path / "out" / "Bo" / "0.jpg"))
