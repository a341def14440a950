import contextlib
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import InputError, NotFoundError
from mien.evaluate.protocols import LfwPairs, LfwPeople
from mien.evaluate.protocols.lfw import read_lfw_pairs, read_lfw_people
from mien.images import decode

PEOPLE = ["Ada_L", "Bo_J", "Cy_K", "Dé_M"]
VIEW_1 = "2\nAda_L\t1\t2\nBo_J\t1\t2\nAda_L\t1\tBo_J\t1\nCy_K\t2\tAda_L\t2\n"
VIEW_2 = "2\t1\nAda_L\t1\t2\nAda_L\t1\tBo_J\t1\nDé_M\t1\t2\nCy_K\t1\tDé_M\t2\n"


@pytest.fixture
def lfw(put):
    return put(*(f"{name}/{name}_{i:04d}.jpg" for name in PEOPLE for i in (1, 2)))


def test_view_1(lfw, text, words):
    found = LfwPairs(text(VIEW_1), lfw).read()
    assert found.name == "LFW View 1"
    assert "development" in found.rules
    assert words(found) == [
        ("Ada_L/Ada_L_0001.jpg", "Ada_L/Ada_L_0002.jpg", True, 0),
        ("Bo_J/Bo_J_0001.jpg", "Bo_J/Bo_J_0002.jpg", True, 0),
        ("Ada_L/Ada_L_0001.jpg", "Bo_J/Bo_J_0001.jpg", False, 0),
        ("Cy_K/Cy_K_0002.jpg", "Ada_L/Ada_L_0002.jpg", False, 0),
    ]
    assert found.people == ("Ada_L", "Bo_J", "Cy_K")
    for picture, subject in zip(found.pictures, found.subject, strict=True):
        assert picture.name.startswith(found.people[subject])
        assert decode(picture.source).size == (24, 24)
    assert len({p.name for p in found.pictures}) == len(found.pictures) == 5
    assert found.exclusions == ()


def test_view_2_has_folds(lfw, text, words):
    found = LfwPairs(text(VIEW_2), lfw).read()
    assert found.name == "LFW View 2"
    assert "nothing is chosen" in found.rules
    assert [row[2:] for row in words(found)] == [(True, 0), (False, 0), (True, 1), (False, 1)]


def test_byte_order_mark_line_ends_spaces_and_empty_lines(lfw, text, words):
    plain = words(LfwPairs(text(VIEW_2), lfw).read())
    for changed in (
        b"\xef\xbb\xbf" + VIEW_2.encode(),
        VIEW_2.replace("\n", "\r\n").encode(),
        VIEW_2.replace("\n", "\r").encode(),
        VIEW_2.replace("\t", "  ").encode(),
        VIEW_2.replace("\n", " \n\n").encode(),
    ):
        assert words(LfwPairs(text(changed, "other.txt"), lfw).read()) == plain


def test_other_suffixes_and_normal_forms(put, text):
    folder = put("A/A_0001.png", "A/A_0002.jpeg", "De\u0301/De\u0301_0001.jpg", "De\u0301/De\u0301_0002.jpg")
    listed = text("2\nA\t1\t2\nD\u00e9\t1\t2\nA\t1\tD\u00e9\t1\nA\t2\tD\u00e9\t2\n")
    found = LfwPairs(listed, folder).read()
    assert found.pictures[0].name == "A/A_0001.png"
    assert all(decode(p.source) for p in found.pictures)


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("Ada_L\t1\t2\t3\t4", 3),
        ("Ada_L\t1", 3),
        ("Ada_L\tone\t2", 3),
        ("Ada_L\t0\t2", 3),
        ("Ada_L\t-1\t2", 3),
        ("Ada_L\t1.0\t2", 3),
        ("Ada_L\t\u0661\t2", 3),
        ("Ada_L\t1\t99999999999999", 3),
        ("Ada_L\t1\tAda_L\t2", 3),
        ("..\t1\t2", 3),
        ("../../etc\t1\t2", 3),
        ("/etc\t1\t2", 3),
        ("a\\b\t1\t2", 3),
        ("\t1\t2", 3),
        ("a\x00b\t1\t2", 3),
        ("x" * 300 + "\t1\t2", 3),
    ],
)
def test_malformed_lines_are_named_by_number(text, line, where):
    content = VIEW_1.split("\n")
    content[where - 1] = line
    with pytest.raises(InputError, match=rf"list\.txt, line {where}: expected"):
        read_lfw_pairs(text("\n".join(content)))


@pytest.mark.parametrize(
    "header", ["", "ten\t300", "10\t300\t1", "0", "-1", "10\t0", "1e3", "999999999\t999999999", "100000000\t1"]
)
def test_headers_that_are_none(text, header):
    with pytest.raises(InputError, match=r"list\.txt"):
        read_lfw_pairs(text(f"{header}\n" if header else ""))


