import csv
import io
import json
import os

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("squares")


def colours(path):
    return np.asarray(Image.open(path).convert("RGB"))


def tree(folder):
    """Its files, without the record that is kept beside the crops."""
    record = {"manifest.jsonl", ".manifest.jsonl.lock"}
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name not in record)


@pytest.fixture
def people(paint, tmp_path):
    paint(tmp_path / "in" / "Ada Lovelace" / "1.png", (1, 0))
    paint(tmp_path / "in" / "Ada Lovelace" / "2.png", (2, 0), (1, 0), (3, 0))
    paint(tmp_path / "in" / "张伟" / "1.png", (4, 0))
    return tmp_path / "in"


def test_a_folder_for_each_person_and_every_name_kept(run, people, tmp_path):
    answer = run("crop", people, tmp_path / "out", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert tree(tmp_path / "out") == ["Ada Lovelace/1.png", "Ada Lovelace/2.png", "张伟/1.png"]
    document = json.loads(answer.out)
    assert (document["kept"], document["without_face"], document["errors"]) == (0, [], [])
    group = document["crops"][1]
    assert group["source"] == str(people / "Ada Lovelace" / "2.png")
    assert group["crop"] == str(tmp_path / "out" / "Ada Lovelace" / "2.png")
    assert group["size"] == [112, 112]
    assert group["face"]["box"] == [26, 2, 46, 22]  # the main one
    crop = colours(group["crop"])
    assert crop.shape == (112, 112, 3)
    assert tuple(crop[56, 56]) == (1, 0, 255)


def test_in_csv(run, people, tmp_path):
    rows = list(csv.DictReader(io.StringIO(run("crop", people, tmp_path / "out", "--csv").out)))
    assert [r["width"] for r in rows] == ["112"] * 3
    assert rows[1]["x0"] == "26.0"


def test_text_for_people(run, people, paint, broken, tmp_path):
    paint(people / "x.png", None)
    broken(people / "y.png")
    run("crop", people / "张伟", tmp_path / "out" / "张伟")
    answer = run("crop", people, tmp_path / "out")
    assert answer.code == 2
    assert answer.out == f"2 faces cut from 5 photos into {tmp_path / 'out'} (1 done before, 1 no face, 1 failed)\n"
    assert f"skipped: {people / 'x.png'}: no face found" in answer.err


def test_a_photo_without_a_face_is_reported_and_no_error(run, people, paint, tmp_path):
    paint(people / "x.png", None)
    answer = run("crop", people, tmp_path / "out", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["without_face"] == [str(people / "x.png")]


def test_every_face(run, people, tmp_path):
    document = json.loads(run("crop", people, tmp_path / "out", "--all-faces", "--json").out)
    assert tree(tmp_path / "out") == [
        "Ada Lovelace/1~1.png",
        "Ada Lovelace/2~1.png",
        "Ada Lovelace/2~2.png",
        "Ada Lovelace/2~3.png",
        "张伟/1~1.png",
    ]
    people_shown = [colours(c["crop"])[56, 56, 0] for c in document["crops"]]
    assert people_shown == [1, 2, 1, 3, 4]


def test_the_alignment_puts_landmarks_on_the_template(run, tmp_path, paint):
    # The painted face's points are those of a square of 20; the fit of five points gives the scale.
    photo = paint(tmp_path / "a.png", None, (1, 0), None, *[None] * 6, columns=3)
    run("crop", photo, tmp_path / "out", "--size", 224)
    wide = colours(tmp_path / "out" / "a.png")
    run("crop", photo, tmp_path / "out", "--size", 224, "--margin", 0.5, "--overwrite")
    narrow = colours(tmp_path / "out" / "a.png")
    assert wide.shape == narrow.shape == (224, 224, 3)
    lit = (wide[..., 2] > 127).sum() / (narrow[..., 2] > 127).sum()
    assert lit == pytest.approx(4, rel=0.1)  # half the scale, a quarter of the area


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (["--loose"], (28, 28)),  # 20 pixels and a fifth of that on each side
        (["--loose", "--margin", "0"], (20, 20)),
        (["--loose", "--size", "30x60"], (30, 60)),
        (["--size", "96x112"], (96, 112)),
        (["--size", "50X40"], (50, 40)),
        (["--template", "dlib150"], (150, 150)),
    ],
)
def test_sizes(run, paint, tmp_path, options, size):
    photo = paint(tmp_path / "a.png", *[None] * 4, (1, 0), *[None] * 4, columns=3)
    assert run("crop", photo, tmp_path / "out", *options).code == 0
    with Image.open(tmp_path / "out" / "a.png") as crop:
        assert crop.size == size


