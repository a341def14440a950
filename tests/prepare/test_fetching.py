"""The catalogue of data sets: every card sound, downloads checked, archives safe, placed sets verified."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import urllib.error

import pytest

from mien.cli import main
from mien.errors import InputError, NotFoundError
from mien.prepare import fetching
from mien.prepare.fetching import DataSet, Expectation, RemoteFile, data_set, data_sets, fetch, verify_placed

WANTED = {
    "agedb", "aflw", "casia-webface", "celeba-spoof", "cfp", "fddb", "glint360k", "lfw", "megaface", "ms1m", "vggface2",
    "wider-face", "ytf",
}  # fmt: skip


def test_every_card_says_what_a_user_needs():
    assert {s.name for s in data_sets()} == WANTED
    for s in data_sets():
        assert s.title, s.name
        assert s.terms, s.name
        assert s.source.startswith(("http://", "https://"))
        assert s.expect, s.name
        assert (s.access == "download") == bool(s.files) == (not s.how)
        for file in s.files:
            assert file.url.startswith("https://")
            assert len(file.sha256) == 64


def archive(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, "/etc/passwd"
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


class Response(io.BytesIO):
    status = 200

    def __init__(self, content):
        super().__init__(content)
        self.headers = {"Content-Length": str(len(content))}


@pytest.fixture
def offered(monkeypatch):
    """Offer a set of one archive and one list; returns what the server gives, by address."""
    pages = {"https://x.test/a.tgz": archive(("in/Ada/1.jpg", b"1", tarfile.REGTYPE)), "https://x.test/p.txt": b"pairs"}

    def offer(content=None, published=None):
        if content is not None:
            pages["https://x.test/a.tgz"] = content
        digest = hashlib.sha256(pages["https://x.test/a.tgz"]).hexdigest()
        files = (
            RemoteFile("a.tgz", "https://x.test/a.tgz", published or digest, True),
            RemoteFile("p.txt", "https://x.test/p.txt", hashlib.sha256(b"pairs").hexdigest()),
        )
        expect = (Expectation("*/*.jpg", 1, "pictures", within=("in",)), Expectation("p.txt", 1, "pairs"))
        card = DataSet("x", "X", "", 1, 1, "free", "download", "https://x.test", "", "", files, expect)
        monkeypatch.setattr(fetching, "data_sets", lambda: (card,))
        return pages

    return offer


def opener_of(pages):
    opened = []

    def open_(request, *, timeout):
        opened.append(request.full_url)
        if request.full_url not in pages:
            raise urllib.error.URLError("gone")
        return Response(pages[request.full_url])

    open_.opened = opened
    return open_


def test_what_is_fetched_is_checked_unpacked_and_not_fetched_twice(offered, tmp_path):
    opener = opener_of(offered())
    fetch("x", tmp_path / "d", opener=opener)
    assert (tmp_path / "d" / "in" / "Ada" / "1.jpg").read_bytes() == b"1"
    assert [f.ok for f in verify_placed("x", tmp_path / "d")] == [True, True]
    fetch("x", tmp_path / "d", opener=opener)
    assert len(opener.opened) == 2
    (tmp_path / "d" / "in" / "Ada" / "1.jpg").unlink()
    assert [f.ok for f in verify_placed("x", tmp_path / "d")] == [False, True]


def test_a_dry_run_says_what_is_missing_and_writes_nothing(offered, tmp_path, capsys):
    opener = opener_of(offered())
    assert main(["data", "fetch", "x", str(tmp_path / "d"), "--dry-run", "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert [f["url"] for f in files] == ["https://x.test/a.tgz", "https://x.test/p.txt"]
    assert not (tmp_path / "d").exists()
    fetch("x", tmp_path / "d", opener=opener)
    (tmp_path / "d" / "p.txt").unlink()
    assert main(["data", "fetch", "x", str(tmp_path / "d"), "--dry-run"]) == 0
    assert capsys.readouterr().out == "would be downloaded: https://x.test/p.txt\n"
    assert main(["data", "fetch", "x", "--dry-run"]) == 2


def test_another_file_than_published_is_thrown_away(offered, tmp_path):
    pages = offered(published="0" * 64)
    with pytest.raises(InputError, match="sha256"):
        fetch("x", tmp_path, opener=opener_of(pages))
    assert not list(tmp_path.glob("a.tgz*"))


@pytest.mark.parametrize(
    "member",
    [
        ("../up.txt", b"x", tarfile.REGTYPE),
        ("/abs.txt", b"x", tarfile.REGTYPE),
        ("link", b"", tarfile.SYMTYPE),
        ("hard", b"", tarfile.LNKTYPE),
        ("dev", b"", tarfile.CHRTYPE),
    ],
)
def test_hostile_archives_are_refused(offered, tmp_path, member):
    pages = offered(archive(member))
    if member[0] == "/abs.txt":  # the leading slash is taken off: it stays inside
        fetch("x", tmp_path / "d", opener=opener_of(pages))
    else:
        with pytest.raises(InputError, match=r"a\.tgz"):
            fetch("x", tmp_path / "d", opener=opener_of(pages))
    assert not (tmp_path / "up.txt").exists()


def test_sets_of_others_are_named_with_their_owner(tmp_path):
    with pytest.raises(InputError, match=r"cfpw\.io"):
        fetch("cfp", tmp_path)
    with pytest.raises(NotFoundError, match="lfw"):
        data_set("nobody")
    with pytest.raises(NotFoundError, match="no such folder"):
        verify_placed("lfw", tmp_path / "none")


def test_the_command_lists_shows_and_checks(tmp_path, capsys):
    assert main(["data", "fetch", "--json"]) == 0
    assert {s["name"] for s in json.loads(capsys.readouterr().out)["sets"]} == WANTED
    assert main(["data", "fetch", "cfp"]) == 0
    assert "cfpw.io" in capsys.readouterr().out
    assert main(["data", "fetch", "lfw", str(tmp_path), "--check", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["whole"] is False
    assert main(["data", "fetch", "cfp", str(tmp_path)]) == 2
    assert "form" in capsys.readouterr().err