@pytest.mark.parametrize("keep", range(1, 5))
def test_a_list_cut_short_is_refused(text, keep):
    with pytest.raises(InputError, match="expected 4 pairs"):
        read_lfw_pairs(text("\n".join(VIEW_1.split("\n")[:keep])))


def test_a_list_cut_within_its_last_line_is_refused(lfw, text):
    for cut in range(1, 4):
        with pytest.raises(InputError):
            LfwPairs(text(VIEW_1.rstrip()[:-cut]), lfw).read()


def test_more_pairs_than_the_header_says(text):
    with pytest.raises(InputError, match=r"line 6: expected the end of the list"):
        read_lfw_pairs(text(VIEW_1 + "Ada_L\t1\t2\n"))


def test_pairs_of_the_wrong_kind_in_a_fold(text):
    with pytest.raises(InputError, match="1 pairs of one person in fold 1, got 2"):
        read_lfw_pairs(text("2\t1\nA\t1\t2\nB\t1\t2\nA\t1\tB\t1\nA\t2\tB\t1\n"))


def test_self_and_repeated_pairs_are_stated(lfw, text, words):
    listed = text("3\nAda_L\t1\t1\nAda_L\t1\t2\nAda_L\t2\t1\nAda_L\t1\tBo_J\t1\nBo_J\t1\tAda_L\t1\nCy_K\t1\tBo_J\t2\n")
    found = LfwPairs(listed, lfw).read()
    assert len(words(found)) == 3
    assert [e.why for e in found.exclusions] == [
        "the pair compares a picture with itself",
        "the pair repeats an earlier one",
        "the pair repeats an earlier one",
    ]
    assert "line 2" in found.exclusions[0].what


def test_missing_pictures_are_an_error_or_a_stated_exclusion(lfw, text, words):
    (lfw / "Bo_J/Bo_J_0001.jpg").unlink()
    with pytest.raises(NotFoundError, match=r"1 listed files are not there: Bo_J/Bo_J_0001"):
        LfwPairs(text(VIEW_1), lfw).read()
    found = LfwPairs(text(VIEW_1), lfw, missing="exclude").read()
    assert [row[2] for row in words(found)] == [True, False]
    assert [e.why for e in found.exclusions] == ["the file is not there"] + ["a picture of the pair is missing"] * 2
    assert len(found.pictures) == 3


def test_many_missing_pictures_are_counted(tmp_path, text):
    listed = "20\n" + "".join(f"P{i}\t1\t2\n" for i in range(20)) + "".join(f"P{i}\t1\tQ{i}\t1\n" for i in range(20))
    with pytest.raises(NotFoundError, match=r"60 listed files.*and 50 more") as caught:
        LfwPairs(text(listed), tmp_path).read()
    assert len(str(caught.value)) < 600
    with pytest.raises(InputError, match="no pair is left"):
        LfwPairs(text(listed), tmp_path, missing="exclude").read()


def test_links_out_of_the_folder_are_refused_unless_allowed(put, text, tmp_path):
    outside = put("B_0001.jpg", "B_0002.jpg", root="outside")
    folder = put("A/A_0001.jpg", "A/A_0002.jpg")
    (folder / "B").symlink_to(outside)
    listed = text("1\nA\t1\t2\nA\t1\tB\t1\n")
    with pytest.raises(InputError, match=r"line 3: 'B/B_0001\.jpg' is behind a link"):
        LfwPairs(listed, folder).read()
    assert len(LfwPairs(listed, folder, allow_links=True).read().pairs) == 2
    (folder / "B").unlink()
    (folder / "B").mkdir()
    (folder / "B/B_0001.jpg").symlink_to(outside / "B_0001.jpg")
    with pytest.raises(InputError, match="link"):
        LfwPairs(listed, folder).read()
    (folder / "B/B_0001.jpg").unlink()
    (folder / "B/B_0001.jpg").symlink_to(folder / "A/A_0002.jpg")  # a link that stays inside
    assert len(LfwPairs(listed, folder).read().pairs) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_loops_and_folders_are_no_pictures(put, text):
    folder = put("A/A_0001.jpg", "A/A_0002.jpg", "A/A_0003.jpg")
    os.mkfifo(folder / "A/A_0004.jpg")
    (folder / "A/A_0005.jpg").mkdir()
    (folder / "A/A_0006.jpg").symlink_to(folder / "A/A_0006.jpg")
    listed = text("4\nA\t1\t2\nA\t1\t4\nA\t1\t5\nA\t1\t6\nA\t1\tB\t1\nA\t1\tB\t2\nA\t1\tB\t3\nA\t1\tB\t4\n")
    found = LfwPairs(listed, folder, missing="exclude").read()
    assert len(found.pairs) == 1
    os.mkfifo(folder / "list")
    with pytest.raises(InputError, match="expected a text file"):
        read_lfw_pairs(folder / "list")