@pytest.mark.parametrize(
    "options",
    [
        *(("--size", size) for size in ("0", "7", "5000", "10x", "x10", "1x2x3", "-5", "1e2", "²", "")),
        ("--template", "dlib"),
        ("--margin", "-1"),
        ("--margin", "nan"),
    ],
)
def test_options_that_make_no_sense(run, people, tmp_path, options):
    answer = run("crop", people, tmp_path / "out", *options)
    assert (answer.code, answer.out) == (2, "")
    assert options[0] in answer.err
    assert not (tmp_path / "out").exists()


class TestAgain:
    def test_only_what_is_missing_is_cut(self, run, people, tmp_path):
        run("crop", people, tmp_path / "out")
        (tmp_path / "out" / "张伟" / "1.png").unlink()
        (tmp_path / "out" / "Ada Lovelace" / "1.png").write_bytes(b"mine")
        document = json.loads(run("crop", people, tmp_path / "out", "--json").out)
        assert [c["source"] for c in document["crops"]] == [str(people / "张伟" / "1.png")]
        assert document["kept"] == 2
        assert (tmp_path / "out" / "Ada Lovelace" / "1.png").read_bytes() == b"mine"

    def test_unless_asked_to_cut_again(self, run, people, tmp_path):
        run("crop", people, tmp_path / "out")
        (tmp_path / "out" / "Ada Lovelace" / "1.png").write_bytes(b"mine")
        assert len(json.loads(run("crop", people, tmp_path / "out", "--overwrite", "--json").out)["crops"]) == 3
        assert (tmp_path / "out" / "Ada Lovelace" / "1.png").read_bytes() != b"mine"

    def test_every_face_of_a_photo_that_was_cut_short(self, run, people, tmp_path):
        run("crop", people, tmp_path / "out", "--all-faces")
        (tmp_path / "out" / "Ada Lovelace" / "2~1.png").unlink()  # written last
        run("crop", people, tmp_path / "out", "--all-faces")
        assert "Ada Lovelace/2~1.png" in tree(tmp_path / "out")

    def test_crops_inside_the_source_are_no_photos(self, run, people):
        run("crop", people, people / "crops")
        before = tree(people)
        document = json.loads(run("crop", people, people / "crops", "--json").out)
        assert (document["crops"], document["kept"]) == ([], 3)
        assert tree(people) == before

    def test_nothing_left_to_do(self, run, people, tmp_path):
        run("crop", people, tmp_path / "out")
        answer = run("crop", people, tmp_path / "out")
        assert (answer.code, answer.err) == (0, "")
        assert "3 done before" in answer.out


class TestAnotherFolder:
    def test_no_crop_takes_the_place_of_another_folder_s(self, run, people, paint, tmp_path):
        other = paint(tmp_path / "other" / "Ada Lovelace" / "1.png")
        other.write_bytes(other.read_bytes() + b" ")  # another photo
        run("crop", people, tmp_path / "out")
        before = tree(tmp_path / "out")
        for more in ([], ["--dry-run"]):
            answer = run("crop", tmp_path / "other", tmp_path / "out", *more)
            assert (answer.code, tree(tmp_path / "out")) == (2, before)
            for word in (
                other,
                tmp_path / "out" / "Ada Lovelace" / "1.png",
                people / "Ada Lovelace" / "1.png",
                "--moved",
            ):
                assert str(word) in answer.err
        assert run("crop", tmp_path / "other", tmp_path / "out", "--moved").code == 0

    def test_a_folder_that_has_moved_goes_on(self, run, people, tmp_path):
        run("crop", people, tmp_path / "out")
        people.rename(tmp_path / "moved")
        answer = run("crop", tmp_path / "moved", tmp_path / "out", "--review", tmp_path / "sheet.html")
        assert (answer.code, "3 done before" in answer.out) == (0, True)
        assert (tmp_path / "sheet.html").exists()

    def test_moved_means_nothing_where_all_is_forgotten(self, run, people, tmp_path):
        answer = run("crop", people, tmp_path / "out", "--moved", "--overwrite")
        assert answer.code == 2
        assert "--moved: means nothing with --overwrite" in answer.err


class TestNames:
    def test_that_some_file_systems_take_for_one_do_not_meet(self, run, paint, tmp_path):
        for name in ("a.png", "A.png", "\u00e9t\u00e9.png", "e\u0301te\u0301.png"):
            paint(tmp_path / "in" / name, (1, 0))
        made = {p.name for p in (tmp_path / "in").iterdir()}
        run("crop", tmp_path / "in", tmp_path / "out")
        names = set(tree(tmp_path / "out"))
        assert len(names) == len(made)
        if len(made) == 4:  # the file system here keeps them apart
            assert {"A.png", "a~2.png"} <= names

    def test_of_formats_that_cannot_be_written_get_png(self, run, paint, tmp_path):
        for name in ("a.gif", "a.png", "a.gif.png"):
            paint(tmp_path / "in" / name, (200, 0))
        run("crop", tmp_path / "in", tmp_path / "out")
        assert tree(tmp_path / "out") == ["a.gif.png", "a.gif~2.png", "a.png"]


