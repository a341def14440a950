"""What is Milvus's alone: its URL, answers that it cuts off, long values in parts, a change that was cut off."""

from __future__ import annotations

import numpy as np
import pytest

from mien.errors import GalleryFileError, InputError
from mien.gallery.homes import open_home
from mien.gallery.homes.milvus import link
from mien.gallery.homes.milvus.address import parse
from mien.gallery.records import FaceRecord


def test_urls_are_taken_apart():
    address = parse("milvus://u:p%40ss@host:1/db?secure=true&prefix=x&index=flat&m=8&timeout=5")
    assert (address.uri, address.token, address.database) == ("https://host:1", "u:p@ss", "db")
    assert (address.prefix, address.index, address.m, address.timeout) == ("x", "FLAT", 8, 5.0)
    assert address.source == "milvus://u@host:1/db?prefix=x"
    assert "p@ss" not in repr(address)
    assert address.hushed("bad u:p@ss or p@ss") == "bad *** or ***"
    lite = parse("milvus:///a/b.db")
    assert (str(lite.path), lite.index, lite.source) == ("/a/b.db", "FLAT", "milvus:///a/b.db")
    assert parse("milvus://host").uri == "http://host:19530"


@pytest.mark.parametrize(
    "url",
    ["milvus://", "milvus:///", "milvus://h:x/d", "milvus://h/d?index=x", "milvus://h/d?m=-1",
     "milvus://h/d?prefix=A b", "milvus://h/d?what=secret9", "milvus://h/d?timeout=x", "milvus://u:secret9@h:1:2/d"],
)  # fmt: skip
def test_urls_that_cannot_be_are_refused(url):
    with pytest.raises(InputError) as refused:
        parse(url)
    assert "secret9" not in str(refused.value)


def test_a_server_that_is_not_there_is_told_without_the_password():
    pytest.importorskip("pymilvus")
    with pytest.raises(GalleryFileError, match="cannot be reached") as caught:
        open_home("milvus://ada:secret9@localhost:1/people?timeout=2")
    assert "secret9" not in str(caught.value)


def test_more_rows_than_one_answer_holds(milvus_url, fakes, monkeypatch):
    monkeypatch.setattr(link, "_ROWS_A_REQUEST", 10)
    monkeypatch.setattr(link, "_WIDE_ROWS", 7)
    monkeypatch.setattr(link, "_IDS_A_REQUEST", 6)
    with open_home(milvus_url()) as home:
        faces = [FaceRecord(fakes.embedding("Ada", str(i)), f"{i}") for i in range(25)]
        home.add(
            [("Ada", faces), *((str(i), [FaceRecord(fakes.embedding(str(i)), "x")]) for i in range(13))], fakes.IDENTITY
        )
        home.remove("3")
        assert home.subject("Ada").pictures == tuple(map(str, range(25)))
        assert len(home.subjects()) == 13
        ids = [face.id for face in home.faces("Ada")]
        np.testing.assert_array_equal(home.embeddings(ids), [face.embedding for face in faces])
        assert [face.id for batch in home.batches(size=5) for face in batch.faces] == [
            i for i in range(1, 39) if i != 29
        ]
        assert home.remove_faces(ids) == 25
        assert home.counts().faces == 12


def test_a_large_crop_is_kept_in_parts(milvus_url, fakes):
    crop = np.random.default_rng(0).bytes(200_001)
    with open_home(milvus_url()) as home:
        home.add([("Ada", [FaceRecord(fakes.embedding("Ada"), "x", crop=crop)])], fakes.IDENTITY)
        (face,) = home.faces("Ada")
        assert home.crop(face.id) == crop
        home.remove("Ada")
        assert home._link.rows_in("kept", "key", [f"crop/{face.id}/0"], ("key",)) == []


def test_a_face_that_a_cut_off_change_left_to_nobody_is_left_out(milvus_url, fakes):
    with open_home(milvus_url()) as home:
        home.add([(n, [FaceRecord(fakes.embedding(n), n)]) for n in ("Ada", "Grace")], fakes.IDENTITY)
        home._link.drop("subjects", [home.subject("Ada").id])
        assert [c.name for c in home.search(fakes.embedding("Ada")[None], k=5)[0]] == ["Grace"]
        assert [face.picture for batch in home.batches() for face in batch.faces] == ["Grace"]
