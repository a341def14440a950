"""Lists and moves: nothing is lost, overwritten or taken from outside, wherever a run stops."""

import json

import pytest

from mien.errors import InputError
from mien.prepare import quarantine
from mien.prepare.quarantine import put_aside, put_back
from mien.prepare.verdicts import Row, read_evidence, read_list, write_list


@pytest.fixture
def root(tmp_path):
    for name in ("Ada/a.jpg", "Ada/=b.jpg", "张伟/图 1.jpg", "Ada/c.jpg"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "set"


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.jpg")}


ROWS = [Row("Ada/=b.jpg", "wrong", "unlike"), Row("张伟/图 1.jpg", "duplicate", group="1")]


def test_aside_again_and_back(root):
    before = files(root)
    assert put_aside(root, ROWS, dry_run=True).moved == 2
    assert files(root) == before
    first = put_aside(root, ROWS)
    assert (first.moved, first.before, first.errors) == (2, 0, [])
    aside = root.with_name("set-quarantine")
    assert {**files(root), **files(aside)} == before
    again = put_aside(root, ROWS)
    assert (again.moved, again.before) == (0, 2)
    assert put_back(root, dry_run=True).moved == 2
    assert put_back(root).moved == 2
    assert files(root) == before
    assert put_back(root).moved == 0


@pytest.mark.parametrize("stop", [1, 2])
def test_a_run_that_was_killed_is_finished_or_taken_back(root, monkeypatch, stop):
    before, move, count = files(root), quarantine._move, [0]

    def killed(*arguments):
        count[0] += 1
        if count[0] == stop:
            raise KeyboardInterrupt
        move(*arguments)

    monkeypatch.setattr(quarantine, "_move", killed)
    with pytest.raises(KeyboardInterrupt):
        put_aside(root, ROWS)
    monkeypatch.setattr(quarantine, "_move", move)
    aside = root.with_name("set-quarantine")
    assert {**files(root), **files(aside)} == before
    assert put_back(root).moved == stop - 1
    assert files(root) == before
    assert put_aside(root, ROWS).moved == 2


def test_another_picture_of_the_name_is_kept_too(root):
    put_aside(root, ROWS[:1])
    (root / "Ada/=b.jpg").write_bytes(b"new")
    put_aside(root, ROWS[:1])
    aside = files(root.with_name("set-quarantine"))
    assert sorted(aside.values()) == sorted([b"new", b"Ada/=b.jpg"])
    (root / "Ada/=b.jpg").write_bytes(b"newest")
    back = put_back(root)
    assert (back.moved, len(back.errors)) == (0, 2)
    assert files(root)["Ada/=b.jpg"] == b"newest"


def test_links_and_paths_that_lead_outside_are_left_alone(root, tmp_path):
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(b"x")
    (root / "Ada/link.jpg").symlink_to(outside)
    (root / "Out").symlink_to(tmp_path, target_is_directory=True)
    done = put_aside(root, [Row("Ada/link.jpg", "wrong"), Row("Out/outside.jpg", "wrong")])
    assert (done.moved, len(done.errors), outside.exists()) == (0, 2, True)
    with pytest.raises(InputError, match="lies in the folder"):
        put_aside(root, [], root / "inside")
    aside = root.with_name("set-quarantine")
    line = {"source": "../outside2.jpg", "to": "a.jpg", "decision": "wrong"}
    (aside / "a.jpg").write_bytes(b"x")
    with (aside / "manifest.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(InputError, match="outside"):
        put_back(root)
    assert not (tmp_path / "outside2.jpg").exists()


def test_a_move_to_another_disk_copies_and_compares(root, tmp_path, monkeypatch):
    def other_disk(self, target):
        if self.suffix == ".jpg":
            raise OSError(quarantine.errno.EXDEV, "another disk")
        return real(self, target)

    real = type(root).rename
    before = files(root)
    monkeypatch.setattr(type(root), "rename", other_disk)
    assert put_aside(root, ROWS).moved == 2
    assert {**files(root), **files(root.with_name("set-quarantine"))} == before
    assert put_back(root).moved == 2
    assert files(root) == before


def test_a_list_comes_back_as_it_was(tmp_path):
    rows = [
        Row("=1+1.jpg", "wrong", "=cmd", 1.5, "g"),
        Row('Ada/a,"b"\n.jpg', "keep"),
        Row("x/caf\udce9.jpg", "review", "r", -0.25),
    ]
    path = tmp_path / "l.csv"
    assert write_list(path, rows) == 3
    back = list(read_list(path))
    assert [(r.picture, r.verdict, r.score) for r in back] == [(r.picture, r.verdict, r.score) for r in rows]
    assert path.read_bytes().splitlines()[1].startswith(b"./=1+1.jpg,wrong,'=cmd")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a,b\n", "picture is missing|columns"),
        ("picture,verdict\n../x.jpg,wrong\n", "below the folder"),
        ("picture,verdict\n/x.jpg,wrong\n", "below the folder"),
        ("picture,verdict\nx.txt,wrong\n", "below the folder"),
        ("picture,verdict\nx.jpg,delete\n", "verdict: expected"),
        ("picture,verdict\nx.jpg\n", "too few"),
        ("picture,verdict,score\nx.jpg,keep,nan\n", "score: expected"),
    ],
)
def test_lists_that_are_none(tmp_path, text, match):
    path = tmp_path / "l.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        list(read_list(path))


def test_evidence(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("\ufeffscore,picture\n0.9,./a/b.jpg\n", "utf-8")
    assert read_evidence(path) == {"a/b.jpg": 0.9}
    path.write_text("picture,score\na.jpg,2\n")
    with pytest.raises(InputError, match="0 to 1"):
        read_evidence(path)
