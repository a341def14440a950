"""RecordIO, TFRecord, WebDataset and Parquet: exact round trips, outside readers, and hostile files."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.data import crc32c, parquet, parquet_pages, recordio, shards, tfrecord
from mien.data.samples import Sample, safe_key
from mien.errors import InputError, MienError

MAGIC = struct.pack("<I", recordio.MAGIC)
JPEG = b"\xff\xd8\xff\xe0"


def made_up(people=3, each=4, seed=0):
    """Samples whose pictures are noise of every length, with the RecordIO magic number in awkward places."""
    rng = np.random.default_rng(seed)
    names = ["Ada Lovelace", "张伟", "Zoë O'Neil"]
    out = []
    for label in range(people):
        for i in range(each):
            noise = rng.integers(0, 256, int(rng.integers(1, 300)), np.uint8).tobytes()
            picture = JPEG + noise + MAGIC * (i % 3) + noise[: i % 5] + MAGIC
            out.append(Sample(f"{names[label % 3]}_{label}/{i:04d}.jpg", label, f"{names[label % 3]} {label}", picture))
    return out


def write_rec(folder, samples):
    with (
        (folder / "a.rec").open("wb") as rec,
        (folder / "a.idx").open("wb") as idx,
        (folder / "a.lst").open("wb") as lst,
    ):
        assert recordio.write_recordio(rec, idx, lst, samples) == len(samples)
    return folder / "a.rec"


def write(folder, kind, samples):
    if kind == "rec":
        return write_rec(folder, samples)
    path = folder / f"a.{kind}"
    writer = {"tfrecord": tfrecord.write_tfrecord, "tar": shards.write_shard, "parquet": parquet.write_parquet}[kind]
    with path.open("wb") as file:
        assert writer(file, samples) == len(samples)
    return path


READERS = {
    "rec": recordio.read_recordio,
    "tfrecord": tfrecord.read_tfrecord,
    "tar": shards.read_shard,
    "parquet": parquet.read_parquet,
}
KINDS = list(READERS)


def needs(kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("people", "each"), [(0, 0), (1, 1), (3, 70)])
def test_round_trip_is_exact(tmp_path, kind, people, each):
    needs(kind)
    samples = made_up(people, each)
    assert list(READERS[kind](write(tmp_path, kind, samples))) == samples


# CRC-32C


def crc_loop(data):
    """The definition, a bit at a time."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=6))
def test_checksum_agrees_with_the_definition(buffers):
    expected = [crc_loop(b) for b in buffers]
    assert crc32c.crc32c_numpy(buffers) == expected
    assert crc32c.crc32c(buffers) == expected


def test_checksum_of_published_vectors():
    vectors = {bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E}
    assert crc32c.crc32c_numpy(list(vectors)) == list(vectors.values())


# The ecosystem's readers


def test_tfrecord_package_reads_ours(tmp_path):
    reader = pytest.importorskip("tfrecord.reader", reason="the tfrecord package is not installed")
    samples = made_up()
    path = write(tmp_path, "tfrecord", samples)
    wanted = {"image/encoded": "byte", "image/key": "byte", "image/class/label": "int", "image/class/text": "byte"}
    found = list(reader.tfrecord_loader(str(path), None, wanted))
    assert [bytes(r["image/encoded"]) for r in found] == [s.picture for s in samples]
    assert [int(r["image/class/label"][0]) for r in found] == [s.label for s in samples]
    assert [bytes(r["image/class/text"]).decode() for r in found] == [s.person for s in samples]


def test_we_read_what_the_tfrecord_package_writes(tmp_path):
    writer = pytest.importorskip("tfrecord.writer", reason="the tfrecord package is not installed")
    out = writer.TFRecordWriter(str(tmp_path / "b.tfrecord"))
    for i in range(3):
        out.write({"image": (JPEG + bytes([i]), "byte"), "label": (i, "int")})
    out.close()
    found = list(tfrecord.read_tfrecord(tmp_path / "b.tfrecord"))
    assert [(s.label, s.picture) for s in found] == [(i, JPEG + bytes([i])) for i in range(3)]
    assert found[1].key == "1/00000001.jpg"


@pytest.mark.filterwarnings("ignore")  # of the package
def test_webdataset_package_reads_ours(tmp_path):
    wds = pytest.importorskip("webdataset.tariterators", reason="the webdataset package is not installed")
    samples = made_up()
    path = write(tmp_path, "tar", samples)
    with path.open("rb") as stream:
        files = wds.tar_file_iterator(stream)
        found = list(wds.group_by_keys({**f, "__url__": "x"} for f in files if f))
    assert [f["jpg"] for f in found] == [s.picture for s in samples]
    assert [int(f["cls"]) for f in found] == [s.label for s in samples]
    assert [json.loads(f["json"])["person"] for f in found] == [s.person for s in samples]


