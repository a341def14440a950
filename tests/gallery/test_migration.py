"""Files of version 1 are brought up to date, whole or not at all."""

from __future__ import annotations

import contextlib
import importlib.util
import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest

from mien.errors import GalleryFileError
from mien.gallery import Gallery
from mien.gallery.homes.sqlite import migrations, schema

_spec = importlib.util.spec_from_file_location("version_1", Path(__file__).with_name("version_1.py"))
version_1 = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(version_1)


@pytest.fixture
def people(fakes):
    def face(name, i):
        box = (1.5, 2.0, 30.25, 40.0) if i % 2 else None
        return (
            f"{name}/{i}.jpg",
            f"{i:064x}" if i else None,
            box,
            0.75 if box else None,
            fakes.embedding(name, str(i)),
        )

    names = ["Ada", "Zoë 面", "gone in between", "p\udcff".encode("utf-8", "replace").decode(), "gone at the end"]
    return {name: [face(name, i) for i in range(5)] for name in names}


@pytest.fixture
def old(tmp_path, fakes, people):
    return version_1.write(
        tmp_path / "people.db", fakes.IDENTITY, people, removed=("gone in between", "gone at the end")
    )


def test_the_generator_writes_what_version_1_was(old):
    with contextlib.closing(sqlite3.connect(old)) as db:
        tables = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite%'"))
        assert tables == schema.TABLES[1]


def test_everything_is_carried_over(old, fakes, people):
    with Gallery.open(old) as gallery:
        assert gallery.identity == fakes.IDENTITY
        assert [(s.id, s.name, s.created) for s in gallery.subjects()] == [
            (1, "Ada", 1.7e9), (2, "Zoë 面", 1.7e9 + 1), (4, "p?", 1.7e9 + 3),
        ]  # fmt: skip
        for name in ("Ada", "Zoë 面", "p?"):
            kept = gallery.faces(name)
            assert [
                (f.picture, f.sha256, f.face.box if f.face else None, f.face.score if f.face else None) for f in kept
            ] == [face[:4] for face in people[name]]
            assert all((f.quality, f.negative, f.crop, f.enrolled) == (None, False, False, 1.7e9) for f in kept)
            vectors = gallery.home.embeddings([f.id for f in kept])
            np.testing.assert_array_equal(vectors, np.stack([face[-1] for face in people[name]]))
            assert gallery.subject(name).told == "person"
        assert gallery.identify_embeddings(fakes.embedding("Ada", "x"), threshold=0.6)[0].name == "Ada"
        assert [(e.seq, e.action, e.count) for e in gallery.audit()] == [(1, "upgrade", 15)]
        pseudonyms = {gallery.home.pseudonym_of(s.name) for s in gallery.subjects()}
        assert {len(p) for p in pseudonyms} == {32}
        assert len(pseudonyms) == 3
        assert gallery.check().problems == ()
        # Numbers that were ever given out are not given out again.
        assert gallery.add("new", fakes.embedding("new")).id == 6
        assert gallery.faces("new")[0].id == 26
    assert stat.S_IMODE(old.stat().st_mode) == 0o644  # as it was; a new one is 0600


def test_a_content_is_still_known(old, fakes):
    with Gallery.open(old) as gallery:
        assert gallery.add("Ada", fakes.embedding("Ada", "9"), sha256=[f"{3:064x}"]).faces == 5
        assert gallery.home.owners_of(f"{3:064x}") == ["Ada", "Zoë 面", "p?"]


def test_readonly_says_what_to_do_and_changes_nothing(old):
    before = old.read_bytes()
    with pytest.raises(GalleryFileError, match=r"older version 1.*without readonly"):
        Gallery.open(old, readonly=True)
    assert old.read_bytes() == before


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("CREATE TRIGGER t AFTER INSERT ON subjects BEGIN DELETE FROM faces; END", "not the tables of a gallery"),
        ("CREATE VIEW v AS SELECT 1", "not the tables of a gallery"),
        ("UPDATE faces SET embedding = x'00' WHERE id = 2", "another length"),
        ("DELETE FROM subjects WHERE id = 1", "damaged"),
    ],
)
def test_a_hostile_or_damaged_old_file_is_refused(old, sql, says):
    with contextlib.closing(sqlite3.connect(old, isolation_level=None)) as db:
        db.execute(sql)
    with pytest.raises(GalleryFileError, match=says):
        Gallery.open(old)


def test_it_is_one_transaction(old, monkeypatch):
    def fails(*_):
        raise RuntimeError

    monkeypatch.setattr(migrations, "append_audit", fails)  # the last step
    with pytest.raises(RuntimeError):
        Gallery.open(old)
    with contextlib.closing(sqlite3.connect(old)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM faces").fetchone() == (15,)
    monkeypatch.undo()
    with Gallery.open(old) as gallery:
        assert len(gallery) == 3


def test_an_unknown_version_is_refused(old):
    for version in (0, schema.VERSION + 1, 99):
        with contextlib.closing(sqlite3.connect(old, isolation_level=None)) as db:
            db.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(GalleryFileError, match=f"version {version}"):
            Gallery.open(old)
