from pathlib import Path

import pytest

from mien.cli.placing import Places, output_file
from mien.errors import InputError


def places_of(root, *sources, bases=()):
    places = Places(root, sources := [Path(s) for s in sources], [Path(b) for b in bases])
    return [places.place(s).relative_to(root).as_posix() for s in sources]


def test_a_source_below_a_named_folder_keeps_its_folders(tmp_path):
    assert places_of(tmp_path, "in/Ada/1.jpg", "else/2.jpg", bases=["in"]) == ["Ada/1.jpg", "2.jpg"]


def test_the_same_sources_find_the_same_places(tmp_path):
    sources = ["a/x.jpg", "b/X.jpg", "c/x.jpg", "d/x~2.jpg"]
    first = places_of(tmp_path, *sources)
    assert first == places_of(tmp_path, *sources)
    assert len({name.casefold() for name in first}) == 4


@pytest.mark.parametrize("source", ["in/../../etc/x.jpg", "/etc/x.jpg", "../x.jpg", "in/.."])
def test_no_source_leads_out(tmp_path, source):
    places = Places(tmp_path, [Path(source)], [Path("in")])
    assert places.place(Path(source)).resolve().is_relative_to(tmp_path.resolve())


def test_a_mark_goes_before_the_suffix(tmp_path):
    places = Places(tmp_path, [Path("a.b.jpg")])
    assert places.place(Path("a.b.jpg"), "~3").name == "a.b~3.jpg"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "Ada").write_bytes(b"")
    places = Places(tmp_path, [Path("in/Ada/1.jpg")], [Path("in")])
    with pytest.raises(InputError, match="cannot be made"):
        places.open(places.place(Path("in/Ada/1.jpg")))


def test_a_link_to_an_input_is_that_input(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(InputError, match="one of the pictures"):
        output_file("--draw", tmp_path / "b.png", [tmp_path / "a.png"], {".png"})
    assert output_file("--draw", tmp_path / "c.PNG", [tmp_path / "a.png"], {".png"}).name == "c.PNG"
