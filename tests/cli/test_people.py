import csv
import io
import json

import pytest

pytestmark = pytest.mark.usefixtures("squares")


@pytest.fixture
def gallery(run, paint, tmp_path):
    paint(tmp_path / "people/Ada Lovelace/1.png", (1, 0))
    paint(tmp_path / "people/Ada Lovelace/2.png", (1, 1))
    paint(tmp_path / "people/张伟.png", (2, 0))
    assert run("enrol", tmp_path / "people", "-g", tmp_path / "p.db").code == 0
    return tmp_path / "p.db"


def names(run, gallery):
    return [person["name"] for person in json.loads(run("people", "list", "-g", gallery, "--json").out)["people"]]


def test_list_in_every_form(run, gallery):
    document = json.loads(run("people", "list", "-g", gallery, "--json").out)
    assert document["model"].startswith("dlib-resnet29/fast (128-d")
    ada, zhang = document["people"]
    assert (ada["name"], ada["faces"], len(ada["pictures"])) == ("Ada Lovelace", 2, 2)
    assert (zhang["name"], zhang["faces"]) == ("张伟", 1)
    assert ada["enrolled"].endswith("+00:00")
    rows = list(csv.DictReader(io.StringIO(run("people", "list", "-g", gallery, "--csv").out)))
    assert [(row["name"], row["faces"]) for row in rows] == [("Ada Lovelace", "2"), ("张伟", "1")]
    text = run("people", "list", "-g", gallery).out.splitlines()
    assert [line.split()[0] for line in text] == ["name", "Ada", "张伟"]


def test_rename(run, gallery):
    answer = run("people", "rename", "张伟", "Zhang Wei", "-g", gallery, "--json")
    renamed = json.loads(answer.out)["renamed"]
    assert (answer.code, renamed["name"], renamed["old_name"], renamed["faces"]) == (0, "Zhang Wei", "张伟", 1)
    assert names(run, gallery) == ["Ada Lovelace", "Zhang Wei"]
    taken = run("people", "rename", "Zhang Wei", "Ada Lovelace", "-g", gallery)
    assert taken.code == 2
    assert "already enrolled" in taken.err


def test_remove_and_what_it_says(run, gallery):
    answer = run("people", "remove", "Ada Lovelace", "-g", gallery)
    assert (answer.code, answer.out) == (0, "Ada Lovelace was forgotten (2 faces)\n")
    assert names(run, gallery) == ["张伟"]


@pytest.mark.parametrize(("typed", "code", "left"), [("n\n", 1, 2), ("y\n", 0, 1)])
def test_remove_asks_at_a_terminal(run, gallery, monkeypatch, typed, code, left):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal(typed))
    answer = run("people", "remove", "Ada Lovelace", "-g", gallery)
    assert answer.code == code
    assert "Forget Ada Lovelace and 2 enrolled faces?" in answer.err
    assert len(names(run, gallery)) == left


def test_yes_does_not_ask(run, gallery, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal(""))
    assert run("people", "remove", "Ada Lovelace", "-g", gallery, "--yes").code == 0


@pytest.mark.parametrize("verb", [["remove"], ["rename"]])
def test_a_typo_gets_a_suggestion_and_changes_nothing(run, gallery, verb):
    answer = run("people", *verb, "ada lovelacr", *(["X"] if verb == ["rename"] else []), "-g", gallery)
    assert answer.code == 2
    assert "did you mean 'Ada Lovelace'?" in answer.err
    assert len(names(run, gallery)) == 2


def test_a_missing_gallery_is_not_made(run, tmp_path):
    answer = run("people", "list", "-g", tmp_path / "none.db")
    assert answer.code == 2
    assert "mien enrol" in answer.err
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_gallery_is_refused_and_kept(run, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("my notes, not a data base")
    assert run("people", "list", "-g", file).code == 2
    assert file.read_text() == "my notes, not a data base"


def test_one_face_is_one_face_and_a_missing_name_says_where_to_look(run, paint, tmp_path):
    paint(tmp_path / "people/Ada.png", (1, 0))
    assert run("enrol", tmp_path / "people", "-g", tmp_path / "p.db").code == 0
    assert "`mien people list` shows who is" in run("people", "remove", "zzz", "-g", tmp_path / "p.db").err
    assert run("people", "remove", "Ada", "-g", tmp_path / "p.db").out == "Ada was forgotten (1 face)\n"


def test_a_suggested_command_can_be_pasted(run, tmp_path):
    answer = run("people", "list", "-g", tmp_path / "my people.db")
    assert f"--gallery '{tmp_path / 'my people.db'}'" in answer.err