def test_pyarrow_reads_ours(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow")
    samples = made_up()
    table = pq.read_table(write(tmp_path, "parquet", samples)).to_pylist()
    assert [(r["image"]["bytes"], r["image"]["path"], r["label"], r["person"]) for r in table] == [
        (s.picture, s.key, s.label, s.person) for s in samples
    ]


def independent_rec_reader(rec, idx):
    """As the published layout says, by offset from the index: id -> (labels, content)."""
    data = rec.read_bytes()
    found = {}
    for line in idx.read_text().splitlines():
        number, at = (int(cell) for cell in line.split("\t"))
        content, first = b"", True
        while True:
            magic, word = struct.unpack_from("<II", data, at)
            assert magic == 0xCED7230A
            flag, length = word >> 29, word & 0x1FFFFFFF
            assert (flag in (0, 1)) == first
            content += (b"" if first else MAGIC) + data[at + 8 : at + 8 + length]
            at += 8 + (length + 3) // 4 * 4
            first = False
            if flag in (0, 3):
                break
        flags, label, number_again, _ = struct.unpack_from("<IfQQ", content)
        assert number_again == number
        labels = struct.unpack_from(f"<{flags}f", content, 24) if flags else (label,)
        found[number] = labels, content[24 + 4 * flags :]
    return found


def test_an_independent_reader_of_rec_agrees(tmp_path):
    samples = made_up(3, 4)
    rec = write_rec(tmp_path, samples)
    found = independent_rec_reader(rec, tmp_path / "a.idx")
    assert found[0] == ((13.0, 16.0), b"")  # InsightFace: pictures 1..12, people 13..15
    assert [found[i] for i in range(1, 13)] == [((float(s.label),), s.picture) for s in samples]
    assert [found[13 + p][0] for p in range(3)] == [(1.0, 5.0), (5.0, 9.0), (9.0, 13.0)]
    # No aligned magic number inside the file but those that begin a part: a splitter can find records.
    data = rec.read_bytes()
    begins = [i for i in range(0, len(data), 4) if data[i : i + 4] == MAGIC]
    at, walked = 0, []
    while at < len(data):
        walked.append(at)
        at += 8 + ((struct.unpack_from("<I", data, at + 4)[0] & 0x1FFFFFFF) + 3) // 4 * 4
    assert begins == walked


def test_samples_out_of_order_are_refused(tmp_path):
    samples = made_up(2, 1)[::-1]
    with pytest.raises(InputError, match="ordered by label"):
        write_rec(tmp_path, samples)


# Broken and hostile files


@pytest.mark.parametrize("kind", KINDS)
def test_any_cut_or_flip_is_an_error_or_the_same_samples(tmp_path, kind):
    needs(kind)
    samples = made_up(2, 3)
    path = write(tmp_path, kind, samples)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    noticed = 0
    for trial in range(60):
        data = bytearray(whole)
        if trial % 2:
            del data[int(rng.integers(0, len(data))) :]
        else:
            data[int(rng.integers(0, len(data)))] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            found = list(READERS[kind](path))
        except MienError as error:
            noticed += str(path.parent) in str(error)
        else:
            # Only TFRecord guards its pictures; elsewhere a flipped byte of a picture is a picture still.
            assert kind != "tfrecord" or found == samples[: len(found)]
    assert noticed > 15


@pytest.mark.parametrize(
    "key",
    ["/etc/passwd", "../up.jpg", "a/../../b.jpg", "C:/x.jpg", "a\\b.jpg", "", ".", "a/./b", "a//b", "x\0y", "a" * 2000],
)
def test_keys_that_climb_out_are_refused(tmp_path, key):
    with pytest.raises(InputError, match="below the set's folder"):
        safe_key(key, "x")
    if key and "\0" not in key:
        path = tmp_path / "evil.tfrecord"
        with path.open("wb") as file:
            tfrecord.write_tfrecord(file, [Sample(key, 0, "x", JPEG)])
        with pytest.raises(InputError, match="below the set's folder"):
            list(tfrecord.read_tfrecord(path))


def tar_of(path, *infos):
    with tarfile.open(path, "w") as tar:
        for info, content in infos:
            tar.addfile(info, io.BytesIO(content))
    return path


def info(name, size=0, kind=tarfile.REGTYPE, target=""):
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = size, kind, target
    return made


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (info("a.jpg", kind=tarfile.SYMTYPE, target="/etc/passwd"), "link"),
        (info("a.jpg", kind=tarfile.LNKTYPE, target="b.jpg"), "link"),
        (info("a.jpg", kind=tarfile.CHRTYPE), "special file"),
        (info("../../a.jpg", 4), "below the set's folder"),
        (info("/a.jpg", 4), "below the set's folder"),
    ],
)
def test_hostile_tars_are_refused(tmp_path, what, words):
    path = tar_of(tmp_path / "evil.tar", (what, JPEG[: what.size]))
    with pytest.raises(InputError, match=words):
        list(shards.read_shard(path))


