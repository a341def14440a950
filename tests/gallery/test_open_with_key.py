"""`Gallery.open(..., key=...)`: an encrypted gallery by the one word that says where its master key is."""

from __future__ import annotations

import pytest

from mien.errors import GalleryError, GalleryFileError, NotFoundError, UnsupportedError
from mien.gallery import Gallery

pytest.importorskip("cryptography", reason="needs cryptography: pip install 'mien[crypto]'")


@pytest.fixture
def key(tmp_path):
    from mien.gallery.privacy.master import new_master_key

    return new_master_key(f"file:{tmp_path / 'master.key'}").source


@pytest.fixture
def secret(tmp_path, fakes, key):
    with Gallery.open(tmp_path / "s.db", key=key, identity=fakes.IDENTITY) as gallery:
        gallery.add("Ada Lovelace", fakes.embedding("Ada")[None])
    return tmp_path / "s.db"


def test_it_opens_with_its_key_and_says_nothing_without(secret, key):
    with Gallery.open(secret, key=key, readonly=True) as gallery:
        assert [s.name for s in gallery.subjects()] == ["Ada Lovelace"]
        with pytest.raises(GalleryError, match="readonly"):
            gallery.remove("Ada Lovelace")
    with pytest.raises(GalleryFileError, match="is encrypted"):
        Gallery.open(secret)
    assert not [f for f in secret.parent.glob("s.db*") if b"Lovelace" in f.read_bytes()]


def test_another_key_or_none_there_opens_nothing(secret, tmp_path):
    from mien.gallery.privacy.master import new_master_key

    other = new_master_key(f"file:{tmp_path / 'other.key'}").source
    with pytest.raises(GalleryFileError, match="key"):
        Gallery.open(secret, key=other)
    with pytest.raises(NotFoundError):
        Gallery.open(secret, key="env:MIEN_NO_SUCH_KEY")


def test_a_lost_key_file_is_not_made_anew(secret, key):
    (secret.parent / "s.db.keys").unlink()
    with pytest.raises(NotFoundError):
        Gallery.open(secret, key=key)
    assert not (secret.parent / "s.db.keys").exists()


def test_a_plain_gallery_is_not_opened_with_a_key(tmp_path, fakes, key):
    with Gallery.open(tmp_path / "p.db", identity=fakes.IDENTITY) as gallery:
        gallery.add("Ada", fakes.embedding("Ada")[None])
    with pytest.raises((GalleryFileError, NotFoundError)):
        Gallery.open(tmp_path / "p.db", key=key)
    assert not (tmp_path / "p.db.keys").exists()


@pytest.mark.parametrize("place", [":memory:", "postgresql://mien:hunter2@db.example.org/faces", "milvus://h"])
def test_places_that_cannot_be_encrypted_say_so_and_repeat_no_password(place, key):
    with pytest.raises(UnsupportedError, match="no encrypted gallery") as caught:
        Gallery.open(place, key=key)
    assert "hunter2" not in str(caught.value)
