"""A checkout's commit as git itself names it, read without git; broken and hostile checkouts give nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mien.train import git_commit
from mien.train.git_commit import checkout_commit, checkout_of, is_commit

ONE, TWO = "1" * 40, "2" * 40
real = git_commit._bytes


def git(folder, *words) -> str:
    """What git says; with nobody's settings but these."""
    if shutil.which("git") is None:
        pytest.skip("needs the git program, as the oracle")
    env = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.c",
    }  # fmt: skip
    return subprocess.run(["git", *words], cwd=folder, env=env, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path):
    """Two commits on a branch whose name has a slash."""
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q", "-b", "work/main")
    for text in ("one", "two"):
        (root / "file").write_text(text)
        git(root, "add", "file")
        git(root, "commit", "-q", "-m", text)
    return root


def made(tmp_path, **files):
    """A checkout of so many files below .git; `_` stands for a dash, `__` for a slash."""
    root = tmp_path / "made"
    for name, content in files.items():
        path = root / ".git" / name.replace("__", "/").replace("_", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def test_a_branch_loose_and_packed_and_a_detached_head(checkout):
    wanted = git(checkout, "rev-parse", "HEAD").strip()
    assert checkout_commit(checkout) == wanted
    git(checkout, "pack-refs", "--all")
    assert not (checkout / ".git" / "refs" / "heads" / "work" / "main").exists()
    assert checkout_commit(checkout) == wanted
    git(checkout, "checkout", "-q", "HEAD~1")
    first = git(checkout, "rev-parse", "HEAD").strip()
    assert first != wanted
    assert checkout_commit(checkout) == first


def test_a_packed_branch_that_moved_on(checkout):
    git(checkout, "pack-refs", "--all")
    git(checkout, "commit", "-q", "--allow-empty", "-m", "three")
    assert checkout_commit(checkout) == git(checkout, "rev-parse", "HEAD").strip()


def test_worktrees_have_a_head_of_their_own(checkout, tmp_path):
    git(checkout, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"), "HEAD~1")
    wanted = git(tmp_path / "tree", "rev-parse", "HEAD").strip()
    assert wanted != git(checkout, "rev-parse", "HEAD").strip()
    assert checkout_commit(tmp_path / "tree") == wanted
    git(checkout, "pack-refs", "--all")
    assert checkout_commit(tmp_path / "tree") == wanted


def test_sha_256_names(tmp_path):
    root = tmp_path / "long"
    root.mkdir()
    try:
        git(root, "init", "-q", "--object-format=sha256")
    except subprocess.CalledProcessError:
        pytest.skip("this git knows no SHA-256")
    git(root, "commit", "-q", "--allow-empty", "-m", "one")
    wanted = git(root, "rev-parse", "HEAD").strip()
    assert len(wanted) == 64
    assert checkout_commit(root) == wanted


def test_the_nearest_checkout_counts(checkout):
    deep = checkout / "a" / "b"
    deep.mkdir(parents=True)
    assert checkout_of(deep) == checkout_of(checkout) == checkout.resolve()
    assert checkout_commit(deep) is None
    git(deep, "init", "-q")
    assert checkout_of(deep) == deep.resolve()
    assert checkout_commit(deep) is None  # nothing is committed yet


def test_a_name_that_leads_to_a_name(tmp_path):
    refs = {"refs__heads__a": "ref: refs/heads/b\n", "refs__heads__b": ONE + "\n"}
    assert checkout_commit(made(tmp_path, HEAD="ref: refs/heads/a\n", **refs)) == ONE


@pytest.mark.parametrize(
    "head",
    ["", "ref:", "ref: refs/heads/a", "ref: ../../secret", "ref: refs/../../../secret", "ref: /etc/hostname",
     ONE[:39], ONE + "1", ONE.replace("1", "g"), "x" * 5000, "ref: refs/heads/a\0b", b"\xff\xfe",
     "ref: refs/heads/" + "a" * 3000],
)  # fmt: skip
def test_heads_that_say_nothing(tmp_path, head):
    (tmp_path / "secret").write_text(TWO)
    assert checkout_commit(made(tmp_path, HEAD=head)) is None


def test_names_in_a_circle_end(tmp_path):
    refs = {"refs__heads__a": "ref: refs/heads/b", "refs__heads__b": "ref: refs/heads/a"}
    assert checkout_commit(made(tmp_path, HEAD="ref: refs/heads/a", **refs)) is None


def test_packed_names_are_whole_lines(tmp_path):
    lines = [
        "# pack-refs with: peeled fully-peeled sorted", f"{ONE} refs/heads/aa", f"{ONE} xrefs/heads/a",
        f"{TWO} refs/heads/a", f"^{ONE}", f"{ONE} refs/heads/a.b",
    ]  # fmt: skip
    assert checkout_commit(made(tmp_path, HEAD="ref: refs/heads/a", packed_refs="\n".join(lines) + "\n")) == TWO
    assert checkout_commit(made(tmp_path, HEAD="ref: refs/heads/x.b", packed_refs=f"{ONE} refs/heads/x-b\n")) is None
    assert checkout_commit(made(tmp_path, HEAD="ref: refs/heads/z", packed_refs=f"{ONE}1 refs/heads/z\n")) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    root = made(tmp_path, HEAD="ref: refs/heads/a", refs__heads__b=ONE)
    os.mkfifo(root / ".git" / "refs" / "heads" / "a")
    assert checkout_commit(root) is None
    (tmp_path / "other").mkdir()
    os.mkfifo(tmp_path / "other" / ".git")
    assert checkout_commit(tmp_path / "other") is None
    assert checkout_of(tmp_path / "other") != (tmp_path / "other").resolve()


@pytest.mark.parametrize("pointer", ["", "gitdir:", "gitdir: nowhere", "gitdir: //host/share", "../made/.git", "\0"])
def test_files_that_point_nowhere(tmp_path, pointer):
    made(tmp_path, HEAD=ONE)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / ".git").write_text(pointer)
    assert checkout_commit(tmp_path / "tree") is None
    (tmp_path / "tree" / ".git").write_text("gitdir: ../made/.git\n")
    assert checkout_commit(tmp_path / "tree") == ONE


@pytest.mark.parametrize("lead", ["//host/share", " //host/share", "\n\\\\host\\share", "/\\host/share", "\\/host"])
def test_pointers_lead_to_no_other_machine(tmp_path, lead, monkeypatch):
    """Windows takes either slash; a look at such a path would greet a stranger's machine."""
    opened = []
    monkeypatch.setattr(git_commit, "_bytes", lambda path, most: opened.append(str(path)) or real(path, most))
    root = made(tmp_path, HEAD="ref: refs/heads/a", commondir=lead, packed_refs=f"{ONE} refs/heads/a\n")
    assert checkout_commit(root) == ONE, "as if it were not there"
    assert not any("host" in path for path in opened)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / ".git").write_text(f"gitdir: {lead}")
    assert checkout_commit(tmp_path / "tree") is None
    assert not any("host" in path for path in opened)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a device")
def test_devices_are_not_opened(tmp_path, monkeypatch):
    root = made(tmp_path, HEAD="ref: refs/heads/a", refs__heads__b=ONE)
    (root / ".git" / "refs" / "heads" / "a").symlink_to("/dev/zero")
    opened, open_ = [], os.open
    monkeypatch.setattr(os, "open", lambda path, *more: opened.append(Path(path).name) or open_(path, *more))
    assert checkout_commit(root) is None
    assert opened == ["HEAD"]


def test_no_program_is_started(checkout, monkeypatch):
    """Settings that make git run something on any look at the files are as good as not there."""
    wanted = git(checkout, "rev-parse", "HEAD").strip()
    (checkout / ".git" / "config").write_text("[core]\n\tfsmonitor = touch ran; false\n[include\n")
    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.setattr(os, "system", None)
    monkeypatch.setenv("PATH", "")
    assert checkout_commit(checkout) == wanted
    assert not (checkout / "ran").exists()


def test_what_is_a_commit():
    assert is_commit(ONE)
    assert is_commit("a" * 64)
    assert not any(map(is_commit, [None, 1, ONE.encode(), "A" * 40, "a" * 50, ONE + "\n"]))
