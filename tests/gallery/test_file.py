"""The gallery's file: made safely, shared between processes, and refused with advice where it cannot be used."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mien.errors import GalleryError, GalleryFileError, GalleryModelError, NotFoundError
from mien.gallery import Gallery
from mien.gallery.homes.sqlite.connection import connect
from mien.types import ModelIdentity


@pytest.fixture
def file(tmp_path, fakes):
    path = tmp_path / "people.db"
    with Gallery.open(path, identity=fakes.IDENTITY) as gallery:
        gallery.add_many([(f"p{i}", np.stack([fakes.embedding(f"p{i}", str(j)) for j in range(4)])) for i in range(40)])
    return path


def sql(path, *statements):
    db = sqlite3.connect(path, isolation_level=None)
    try:
        return [db.execute(s).fetchall() for s in statements]
    finally:
        db.close()


def test_it_is_kept_and_private(file, fakes):
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with Gallery.open(file) as gallery:
        assert len(gallery) == 40
        assert gallery.identity == fakes.IDENTITY
        assert gallery.identify_embeddings(fakes.embedding("p7", "x"), threshold=0.6)[0].name == "p7"
        stats = gallery.stats
        assert (stats.subjects, stats.faces, stats.identity) == (40, 160, fakes.IDENTITY)
        assert stats.file_bytes > 160 * 32 * 4
    assert sql(file, "PRAGMA journal_mode")[0] == [("wal",)]


def test_what_is_acknowledged_is_flushed_to_the_drive(file):
    with contextlib.closing(connect(file, readonly=False)) as db:
        found = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "fullfsync")]
    assert found == [2, 1]


def test_a_sqlite_that_is_too_old_is_named(file, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    for path in (file, ":memory:"):
        with pytest.raises(GalleryError, match=r"need SQLite 3\.37 .* 3\.34\.1"):
            Gallery.open(path)


def test_the_size_can_be_told_while_the_log_comes_and_goes(file, monkeypatch):
    with Gallery.open(file) as gallery:
        whole = gallery.stats.file_bytes
        for end in ("-wal", "-shm"):
            file.with_name(file.name + end).unlink(missing_ok=True)
        monkeypatch.setattr(Path, "exists", lambda _: True)  # it was there a moment ago
        assert 0 < gallery.stats.file_bytes <= whole


def test_embeddings_come_back_bit_for_bit(file, fakes):
    stored = sql(file, "SELECT embedding FROM faces ORDER BY id")[0]
    expected = [fakes.embedding(f"p{i}", str(j)) for i in range(40) for j in range(4)]
    np.testing.assert_array_equal(np.stack([np.frombuffer(b, "<f4") for (b,) in stored]), np.stack(expected))


def test_another_model_is_refused_by_name(file, fakes):
    other = ModelIdentity("fake", "accurate", fakes.IDENTITY.sha256, 32)
    for options in ({"identity": other}, {"recognizer": fakes.FakeAnalyzer(other)}):
        with pytest.raises(GalleryModelError, match=r"fake/fast.*fake/accurate"):
            Gallery.open(file, **options)
    with Gallery.open(file, recognizer=lambda _: fakes.FakeAnalyzer(other)) as gallery:
        for _ in range(2):
            with pytest.raises(GalleryModelError):
                gallery.identify(b"p1/0", threshold=0.5)


def test_two_new_galleries_on_one_file_agree_on_one_model(tmp_path, fakes):
    other = ModelIdentity("other", "fast", fakes.IDENTITY.sha256, 32)
    with (
        Gallery.open(tmp_path / "g.db", identity=fakes.IDENTITY) as one,
        Gallery.open(tmp_path / "g.db", identity=other) as two,
    ):
        one.add("Ada", fakes.embedding("Ada"))
        with pytest.raises(GalleryModelError):
            two.add("Bob", fakes.embedding("Bob"))


def test_readonly_reads_and_refuses_to_write(file, fakes):
    with Gallery.open(file, readonly=True) as gallery:
        assert gallery.identify_embeddings(fakes.embedding("p3"), threshold=0.6)[0].name == "p3"
        for act in (
            lambda: gallery.remove("p1"),
            lambda: gallery.rename("p1", "x"),
            lambda: gallery.add("x", fakes.embedding("x")),
        ):
            with pytest.raises(GalleryError, match="readonly"):
                act()


def test_a_missing_file_is_made_only_when_asked(tmp_path):
    for options in ({"create": False}, {"readonly": True}):
        with pytest.raises(NotFoundError, match="no such gallery"):
            Gallery.open(tmp_path / "g.db", **options)
    assert not (tmp_path / "g.db").exists()


@pytest.mark.parametrize("name", ["people ünï 面.db", "a?b#c%20d.db", "a&mode=memory.db"])
def test_any_file_name(tmp_path, fakes, name):
    with Gallery.open(tmp_path / name, identity=fakes.IDENTITY) as gallery:
        gallery.add("Ada", fakes.embedding("Ada"))
    assert (tmp_path / name).is_file()
    with Gallery.open(str(tmp_path / name)) as gallery:
        assert len(gallery) == 1


def _not_a_database(path):
    path.write_bytes(b"name,embedding\nAda,1\n" * 100)


def _random_after_the_magic(path):
    path.write_bytes(b"SQLite format 3\x00" + np.random.default_rng(0).bytes(8192))


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _cut_to_a_header(path):
    path.write_bytes(path.read_bytes()[:50])


def _corrupt_page(path):
    data = bytearray(path.read_bytes())
    data[4096 * 5 : 4096 * 30] = np.random.default_rng(1).bytes(4096 * 25)
    path.write_bytes(data)


def _newer(path):
    sql(path, "PRAGMA user_version = 99")


def _older(path):
    sql(path, "PRAGMA user_version = 0")


def _foreign(path):
    path.unlink()
    sql(path, "CREATE TABLE notes (text)")


def _extra_trigger(path):
    sql(path, "CREATE TRIGGER t AFTER INSERT ON subjects BEGIN DELETE FROM faces; END")


def _missing_table(path):
    sql(path, "DROP TABLE changes")


def _short_embedding(path):
    sql(path, "UPDATE faces SET embedding = x'00' WHERE id = 5")


def _nan_embedding(path):
    sql(path, f"UPDATE faces SET embedding = x'{np.full(32, np.nan, '<f4').tobytes().hex()}' WHERE id = 5")


def _orphan(path):
    sql(path, "PRAGMA foreign_keys = OFF", "DELETE FROM subjects WHERE id = 5")


def _folder(path):
    path.unlink()
    path.mkdir()


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_not_a_database, "not a gallery"),
        (_random_after_the_magic, "not a gallery|damaged"),
        (_cut, "damaged"),
        (_cut_to_a_header, "not a gallery|damaged"),
        (_corrupt_page, "damaged"),
        (_newer, "version 99.*upgrade mien"),
        (_older, "unknown version 0"),
        (_foreign, "not a mien gallery"),
        (_extra_trigger, "not the tables of a gallery"),
        (_missing_table, "not the tables of a gallery"),
        (_short_embedding, "another length"),
        (_nan_embedding, "damaged embedding"),
        (_orphan, "belong to nobody"),
        (_folder, "is a folder"),
        (_pipe, "not a regular file"),
    ],
)
def test_files_that_cannot_be_used_are_named_with_advice(file, damage, says):
    damage(file)
    before = file.read_bytes() if file.is_file() else None
    with pytest.raises(GalleryFileError, match=says) as caught:
        Gallery.open(file)
    assert str(file) in str(caught.value)
    assert before is None or file.read_bytes() == before  # refused, not changed


@pytest.mark.parametrize("path", ["no/such/folder/g.db", "postgresql://host/g", "a\0b", "x" * 5000])
def test_paths_that_cannot_hold_a_gallery(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GalleryFileError):
        Gallery.open(path)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() == 0, reason="the superuser may write anywhere")
def test_a_readonly_folder(file):
    file.parent.chmod(0o500)
    try:
        with pytest.raises(GalleryFileError, match="permissions"):
            Gallery.open(file.with_name("new.db"))
        with Gallery.open(file, readonly=True) as gallery:
            assert len(gallery) == 40
    finally:
        file.parent.chmod(0o700)


def test_a_locked_file_says_so(file, fakes, monkeypatch):
    monkeypatch.setattr("mien.gallery.homes.sqlite.connection.BUSY_SECONDS", 0.05)
    with Gallery.open(file) as gallery:
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(GalleryFileError, match="locked by another program"):
                gallery.add("x", fakes.embedding("x"))
            assert gallery.identify_embeddings(fakes.embedding("p3"), threshold=0.6)[0].name == "p3"  # readers go on
        finally:
            other.close()
        assert gallery.add("x", fakes.embedding("x")).faces == 1


def test_a_full_disk_loses_nothing(file, fakes):
    with Gallery.open(file) as gallery:
        pages = gallery.home._writer.db.execute("PRAGMA page_count").fetchone()[0]
        gallery.home._writer.db.execute(f"PRAGMA max_page_count = {pages + 2}")
        rows = np.stack([fakes.embedding("big", str(i)) for i in range(500)])
        with pytest.raises(GalleryFileError, match="full"):
            gallery.add("big", rows)
        assert len(gallery) == 40
        assert gallery.identify_embeddings(rows[:1], threshold=0.6)[0].name is None


def test_an_unfinished_making_is_finished(tmp_path, fakes):
    blank = tmp_path / "blank.db"
    sql(blank, "PRAGMA user_version = 0", "VACUUM")  # a header and no tables: cut off before the first commit
    empty = tmp_path / "empty.db"
    empty.touch()
    for path in (blank, empty):
        with Gallery.open(path, identity=fakes.IDENTITY) as gallery:
            gallery.add("Ada", fakes.embedding("Ada"))


def test_changes_of_another_process_are_seen(file, fakes):
    script = """
