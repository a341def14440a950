"""Chosen pictures to their places: one choice a folder, stopped and gone on with, never mixed with another."""

from __future__ import annotations

import os
import shutil

import pytest

from mien.errors import InputError
from mien.prepare import putting
from mien.prepare.manifest import read_manifest
from mien.prepare.people import read_people, select, split
from mien.prepare.placing import Placed, place

PEOPLE = ("Ada", "Bo", "Cy", "Di", "张伟", "Zoë")


@pytest.fixture
def folder(tmp_path):
    for person in PEOPLE:
        (tmp_path / "in" / person).mkdir(parents=True)
        for i in range(2):
            (tmp_path / "in" / person / f"{i}.jpg").write_bytes(f"{person}{i}".encode())
    return tmp_path / "in"


def put(folder, target, how, shares, *, seed=0, **more):
    sets = split(read_people(folder), shares, seed=seed)
    return place(sets, folder, target, how, verb="split", settings={"shares": shares, "seed": seed}, **more)


def sets_of(target):
    """Each set's people, as they lie on the disk or in the lists."""
    folders = {p.name: {q.name for q in p.iterdir()} for p in target.iterdir() if p.is_dir()}
    lists = {
        p.stem: {line.partition("/")[0] for line in p.read_text("utf-8").splitlines()} for p in target.glob("*.txt")
    }
    return folders | lists


def disjoint(target):
    found = sets_of(target)
    everybody = [name for people in found.values() for name in people]
    return len(everybody) == len(set(everybody)) == len(PEOPLE)


HALVES, OTHER = {"train": 0.5, "val": 0.25, "test": 0.25}, {"train": 0.25, "test": 0.75}


@pytest.mark.parametrize("how", ["copy", "link", "list"])
def test_a_second_split_is_refused_or_replaces_the_first(folder, tmp_path, how):
    target = tmp_path / "sets"
    assert put(folder, target, how, HALVES, dry_run=True).placed == 12
    assert not target.exists()
    assert put(folder, target, how, HALVES).placed == 12
    assert put(folder, target, how, HALVES, dry_run=True).there == (0 if how == "list" else 12)
    before = sets_of(target)
    for shares, seed in ((OTHER, 0), (HALVES, 3)):
        with pytest.raises(InputError, match=r"made with other settings.*(shares|seed) was.*--force"):
            put(folder, target, how, shares, seed=seed, dry_run=True)
        with pytest.raises(InputError, match=r"made with other settings.*(shares|seed) was.*--force"):
            put(folder, target, how, shares, seed=seed)
        assert sets_of(target) == before
        assert disjoint(target)
    assert put(folder, target, how, OTHER, seed=3, force=True).placed == 12
    assert sorted(sets_of(target)) == ["test", "train"]
    assert disjoint(target)
    assert sum(len(list((folder / p).iterdir())) for p in PEOPLE) == 12


@pytest.mark.parametrize("how", ["copy", "link", "list"])
def test_people_who_came_since_are_not_put_among_the_others(folder, tmp_path, how):
    put(folder, tmp_path / "sets", how, HALVES)
    for i in range(6):
        (folder / f"New {i}").mkdir()
        (folder / f"New {i}" / "0.jpg").write_bytes(b"new")
    with pytest.raises(InputError, match="chosen was"):
        put(folder, tmp_path / "sets", how, HALVES)


