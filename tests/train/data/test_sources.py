"""Formats give the same set; broken files say what is wrong."""

from __future__ import annotations

import dataclasses
import pickle
import random
import tracemalloc
from collections import Counter

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.data.insightface_bin import write_bin
from mien.errors import ImageError, InputError, NotFoundError
from mien.images import decode, list_images
from mien.images.augment import equalise, evened
from mien.prepare.packing import pack
from mien.train.backbones import InputSpec
from mien.train.data import Source, open_training_set
from mien.train.data.packed_index import packed_pictures

COUNTS = {"Ada": 7, "Ben": 1, "Cho": 12, "Dia": 4, "Eve": 9}
FORMATS = ("rec", "tfrecord", "tar", "parquet")


def opened(*paths, spec, **more):
    return open_training_set([Source(path=str(path), aligned=True) for path in paths], spec=spec, **more)


def test_a_folder_is_numbered_by_name_and_its_pictures_are_resized(people, spec):
    data = opened(people, spec=spec)
    assert data.people == tuple(COUNTS)
    assert np.bincount(data.labels).tolist() == list(COUNTS.values())
    assert data.origins.tolist() == [0] * 33
    for i, path in enumerate(list_images(people)):
        expected = cv2.resize(decode(path).pixels, (32, 32), interpolation=cv2.INTER_AREA)
        assert np.array_equal(data.picture(i), expected)
        assert data.name(i) == str(path)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("cached", [False, True])
def test_every_format_is_the_folder_it_was_made_from(people, packed, suffix, cached, spec, tmp_path):
    folder = opened(people, spec=spec)
    for _ in range(1 + cached):  # the second time from the index
        data = opened(packed[suffix], spec=spec, cache=tmp_path if cached else None)
        assert data.people == folder.people
        assert np.array_equal(data.labels, folder.labels)
        order = list(range(len(data)))
        random.Random(3).shuffle(order)
        assert all(np.array_equal(data.picture(i), folder.picture(i)) for i in order)
    assert str(packed[suffix].parent) in data.name(5)
    assert len(list(tmp_path.iterdir())) == cached


def test_an_idx_means_its_rec_and_a_kind_may_be_said(packed, spec, tmp_path):
    assert len(opened(packed["rec"].with_suffix(".idx"), spec=spec)) == 33
    other = tmp_path / "set.data"
    other.write_bytes(packed["tfrecord"].read_bytes())
    with pytest.raises(InputError, match="say its kind"):
        opened(other, spec=spec)
    assert len(open_training_set([Source(path=str(other), kind="tfrecord", aligned=True)], spec=spec)) == 33


