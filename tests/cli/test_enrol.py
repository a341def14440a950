import csv
import io
import json

import pytest

from mien.gallery import Gallery

pytestmark = pytest.mark.usefixtures("squares")


@pytest.fixture
def people(paint, tmp_path):
    """Ada in a folder with two looks, 张伟 as a flat picture."""
    paint(tmp_path / "people/Ada/1.png", (1, 0))
    paint(tmp_path / "people/Ada/2.png", (1, 1))
    paint(tmp_path / "people/张伟.png", (2, 0))
    return tmp_path / "people"


def faces_of(path):
    with Gallery.open(path, readonly=True) as known:
        return {subject.name: subject.faces for subject in known.subjects()}


def test_a_folder_of_people_and_a_second_run_that_finds_only_what_is_new(run, people, paint, tmp_path):
    db = tmp_path / "known.db"
    answer = run("enrol", people, "--gallery", db)
    assert (answer.code, answer.err) == (0, "")
    assert "Ada: 2 pictures enrolled" in answer.out
    assert answer.out.rstrip().endswith("known.db: 2 people, 3 faces (3 new)")
    assert faces_of(db) == {"Ada": 2, "张伟": 1}

    paint(people / "Ada/3.png", (1, 2))
    document = json.loads(run("enrol", people, "-g", db, "--json").out)
    assert (document["subjects"], document["faces"], document["errors"]) == (2, 4, [])
    ada, zhang = document["people"]
    assert (ada["name"], ada["faces"], len(ada["known"])) == ("Ada", 3, 2)
    assert ada["added"] == [str(people / "Ada/3.png")]
    assert (zhang["name"], zhang["added"], len(zhang["known"])) == ("张伟", [], 1)
    assert "张伟: nothing new, 1 picture known already" in run("enrol", people, "-g", db).out


def test_photos_of_one_person_by_name(run, paint, tmp_path):
    a, b = paint(tmp_path / "a.png", (1, 0)), paint(tmp_path / "more/b.png", (1, 1))
    assert run("enrol", a, b.parent, "--name", " Ada\u0301 ", "-g", tmp_path / "p.db").code == 0
    assert faces_of(tmp_path / "p.db") == {"Ad\u00e1": 2}


def test_the_gallery_comes_from_the_environment(run, people, tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_GALLERY", str(tmp_path / "env.db"))
    assert run("enrol", people).code == 0
    assert faces_of(tmp_path / "env.db") == {"Ada": 2, "张伟": 1}


def test_bad_pictures_are_named_and_stop_nothing(run, people, paint, broken, tmp_path):
    broken(people / "Ada/9.png")
    paint(people / "Nobody/blank.png", None)
    answer = run("enrol", people, "-g", tmp_path / "p.db", "--json")
    assert answer.code == 2
    document = json.loads(answer.out)
    assert {error["source"] for error in document["errors"]} == {
        str(people / "Ada/9.png"),
        str(people / "Nobody/blank.png"),
    }
    assert f"skipped: {people / 'Ada/9.png'}" in answer.err
    assert "no face found" in answer.err
    assert faces_of(tmp_path / "p.db") == {"Ada": 2, "张伟": 1}
    assert "Nobody: not enrolled" in run("enrol", people, "-g", tmp_path / "q.db").out


def test_it_says_that_it_chose_among_several_faces(run, paint, tmp_path):
    paint(tmp_path / "people/Ada/two.png", (1, 0), (2, 0))
    answer = run("enrol", tmp_path / "people", "-g", tmp_path / "p.db", "--json")
    assert answer.code == 0
    assert "2 faces in the picture; the main one was taken" in answer.err
    assert json.loads(answer.out)["people"][0]["several_faces"] == [str(tmp_path / "people/Ada/two.png")]


def test_csv_has_a_line_a_picture_and_no_formulas(run, paint, tmp_path):
    paint(tmp_path / "people/=Ada/1.png", (1, 0))
    rows = list(csv.DictReader(io.StringIO(run("enrol", tmp_path / "people", "-g", tmp_path / "p.db", "--csv").out)))
    assert [(row["name"], row["outcome"]) for row in rows] == [("'=Ada", "added")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a.png"], "--name"),
        (["missing"], "missing"),
        (["empty"], "no pictures"),
        (["a.png", "--name", "\u202eevil"], "control characters"),
        (["a.png", "--name", "Ada", "--preset", "best"], "expected fast or accurate"),
    ],
)
def test_bad_input_is_explained(run, paint, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "a.png", (1, 0))
    (tmp_path / "empty").mkdir()
    answer = run("enrol", *arguments)
    assert answer.code == 2
    assert says in answer.err
    assert answer.out == ""


def test_a_gallery_of_another_model_is_refused(run, people, tmp_path):
    from mien.types import ModelIdentity

    other = ModelIdentity("other", "fast", "cd" * 32, 2)
    with Gallery.open(tmp_path / "p.db", identity=other) as gallery:
        gallery.add("Ada", [[1.0, 0.0]])
    answer = run("enrol", people, "-g", tmp_path / "p.db")
    assert answer.code == 2
    assert "other" in answer.err
    assert faces_of(tmp_path / "p.db") == {"Ada": 1}


def test_a_folder_one_level_too_high_is_remarked_on(run, people, paint, tmp_path):
    paint(people.parent / "top/friends/Ada/1.png", (1, 0))
    answer = run("enrol", people.parent / "top", "-g", tmp_path / "one.db")
    assert answer.err == ""  # one person's pictures may lie deeper
    paint(people.parent / "top/friends/Bob/1.png", (2, 0))
    enrol = ["enrol", people.parent / "top", "-g", tmp_path / "two.db", "--policy", "off"]
    for verb in (enrol, ["compare", people.parent / "top"]):
        err = run(*verb).err
        assert err.startswith("note: friends: the pictures of 2 sub-folders such as ")
        assert err.rstrip().endswith("are taken as one person's")


def test_control_c_says_that_the_work_is_kept(run, people, tmp_path, monkeypatch):
    whole = Gallery.enrol_people

    def stopped(self, sources, **how):
        yield next(whole(self, sources, **how))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Gallery, "enrol_people", stopped)
        answer = run("enrol", people, "-g", tmp_path / "p.db")
    assert answer.code == 130
    assert "whoever was enrolled stays so" in answer.err
    assert faces_of(tmp_path / "p.db") == {"Ada": 2}
    assert run("enrol", people, "-g", tmp_path / "p.db").code == 0
    assert faces_of(tmp_path / "p.db") == {"Ada": 2, "张伟": 1}