def test_a_tar_that_announces_gigabytes_is_refused_before_it_is_read(tmp_path):
    header = info("a.jpg", 1 << 40).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "bomb.tar").write_bytes(header + bytes(1024))
    with pytest.raises(InputError, match="too many"):
        list(shards.read_shard(tmp_path / "bomb.tar"))


def test_records_that_announce_gigabytes_are_refused_before_they_are_read(tmp_path):
    path = tmp_path / "bomb.tfrecord"
    path.write_bytes(struct.pack("<QI", 1 << 60, 0))
    with pytest.raises(InputError, match="at most"):
        list(tfrecord.read_tfrecord(path))
    rec = tmp_path / "bomb.rec"
    rec.write_bytes(struct.pack("<II", recordio.MAGIC, (1 << 29) - 1))
    with pytest.raises(InputError, match="damaged"):
        list(recordio.read_recordio(rec))


def parquet_of(path, pictures, **options):
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    import pyarrow.parquet as pq

    rows = [{"bytes": picture, "path": f"a/{i}.jpg"} for i, picture in enumerate(pictures)]
    pq.write_table(pa.table({"image": rows, "label": [0] * len(rows), "person": ["a"] * len(rows)}), path, **options)
    return pq.ParquetFile(path).metadata


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "snappy", "zstd"])
def test_pages_are_as_large_as_the_footer_says(tmp_path, codec, version):
    pictures = [bytes([i % 7]) * (i * 40) for i in range(300)]  # statistics of some size in the heads
    facts = parquet_of(tmp_path / "a.parquet", pictures, compression=codec, data_page_version=version)
    with (tmp_path / "a.parquet").open("rb") as file:
        for i in range(facts.row_group(0).num_columns):
            column, sizes = facts.row_group(0).column(i), 0
            for page in parquet_pages._pages(file, column, "a"):
                sizes += page.size
            assert 0 < column.total_uncompressed_size - sizes < 400  # the heads themselves


def test_a_parquet_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "bomb.parquet"
    parquet_of(path, [bytes(2_000_000)] * 8, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 20_000
    assert sum(len(sample.picture) for sample in parquet.read_parquet(path)) == 16_000_000
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parquet_pages, "LARGEST_PAGE", 4_000_000)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", None)
    with pytest.raises(InputError, match=r"image\.bytes: a page of 16,000,0\d\d bytes; 4,000,000 are the most"):
        list(parquet.read_parquet(path))


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, 2),  # a dictionary: one entry stands in every row
        ({"use_dictionary": False}, 2),  # as many as fit
        ({"use_dictionary": False, "column_encoding": {"image.bytes": "DELTA_BYTE_ARRAY"}}, 1),  # as the one before
    ],
)
def test_values_that_multiply_are_decoded_few_at_a_time(tmp_path, monkeypatch, options, rows):
    picture = JPEG + bytes(800_000)
    parquet_of(tmp_path / "a.parquet", [picture] * 50, **options)
    import pyarrow.parquet as pq

    plain, asked = pq.ParquetFile.iter_batches, []
    monkeypatch.setattr(parquet, "_BYTES_AT_ONCE", 2_000_000)
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda self, **how: (asked.append(how["batch_size"]), plain(self, **how))[1]
    )
    assert [bytes(s.picture) for s in parquet.read_parquet(tmp_path / "a.parquet")] == [picture] * 50
    assert asked == [rows]


def thrift(*fields):
    """A struct in Thrift's compact protocol of (number, int | tuple for a struct)."""

    def varint(n):
        return bytes([n & 127 | 128]) + varint(n >> 7) if n > 127 else bytes([n])

    out = b""
    for number, value in fields:
        kind, content = (12, thrift(*value)) if isinstance(value, tuple) else (5, varint(value << 1))
        out += bytes([kind]) + varint(number << 1) + content
    return out + b"\0"


