"""The record of the code that trained a network: of mien, of the user's checkout, over every start of a run."""

from __future__ import annotations

import json
import os
from importlib import metadata
from types import SimpleNamespace

import pytest

import mien
from mien.train import code_record
from mien.train.code_record import CodeRecord, code_in_words, code_now, mien_commit

ONE, TWO = "1" * 40, "2" * 40


def checkout(root, commit):
    (root / ".git").mkdir(parents=True)
    (root / ".git" / "HEAD").write_text(commit + "\n")
    return root


@pytest.fixture
def place(tmp_path, monkeypatch):
    """place("lib/site-packages", {...}): mien lies below there, with such a direct_url.json."""

    def put(below, direct=None):
        package = tmp_path / below / "mien"
        package.mkdir(parents=True)
        monkeypatch.setattr(mien, "__file__", str(package / "__init__.py"))
        text = direct if direct is None or isinstance(direct, str) else json.dumps(direct)
        found = SimpleNamespace(
            version="9.9",
            locate_file=lambda name: tmp_path / below / name,
            read_text=lambda name: text if "direct" in name else None,
        )
        monkeypatch.setattr(metadata, "distribution", lambda _name: found)
        return package

    return put


def test_mien_in_its_checkout(tmp_path, place):
    checkout(tmp_path / "code", ONE)
    place("code/src", {"vcs_info": {"vcs": "git", "commit_id": TWO}})
    assert mien_commit() == ONE


def test_mien_installed_by_pip_from_git(tmp_path, place):
    checkout(tmp_path, TWO)  # a project that mien is in the environment of
    place("env/lib/site-packages", {"url": "https://a.b/c.git", "vcs_info": {"vcs": "git", "commit_id": ONE}})
    assert mien_commit() == ONE


def test_mien_in_a_folder_of_a_project(tmp_path, place):
    """As `pip install --target vendor` puts it: the commit is the project's and not mien's."""
    project = checkout(tmp_path / "project", TWO)
    place("project/vendor", {"vcs_info": {"vcs": "git", "commit_id": ONE}})
    assert mien_commit() == ONE
    assert code_now(project) == {"mien": mien.__version__, "commit": ONE, "project": TWO}


def test_mien_at_the_very_top(place, monkeypatch, tmp_path):
    """As an image of a container may hold it."""
    place("lib")
    monkeypatch.setattr(mien, "__file__", os.path.join(os.path.abspath(os.sep), "mien", "__init__.py"))
    assert mien_commit() is None
    assert "commit" not in code_now(tmp_path)


def test_code_that_is_not_the_installed_one(tmp_path, place, monkeypatch):
    place("env/lib/site-packages", {"vcs_info": {"commit_id": ONE}})
    monkeypatch.setattr(mien, "__file__", str(tmp_path / "elsewhere" / "mien" / "__init__.py"))
    assert mien_commit() is None


@pytest.mark.parametrize(
    "direct", [None, "", "{", "[]", "[" * 20000, {"dir_info": {"editable": True}}, {"vcs_info": 1},
               {"vcs_info": {"commit_id": "main"}}, {"vcs_info": {"commit_id": [ONE]}}],
)  # fmt: skip
def test_installations_that_say_nothing(tmp_path, place, direct):
    checkout(tmp_path, TWO)
    place("env/lib/site-packages", direct)
    assert mien_commit() is None
    assert code_now(tmp_path / "new folder") == {"mien": "9.9", "project": TWO}


def test_not_installed_at_all(place, monkeypatch):
    place("lib/somewhere")

    def none(_name):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "distribution", none)
    assert mien_commit() is None


def test_the_users_own_checkout(tmp_path, place, monkeypatch):
    checkout(tmp_path / "code", ONE)
    place("code/src")
    project = checkout(tmp_path / "project", TWO)
    (project / "deep" / "er").mkdir(parents=True)
    version = mien.__version__
    assert code_now(project / "deep" / "er") == {"mien": version, "commit": ONE, "project": TWO}
    monkeypatch.chdir(project / "deep")
    assert code_now() == {"mien": version, "commit": ONE, "project": TWO}
    assert code_now(tmp_path / "code") == {"mien": version, "commit": ONE}  # told once


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the folder that one stands in")
def test_a_working_folder_that_is_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "project" not in code_now()


def test_a_run_over_several_starts():
    old, new = {"mien": "1", "commit": ONE}, {"mien": "2", "commit": TWO}
    first = CodeRecord(old)
    assert first.at(0) == first.at(50) == [{"from_step": 1, **old}]
    same = CodeRecord(old)
    same.go_on(first.at(50), 50)
    assert same.at(80) == first.at(50)
    other = CodeRecord(new)
    other.go_on(same.at(80), 80)
    assert other.at(80) == first.at(50), "it took no step"
    assert other.at(81) == [{"from_step": 1, **old}, {"from_step": 81, **new}]
    back = CodeRecord(old)
    back.go_on(other.at(90), 90)
    assert back.at(91) == [{"from_step": 1, **old}, {"from_step": 81, **new}, {"from_step": 91, **old}]


@pytest.mark.parametrize("record", [None, [], 1, ["x", None]])
def test_a_checkpoint_without_a_record(record):
    run = CodeRecord({"mien": "2"})
    run.go_on(record, 40)
    assert run.at(40) == []
    assert run.at(60) == [{"from_step": 41, "mien": "2"}]
    assert code_in_words(run.at(60)) == ["from step 41: mien 2"]


def test_very_many_starts_are_bounded():
    record = []
    for i in range(500):
        run = CodeRecord({"mien": str(i)})
        run.go_on(record, i + 1)
        record = run.at(i + 2)
    assert len(record) == code_record._MOST
    assert record[-1] == {"from_step": 501, "mien": "499"}


def test_what_a_stranger_wrote_is_passed_over():
    wrong = [
        1, {}, {"mien": 1, "from_step": 1}, {"mien": "1|<b>", "from_step": 1}, {"mien": "1", "from_step": "1"},
        {"mien": "9" * 99, "from_step": 1}, {"mien": "1", "from_step": 10**4400}, {"mien": "1", "from_step": -1},
    ]  # fmt: skip
    good = {"mien": "1.0", "from_step": 1, "commit": "<script>", "project": ONE}
    assert code_in_words([*wrong, good]) == [f"mien 1.0; started in a checkout at commit {ONE}"]
    assert code_in_words({"a": 1}) == code_in_words(None) == []
