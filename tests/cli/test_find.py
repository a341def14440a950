import csv
import io
import json
import math
import shutil

import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("squares")


@pytest.fixture
def me(paint, tmp_path):
    return paint(tmp_path / "me.png", (1, 0))


@pytest.fixture
def library(paint, tmp_path, me):
    folder = tmp_path / "photos"
    paint(folder / "a alone.png", (1, 4))
    paint(folder / "deep" / "b group.png", (2, 0), (3, 0), (1, 0))
    paint(folder / "c others.png", (2, 0), (3, 0))
    paint(folder / "d empty.png", None)
    shutil.copy(me, folder / "e copy of me.png")
    return folder


def test_every_photo_of_the_person_best_first(run, me, library):
    answer = run("find", me, library, "--json")
    assert (answer.code, answer.err) == (0, "")
    document = json.loads(answer.out)
    assert [m["source"] for m in document["matches"]] == [
        str(library / name) for name in ("deep/b group.png", "e copy of me.png", "a alone.png")
    ]
    group, copy, alone = document["matches"]
    assert (group["score"], alone["score"]) == pytest.approx((1, math.cos(0.3)), abs=1e-6)
    assert group["faces"] == 3
    assert group["face"]["box"] == [50, 2, 70, 22]
    assert [m["is_query"] for m in (group, copy, alone)] == [False, True, False]
    assert document["query"]["source"] == str(me)
    assert (document["photos"], document["photos_with_faces"], document["faces"]) == (5, 4, 7)
    assert (document["found"], document["threshold"], document["fmr"]) == (3, 0.8, 1e-3)


def test_the_best_few(run, me, library):
    document = json.loads(run("find", me, library, "--top", 1, "--json").out)
    assert len(document["matches"]) == 1
    assert document["found"] == 3


def test_in_csv(run, me, library):
    rows = list(csv.DictReader(io.StringIO(run("find", me, library, "--csv").out)))
    assert [r["rank"] for r in rows] == ["1", "2", "3"]
    assert [r["is_query"] for r in rows] == ["False", "True", "False"]
    assert rows[0]["x0"] == "50.0"


def test_text_for_people(run, me, library):
    out = run("find", me, library).out
    assert "the photo itself" in out
    assert "one of 3 faces" in out
    assert "found in 3 of 5 photos" in out
    assert "of 7 faces compared, about 0.007 may be found by chance" in out


@pytest.mark.parametrize("person", [5, 1])
def test_none_but_the_photo_itself_is_none(run, paint, tmp_path, person):
    me = paint(tmp_path / "photos" / "me.png", (1, 0))
    paint(tmp_path / "photos" / "other.png", (2, 0))
    probe = me if person == 1 else paint(tmp_path / "x.png", (person, 0))
    answer = run("find", probe, tmp_path / "photos")
    assert answer.code == 1
    assert "no other photo of this person among 2 photos with 2 faces" in answer.out


def test_a_stricter_bar_finds_less(run, me, library):
    document = json.loads(run("find", me, library, "--threshold", 0.99, "--json").out)
    assert document["found"] == 2
    assert document["fmr"] is None


def test_fpir_counts_all_faces(run, me, library):
    document = json.loads(run("find", me, library, "--fpir", 0.01, "--json").out)
    assert document["fpir"] == 0.01
    assert document["fmr"] == pytest.approx(1 - 0.99 ** (1 / 7))
    assert document["threshold"] > 0.5
    assert "1 in 100 searches" in run("find", me, library, "--fpir", 0.01).out


@pytest.mark.parametrize(
    "options", [("--fpir", 0), ("--fpir", 0.1, "--fmr", 0.1), ("--fpir", 0.1, "--threshold", 0.5), ("--top", 0)]
)
def test_options_that_make_no_sense(run, me, library, options):
    answer = run("find", me, library, *options)
    assert (answer.code, answer.out) == (2, "")


def test_broken_photos_are_named_and_the_rest_is_found(run, me, library, broken):
    broken(library / "bad.png")
    answer = run("find", me, library, "--json")
    assert answer.code == 2
    document = json.loads(answer.out)
    assert document["found"] == 3
    assert [e["source"] for e in document["errors"]] == [str(library / "bad.png")]


def test_bad_input_beats_no_match(run, me, tmp_path, broken):
    broken(tmp_path / "photos" / "bad.png")
    assert run("find", me, tmp_path / "photos").code == 2


def test_a_photo_without_a_face_is_no_question(run, paint, library, tmp_path):
    answer = run("find", paint(tmp_path / "wall.png", None), library)
    assert (answer.code, answer.out) == (2, "")
    assert "wall.png: no face found" in answer.err


@pytest.mark.parametrize("which", ["photo", "folder"])
def test_what_is_missing_is_named(run, me, library, tmp_path, which):
    gone = tmp_path / "gone.png"
    answer = run("find", *((gone, library) if which == "photo" else (me, gone)))
    assert answer.code == 2
    assert "gone.png" in answer.err


class TestSheet:
    def test_shows_the_faces_found(self, run, me, library, tmp_path):
        answer = run("find", me, library, "--sheet", tmp_path / "sheet.png")
        assert answer.code == 0
        assert "contact sheet:" in answer.err
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.width > 3 * 200
            first = sheet.getpixel((10 + 100, 10 + 100))
        assert first == (1, 0, 255)  # the middle of the best face: person 1, plain look

    def test_none_is_written_when_nothing_is_found(self, run, paint, library, tmp_path):
        assert run("find", paint(tmp_path / "x.png", (9, 0)), library, "--sheet", tmp_path / "sheet.png").code == 1
        assert not (tmp_path / "sheet.png").exists()

    def test_never_over_a_photo(self, run, me, library):
        target = library / "c others.png"
        before = target.read_bytes()
        answer = run("find", me, library, "--sheet", target)
        assert (answer.code, answer.out) == (2, "")
        assert target.read_bytes() == before