def page(kind, size, *parts, packed=10):
    return thrift((1, kind), (2, size), (3, packed), *parts) + bytes(packed)


def rows_of(pages, values):
    column = SimpleNamespace(
        data_page_offset=0, has_dictionary_page=False, total_compressed_size=len(pages), num_values=values
    )
    return parquet_pages.rows_at_once(io.BytesIO(pages), column, most=256, bytes_at_once=64 << 20, where="x")


PART_1, PART_2 = ((1, 1), (2, 0), (3, 3), (4, 3)), ((1, 1), (2, 0), (3, 1), (4, 0), (5, 0), (6, 0))
DELTA_1, DELTA_2 = ((1, 1), (2, 7), (3, 3), (4, 3)), ((1, 1), (2, 0), (3, 1), (4, 7), (5, 0), (6, 0))
FAKE = ((1, 1 << 24), (2, 0), (3, 3), (4, 3))


def test_the_type_of_a_page_tells_which_part_of_its_head_counts():
    assert rows_of(page(0, 10, (5, PART_1)) * 2, 2) == 256
    assert rows_of(page(3, 1 << 25, (5, FAKE), (8, PART_2)) * 2, 2) == 2
    assert rows_of(page(3, 10, (5, FAKE), (8, DELTA_2)) * 2, 2) == 1
    assert rows_of(page(0, 10, (5, DELTA_1), (8, PART_2)) * 2, 2) == 1
    assert rows_of(page(1, 10) + page(0, 10, (5, PART_1)), 1) == 256  # an index page is skipped


@pytest.mark.parametrize(
    "head",
    [
        page(3, 10, (5, PART_1)),  # the part that counts is not there
        page(0, 10, (8, PART_2)),
        page(2, 10, (5, PART_1)),
        page(0, 10, (5, ((1, 1),))),  # no encoding
        page(0, 10, (5, PART_1), (1, 1)),  # two types
        page(0, 10, (5, PART_1), (65537, 1)),  # and as a decoder may read them that keeps 16 bits
        page(1 << 32, 10, (5, PART_1)),  # a type that 32 bits make another
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(head):
    with pytest.raises(InputError, match="head of a page is damaged"):
        rows_of(head, 1)


def test_pages_do_not_end_the_walk_early():
    with pytest.raises(InputError, match="more values than the column"):
        rows_of(page(0, 10, (5, FAKE)) + page(0, 10, (5, PART_1)), 2)
    for first in (PART_1, DELTA_1):
        with pytest.raises(InputError, match="a page of 2,097,152,000 bytes"):
            rows_of(page(0, 10, (5, first)) + page(0, 2000 << 20, (5, PART_1)), 2)


def test_our_row_groups_stay_small(tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow")
    monkeypatch.setattr(parquet, "_BYTES_AT_ONCE", 1000)
    samples = [Sample(f"a/{i}.jpg", 0, "a", JPEG + bytes(size)) for i, size in enumerate([400, 400, 400, 5000, 1, 2])]
    facts = pq.ParquetFile(write(tmp_path, "parquet", samples)).metadata
    assert [facts.row_group(i).num_rows for i in range(facts.num_row_groups)] == [2, 1, 1, 2]
    assert list(parquet.read_parquet(tmp_path / "a.parquet")) == samples


def test_a_flipped_byte_of_a_picture_is_found_in_parquet(tmp_path):
    needs("parquet")
    samples = made_up()
    path = write(tmp_path, "parquet", samples)
    whole = path.read_bytes()
    for sample in samples[::3]:
        data = bytearray(whole)
        data[whole.index(sample.picture) + len(sample.picture) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(InputError, match="CRC"):
            list(parquet.read_parquet(path))


def test_a_column_of_lists_is_refused(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    import pyarrow.parquet as pq

    schema = pa.schema([("image", pa.list_(pa.binary())), ("label", pa.int64())])
    pq.write_table(pa.table({"image": [[JPEG]], "label": [0]}, schema=schema), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"missing: image|holds lists"):
        list(parquet.read_parquet(tmp_path / "a.parquet"))


def test_a_rec_without_a_list_gives_keys_of_its_own(tmp_path):
    samples = made_up(2, 2)
    rec = write_rec(tmp_path, samples)
    (tmp_path / "a.lst").unlink()
    found = list(recordio.read_recordio(rec))
    assert [(s.key, s.label, s.picture) for s in found] == [
        (f"{s.label}/{i:08d}.jpg", s.label, s.picture) for i, s in enumerate(samples, 1)
    ]