import sys; sys.path.insert(0, sys.argv[2])
from fakes import embedding, IDENTITY
from mien.gallery import Gallery
with Gallery.open(sys.argv[1], identity=IDENTITY) as gallery:
    gallery.add("newcomer", embedding("newcomer"))
    gallery.rename("p1", "renamed")
    gallery.remove("p2")
"""
    with Gallery.open(file) as gallery:
        probes = np.stack([fakes.embedding(p, "x") for p in ("newcomer", "p1", "p2")])
        assert [m.name for m in gallery.identify_embeddings(probes, threshold=0.6)] == [None, "p1", "p2"]
        subprocess.run([sys.executable, "-c", script, file, Path(__file__).parent], check=True, timeout=60)
        assert [m.name for m in gallery.identify_embeddings(probes, threshold=0.6)] == ["newcomer", "renamed", None]
        assert len(gallery) == 40


def test_a_second_opening_here_leaves_the_locks_of_the_first(file, fakes):
    """POSIX drops a process's locks on a file when it closes any descriptor of it; its log must stay in use."""
    leave = "import sys; from mien.gallery import Gallery; Gallery.open(sys.argv[1]).close()"
    with Gallery.open(file) as gallery:
        gallery.add("before", fakes.embedding("before"))
        with Gallery.open(file) as second:
            assert len(second) == 41
        subprocess.run([sys.executable, "-c", leave, file], check=True, timeout=60)  # must not throw the log away
        gallery.add("after", fakes.embedding("after"))
        assert sql(file, "SELECT count(*) FROM subjects WHERE CAST(name AS TEXT) IN ('before', 'after')") == [[(2,)]]