class TestSafety:
    def test_the_folder_of_the_photos_is_refused(self, run, people):
        answer = run("crop", people, people / "." / "..", "--overwrite")
        assert answer.code == 0  # above the photos is fine: Ada Lovelace/ beside in/
        assert run("crop", people, people).code == 2

    def test_never_over_a_photo(self, run, paint, tmp_path):
        photo = paint(tmp_path / "in" / "in" / "a.png", (1, 0))  # its place under tmp_path/in's parent is ...
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "in").symlink_to(tmp_path / "in" / "in")
        before = photo.read_bytes()
        answer = run("crop", tmp_path / "in", tmp_path / "out", "--overwrite")
        assert answer.code == 2
        assert photo.read_bytes() == before

    def test_a_photo_reached_by_another_way_is_not_replaced(self, run, paint, tmp_path):
        photo = paint(tmp_path / "in" / "a.png", (1, 0))
        (tmp_path / "out").mkdir()
        os.link(photo, tmp_path / "out" / "a.png")
        answer = run("crop", tmp_path / "in", tmp_path / "out", "--overwrite")
        assert answer.code == 2
        assert "is one of the pictures" in answer.err

    def test_no_link_leads_out_of_the_folder(self, run, people, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "Ada Lovelace").symlink_to(tmp_path / "elsewhere")
        answer = run("crop", people, tmp_path / "out", "--json")
        assert answer.code == 2
        assert list((tmp_path / "elsewhere").iterdir()) == []
        document = json.loads(answer.out)
        assert [c["source"] for c in document["crops"]] == [str(people / "张伟" / "1.png")]
        assert len(document["errors"]) == 2

    def test_a_file_where_the_folder_should_be(self, run, people, tmp_path):
        (tmp_path / "out").write_bytes(b"mine")
        answer = run("crop", people, tmp_path / "out")
        assert answer.code == 2
        assert "expected a folder" in answer.err

    def test_a_broken_photo_stops_nothing(self, run, people, broken, tmp_path):
        broken(people / "Ada Lovelace" / "0.png")
        answer = run("crop", people, tmp_path / "out", "--json")
        assert answer.code == 2
        assert len(json.loads(answer.out)["crops"]) == 3

    @pytest.mark.parametrize("name", ["gone", "empty"])
    def test_nothing_to_cut(self, run, tmp_path, name):
        (tmp_path / "empty").mkdir()
        answer = run("crop", tmp_path / name, tmp_path / "out")
        assert answer.code == 2
        assert name in answer.err


class TestChoosing:
    @pytest.fixture
    def group(self, paint, tmp_path, monkeypatch):
        import mien.match
        import mien.prepare.cropping

        monkeypatch.setattr(mien.prepare.cropping, "calibration_for", mien.match.calibration_for)
        for i in range(5):  # 7 is in every photo, beside others
            paint(tmp_path / "in" / "Ada" / f"{i}.png", (20 + i, 0), (7, 0))
        return tmp_path / "in"

    def test_the_face_of_a_person(self, run, group, paint, tmp_path):
        wanted = paint(tmp_path / "wanted.png", (22, 1))
        answer = run("crop", group, tmp_path / "out", "--person", wanted, "--json")
        document = json.loads(answer.out)
        assert answer.code == 0
        (only,) = document["crops"]
        assert only["source"].endswith("2.png")
        assert 0.8 <= only["similarity"] < 1
        assert document["skipped"] == [
            {"source": str(group / "Ada" / f"{i}.png"), "reason": "not the person"} for i in (0, 1, 3, 4)
        ]
        assert document["without_face"] == []

    def test_whom_the_folder_is_of(self, run, group, tmp_path):
        document = json.loads(run("crop", group, tmp_path / "out", "--match-folder", "--json").out)
        assert [colours(c["crop"])[56, 56, 0] for c in document["crops"]] == [7] * 5

    @pytest.mark.parametrize("choose", ["largest", "central", "all", "main"])
    def test_by_a_rule(self, run, group, tmp_path, choose):
        document = json.loads(run("crop", group, tmp_path / "out", "--choose", choose, "--json").out)
        assert len(document["crops"]) == (10 if choose == "all" else 5)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--choose", "best"], "choose"),
            (["--match-folder", "--all-faces"], "--match-folder: chooses the face itself; leave --all-faces out"),
            (["--match-folder", "--choose", "largest"], "--match-folder: chooses the face itself; leave --choose out"),
            (["--person", "{photo}", "--choose", "main"], "--person: chooses the face itself; leave --choose out"),
            (["--match-folder", "--person", "{photo}"], "give either it or --person"),
            (["--all-faces", "--choose", "central"], "--all-faces: says another thing than --choose central"),
            (["--main", "--choose", "largest"], "--main: says another thing than --choose largest"),
            (["--loose", "--template", "dlib150"], "--template: means nothing with --loose"),
            (["--threshold", "0.5"], "--threshold: means nothing without --person or --match-folder"),
            (["--threshold", "nan", "--person", "{photo}"], "--threshold: expected a similarity from -1 to 1"),
            (["--threshold", "1.5", "--match-folder"], "--threshold: expected a similarity from -1 to 1"),
            (["--ray-workers", "2"], "--ray-workers: means nothing without --ray"),
            (["--person", "gone.png"], "gone.png"),
        ],
    )
    def test_what_makes_no_sense(self, run, group, tmp_path, options, says):
        photo = str(group / "Ada" / "0.png")
        answer = run("crop", group, tmp_path / "out", *(o.format(photo=photo) for o in options))
        assert (answer.code, says in answer.err) == (2, True)
        assert not (tmp_path / "out").exists()