def test_a_damaged_index_is_made_anew(packed, tmp_path):
    packed_pictures(packed["tar"], "webdataset", cache=tmp_path)
    (index,) = tmp_path.iterdir()
    good = index.read_bytes()
    for bad in (b"", b"no zip", good[: len(good) // 2]):
        index.write_bytes(bad)
        assert len(packed_pictures(packed["tar"], "webdataset", cache=tmp_path)) == 33
        assert index.read_bytes() != bad
    with np.load(index) as kept:
        parts = dict(kept)
    for name, change in (("places", -5), ("labels", 99), ("shards", 77)):
        np.savez(tmp_path / "bad.npz", **{**parts, name: parts[name] + change})
        index.write_bytes((tmp_path / "bad.npz").read_bytes())
        assert packed_pictures(packed["tar"], "webdataset", cache=tmp_path).labels.max() == 4


def test_a_changed_set_is_read_again(people, tmp_path, write_people, spec):
    target = tmp_path / "set.tar"
    pack(people, target)
    assert len(opened(target, spec=spec, cache=tmp_path / "cache")) == 33
    pack(write_people(tmp_path / "few", {"Ada": 2, "Zoe": 3}), target)
    assert opened(target, spec=spec, cache=tmp_path / "cache").people == ("Ada", "Zoe")


@pytest.mark.parametrize("codec", ["snappy", "zstd"])
def test_compressed_parquet_of_some_size_is_kept_in_memory(people, tmp_path, spec, codec):
    import pyarrow.parquet as pq

    pack(people, tmp_path / "plain.parquet")
    pq.write_table(pq.read_table(tmp_path / "plain.parquet"), tmp_path / "set.parquet", compression=codec)
    folder, data = opened(people, spec=spec), opened(tmp_path / "set.parquet", spec=spec)
    assert all(np.array_equal(data.picture(i), folder.picture(i)) for i in range(33))


def test_compressed_parquet_beyond_memory_is_refused(people, tmp_path, spec, monkeypatch):
    import pyarrow.parquet as pq

    pack(people, tmp_path / "plain.parquet")
    pq.write_table(pq.read_table(tmp_path / "plain.parquet"), tmp_path / "set.parquet", compression="zstd")
    monkeypatch.setattr("mien.train.data.packed_index._KEPT", 5000)
    with pytest.raises(InputError, match="without compression"):
        opened(tmp_path / "set.parquet", spec=spec)


def test_records_that_hold_the_magic_number_are_put_together(tmp_path, spec, write_people):
    """RecordIO cuts a payload where its own magic number occurs at a multiple of four."""
    import struct

    from mien.data.recordio import MAGIC

    folder = write_people(tmp_path / "people", {"Ada": 3, "Ben": 2}, suffix=".png")
    victim = folder / "Ada" / "0001.png"
    data = victim.read_bytes()
    # In a text chunk behind the header (33 bytes) and chunk head, at every offset modulo 4.
    text = b"k\0" + b"".join(struct.pack("<I", MAGIC) + b"x" for _ in range(8))
    import zlib

    chunk = struct.pack(">I", len(text)) + b"tEXt" + text + struct.pack(">I", zlib.crc32(b"tEXt" + text))
    victim.write_bytes(data[:33] + chunk + data[33:])
    pack(folder, tmp_path / "set.rec")
    found = packed_pictures(tmp_path / "set.rec", "rec")
    assert found.encoded(1) == victim.read_bytes()
    assert victim.read_bytes() not in (tmp_path / "set.rec").read_bytes()
    assert len(opened(tmp_path / "set.rec", spec=spec)) == 5


def test_lists(people, tmp_path, spec):
    pictures = list_images(people)
    folder = opened(people, spec=spec)
    for form in ("{path}\t{label}", "{path} {label}", "{path},{label}", "{n}\t{label}.000000\t{path}", "{path} {name}"):
        lines = [
            form.format(path=p, label=label, name=folder.people[label], n=n)
            for n, (p, label) in enumerate(zip(pictures, folder.labels.tolist(), strict=True))
        ]
        (tmp_path / "list.txt").write_text("# a comment\n\n" + "\n".join(lines) + "\n")
        data = opened(tmp_path / "list.txt", spec=spec)
        assert np.array_equal(data.labels, folder.labels)
        assert np.array_equal(data.picture(20), folder.picture(20))
        assert data.people == (folder.people if "name" in form else ("",) * 5)
    relative = people / "rel.lst"
    relative.write_text("Ben/0000.jpg\t7\nAda/0001.jpg\t3\nBen/0000.jpg\t7\n")
    try:
        data = opened(relative, spec=spec)
        assert data.labels.tolist() == [0, 1, 0]
        assert np.array_equal(data.picture(1), folder.picture(1))
    finally:
        relative.unlink()


@pytest.mark.parametrize("line", ["only-a-path.jpg", "a.jpg\t1\t2\t3", "a.jpg\t", "x" * 9000 + " 1", "a\0.jpg 1"])
def test_lists_of_other_things_are_refused_with_the_line(tmp_path, spec, line):
    (tmp_path / "list.txt").write_text(f"good.jpg 1\n{line}\n")
    with pytest.raises(InputError, match="line 2"):
        opened(tmp_path / "list.txt", spec=spec)


def test_people_are_numbered_over_sources(people, packed, spec, tmp_path, write_people):
    other = write_people(tmp_path / "other", {"Eve": 2, "Fay": 3})
    apart = opened(people, other, spec=spec)
    assert len(apart.people) == 7
    assert apart.shared_names == 1
    assert apart.labels[-5:].tolist() == [5, 5, 6, 6, 6]
    assert apart.origins.tolist() == [0] * 33 + [1] * 5
    one = opened(people, other, spec=spec, same_names=True)
    assert one.people == (*COUNTS, "Fay")
    assert one.labels[-5:].tolist() == [4, 4, 5, 5, 5]
    assert Counter(one.labels.tolist())[4] == 11
    assert np.array_equal(one.picture(35), opened(other, spec=spec).picture(2))


def test_numbers_are_never_one_person_in_two_sources(people, tmp_path, spec):
    (tmp_path / "list.txt").write_text("".join(f"{p} {i}\n" for i, p in enumerate(list_images(people)[:3])))
    data = opened(tmp_path / "list.txt", tmp_path / "list.txt", spec=spec, same_names=True)
    assert data.labels.tolist() == [0, 1, 2, 3, 4, 5]


def test_grey_and_evened_pictures(people):
    rgb, grey = (opened(people, spec=InputSpec.plain(32, colour)) for colour in ("rgb", "grey"))
    assert grey.picture(3).shape == (32, 32, 1)
    assert np.array_equal(grey.picture(3)[:, :, 0], cv2.cvtColor(rgb.picture(3), cv2.COLOR_RGB2GRAY))
    for evening in (("gamma",), ("clahe",), ("self-quotient",), ("gamma", "clahe")):
        for plain in (rgb, grey):
            even = opened(people, spec=dataclasses.replace(plain.spec, evening=evening))
            assert np.array_equal(even.picture(3), evened(plain.picture(3), evening))
            assert not np.array_equal(even.picture(3), plain.picture(3))
            assert np.array_equal(even.uneven().picture(3), plain.picture(3))
            assert np.array_equal(pickle.loads(pickle.dumps(even.pictures)).picture(3), even.picture(3))


def test_a_set_cut_to_a_closer_template_is_its_pictures_middles(people):
    whole = opened(people, spec=InputSpec.plain(32))
    closer = InputSpec.plain(16, closer=1.6)
    cut = whole.cut_to(closer)
    assert cut.spec is closer
    assert (cut.people, cut.labels.tolist()) == (whole.people, whole.labels.tolist())
    middle = whole.picture(3)[6:26, 6:26]  # 32 / 1.6 pixels show as much
    assert np.array_equal(cut.picture(3), cv2.resize(middle, (16, 16), interpolation=cv2.INTER_LINEAR))
    assert np.array_equal(pickle.loads(pickle.dumps(cut.pictures)).picture(3), cut.picture(3))
    assert whole.cut_to(InputSpec.plain(32)) is whole
    grey = opened(people, spec=dataclasses.replace(InputSpec.plain(32, "grey"), evening=("gamma",)))
    middle = grey.cut_to(InputSpec.plain(16, "grey", closer=1.6))
    assert middle.picture(3).shape == (16, 16, 1)
    assert np.array_equal(middle.picture(3)[:, :, 0], cv2.resize(grey.picture(3)[6:26, 6:26], (16, 16)))
    assert not np.array_equal(middle.uneven().picture(3), middle.picture(3))


def test_evened_pictures_are_not_kept_so_that_the_cache_serves_any_light(people, tmp_path):
    spec = InputSpec.plain(32)
    plain = opened(people, spec=spec, cache=tmp_path, decode_once=True)
    before = sorted(path.name for path in tmp_path.iterdir())
    even = opened(people, spec=dataclasses.replace(spec, evening=("clahe",)), cache=tmp_path, decode_once=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert np.array_equal(even.picture(3), equalise(plain.picture(3)))


def test_a_set_can_be_pickled_for_workers(packed, people, spec, tmp_path):
    data = opened(people, packed["tar"], packed["rec"], spec=spec, cache=tmp_path)
    stored = opened(people, spec=spec, cache=tmp_path, decode_once=True)
    for each in (data.pictures, stored.pictures):
        copy = pickle.loads(pickle.dumps(each))
        assert all(np.array_equal(copy.picture(i), each.picture(i)) for i in range(len(each)))


def test_numbers_outside_the_set_are_refused(people, spec):
    data = opened(people, spec=spec)
    for i in (-1, 33):
        with pytest.raises(IndexError):
            data.picture(i)
    data.close()
    with pytest.raises(IndexError):
        data.picture(0)


def test_what_is_not_there_or_has_no_labels_is_refused(people, tmp_path, spec):
    with pytest.raises(NotFoundError):
        opened(tmp_path / "nothing", spec=spec)
    with pytest.raises(NotFoundError):
        opened(tmp_path / "nothing.tar", spec=spec)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        opened(tmp_path / "empty", spec=spec)
    with pytest.raises(InputError, match="at least one source"):
        opened(spec=spec)
    pictures = list_images(people)[:4]
    write_bin(tmp_path / "lfw.bin", pictures, [True, False])
    with pytest.raises(InputError, match="pairs"):
        opened(tmp_path / "lfw.bin", spec=spec)
    for bad in ({"kind": "zip"}, {"proportion": 0.0}, {"proportion": float("nan")}):
        with pytest.raises(InputError, match="expected"):
            Source(path="x", **bad)


@pytest.mark.parametrize("suffix", FORMATS)
def test_cut_and_hostile_files_raise_and_nothing_else(packed, suffix, spec, tmp_path):
    source = packed[suffix] if packed[suffix].exists() else sorted(packed[suffix].parent.glob("*.tar"))[0]
    good = source.read_bytes()
    rng = np.random.default_rng(1)
    target = tmp_path / f"set.{suffix}"
    for i in range(12):
        bad = bytearray(good[: int(rng.integers(0, len(good)))] if i < 6 else good)
        for at in rng.integers(0, max(len(bad), 1), 20 if i >= 3 and bad else 0).tolist():
            bad[at] = int(rng.integers(0, 256))
        target.write_bytes(bad)
        try:
            data = opened(target, spec=spec)
            for k in range(len(data)):
                data.picture(k)
        except InputError as error:
            assert str(target) in str(error)  # noqa: PT017


def test_a_file_that_shrinks_while_it_is_read_is_told(people, tmp_path, spec):
    pack(people, tmp_path / "set.tfrecord")
    data = opened(tmp_path / "set.tfrecord", spec=spec)
    with (tmp_path / "set.tfrecord").open("r+b") as file:
        file.truncate(3000)
    with pytest.raises(InputError, match="cut short since"):
        data.picture(32)


def test_an_unreadable_picture_is_named(people, tmp_path, spec, write_people):
    folder = write_people(tmp_path / "people", {"Ada": 2})
    (folder / "Ada" / "0001.jpg").write_bytes(b"no picture")
    data = opened(folder, spec=spec)
    with pytest.raises(ImageError, match=r"0001\.jpg"):
        data.picture(1)


def test_memory_does_not_grow_with_the_set(tmp_path, spec):
    """A tar of 12 MB: opening it, and reading from it, takes little."""
    from mien.data.samples import Sample
    from mien.data.shards import write_shard

    picture = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8))[1].tobytes()
    with (tmp_path / "set.tar").open("wb") as file:
        write_shard(file, (Sample(f"p{i // 20}/{i}.png", i // 20, f"p{i // 20}", picture) for i in range(400)))
    assert (tmp_path / "set.tar").stat().st_size > 12e6
    tracemalloc.start()
    try:
        data = opened(tmp_path / "set.tar", spec=spec)
        for i in range(0, 400, 20):
            data.picture(i)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5e6
