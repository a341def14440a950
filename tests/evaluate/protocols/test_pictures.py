import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mien.errors import InputError, NotFoundError
from mien.evaluate.protocols import PairSet, Picture
from mien.evaluate.protocols.pictures import PictureFolder

pieces = st.sampled_from(["..", ".", "a", "b", "", "/", "\\", "\x00", "C:", "~", "…", " ", "a/../.."])


@given(st.lists(pieces, max_size=8).map("/".join), st.sampled_from(["", "a", "a/b"]))
@example("../../etc/passwd", "a")
@example("/etc/passwd", "")
def test_no_listed_name_leads_out(tmp_path_factory, name, base):
    root = tmp_path_factory.getbasetemp()
    files = PictureFolder(root)
    try:
        relative = files.relative(name, base=base, where="x")
    except InputError:
        return
    assert not Path(relative).is_absolute()
    assert ".." not in relative.split("/")
    assert os.path.normpath(root / relative) == os.path.normpath(os.path.join(root, base, name))


def test_what_is_no_folder(tmp_path):
    with pytest.raises(NotFoundError, match="gone"):
        PictureFolder(tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a folder"):
        PictureFolder(tmp_path / "file")
    with pytest.raises(InputError):
        PictureFolder("a\x00b")


def test_walking_skips_what_is_hidden_and_what_leads_out(put):
    outside = put("x.jpg", root="outside")
    folder = put("b/2.jpg", "b/1.PNG", "a.jpg", ".hidden/h.jpg", "b/.h.jpg", "b/notes.txt")
    (folder / "link").symlink_to(outside)
    (folder / "link.jpg").symlink_to(outside / "x.jpg")
    (folder / "inside.jpg").symlink_to(folder / "a.jpg")
    assert PictureFolder(folder).walk() == ["a.jpg", "b/1.PNG", "b/2.jpg", "inside.jpg"]
    assert PictureFolder(folder).walk("link") == []
    assert "link.jpg" in PictureFolder(folder, allow_links=True).walk()


@pytest.mark.parametrize(
    ("pairs", "same", "folds"),
    [
        ([[0, 2]], [True], [0]),
        ([[-1, 0]], [True], [0]),
        ([0, 1], [True], [0]),
        ([[0, 1]], [], [0]),
        ([[0, 1]], [True], [7]),
    ],
)
def test_sets_that_make_no_sense(pairs, same, folds):
    pictures = [Picture("a", "a"), Picture("b", "b")]
    with pytest.raises(ValueError, match="PairSet"):
        PairSet("x", "", pictures, np.array(pairs), np.array(same, np.bool_), np.array(folds))


def test_sets_cannot_be_changed():
    found = PairSet("x", "", [Picture("a", "a"), Picture("b", "b")], [[0, 1]], [True], [0])
    for array in (found.pairs, found.same, found.folds):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