def test_a_dry_run(run, people, tmp_path):
    answer = run("crop", people, tmp_path / "out", "--dry-run")
    assert (answer.code, answer.out) == (0, f"3 photos of 3 to look at for {tmp_path / 'out'}\n")
    assert not (tmp_path / "out").exists()
    run("crop", people / "张伟", tmp_path / "out" / "张伟")
    document = json.loads(run("crop", people, tmp_path / "out", "--dry-run", "--json").out)
    assert (len(document["to_do"]), document["kept"]) == (2, 1)


def test_other_options_for_the_same_folder_are_refused(run, people, tmp_path):
    run("crop", people, tmp_path / "out")
    answer = run("crop", people, tmp_path / "out", "--size", 50)
    assert answer.code == 2
    assert "other settings" in answer.err
    assert run("crop", people, tmp_path / "out", "--size", 50, "--overwrite").code == 0


def test_the_sheet_to_look_over(run, people, paint, tmp_path):
    paint(people / "wall.png", None)
    answer = run("crop", people, tmp_path / "out", "--review", tmp_path / "sheet.html")
    assert answer.code == 0
    page = (tmp_path / "sheet.html").read_text("utf-8")
    assert page.count("data:image/jpeg") == 4
    assert "Skipped: no face" in page
    assert run("crop", people, tmp_path / "out2", "--review", tmp_path / "sheet.txt").code == 2
    assert not (tmp_path / "out2").exists()


def test_a_dry_run_writes_no_sheet(run, people, tmp_path):
    answer = run("crop", people, tmp_path / "out", "--dry-run", "--review", tmp_path / "sheet.html")
    assert (answer.code, "sheet.html: not written in a dry run" in answer.err) == (0, True)
    assert not (tmp_path / "sheet.html").exists()


def test_one_rule_said_twice_is_fine(run, people, tmp_path):
    assert run("crop", people, tmp_path / "out", "--all-faces", "--choose", "all").code == 0
    assert run("crop", people, tmp_path / "out2", "--main", "--choose", "main").code == 0


def test_the_same_verb_among_the_others_of_data(run, people, tmp_path):
    assert len(json.loads(run("data", "crop", people, tmp_path / "out", "--json").out)["crops"]) == 3


def test_embedding_a_folder(run, people, paint, tmp_path):
    paint(people / "wall.png", None)
    document = json.loads(run("data", "embed", people, tmp_path / "e.npz", "--json").out)
    assert {k: document[k] for k in ("photos", "embedded", "kept", "errors")} == {
        "photos": 4, "embedded": 3, "kept": 0, "errors": [],
    }  # fmt: skip
    assert document["without_face"] == [str(people / "wall.png")]
    with np.load(tmp_path / "e.npz") as file:
        assert file["names"].tolist() == ["Ada Lovelace/1.png", "Ada Lovelace/2.png", "张伟/1.png"]
        assert file["embeddings"][:, :8].argmax(axis=1).tolist() == [1, 1, 4]
    answer = run("data", "embed", people, tmp_path / "e.npz")
    assert answer.out == f"3 faces of 4 photos in {tmp_path / 'e.npz'} (1 no face, 4 done before)\n"
    assert run("data", "embed", people, tmp_path / "e.txt").code == 2