@pytest.mark.parametrize("how", ["copy", "link"])
def test_a_run_that_was_stopped_goes_on(folder, tmp_path, how, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(n):
        seen.append(n)
        if len(seen) == 5:
            raise Killed

    seen = []
    people = select(read_people(folder), least=2)
    words = {"verb": "select", "settings": {"least": 2}}
    monkeypatch.setattr(putting, "_AT_ONCE", 3)
    with pytest.raises(Killed):
        place({"": people}, folder, tmp_path / "out", how, **words, advance=killed)
    done = place({"": people}, folder, tmp_path / "out", how, **words)
    assert (done.placed, done.there) == (7, 5)
    lines = [entry["to"] for entry in read_manifest(tmp_path / "out")]
    assert sorted(lines) == sorted(f"{p}/{i}.jpg" for p in PEOPLE for i in range(2))
    again = place({"": people}, folder, tmp_path / "out", how, **words)
    assert (again.placed, again.there) == (0, 12)
    assert (tmp_path / "out" / "张伟" / "1.jpg").read_bytes() == "张伟1".encode()
    (tmp_path / "out" / "Ada" / "0.jpg").unlink()
    (tmp_path / "out" / "Ada" / "0.jpg").write_bytes(b"other")
    with pytest.raises(InputError, match="another file"):
        place({"": people}, folder, tmp_path / "out", how, **words)


def test_what_a_killed_run_left_is_taken_back(folder, tmp_path, monkeypatch):
    def killed(_source, place_at, _how):
        place_at.parent.mkdir(parents=True)
        place_at.with_name(".mien-1.part").touch()
        raise KeyboardInterrupt

    put(folder, tmp_path / "sets", "copy", HALVES)
    monkeypatch.setattr(putting, "put_picture", killed)
    with pytest.raises(KeyboardInterrupt):
        put(folder, tmp_path / "sets", "copy", OTHER, force=True)
    monkeypatch.undo()
    put(folder, tmp_path / "sets", "copy", HALVES, seed=2, force=True)
    assert disjoint(tmp_path / "sets")


def test_nothing_is_taken_back_that_may_be_the_last_of_its_kind(folder, tmp_path):
    target = tmp_path / "sets"
    put(folder, target, "copy", HALVES)
    (folder / "Ada" / "0.jpg").rename(tmp_path / "gone.jpg")
    before = sorted(p for p in target.rglob("*.jpg"))
    with pytest.raises(InputError, match="was changed since"):
        put(folder, target, "copy", OTHER, force=True)
    assert sorted(p for p in target.rglob("*.jpg")) == before


def test_a_dry_run_refuses_to_take_back_what_the_run_would_not(folder, tmp_path):
    target = tmp_path / "sets"
    put(folder, target, "copy", HALVES)
    assert put(folder, target, "copy", OTHER, force=True, dry_run=True) == Placed(12, 0)
    edited = next(target.rglob("0.jpg"))
    was = edited.read_bytes()
    edited.write_bytes(b"edited")
    for match, shares, force in (("was changed since", OTHER, True), ("another file", HALVES, False)):
        for dry_run in (True, False):
            with pytest.raises(InputError, match=match):
                put(folder, target, "copy", shares, force=force, dry_run=dry_run)
    edited.write_bytes(was)
    (edited.parent / "notes.txt").write_text("mine")
    for dry_run in (True, False):
        with pytest.raises(InputError, match=r"notes\.txt: is of somebody else"):
            put(folder, target, "copy", OTHER, force=True, dry_run=dry_run)
    assert disjoint(target)
    assert len(list(target.rglob("*.jpg"))) == 12


def test_copies_are_taken_back_on_a_disk_with_coarse_times(folder, tmp_path):
    target = tmp_path / "sets"
    put(folder, target, "copy", HALVES)
    for path in target.rglob("*.jpg"):
        os.utime(path, ns=(0, path.stat().st_mtime_ns // 2_000_000_000 * 2_000_000_000))
    assert put(folder, target, "copy", OTHER, force=True).placed == 12
    same = next(target.rglob("0.jpg"))  # its size and time, but not its content
    status = same.stat()
    same.write_bytes(b"x" * status.st_size)
    os.utime(same, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(InputError, match="was changed since"):
        put(folder, target, "copy", HALVES, force=True)


@pytest.mark.skipif(os.name == "nt", reason="needs links")
@pytest.mark.parametrize("how", ["copy", "link"])
def test_a_link_in_the_folder_leads_nowhere(folder, tmp_path, how):
    target = tmp_path / "sets"
    put(folder, target, how, HALVES)
    shutil.rmtree(target / "train")
    (tmp_path / "else").mkdir()
    (target / "train").symlink_to(tmp_path / "else", target_is_directory=True)
    for more in ({"dry_run": True}, {}):
        with pytest.raises(InputError, match="a link leads out of the folder"):
            put(folder, target, how, HALVES, **more)
    assert not list((tmp_path / "else").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="needs links")
@pytest.mark.parametrize("how", ["copy", "link", "list"])
def test_a_link_to_itself_is_refused_as_a_target(folder, tmp_path, how):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="loop"):
        put(folder, tmp_path / "loop", how, HALVES)


def test_a_folder_of_somebody_else_is_left_alone(folder, tmp_path):
    (tmp_path / "mine" / "Eve").mkdir(parents=True)
    for more in ({}, {"force": True}, {"dry_run": True}):
        with pytest.raises(InputError, match="expected an empty folder"):
            put(folder, tmp_path / "mine", "copy", HALVES, **more)
    put(folder, tmp_path / "sets", "copy", HALVES)
    people = read_people(folder)
    for force in (False, True):
        with pytest.raises(InputError, match="made by 'split'"):
            place({"": people}, folder, tmp_path / "sets", "copy", verb="select", settings={}, force=force)
    assert disjoint(tmp_path / "sets")
    with pytest.raises(InputError, match="whose pictures are placed"):
        put(folder, folder / "sets", "copy", HALVES)


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_manifest_that_points_elsewhere_takes_nothing(folder, tmp_path):
    put(folder, tmp_path / "sets", "list", HALVES)
    (tmp_path / "precious.txt").write_text("mine")
    manifest = tmp_path / "sets" / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes() + b'{"decision":"listed","set":"x","to":"../precious.txt"}\n')
    with pytest.raises(InputError, match="not what was placed"):
        put(folder, tmp_path / "sets", "list", OTHER, force=True)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_list_of_paths_is_not_replaced_unasked(folder, tmp_path):
    people = read_people(folder)
    words = {"verb": "select", "settings": {}}
    place({"": people[:2]}, folder, tmp_path / "train.txt", "list", **words)
    lines = ["Ada/0.jpg", "Ada/1.jpg", "Bo/0.jpg", "Bo/1.jpg"]
    assert (tmp_path / "train.txt").read_text("utf-8").splitlines() == lines
    place({"": people[:2]}, folder, tmp_path / "train.txt", "list", **words)
    with pytest.raises(InputError, match="another list is there"):
        place({"": people}, folder, tmp_path / "train.txt", "list", **words)
    assert (tmp_path / "train.txt").read_text("utf-8").splitlines() == lines
    place({"": people}, folder, tmp_path / "train.txt", "list", **words, force=True)
    assert len((tmp_path / "train.txt").read_text("utf-8").splitlines()) == 12
