"""Lists of pictures: what they may look like, and that none is opened of which pictures are gone."""

from __future__ import annotations

import re
import shutil
import unicodedata

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError, NotFoundError
from mien.images import list_images
from mien.prepare.people import read_people, split
from mien.prepare.placing import place
from mien.train.data import Source, open_training_set


@pytest.fixture
def photos(tmp_path, write_people):
    """Ada's two and Ben's one, and the same under names with spaces and commas."""
    write_people(tmp_path / "p", {"Ada": 2, "Ben": 1})
    shutil.copy(tmp_path / "p" / "Ada" / "0000.jpg", tmp_path / "at sea, 1.jpg")
    return tmp_path


def opened(path, spec, content=None):
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_training_set([Source(path=str(path), aligned=True)], spec=spec)


def shown(data, folder):
    """(file, person) of each picture."""
    return [(data.name(i).removeprefix(f"{folder}/"), data.people[k]) for i, k in enumerate(data.labels.tolist())]


EXPECTED = [("p/Ada/0000.jpg", "Ada"), ("p/Ben/0000.jpg", "Ben")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.txt", "p/Ada/0000.jpg Ada\np/Ben/0000.jpg Ben\n"),
        ("l.csv", "p/Ada/0000.jpg,Ada\np/Ben/0000.jpg,Ben\n"),
        ("l.csv", '"p/Ada/0000.jpg", "Ada"\n\n# no picture\np/Ben/0000.jpg,"Ben"'),
        ("l.csv", "p/Ada/0000.jpg;Ada\np/Ben/0000.jpg;Ben\n"),
        ("l.csv", "p/Ada/0000.jpg\tAda\np/Ben/0000.jpg\tBen\n"),
        ("l.csv", "p/Ada/0000.jpg Ada\np/Ben/0000.jpg Ben\n"),
    ],
)
def test_plain_and_quoted_lists_with_and_without_a_byte_order_mark(photos, spec, name, content, mark, end):
    data = opened(photos / name, spec, mark + content.replace("\n", end).encode())
    assert shown(data, photos) == EXPECTED
    assert data.notes == ()


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("l.csv", "path,label\np/Ada/0000.jpg,Ada\np/Ben/0000.jpg,Ben\n", "'path' and 'label'"),
        ("l.txt", "path,label\np/Ada/0000.jpg,Ada\np/Ben/0000.jpg,Ben\n", "'path' and 'label'"),
        ("l.tsv", "Person\tImage\nAda\tp/Ada/0000.jpg\nBen\tp/Ben/0000.jpg\n", "'Image' and 'Person'"),
        ("l.csv", ',id,"File name",name\n0,7,p/Ada/0000.jpg,Ada\n1,8,p/Ben/0000.jpg,Ben\n', None),
        ("l.csv", ",id,File name,person\n0,7,p/Ada/0000.jpg,Ada\n1,8,p/Ben/0000.jpg,Ben\n", "'File name' and 'person'"),
    ],
)
def test_a_line_of_column_names_is_nobody_and_is_noted(photos, spec, name, content, columns):
    if columns is None:
        with pytest.raises(InputError, match=r"l.csv, line 1: several columns may be path or label \(, id, File name"):
            opened(photos / name, spec, content)
        return
    data = opened(photos / name, spec, content)
    assert shown(data, photos) == EXPECTED
    (note,) = data.notes
    assert note.startswith(f"{photos / name}, line 1: ")
    assert note.endswith(columns)


def test_a_picture_may_be_called_as_columns_are(photos, spec):
    shutil.copy(photos / "p" / "Ada" / "0000.jpg", photos / "image")
    data = opened(photos / "l.csv", spec, "image,person\np/Ben/0000.jpg,Ben\n")
    assert shown(data, photos) == [("image", "person"), EXPECTED[1]]
    assert data.notes == ()


def test_commas_in_a_path_without_quotes(photos, spec):
    shutil.copy(photos / "p" / "Ada" / "0000.jpg", photos / "p,1,2.jpg")
    for name in ("l.csv", "l.txt"):
        assert shown(opened(photos / name, spec, "p,1,2.jpg,Ada\n"), photos) == [("p,1,2.jpg", "Ada")]


