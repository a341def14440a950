"""Backups: made while the gallery is in use, private, verified, and put back under everybody's feet."""

from __future__ import annotations

import sqlite3
import stat
import threading

import numpy as np
import pytest

from mien.errors import GalleryError, GalleryFileError, NotFoundError, UnsupportedError
from mien.gallery import Gallery
from mien.gallery.homes.sqlite import restore


@pytest.fixture
def gallery(tmp_path, fakes):
    with Gallery.open(tmp_path / "people.db", identity=fakes.IDENTITY) as opened:
        opened.add_many([(f"p{i}", np.stack([fakes.embedding(f"p{i}", str(j)) for j in range(3)])) for i in range(50)])
        yield opened


def names(gallery, fakes, *people):
    probes = np.stack([fakes.embedding(p, "probe") for p in people])
    return [m.name for m in gallery.identify_embeddings(probes, threshold=0.6)]


def test_a_backup_is_a_whole_private_gallery_of_its_own(gallery, fakes, tmp_path):
    made = gallery.backup(tmp_path / "copy.db")
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert sorted(p.name for p in tmp_path.iterdir() if "copy" in p.name or "part" in p.name) == ["copy.db"]
    gallery.remove("p3")
    with Gallery.open(made) as copy:
        assert len(copy) == 50
        assert names(copy, fakes, "p3", "p4") == ["p3", "p4"]
        assert copy.check().ok


def test_a_backup_never_takes_the_place_of_something(gallery, tmp_path):
    (tmp_path / "taken").write_text("mine")
    for target in (tmp_path / "taken", tmp_path / "people.db"):
        with pytest.raises(GalleryFileError, match="something already"):
            gallery.backup(target)
    with pytest.raises(GalleryFileError, match="cannot be written"):
        gallery.backup(tmp_path / "no" / "such" / "folder.db")
    assert (tmp_path / "taken").read_text() == "mine"
    assert not list(tmp_path.glob(".*part*"))


def test_a_damaged_gallery_is_not_copied(gallery, tmp_path):
    with sqlite3.connect(tmp_path / "people.db") as db:
        db.execute("UPDATE faces SET embedding = zeroblob(128) WHERE id = 7")
    db.close()
    with pytest.raises(GalleryFileError, match="not copied"):
        gallery.backup(tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_memory_cannot_be_backed_up(fakes, tmp_path):
    with Gallery.open(":memory:") as gallery, pytest.raises(UnsupportedError):
        gallery.backup(tmp_path / "copy.db")


def test_a_backup_is_of_one_moment_while_others_write(gallery, fakes, tmp_path):
    """Pairs are enrolled and removed together; a copy must never hold one half of a pair."""
    stop = threading.Event()

    def work():
        i = 0
        while not stop.is_set():
            rows = [(f"{side}{i}", fakes.embedding(f"{side}{i}")[None]) for side in ("left", "right")]
            gallery.add_many(rows)
            i += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        made = [gallery.backup(tmp_path / f"copy{i}.db") for i in range(5)]
    finally:
        stop.set()
        thread.join()
    for path in made:
        with Gallery.open(path, readonly=True) as copy:
            found = {s.name for s in copy.subjects()}
            assert {n.replace("left", "right") for n in found if "left" in n} == {n for n in found if "right" in n}


def test_restore_under_an_open_gallery(gallery, fakes, tmp_path):
    """Whoever has the file open answers from the backup at once, also where numbers were given out anew."""
    made = gallery.backup(tmp_path / "copy.db")
    with Gallery.open(tmp_path / "people.db") as other:
        gallery.remove("p3")
        gallery.add("later", fakes.embedding("later"))
        assert names(other, fakes, "p3", "later") == [None, "later"]
        restore(made, tmp_path / "people.db")
        for each in (gallery, other):
            assert names(each, fakes, "p3", "later") == ["p3", None]
            assert len(each) == 50
        gallery.add("after", fakes.embedding("after"))
        assert names(other, fakes, "p3", "later", "after") == ["p3", None, "after"]
        assert other.check().problems == ()


def test_restore_where_nothing_is(gallery, fakes, tmp_path):
    made = gallery.backup(tmp_path / "copy.db")
    restore(made, tmp_path / "new.db")
    assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) == 0o600
    with Gallery.open(tmp_path / "new.db") as restored:
        assert names(restored, fakes, "p3") == ["p3"]


def test_restore_refuses_what_is_no_backup(gallery, fakes, tmp_path):
    with pytest.raises(NotFoundError):
        restore(tmp_path / "missing.db", tmp_path / "people.db")
    (tmp_path / "bad.db").write_bytes(b"no gallery" * 1000)
    with pytest.raises(GalleryFileError):
        restore(tmp_path / "bad.db", tmp_path / "people.db")
    with pytest.raises(GalleryFileError, match="gallery itself"):
        restore(tmp_path / "people.db", tmp_path / "people.db")
    with pytest.raises(GalleryError, match="memory"):
        restore(tmp_path / "people.db", ":memory:")
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE notes (text)")
    db.close()
    made = gallery.backup(tmp_path / "copy.db")
    before = foreign.read_bytes()
    with pytest.raises(GalleryFileError, match="not a mien gallery"):
        restore(made, foreign)
    assert foreign.read_bytes() == before
    assert names(gallery, fakes, "p3") == ["p3"]


DAMAGES = {
    "UPDATE faces SET embedding = zeroblob(128) WHERE id = 7": "damaged embedding",
    "UPDATE faces SET embedding = x'00' WHERE id = 7": "another length",
    "UPDATE faces SET origin = x'ff' WHERE id = 7": "not text|does not say",
    "UPDATE subjects SET name = CAST('other' AS BLOB) WHERE id = 7": "cannot be found by its name",
    "UPDATE audit SET count = count + 1 WHERE seq = 3": "audit log",
    "DELETE FROM audit WHERE seq = 3": "audit log",
    "DELETE FROM model": "no model",
    "DELETE FROM subjects WHERE id = 7": "refers to what is not",
    "CREATE TRIGGER t AFTER INSERT ON subjects BEGIN DELETE FROM faces; END": "not the tables",
    "UPDATE subjects SET details = x'00' WHERE id = 7": "not JSON",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_check_finds(gallery, tmp_path, damage):
    assert gallery.check().ok
    db = sqlite3.connect(tmp_path / "people.db", isolation_level=None)
    db.execute(damage)
    db.close()
    report = gallery.check()
    assert not report.ok
    assert any(__import__("re").search(DAMAGES[damage], problem) for problem in report.problems), report.problems


def test_check_counts_and_names_the_head_of_the_log(gallery, fakes):
    gallery.ignore("poster", fakes.embedding("poster"))
    gallery.reject("p1", fakes.embedding("not p1"))
    report = gallery.check()
    assert (report.counts.people, report.counts.ignored, report.counts.faces, report.counts.negatives) == (
        50,
        1,
        151,
        1,
    )
    last = list(gallery.audit())[-1]
    assert (report.audit_entries, report.audit_head) == (last.seq, last.digest)
