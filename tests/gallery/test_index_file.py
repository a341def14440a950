"""The index beside a gallery's file: an instant start that is never trusted over the rows."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from mien.errors import NotFoundError
from mien.gallery import Gallery
from mien.gallery.homes.sqlite import following, index_file, index_keeping, open_file, restore
from mien.gallery.privacy import erase, prove_erased
from mien.gallery.search import file as search_file
from mien.gallery.search import read_index

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no index file where a mapped file cannot be replaced")

PEOPLE, FACES = 60, 4


@pytest.fixture(autouse=True)
def from_ten_faces_on(monkeypatch):
    monkeypatch.setattr(index_file, "INDEX_FROM", 10)
    monkeypatch.setattr(index_keeping, "_BACKGROUND", False)


@pytest.fixture
def read(monkeypatch):
    """How many faces are read from the rows."""
    counts = []
    real = following._faces_after

    def counted(t, face_id):
        found = real(t, face_id)
        counts.append(len(found[0][0]))
        return found

    monkeypatch.setattr(following, "_faces_after", counted)
    return counts


@pytest.fixture
def embedding(fakes):
    return fakes.embedding


@pytest.fixture
def people(tmp_path, fakes):
    file = tmp_path / "people.db"
    with Gallery.open(file, identity=fakes.IDENTITY) as gallery:
        gallery.add_many([(f"p{i}", rows_of(fakes, f"p{i}")) for i in range(PEOPLE)])
        gallery.reject("p3", fakes.embedding("not p3", "x"), picture="not-p3.jpg")
        gallery.ignore("poster", rows_of(fakes, "poster"))
        gallery.describe("p5", groups=["staff"])
    return file


def rows_of(fakes, name, count=FACES):
    return np.stack([fakes.embedding(name, str(j)) for j in range(count)])


def index_of(file):
    return file.with_name("people.db.index")


def answers(gallery, fakes):
    probes = np.stack([fakes.embedding(name, "probe") for name in ("p0", "p3", "not p3", "poster", "p59", "stranger")])
    return gallery.search(probes, k=5), gallery.search(probes, k=3, group="staff"), gallery.home.counts()


def truth(file, fakes, tmp_path):
    copy = tmp_path / "without" / "people.db"
    copy.parent.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(file)) as db, contextlib.closing(sqlite3.connect(copy)) as to:
        db.backup(to)
    with Gallery.open(copy, readonly=True) as gallery:
        return answers(gallery, fakes)


def test_it_is_written_at_close_and_used_at_the_next_opening(people, fakes, read, tmp_path):
    expected = truth(people, fakes, tmp_path)
    assert read == [(PEOPLE + 1) * FACES]
    assert stat.S_IMODE(index_of(people).stat().st_mode) == 0o600
    written = index_of(people).stat().st_mtime_ns
    for readonly in (True, False):
        with Gallery.open(people, readonly=readonly) as gallery:
            assert answers(gallery, fakes) == expected
            assert gallery.home._current().index.mapped
            assert gallery.check().ok
    assert read[1:3] == [0, (PEOPLE + 1) * FACES]  # the second by `check`, which reads everything
    assert index_of(people).stat().st_mtime_ns == written  # nothing new, nothing written


def test_what_came_since_is_followed(people, fakes, read, tmp_path):
    before = index_of(people).read_bytes()
    with Gallery.open(people) as gallery:
        gallery.add("new", rows_of(fakes, "new"))
        gallery.rename("p1", "renamed")
        gallery.describe("p0", told="ignored")
    assert index_of(people).read_bytes() == before  # too little to write it again
    with Gallery.open(people) as gallery:
        assert answers(gallery, fakes) == truth(people, fakes, tmp_path)
        assert gallery.search(fakes.embedding("new", "x"), k=1)[0][0].name == "new"
        assert gallery.search(fakes.embedding("p1", "x"), k=1)[0][0].name == "renamed"
    assert max(read[:-1]) == FACES  # the last reading is the truth's


def test_removed_people_are_not_in_it(people, fakes):
    gone = [fakes.embedding("p7", str(j)).tobytes() for j in range(FACES)]
    not_p3 = fakes.embedding("not p3", "x").tobytes()
    held = index_of(people).read_bytes()
    assert all(vector in held for vector in [*gone, not_p3])
    with Gallery.open(people) as gallery:
        gallery.remove("p7")
        gallery.remove_faces([face.id for face in gallery.faces("p3") if face.negative])
    held = index_of(people).read_bytes()
    assert not any(vector in held for vector in [*gone, not_p3])
    with Gallery.open(people) as gallery:
        assert gallery.home._current().index.mapped
        assert all(c.name != "p7" for c in gallery.search(fakes.embedding("p7", "0"), k=PEOPLE + 5)[0])
        assert gallery.check().ok


def test_an_erased_person_is_in_no_file(people, fakes):
    vector = fakes.embedding("p7", "0").tobytes()
    with Gallery.open(people) as gallery:
        assert gallery.home._current().index.mapped
        receipt = erase(gallery.home, "p7")
        assert receipt.complete
        assert not index_of(people).exists()  # at once
        with pytest.raises(NotFoundError):
            gallery.subject("p7")
    assert index_of(people).exists()
    assert prove_erased(receipt, people).proven
    assert not any(vector in path.read_bytes() for path in people.parent.iterdir())


def test_an_erasure_that_was_cut_off_takes_the_index_file_along(people, fakes):
    vector = fakes.embedding("p7", "0").tobytes()
    draft = people.with_name(".people.db.index.abc")
    draft.write_bytes(b"mien-index" + vector)
    with Gallery.open(people) as gallery:
        gallery.home.remove("p7", action="erase")
        gallery.home._keeper._readonly = True  # as if killed here: nothing is written at close
    assert vector in index_of(people).read_bytes()
    with Gallery.open(people) as gallery:
        assert not any(vector in path.read_bytes() for path in people.parent.iterdir())
        assert gallery.check().ok


def test_a_snapshot_from_before_a_removal_is_not_saved(people, fakes):
    with Gallery.open(people) as other, Gallery.open(people) as gallery:
        old = other.home._current()
        receipt = erase(gallery.home, "p7")
        assert not index_file.save(people, old)
        assert not index_of(people).exists()
        assert not list(people.parent.glob(".*"))
        assert prove_erased(receipt, people).proven


def test_a_removal_while_it_is_written_stops_it(people, fakes, monkeypatch):
    """Erasing finds the draft, and what is put in place was checked under the lock."""
    index_of(people).unlink()
    real, seen = search_file._flat, []
    with Gallery.open(people) as gallery, Gallery.open(people) as other:
        old = other.home._current()

        def slow(array):
            if not seen and list(people.parent.glob(".people.db.index.*")):
                seen.append(erase(gallery.home, "p7"))
            return real(array)

        monkeypatch.setattr(search_file, "_flat", slow)
        assert not index_file.save(people, old)
    assert seen[0].complete
    assert prove_erased(seen[0], people).proven


def damaged(file, kind):
    path = index_of(file)
    if kind == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_bytes(b"hello")
    elif kind == "head":
        raw = bytearray(path.read_bytes())
        raw[60] ^= 1
        path.write_bytes(raw)
    elif kind == "rows":
        raw = bytearray(path.read_bytes())
        raw[16 * 4096 + 200] ^= 255
        path.write_bytes(raw)
    elif kind == "others may write":
        path.chmod(0o666)
    elif kind == "a link":
        path.rename(path.with_name("elsewhere"))
        path.symlink_to("elsewhere")
    elif kind == "a folder":
        path.unlink()
        path.mkdir()
    elif kind == "a pipe":
        path.unlink()
        os.mkfifo(path)
    elif kind == "somebody else's":
        os.chown(path, 12345, -1)


@pytest.mark.parametrize(
    "kind",
    ["truncated", "empty", "text", "head", "rows", "others may write", "a link", "a folder", "a pipe",
     "somebody else's"],
)  # fmt: skip
def test_what_cannot_be_used_is_ignored_and_said(people, fakes, read, tmp_path, caplog, kind):
    if kind == "somebody else's" and os.geteuid():
        pytest.skip("only the superuser may give files away")
    expected = truth(people, fakes, tmp_path)
    damaged(people, kind)
    with caplog.at_level(logging.INFO), Gallery.open(people) as gallery:
        assert answers(gallery, fakes) == expected
        assert not gallery.home._current().index.mapped
    assert [
        record.message for record in caplog.records if "people.db" in record.message and "not used" in record.message
    ]
    if kind != "a folder":  # not ours to remove
        with Gallery.open(people, readonly=True) as gallery:
            assert gallery.home._current().index.mapped
            assert answers(gallery, fakes) == expected


def test_another_gallerys_and_an_older_history_are_ignored(people, fakes, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    fork = folder / "people.db"
    shutil.copy(people, fork)  # the same gallery, and then another history
    for file, name in ((people, "mine"), (fork, "theirs")):
        with Gallery.open(file) as gallery:
            gallery.add_many([(f"{name}{i}", rows_of(fakes, f"{name}{i}")) for i in range(PEOPLE)])
    assert index_of(fork).exists()
    shutil.copy(index_of(fork), index_of(people))
    with Gallery.open(people, readonly=True) as gallery:
        assert not gallery.home._current().index.mapped
        assert gallery.search(fakes.embedding("mine3", "x"), k=1)[0][0].name == "mine3"
    with Gallery.open(people) as gallery:  # a copy from before, put back by hand, with the index left as it was
        gallery.backup(tmp_path / "back.db")
        gallery.add_many([(f"late{i}", rows_of(fakes, f"late{i}")) for i in range(PEOPLE)])
    late = index_of(people).read_bytes()
    shutil.copy(tmp_path / "back.db", people)
    index_of(people).write_bytes(late)
    with Gallery.open(people, readonly=True) as gallery:
        assert not gallery.home._current().index.mapped


def test_a_restored_backup_begins_anew(people, fakes, tmp_path):
    with Gallery.open(people) as gallery:
        gallery.backup(tmp_path / "back.db")
        gallery.add("late", rows_of(fakes, "late", 40))
        restore(tmp_path / "back.db", people)
        assert gallery.search(fakes.embedding("late", "x"), k=1)[0][0].name != "late"
        assert gallery.check().ok
    late = fakes.embedding("late", "0").tobytes()
    assert late not in index_of(people).read_bytes()


def forged(file, change):
    """An index file that fits in every respect but for what `change` does to it, checksums made right."""
    path = index_of(file)
    owner = file.stat().st_uid
    opened = read_index(path, owner=owner)
    rows, owners = opened.index.read(np.arange(opened.index.count)).copy(), opened.index.owners.copy()
    columns = {name: array.copy() for name, array in opened.columns.items()}
    change(rows, owners, columns)
    index = type(opened.index)().append(rows, owners)
    search_file.save_index(index, path, opened.note, columns=columns)


def test_a_forged_file_gives_nobody_a_name(people, fakes, caplog):
    intruder = fakes.embedding("intruder", "0")

    def as_p9(rows, owners, columns):
        rows[owners == 10] = intruder

    def another_owner(rows, owners, columns):
        owners[rows @ fakes.embedding("p9", "0") > 0.999] = 21

    def another_face(rows, owners, columns):
        columns["face ids"][-1] += 1000
        rows[-1] = intruder

    for change in (as_p9, another_owner, another_face):
        forged(people, change)
        caplog.clear()
        with Gallery.open(people, readonly=True) as gallery:
            for name in ("intruder", "p9"):
                found = gallery.identify_embeddings(fakes.embedding(name, "0"), threshold=0.6)[0]
                assert found.name == (None if name == "intruder" else "p9"), change.__name__
        if change is not another_face:  # whose ids are refused before anybody asks
            assert "is wrong" in caplog.text


def test_hostile_notes_are_refused(people, fakes):
    raw = index_of(people).read_bytes()
    with Gallery.open(people, readonly=True) as gallery:
        expected = answers(gallery, fakes)
    magic, length = raw[:16], int.from_bytes(raw[20:24], "little")
    head = json.loads(raw[28 : 28 + length])
    for note in (
        {},
        {**head["note"], "position": 5},
        {**head["note"], "position": {"face": "x"}},
        {**head["note"], "position": {**head["note"]["position"], "face": 1 << 70}},
        {**head["note"], "position": {**head["note"]["position"], "epoch": ["x"]}},
        {**head["note"], "audit": [1]},
        {**head["note"], "audit": 1 << 70},
        {**head["note"], "model": None},
        {**head["note"], "digest": None, "audit": None},
    ):
        text = json.dumps({**head, "note": note}).encode()
        new = magic + raw[16:20] + len(text).to_bytes(4, "little") + zlib.crc32(text).to_bytes(4, "little") + text
        index_of(people).write_bytes(new + b"\0" * (65536 - len(new)) + raw[65536:])
        with Gallery.open(people, readonly=True) as gallery:
            assert not gallery.home._current().index.mapped
            assert answers(gallery, fakes) == expected


def test_an_encrypted_gallery_writes_none(tmp_path, fakes):
    pytest.importorskip("cryptography")
    key = tmp_path / "master.key"
    key.write_text(bytes(range(32)).hex())
    key.chmod(0o600)
    with Gallery.open(tmp_path / "people.db", identity=fakes.IDENTITY, key=f"file:{key}") as gallery:
        gallery.add_many([(f"p{i}", rows_of(fakes, f"p{i}")) for i in range(PEOPLE)])
        assert gallery.search(fakes.embedding("p7", "x"), k=1)[0][0].name == "p7"
    assert not list(tmp_path.glob("*index*"))


@pytest.fixture
def background(monkeypatch):
    monkeypatch.setattr(index_keeping, "_BACKGROUND", True)
    monkeypatch.setattr(index_keeping, "_NEW", 8)
    monkeypatch.setattr(index_keeping, "_SHARE", 1 << 30)
    monkeypatch.setattr(index_keeping, "_PAUSE", 0.0)


@pytest.mark.usefixtures("background")
def test_it_is_written_in_the_background_and_taken_over(people, fakes):
    index_of(people).unlink()
    with Gallery.open(people) as gallery:
        gallery.add("new", rows_of(fakes, "new"))
        assert gallery.search(fakes.embedding("new", "x"), k=1)[0][0].name == "new"
        gallery.home._keeper.wait()
        assert gallery.home._current().index.mapped
        assert index_of(people).exists()
        gallery.add("newer", rows_of(fakes, "newer"))
        assert gallery.search(fakes.embedding("newer", "x"), k=1)[0][0].name == "newer"
        assert gallery.check().ok


def test_a_half_written_file_of_a_killed_process_is_removed(people, fakes):
    draft = people.with_name(".people.db.index.abc")
    draft.write_bytes(b"mien-index half")
    with Gallery.open(people) as gallery:
        gallery.remove("p7")
    assert draft.exists()  # it could be another process's
    os.utime(draft, (1, 1))
    with Gallery.open(people) as gallery:
        gallery.remove("p8")
    assert not draft.exists()


def test_answers_are_of_one_moment(people, fakes, monkeypatch):
    """Between the search and the reading of names, a person is removed and another one renamed."""
    with Gallery.open(people) as gallery, Gallery.open(people) as other:
        real, done = open_file.answered, []

        def meanwhile(*args, **kwargs):
            if not done:
                done.append(1)
                other.remove("p7")
                other.rename("p8", "eight")
            return real(*args, **kwargs)

        monkeypatch.setattr(open_file, "answered", meanwhile)
        found = gallery.search(np.stack([fakes.embedding("p7", "x"), fakes.embedding("p8", "x")]), k=5)
        assert "p7" not in {c.name for row in found for c in row}
        assert found[1][0].name == "eight"


def test_a_gallery_that_changes_all_the_time_is_answered_in_the_end(people, fakes, monkeypatch):
    with Gallery.open(people) as gallery, Gallery.open(people) as other:
        real, done = open_file.answered, []

        def meanwhile(*args, **kwargs):
            done.append(1)
            other.rename("p7" if len(done) == 1 else f"name {len(done) - 1}", f"name {len(done)}")
            return real(*args, **kwargs)

        monkeypatch.setattr(open_file, "answered", meanwhile)
        assert gallery.search(fakes.embedding("p7", "x"), k=1)[0][0].name == "name 4"
        assert len(done) == 5


WRITER = """
import sys
sys.path[:0] = [sys.argv[1]]
import numpy as np
from fakes import IDENTITY, embedding
from mien.gallery import Gallery
from mien.gallery.homes.sqlite import index_file, index_keeping
index_file.INDEX_FROM = 10
index_keeping._NEW, index_keeping._SHARE, index_keeping._PAUSE = 8, 1 << 30, 0.0
with Gallery.open(sys.argv[2], identity=IDENTITY) as gallery:
    for i in range(int(sys.argv[3])):
        gallery.add(f"w{i}", np.stack([embedding(f"w{i}", str(j)) for j in range(4)]))
        gallery.search(embedding(f"w{i}", "x"), k=1)
        if i % 7 == 3:
            gallery.remove(f"w{i - 2}")
        print(i, flush=True)