def test_lists_that_are_none(text, tmp_path, monkeypatch):
    with pytest.raises(NotFoundError, match="gone"):
        read_lfw_pairs(tmp_path / "gone.txt")
    with pytest.raises(InputError, match="UTF-8"):
        read_lfw_pairs(text(b"1\nCaf\xe9\t1\t2\n"))
    from mien.evaluate.protocols import lists

    monkeypatch.setattr(lists, "MAX_LIST_BYTES", 10)
    with pytest.raises(InputError, match="at most 10 bytes"):
        read_lfw_pairs(text(VIEW_1))


names = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/\\"), min_size=1
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(1, 4))
def test_round_trip_of_any_names(tmp_path_factory, data, folds, per_kind):
    number = st.integers(1, 99_999)
    rows = []
    for _ in range(folds):
        rows += [(data.draw(names), data.draw(number), data.draw(number)) for _ in range(per_kind)]
        for _ in range(per_kind):
            a = data.draw(names)
            rows.append((a, data.draw(number), data.draw(names.filter(lambda b, a=a: b != a)), data.draw(number)))
    path = tmp_path_factory.mktemp("lfw") / "pairs.txt"
    lines = [f"{folds}\t{per_kind}", *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found, count = read_lfw_pairs(path)
    assert count == folds
    back = [(p.a[0], p.a[1], p.b[1]) if p.same else (*p.a, *p.b) for p in found]
    assert back == rows
    assert [p.fold for p in found] == [i // (2 * per_kind) for i in range(len(rows))]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_never_escape_as_another_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("lfw") / "pairs.txt"
    for head in (b"", b"2\t1\n"):
        path.write_bytes(head + content)
        for read in (read_lfw_pairs, read_lfw_people):
            with contextlib.suppress(InputError):
                read(path)


PEOPLE_1 = "3\nAda_L\t2\nBo_J\t1\nCy_K\t2\n"
PEOPLE_2 = "2\n2\nAda_L\t2\nBo_J\t1\n1\nCy_K\t2\n"


def test_lists_of_people(text):
    assert read_lfw_people(text(PEOPLE_1)) == [("Ada_L", 2, 0), ("Bo_J", 1, 0), ("Cy_K", 2, 0)]
    assert read_lfw_people(text(PEOPLE_2)) == [("Ada_L", 2, 0), ("Bo_J", 1, 0), ("Cy_K", 2, 1)]


@pytest.mark.parametrize(
    "content",
    ["", "3\nA\t1\n", "1\nA\t1\nB\t1\n", "2\nA\t1\nA\t2\n", "1\nA\n", "1\nA\t0\n", "1\n..\t1\n", "2\n1\nA\t1\n", "x\n"],
)
def test_lists_of_people_that_are_none(text, content):
    with pytest.raises(InputError, match=r"list\.txt"):
        read_lfw_people(text(content))


def test_all_pairs_of_listed_people(lfw, text):
    found = LfwPeople(text(PEOPLE_1), lfw).all_pairs()
    assert [p.name for p in found.pictures] == [
        "Ada_L/Ada_L_0001.jpg",
        "Ada_L/Ada_L_0002.jpg",
        "Bo_J/Bo_J_0001.jpg",
        "Cy_K/Cy_K_0001.jpg",
        "Cy_K/Cy_K_0002.jpg",
    ]
    assert (found.genuine, found.impostor) == (2, 8)
    with pytest.raises(NotFoundError, match="Ada_L_0003"):
        LfwPeople(text("2\nAda_L\t3\nBo_J\t1\n"), lfw).all_pairs()


def test_the_real_lists_of_view_1(mien_data):
    lists, lfw = mien_data / "lists", mien_data / "lfw"
    train = LfwPairs(lists / "pairsDevTrain.txt", lfw).read()
    test = LfwPairs(lists / "pairsDevTest.txt", lfw).read()
    assert (int(train.same.sum()), int((~train.same).sum())) == (1100, 1100)
    assert (int(test.same.sum()), int((~test.same).sum())) == (500, 500)
    assert train.exclusions == test.exclusions == ()
    assert not set(train.people) & set(test.people)
    for found in (train, test):
        owners = np.array(found.subject)[found.pairs]
        assert ((owners[:, 0] == owners[:, 1]) == found.same).all()
    people = LfwPeople(lists / "peopleDevTest.txt", lfw)
    everyone = people.all_pairs()
    assert (len(everyone.people), len(everyone.pictures)) == (1711, 3708)
    assert set(test.people) <= set(everyone.people)
    split = people.identification(seed=1)
    assert len(split.gallery) + len(split.unknown) == 3708
    assert split.gallery_size in (855, 856)