@pytest.mark.parametrize("content", [b"x", b"note", b"x" * 99, b"x" * 100, b"x" * 5000])
def test_another_programs_file_is_left_as_it_is(tmp_path, content):
    other = tmp_path / "other.db"
    other.write_bytes(content)
    with pytest.raises(GalleryFileError, match="not a gallery"):
        Gallery.open(other)
    assert other.read_bytes() == content


def test_two_processes_and_threads_take_turns(file, fakes):
    script = """
import sys; sys.path.insert(0, sys.argv[2])
from fakes import embedding, IDENTITY
from mien.gallery import Gallery
with Gallery.open(sys.argv[1], identity=IDENTITY) as gallery:
    for i in range(40):
        gallery.add(f"other{i}", embedding(f"other{i}"))
        if i % 2:
            gallery.remove(f"other{i - 1}")
"""
    child = subprocess.Popen([sys.executable, "-c", script, file, Path(__file__).parent])
    with Gallery.open(file) as gallery:
        for i in range(40):
            gallery.add(f"mine{i}", fakes.embedding(f"mine{i}"))
            gallery.remove(f"p{i}")
            mine, gone = gallery.identify_embeddings(
                np.stack([fakes.embedding(f"mine{i}", "x"), fakes.embedding(f"p{i}", "x")]), threshold=0.6
            )
            assert (mine.name, gone.name) == (f"mine{i}", None)
        assert child.wait(60) == 0
        names = {s.name for s in gallery.subjects()}
    assert names == {f"mine{i}" for i in range(40)} | {f"other{i}" for i in range(1, 40, 2)}
