"""Galleries as files of other programs: what goes out comes back, and nothing hostile comes in."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import stat
import zipfile

import numpy as np
import pytest

from mien.errors import GalleryError, GalleryModelError, InputError, MissingExtraError
from mien.gallery import Gallery
from mien.gallery.exchange import export_gallery, import_gallery
from mien.gallery.exchange import importing as importing_module
from mien.gallery.records import FaceRecord
from mien.types import Face, ModelIdentity

KINDS = ["csv", "npz", "parquet"]
NAMES = [
    "Ada", "张伟", "=HYPERLINK(\"http://x\")", "+1", "-1", "@sum", "'=quoted", "'apostrophe", "a,b\"c", "O'Neill",
    "＝wide", "محمد", "  - dash", "none", "nan", "null", "1", "True",
]  # fmt: skip


@pytest.fixture(params=KINDS)
def kind(request):
    if request.param == "parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'mien[parquet]'")
    return request.param


@pytest.fixture
def filled(tmp_path, fakes):
    with Gallery.open(tmp_path / "from.db", identity=fakes.IDENTITY) as gallery:
        for i, name in enumerate(NAMES):
            faces = np.stack([fakes.embedding(name, str(n)) for n in range(1 + i % 3)])
            gallery.add(name, faces, pictures=[f"{name}/{n}.jpg" for n in range(len(faces))])
        face = Face((1.5, 2.25, 30.0, 40.125), 0.875, ())
        record = FaceRecord(fakes.embedding("Ada", "boxed"), "=box.jpg", "ab" * 32, face, 0.625)
        gallery.home.add([("Ada", [record])], fakes.IDENTITY)
        gallery.describe(
            "Ada", groups=["staff", "夜班", 'a"b'], metadata={"desk": [3.5, None, "ü", "=1+1"]}, expires=4102444800.5,
            consent="=form\n12, 'signed'", external_id="@7",
        )  # fmt: skip
        gallery.reject("Ada", fakes.embedding("not Ada"), picture="stranger.jpg")
        gallery.ignore("poster", fakes.embedding("poster")[None], pictures=["wall.jpg"])
        yield gallery


def everything(gallery):
    """All that goes along, apart from ids and times."""
    said = {}
    for s in gallery.subjects():
        faces = gallery.faces(s.name)
        vectors = gallery.home.embeddings([face.id for face in faces]) if faces else ()
        said[s.name] = (
            s.told, s.groups, dict(s.metadata), s.expires, s.consent, s.external_id,
            [
                (f.picture, f.sha256, f.face and (f.face.box, f.face.score), f.quality, f.negative, v.tobytes())
                for f, v in zip(faces, vectors, strict=True)
            ],
        )  # fmt: skip
    return said


def without_made_up_sums(said):
    """A face without a checksum gets one by being imported, so that a second import adds nothing."""
    return {
        name: (*rest, [(p, None if f is None else s, f, *more) for p, s, f, *more in faces])
        for name, (*rest, faces) in said.items()
    }


def test_what_goes_out_comes_back(filled, fakes, tmp_path, kind):
    path, told = tmp_path / f"people.{kind}", []
    rows = export_gallery(filled.home, path, advance=told.append)
    counts = filled.home.counts()
    assert (rows, sum(told)) == (counts.faces + counts.negatives,) * 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(p.name for p in tmp_path.glob("*people*")) == [path.name]  # and nothing beside it
    with Gallery.open(tmp_path / "to.db") as gallery:
        report = import_gallery(gallery.home, path)
        assert (report.rows, report.added, report.rejected) == (rows, counts.faces, counts.negatives)
        assert report.people == len(NAMES) + 1
        assert without_made_up_sums(everything(gallery)) == without_made_up_sums(everything(filled))
        assert gallery.identity == fakes.IDENTITY
        assert gallery.check().ok
        before = everything(gallery)
        again = import_gallery(gallery.home, path)
        assert (again.added, again.rejected) == (0, 0)
        assert everything(gallery) == before


def test_an_import_that_was_cut_off_goes_on(filled, tmp_path, kind, monkeypatch):
    path = tmp_path / f"people.{kind}"
    export_gallery(filled.home, path)
    monkeypatch.setattr(importing_module, "_AT_ONCE", 5)

    class Cut(Exception):
        pass

    parts = []

    def cut(rows):
        parts.append(rows)
        if len(parts) == 3:
            raise Cut

    with Gallery.open(tmp_path / "to.db") as gallery:
        with pytest.raises(Cut):
            import_gallery(gallery.home, path, advance=cut)
        assert 0 < gallery.stats.faces < filled.stats.faces
        import_gallery(gallery.home, path)
        assert without_made_up_sums(everything(gallery)) == without_made_up_sums(everything(filled))


def test_people_without_a_face_are_in_csv_and_parquet(filled, fakes, tmp_path, kind):
    ids = [face.id for face in filled.faces("张伟")]
    filled.remove_faces(ids)
    filled.describe("张伟", consent="form 3")
    path = tmp_path / f"people.{kind}"
    export_gallery(filled.home, path)
    with Gallery.open(tmp_path / "to.db") as gallery:
        import_gallery(gallery.home, path)
        there = {s.name: s.consent for s in gallery.subjects()}
        assert there.get("张伟") == (None if kind == "npz" else "form 3")


def test_no_cell_of_the_csv_is_a_formula(filled, tmp_path):
    export_gallery(filled.home, tmp_path / "people.csv")
    text = (tmp_path / "people.csv").read_text(encoding="utf-8")
    dangerous = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")
    for row in csv.reader(io.StringIO(text)):
        assert not [cell for cell in row if cell.lstrip().startswith(dangerous)], row


def test_notebooks_read_what_is_written(filled, fakes, tmp_path):
    export_gallery(filled.home, tmp_path / "people.npz")
    with np.load(tmp_path / "people.npz", allow_pickle=False) as file:
        names, vectors = file["names"], file["embeddings"]
    ada = vectors[names == "张伟"]
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(ada[0], fakes.embedding("张伟", "0"))


def test_parquet_is_what_pyarrow_says(filled, fakes, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    export_gallery(filled.home, tmp_path / "people.parquet")
    table = pq.read_table(tmp_path / "people.parquet")
    row = table.column("name").to_pylist().index("张伟")
    np.testing.assert_array_equal(
        np.array(table.column("embedding")[row].as_py(), np.float32), fakes.embedding("张伟", "0")
    )
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[32]"


def test_a_foreign_csv_needs_no_more_than_names_and_embeddings(fakes, tmp_path):
    path = tmp_path / "foreign.csv"
    cells = [("Ada", fakes.embedding("Ada", "0")), (" Ad\u0061 ", fakes.embedding("Ada", "1"))]
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["embedding", "name"])
        writer.writerows((base64.b64encode(v.tobytes()).decode(), name) for name, v in cells)
    with Gallery.open(tmp_path / "to.db") as gallery:
        with pytest.raises(InputError, match="does not say which model"):
            import_gallery(gallery.home, path)
        assert import_gallery(gallery.home, path, identity=fakes.IDENTITY).added == 2
        assert import_gallery(gallery.home, path, identity=fakes.IDENTITY).added == 0
        assert [(s.name, s.faces) for s in gallery.subjects()] == [("Ada", 2)]


def test_another_model_is_refused_and_nothing_is_stored(filled, tmp_path, kind):
    path = tmp_path / f"people.{kind}"
    export_gallery(filled.home, path)
    other = ModelIdentity("other", "fast", "cd" * 32, 32)
    with Gallery.open(tmp_path / "to.db", identity=other) as gallery:
        gallery.add("Eve", np.eye(32, dtype=np.float32)[:1])
        with pytest.raises(GalleryModelError, match="made with"):
            import_gallery(gallery.home, path)
        with pytest.raises(InputError, match="made with"):
            import_gallery(gallery.home, path, identity=other)
        assert [s.name for s in gallery.subjects()] == ["Eve"]


def b64(fakes, name="Ada"):
    return base64.b64encode(fakes.embedding(name).tobytes()).decode()


HEADER = "name,told,groups,metadata,expires,sha256,x0,quality,model,embedding"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("Ada,,,,,,,,MODEL,%%%", "expected base64"),
        ("Ada,,,,,,,,MODEL,QUJD", "whole float32"),
        ("Ada,,,,,,,,MODEL,AAAAAA==", r"expected embeddings of 32 numbers"),
        (",,,,,,,,MODEL,VECTOR", "name"),
        ("a\u202eb,,,,,,,,MODEL,VECTOR", "control characters"),
        ("Ada,boss,,,,,,,MODEL,VECTOR", "told: expected person or ignored"),
        ("Ada,,staff,,,,,,MODEL,VECTOR", "groups: expected a JSON list"),
        ("Ada,,[1],,,,,,MODEL,VECTOR", "groups: expected a JSON list"),
        ("Ada,,,[],,,,,MODEL,VECTOR", "metadata: expected a JSON object"),
        ("Ada,,,,soon,,,,MODEL,VECTOR", "expires: expected a number"),
        ("Ada,,,,inf,,,,MODEL,VECTOR", "expires: expected a number"),
        ("Ada,,,,,../../etc,,,MODEL,VECTOR", "sha256: expected 64"),
        ("Ada,,,,,,1e999,,MODEL,VECTOR", "x0: expected a number"),
        ("Ada,,,,,,,2,MODEL,VECTOR", "quality"),
        ("Ada,,,,,,,,fake/fast/xyz/32,VECTOR", "model: expected name/preset"),
        ("Ada,,,,,,,,MODEL", "expected 10 cells, got 9"),
        ('"Ada,,,,,,,,MODEL,VECTOR', "not CSV"),
    ],
)
def test_a_hostile_line_is_named_and_nothing_is_stored(fakes, tmp_path, line, says):
    from mien.gallery.exchange.formats import identity_text

    def filled_in(text):
        return text.replace("MODEL", identity_text(fakes.IDENTITY)).replace("VECTOR", b64(fakes))

    good = filled_in("Eve,,,,,,,,MODEL,VECTOR")
    path = tmp_path / "hostile.csv"
    path.write_text(f"{HEADER}\n{good}\n{filled_in(line)}\n", encoding="utf-8")
    with Gallery.open(tmp_path / "to.db") as gallery:
        with pytest.raises(InputError, match=says):
            import_gallery(gallery.home, path)
        assert not gallery.subjects()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"", "expected a header"),
        ("a.csv", b"name,embedding,name\n", "expected a header"),
        ("a.csv", b"\xff\xfe\x00", "UTF-8"),
        ("a.csv", b'name,embedding\n"' + b"x" * (5 << 20) + b'",\n', "not CSV"),
        ("a.npz", b"", "not an .npz"),
        ("a.npz", b"PK\x03\x04 and no more", "not an .npz"),
        ("a.parquet", b"PAR1 and no more PAR1", "not Parquet"),
        ("a.json", b"{}", "expected a file that ends in"),
    ],
)
def test_a_file_that_is_none_is_refused(fakes, tmp_path, name, content, says):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with (
        Gallery.open(tmp_path / "to.db", identity=fakes.IDENTITY) as gallery,
        pytest.raises(InputError, match=says),
    ):
        import_gallery(gallery.home, tmp_path / name)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_a_hostile_npz_is_refused(fakes, tmp_path):
    vectors = np.stack([fakes.embedding("Ada")])
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(ran),)

    cases = {
        "pickle": ({"names": np.array([Bomb()], object), "embeddings": vectors}, "not an .npz of plain arrays"),
        "short": ({"names": np.array(["Ada", "Eve"]), "embeddings": vectors}, "name: expected 1 values"),
        "grid": ({"names": np.array([["Ada"]]), "embeddings": vectors}, "name: expected 1 values"),
        "long": ({"names": np.array(["Ada"]), "embeddings": 2 * vectors}, "length 1"),
        "nan": ({"names": np.array(["Ada"]), "embeddings": vectors * np.nan}, "length 1"),
        "ints": ({"names": np.array(["Ada"]), "embeddings": vectors.astype(int)}, "floating-point"),
        "missing": ({"names": np.array(["Ada"])}, "missing: embeddings"),
    }
    with Gallery.open(tmp_path / "to.db", identity=fakes.IDENTITY) as gallery:
        for name, (arrays, says) in cases.items():
            with pytest.raises(InputError, match=says):
                import_gallery(gallery.home, npz(tmp_path / f"{name}.npz", **arrays), identity=fakes.IDENTITY)
        assert not gallery.subjects()
    assert not ran.exists()


def test_a_bomb_is_refused_before_it_is_unpacked(fakes, tmp_path):
    path = tmp_path / "bomb.npz"
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (1 << 20, 32)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("embeddings.npy", head.getvalue() + bytes(4 * 32 << 20))  # 128 MiB of zeros
    assert path.stat().st_size < 200_000
    with Gallery.open(tmp_path / "to.db") as gallery, pytest.raises(InputError, match="would unpack to"):
        import_gallery(gallery.home, path, identity=fakes.IDENTITY)


def test_a_foreign_parquet_is_checked_row_by_row(fakes, tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    good = fakes.embedding("Ada").tolist()
    for columns, says in [
        ({"name": ["Ada"], "embedding": [good[:3]]}, "expected embeddings of 32"),
        ({"name": ["Ada"], "embedding": [[*good[:31], float("nan")]]}, "length 1"),
        ({"name": ["Ada"], "embedding": ["text"]}, "expected numbers"),
        ({"name": [None], "embedding": [good]}, "row 1: name"),
        ({"name": ["Ada"], "vector": [good]}, "missing: embedding"),
    ]:
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        with (
            Gallery.open(tmp_path / "to.db", identity=fakes.IDENTITY) as gallery,
            pytest.raises(InputError, match=says),
        ):
            import_gallery(gallery.home, tmp_path / "a.parquet", identity=fakes.IDENTITY)


def test_exporting_is_whole_or_not_at_all(filled, tmp_path, kind, monkeypatch):
    path = tmp_path / f"people.{kind}"
    path.write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        export_gallery(filled.home, path)

    def fails(**_):
        yield from ()
        raise GalleryError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(type(filled.home), "batches", lambda self, **_: fails())
        with pytest.raises(GalleryError, match="the disk is gone"):
            export_gallery(filled.home, path, force=True)
    assert path.read_text() == "precious"
    assert not list(tmp_path.glob(".people*"))
    assert export_gallery(filled.home, path, force=True) > 0


def test_nothing_to_export_and_no_pyarrow_are_said(tmp_path, filled, monkeypatch):
    with Gallery.open(tmp_path / "empty.db") as gallery, pytest.raises(GalleryError, match="nobody was ever enrolled"):
        export_gallery(gallery.home, tmp_path / "a.csv")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"mien\[parquet\]"):
        export_gallery(filled.home, tmp_path / "a.parquet")
    assert not list(tmp_path.glob("*.parquet"))


def test_metadata_stays_json(filled, tmp_path):
    export_gallery(filled.home, tmp_path / "people.csv")
    with (tmp_path / "people.csv").open(encoding="utf-8", newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["name"] == "Ada")
    assert json.loads(row["metadata"])["desk"] == [3.5, None, "ü", "=1+1"]
    assert json.loads(row["groups"]) == sorted(["staff", "夜班", 'a"b'])


@pytest.mark.parametrize("server", ["postgres", "milvus"])
def test_to_a_server_and_back(filled, tmp_path, request, server):
    """What a home promises decides nothing here: every home can be written out and filled."""
    url = request.getfixturevalue(f"{server}_url")()
    export_gallery(filled.home, tmp_path / "people.csv")
    with Gallery.open(url) as gallery:
        assert import_gallery(gallery.home, tmp_path / "people.csv").people == len(NAMES) + 1
        assert import_gallery(gallery.home, tmp_path / "people.csv").added == 0
        export_gallery(gallery.home, tmp_path / "back.npz")
    with Gallery.open(tmp_path / "to.db") as gallery:
        import_gallery(gallery.home, tmp_path / "back.npz")
        assert sorted(without_made_up_sums(everything(gallery))) == sorted(everything(filled))
        for name, (*said, faces) in without_made_up_sums(everything(filled)).items():
            assert without_made_up_sums(everything(gallery))[name] == (*said, faces)
