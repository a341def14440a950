"""Files of version 2, plain and encrypted, get room for a second model; nothing else changes."""

from __future__ import annotations

import contextlib
import importlib.util
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from mien.errors import GalleryFileError
from mien.gallery import Gallery
from mien.gallery.homes.sqlite import restore, schema
from mien.gallery.sealing import PLAIN

_spec = importlib.util.spec_from_file_location("version_2", Path(__file__).with_name("version_2.py"))
version_2 = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(version_2)


@pytest.fixture
def people(fakes):
    return {
        name: [(f"{name}/{i}.jpg", f"{i:064x}" if i else None, fakes.embedding(name, str(i))) for i in range(3)]
        for name in ("Ada", "Zoë 面")
    }


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def sealers(request, tmp_path):
    """Makes the sealer of this gallery, new each time, for it is closed with the home."""
    if not request.param:
        return lambda: PLAIN
    pytest.importorskip("cryptography", reason="needs cryptography: pip install 'mien[crypto]'")
    from mien.gallery.privacy.master import MasterKey
    from mien.gallery.privacy.sealer import EncryptedSealer

    keys = tmp_path / "people.db.keys"
    return lambda: EncryptedSealer(keys, MasterKey("m", bytes(range(32))), create=not keys.exists())


@pytest.fixture
def old(tmp_path, fakes, people, sealers):
    sealer = sealers()
    version_2.write(tmp_path / "people.db", fakes.IDENTITY, people, sealer=sealer)
    sealer.close()
    return tmp_path / "people.db"


def version(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA user_version").fetchone()[0]


def test_the_generator_writes_what_version_2_was(old):
    with contextlib.closing(sqlite3.connect(old)) as db:
        tables = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite%'"))
    assert tables == schema.TABLES[2]


def test_everything_stays(old, fakes, people, sealers):
    with Gallery.open(old, sealer=sealers()) as gallery:
        assert gallery.identity == fakes.IDENTITY
        for name, faces in people.items():
            kept = gallery.faces(name)
            assert [(f.picture, f.sha256) for f in kept] == [face[:2] for face in faces]
            vectors = gallery.home.embeddings([f.id for f in kept])
            np.testing.assert_array_equal(vectors, np.stack([face[-1] for face in faces]))
        assert gallery.home.staged() is None
        assert gallery.check().problems == ()
        assert list(gallery.audit()) == []
    assert version(old) == schema.VERSION


def test_a_wrong_key_changes_nothing(old, sealers):
    if sealers() is PLAIN:
        pytest.skip("a plain gallery has no key")
    with pytest.raises(GalleryFileError, match="is encrypted"):
        Gallery.open(old)
    assert version(old) == 2


def test_readonly_changes_nothing(old, sealers):
    before = old.read_bytes()
    with pytest.raises(GalleryFileError, match=r"older version 2.*without readonly"):
        Gallery.open(old, readonly=True, sealer=sealers())
    assert old.read_bytes() == before


def test_a_backup_of_version_2_is_restored_under_todays_gallery(old, tmp_path, sealers, fakes):
    with Gallery.open(tmp_path / "new.db", identity=fakes.IDENTITY) as gallery:
        gallery.add("somebody else", fakes.embedding("x"))
        if sealers() is not PLAIN:
            return
        restore(old, tmp_path / "new.db")
        assert [s.name for s in gallery.subjects()] == ["Ada", "Zoë 面"]
        assert gallery.check().problems == ()
    assert version(old) == 2
