"""Folders into packed files and back: byte for byte, whole or not at all, and never outside the folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from mien.data import recordio, tfrecord
from mien.data.samples import Sample
from mien.errors import InputError, NotFoundError
from mien.images import save
from mien.models.session import available_cores
from mien.prepare import packing
from mien.prepare.packing import pack
from mien.prepare.reencoding import Reencoding
from mien.prepare.unpacking import read_packed, unpack
from mien.types import Image

SUFFIXES = ["rec", "tfrecord", "tar", "parquet"]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for person, count in (("Ada Lovelace", 3), ("张伟", 2), ("Zoë [*]", 4)):
        (tmp_path / "in" / person).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (20, 16, 3), np.uint8)
            save(Image(pixels), tmp_path / "in" / person / f"图 {i}.{'png' if i % 2 else 'jpg'}")
    return tmp_path / "in"


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("shard_bytes", [None, 1500])
def test_there_and_back_byte_for_byte(folder, tmp_path, suffix, shard_bytes):
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    if suffix == "rec" and shard_bytes:
        with pytest.raises(InputError, match="one file for RecordIO"):
            pack(folder, tmp_path / "set.rec", shard_bytes=shard_bytes)
        return
    seen = []
    packed = pack(folder, tmp_path / f"set [1].{suffix}", shard_bytes=shard_bytes, advance=seen.append)
    assert packed.samples == sum(seen) == 9
    assert packed.people == ("Ada Lovelace", "Zoë [*]", "张伟")
    assert (len(packed.files) > 4) == bool(shard_bytes)
    samples = list(read_packed(tmp_path / f"set [1].{suffix}"))
    assert [s.label for s in samples] == [0, 0, 0, 1, 1, 1, 1, 2, 2]
    back = unpack(tmp_path / f"set [1].{suffix}", tmp_path / "out")
    assert content(tmp_path / "out") == content(folder)
    assert (back.samples, back.people) == (9, packed.people)
    again = unpack(tmp_path / f"set [1].{suffix}", tmp_path / "out")  # a stopped run goes on
    assert again.samples == 9
    assert not list(tmp_path.glob("**/.mien-*"))


def test_changed_pictures_keep_their_order_and_are_made_as_they_are_needed(folder, tmp_path):
    seen, most = [], 0

    def change(data, path):
        nonlocal most
        most = max(most, len(begun) - len(seen))
        begun.append(path)
        time.sleep(0.01 * (len(begun) % 3))  # some take longer than those after them
        return data[:3] + path.name.encode(), ".jpg"

    begun = []
    for i in range(60):
        (folder / "Ada Lovelace" / f"more {i}.jpg").write_bytes(b"\xff\xd8\xff")
    packed = pack(folder, tmp_path / "set.tar", change=change, advance=seen.append)
    samples = list(read_packed(tmp_path / "set.tar"))
    assert packed.samples == len(samples) == len(begun) == 69
    original = list(read_packed(pack(folder, tmp_path / "kept.tar").files[0]))
    assert [s.label for s in samples] == [s.label for s in original]
    for sample, kept in zip(samples, original, strict=True):
        assert sample.key == f"{kept.key.rpartition('.')[0]}.jpg"
        assert bytes(sample.picture).endswith(kept.key.rpartition("/")[2].encode())
    assert most <= 8 * available_cores() + 1


def test_a_picture_that_cannot_be_changed_is_named_and_nothing_is_left(folder, tmp_path):
    (folder / "Ada Lovelace" / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        pack(folder, tmp_path / "set.rec", change=Reencoding())
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_a_failure_leaves_nothing_behind(folder, tmp_path):
    (folder / "张伟" / "empty.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.jpg"):
        pack(folder, tmp_path / "set.rec")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_names_of_people_come_from_the_file_beside(folder, tmp_path):
    pack(folder, tmp_path / "set.rec")
    (tmp_path / "set.lst").unlink()
    assert unpack(tmp_path / "set.rec", tmp_path / "out").people == ("Ada Lovelace", "Zoë [*]", "张伟")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["0", "1", "2"]


def test_another_picture_in_the_way_is_not_overwritten(folder, tmp_path):
    pack(folder, tmp_path / "set.tar")
    (tmp_path / "out" / "Ada Lovelace").mkdir(parents=True)
    (tmp_path / "out" / "Ada Lovelace" / "图 0.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match="another picture"):
        unpack(tmp_path / "set.tar", tmp_path / "out")
    assert (tmp_path / "out" / "Ada Lovelace" / "图 0.jpg").read_bytes() == b"mine"


def content_of_all(folder):
    return {p: p.is_file() and p.read_bytes() for p in folder.rglob("*")}


@pytest.mark.parametrize("shard_bytes", [None, 1500])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_dry_run_tells_what_the_run_then_does_and_writes_nothing(folder, tmp_path, suffix, shard_bytes):
    if suffix == "rec" and shard_bytes:
        return
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    before = content_of_all(tmp_path)
    told = pack(folder, tmp_path / f"set.{suffix}", shard_bytes=shard_bytes, dry_run=True)
    assert content_of_all(tmp_path) == before
    assert told == pack(folder, tmp_path / f"set.{suffix}", shard_bytes=shard_bytes)
    before = content_of_all(tmp_path)
    told = unpack(tmp_path / f"set.{suffix}", tmp_path / "out", dry_run=True)
    assert content_of_all(tmp_path) == before
    assert told == unpack(tmp_path / f"set.{suffix}", tmp_path / "out")
    (tmp_path / "out" / "张伟" / "图 1.png").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"another picture is there already; choose an empty folder$"):
        unpack(tmp_path / f"set.{suffix}", tmp_path / "out", dry_run=True)


@pytest.mark.parametrize(("before", "now"), [(1500, 4000), (None, 1500), (1500, None)])
def test_files_of_another_pack_are_not_read_along(folder, tmp_path, before, now):
    packed = pack(folder, tmp_path / "a.tar", shard_bytes=before)
    other = pack(folder, tmp_path / "a-masked.tar", shard_bytes=1500)
    there = content_of_all(tmp_path)
    for more in ({"dry_run": True}, {}):
        with pytest.raises(InputError, match=r"a[-0-9]*\.tar.*: would be read as part of a\.tar"):
            pack(folder, tmp_path / "a.tar", shard_bytes=now, **more)
    assert content_of_all(tmp_path) == there
    pack(folder, tmp_path / "a.tar", shard_bytes=now, force=True, dry_run=True)
    assert content_of_all(tmp_path) == there
    files = pack(folder, tmp_path / "a.tar", shard_bytes=now, force=True).files
    assert {p.name for p in tmp_path.glob("*.tar")} == {Path(p).name for p in files + other.files if p[-1] == "r"}
    assert len(list(read_packed(tmp_path / "a.tar"))) == packed.samples


def test_a_set_whose_name_begins_as_another_is_not_read_along(folder, tmp_path):
    packed = pack(folder, tmp_path / "lfw.tar", shard_bytes=1500)
    pack(folder, tmp_path / "lfw-masked.tar", shard_bytes=1500)
    assert len(list(read_packed(tmp_path / "lfw.tar"))) == packed.samples
    pack(folder, tmp_path / "lfw.tar", shard_bytes=1500)  # over its own files


def test_more_shards_than_names_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_MOST_SHARDS", 2)
    for more in ({"dry_run": True}, {}):
        with pytest.raises(InputError, match="2 shards are the most"):
            pack(folder, tmp_path / "a.tar", shard_bytes=1, **more)
    assert not list(tmp_path.glob("*.tar"))


def test_two_pictures_of_one_place_are_refused_by_a_dry_run_too(tmp_path):
    def of(*pictures):
        with (tmp_path / "x.tfrecord").open("wb") as file:
            tfrecord.write_tfrecord(file, [Sample("a/1.jpg", 0, "a", b"\xff\xd8\xff" + p) for p in pictures])

    of(b"1", b"1")
    for dry_run in (True, False):
        assert unpack(tmp_path / "x.tfrecord", tmp_path / "same", dry_run=dry_run).samples == 2
    of(b"1", b"2")
    with pytest.raises(InputError, match="two pictures have this place"):
        unpack(tmp_path / "x.tfrecord", tmp_path / "out", dry_run=True)
    with pytest.raises(InputError, match="another picture is there"):
        unpack(tmp_path / "x.tfrecord", tmp_path / "out")


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_link_to_itself_is_refused_as_a_folder(folder, tmp_path):
    pack(folder, tmp_path / "set.tar")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="loop"):
        unpack(tmp_path / "set.tar", tmp_path / "loop")


def test_an_error_tells_what_was_unpacked_before_it(folder, tmp_path):
    packed = pack(folder, tmp_path / "set.tar")
    whole = (tmp_path / "set.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"the first (\d) files of it are in .*out") as caught:
        unpack(tmp_path / "cut.tar", tmp_path / "out")
    written = content(tmp_path / "out")
    assert f"the first {len(written)} files" in str(caught.value)
    assert 0 < len(written) < packed.samples
    (tmp_path / "none.tar").write_bytes(b"no tar")
    with pytest.raises(InputError) as caught:
        unpack(tmp_path / "none.tar", tmp_path / "out 2")
    assert "files of it" not in str(caught.value)


def test_links_in_the_folder_lead_nowhere(folder, tmp_path):
    pack(folder, tmp_path / "set.tar")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "Ada Lovelace").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(InputError, match="leads out"):
        unpack(tmp_path / "set.tar", tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_hostile_label_does_not_fill_the_memory(tmp_path):
    with (tmp_path / "x.tfrecord").open("wb") as file:
        tfrecord.write_tfrecord(file, [Sample("a/1.jpg", (1 << 62), "a", b"\xff\xd8\xff")])
    with pytest.raises(InputError, match="leaves too many"):
        unpack(tmp_path / "x.tfrecord", tmp_path / "out")


def test_a_missing_file_and_an_unknown_suffix_are_named(tmp_path, folder):
    with pytest.raises(NotFoundError, match="no such file"):
        unpack(tmp_path / "none.tar", tmp_path / "out")
    for work in (lambda: pack(folder, tmp_path / "set.zip"), lambda: unpack(tmp_path / "set.zip", tmp_path / "out")):
        with pytest.raises(InputError, match=r"ends in \.rec, .*, or \.bin for pairs"):
            work()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        pack(tmp_path / "empty", tmp_path / "set.rec")


def test_rec_read_is_the_one_written(folder, tmp_path):
    pack(folder, tmp_path / "set.rec")
    assert list(recordio.read_recordio(tmp_path / "set.rec")) == list(read_packed(tmp_path / "set.rec"))