def test_csv_holds_commas_and_spaces_in_quotes(photos, spec):
    data = opened(photos / "l.csv", spec, '"at sea, 1.jpg","Lovelace, Ada ""A."""\np/Ben/0000.jpg,Ben of Bree\n')
    assert shown(data, photos) == [("at sea, 1.jpg", 'Lovelace, Ada "A."'), ("p/Ben/0000.jpg", "Ben of Bree")]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("l.csv", 'p/Ada/0000.jpg,Ada\n"p/Ben/0000.jpg"x,Ben\n', "line 2: no CSV"),
        ("l.csv", "# one\np/Ada/0000.jpg;Ada\np/Ben/0000.jpg;Ben;9\n", "line 3: expected a path and a label"),
        ("l.csv", "path,label\np/Ada/0000.jpg\n", "line 2: expected a path and a label"),
        ("l.csv", "p/Ada/0000.jpg\n", "line 1: .*only 'p/Ada/0000.jpg'; .*--place link"),
        ("l.txt", "p/Ada/0000.jpg Ada\np/Ben/0000.jpg\n", "line 2: .*only 'p/Ben/0000.jpg'; .*mien data split"),
        ("l.txt", "p/Ada/0000.jpg Ada\n".encode("utf-16"), "line 1: UTF-16"),
        ("l.txt", b"p/Ada/0000.jpg Ada\np/Ben/0000.jpg B\xe9n\n", "line 2: .*UTF-8"),
        ("l.csv", "p/Ada/0000.jpg,A\0da\n", "line 1: expected"),
    ],
)
def test_lines_that_are_none_are_refused_with_the_file_and_the_line(photos, spec, name, content, told):
    with pytest.raises(InputError, match=re.escape(f"{photos / name}, ") + told):
        opened(photos / name, spec, content)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("l.txt", "at sea, 1.jpg Ada\n", r"at sea\); where a path or a label has spaces|correct these lines"),
        ("l.txt", "p/Ada/0000.jpg Ada Lovelace\n", r"0000.jpg Ada\); where a path or a label has spaces, put a tab"),
        ("l.txt", "p/Ada/0000.jpg,Lovelace, Ada\n", r"0000.jpg,Lovelace\); where a path or a label has commas"),
        ("l.txt", '"p/Ada/0000.jpg","Ada"\n', "quotes are understood in a file that ends in .csv"),
        ("l.csv", "Ada,p/Ada/0000.jpg\n", "what was read as the label looks like a picture"),
        ("l.txt", "my p/Ada/0000.jpg\n", "what was read as the label looks like a picture"),
        ("l.csv", "p/Ada,Ada\n", "1 of 1 pictures are not there"),  # a folder
    ],
)
def test_what_was_cut_in_the_wrong_place_is_told(photos, spec, name, content, told):
    with pytest.raises(NotFoundError, match=told):
        opened(photos / name, spec, content)


@pytest.mark.parametrize("aligned", [False, True])
def test_a_list_of_which_pictures_are_gone_is_refused_before_anything_is_made(photos, spec, aligned):
    real = [str(path) for path in list_images(photos / "p")] * 4
    lines = ["# who", *(f"{path} A" for path in real), *(f"/nowhere/{i}.jpg B" for i in range(12))]
    (photos / "half.txt").write_text("\n".join(lines))
    with pytest.raises(NotFoundError) as caught:
        open_training_set([Source(path=str(photos / "half.txt"), aligned=aligned)], spec=spec, cache=photos / "cache")
    told = str(caught.value)
    assert told.startswith(
        f"{photos / 'half.txt'}: 12 of 24 pictures are not there (line 14: /nowhere/0.jpg, line 15: "
    )
    assert "line 16: /nowhere/2.jpg and 9 more)" in told
    assert not (photos / "cache").exists()


def test_a_long_list_is_looked_through_to_its_end(photos, spec):
    (photos / "long.txt").write_text("p/Ada/0000.jpg 0\n" * 9000 + "p/Ada/9.jpg 1\n")
    with pytest.raises(NotFoundError, match=r"1 of 9,001 pictures are not there \(line 9001: .*p/Ada/9\.jpg\)"):
        opened(photos / "long.txt", spec)


def test_a_name_may_be_in_another_unicode_form_than_the_file(photos, spec):
    shutil.copy(photos / "p" / "Ada" / "0000.jpg", photos / unicodedata.normalize("NFD", "Amélie.jpg"))
    one, other = (unicodedata.normalize(form, "Amélie") for form in ("NFC", "NFD"))
    data = opened(photos / "l.txt", spec, f"{one}.jpg\t{one}\n{one}.jpg\t{other}\np/Ben/0000.jpg\tBen\n")
    assert data.people == (one, "Ben")
    assert data.labels.tolist() == [0, 0, 1]
    assert data.picture(0).shape == (32, 32, 3)


@pytest.fixture
def divided(tmp_path, write_people):
    """Sets of a folder with awkward names: as `mien data split` lists them, and as it links them."""
    folder = write_people(tmp_path / "people", {"Ada": 3, "#1 Bo": 2, "Cy, 007": 4, "42": 1, "Eve Q": 2, " Fay": 3})
    (folder / "Eve Q" / "more").mkdir()
    shutil.copy(folder / "Ada" / "0000.jpg", folder / "Eve Q" / "more" / "0.jpg")
    shutil.copy(folder / "Ada" / "0000.jpg", folder / "Gil.jpg")
    sets = split(read_people(folder), {"train": 0.7, "test": 0.3})
    for how in ("list", "link"):
        place(sets, folder, tmp_path / how, how, verb="split", settings={})
    return folder, tmp_path


@pytest.mark.parametrize("name", ["train", "test"])
def test_the_lists_of_mien_data_split_are_the_folders_that_it_links(divided, spec, name):
    folder, where = divided
    listed, linked = opened(where / "list" / f"{name}.txt", spec), opened(where / "link" / name, spec)
    assert len(listed) == len(linked) > 2
    assert listed.people == linked.people
    assert shown(listed, folder) == shown(linked, where / "link" / name)
    assert all(np.array_equal(listed.picture(i), linked.picture(i)) for i in range(len(listed)))
    assert str(folder) in listed.notes[0]


def test_such_a_list_is_refused_without_its_manifest_and_after_the_pictures_moved(divided, spec):
    folder, where = divided
    own = where / "list" / "own.txt"  # of somebody else, in the same folder
    assert opened(own, spec, f"{folder}/Ada/0000.jpg\tX\n").people == ("X",)
    folder.rename(where / "elsewhere")
    with pytest.raises(NotFoundError, match=f"begin at {re.escape(str(folder))}, as manifest.jsonl beside it says"):
        opened(where / "list" / "train.txt", spec)
    (where / "list" / "manifest.jsonl").unlink()
    with pytest.raises(InputError, match=r"train\.txt.*mien data split"):
        opened(where / "list" / "train.txt", spec)