"""


def start(file, count):
    script = [sys.executable, "-c", WRITER, str(Path(__file__).parent), str(file), str(count)]
    return subprocess.Popen(script, stdout=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("background")
def test_another_process_writes_and_saves_while_this_one_reads_and_saves(people, fakes):
    with Gallery.open(people) as gallery, start(people, 60) as writer:
        seen = -1
        for line in writer.stdout:
            seen = int(line)
            found = gallery.search(fakes.embedding(f"w{seen}", "x"), k=1)[0][0]
            assert found.name == f"w{seen}" or seen % 7 == 1  # who may have been removed by now
        assert (writer.wait(), seen) == (0, 59)
        assert gallery.check().ok
    with Gallery.open(people, readonly=True) as gallery:
        assert gallery.home._current().index.mapped
        assert gallery.check().ok


@pytest.mark.parametrize("after", [0.0, 0.003, 0.01, 0.03, 0.08])
def test_a_process_that_is_killed_while_it_saves_leaves_a_file_that_fits_or_none(people, fakes, after):
    writer = start(people, 10_000)
    for _ in range(30):
        writer.stdout.readline()
    time.sleep(after)
    writer.send_signal(signal.SIGKILL)
    writer.stdout.close()
    writer.wait()
    for readonly in (True, False, True):
        with Gallery.open(people, readonly=readonly) as gallery:
            assert gallery.check().ok
            names = {subject.name for subject in gallery.home.subjects()}
            assert {f"p{i}" for i in range(PEOPLE)} <= names
            assert gallery.search(fakes.embedding("w20", "x"), k=1)[0][0].name == "w20"
    with contextlib.closing(sqlite3.connect(people)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
