import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("squares")


def test_boxes_confidences_and_landmarks_in_json(run, paint, tmp_path):
    photo = paint(tmp_path / "张伟.png", (1, 0), None, (2, 0), confidence=204)
    answer = run("detect", photo, "--json")
    assert (answer.code, answer.err) == (0, "")
    document = json.loads(answer.out)
    assert document["errors"] == []
    (found,) = document["photos"]
    assert (found["source"], found["size"], found["turns"]) == (str(photo), [72, 24], 0)
    assert [face["box"] for face in found["faces"]] == [[2, 2, 22, 22], [50, 2, 70, 22]]
    assert [face["confidence"] for face in found["faces"]] == [0.8, 0.8]
    assert found["faces"][1]["landmarks"][0] == [56, 10]


def test_one_line_a_face_in_csv(run, paint, tmp_path):
    paint(tmp_path / "=1+1.png", (1, 0), (2, 0))
    rows = list(csv.DictReader(io.StringIO(run("detect", tmp_path, "--csv").out)))
    assert [(r["face"], r["x0"], r["y1"], r["nose_x"]) for r in rows] == [
        ("1", "2.0", "22.0", "12.0"),
        ("2", "26.0", "22.0", "36.0"),
    ]
    assert all(r["source"].endswith("=1+1.png") for r in rows)


def test_text_for_people(run, paint, tmp_path):
    paint(tmp_path / "[red]a.png", (1, 0), (2, 0))
    paint(tmp_path / "b\x1b[31m.png", None)
    out = run("detect", tmp_path).out
    assert "[red]a.png: 2 faces (48 x 24)" in out
    assert "b\\x1b[31m.png: no face" in out
    assert "\x1b" not in out
    assert out.rstrip().endswith("2 faces in 2 photos")


def test_a_broken_photo_stops_nothing_and_makes_the_code_two(run, paint, broken, tmp_path):
    broken(tmp_path / "a.png")
    paint(tmp_path / "b.png", (1, 0))
    answer = run("detect", tmp_path, "--json")
    assert answer.code == 2
    document = json.loads(answer.out)
    assert [p["source"] for p in document["photos"]] == [str(tmp_path / "b.png")]
    assert [e["source"] for e in document["errors"]] == [str(tmp_path / "a.png")]
    assert str(tmp_path / "a.png") not in document["errors"][0]["error"]
    assert f"skipped: {tmp_path / 'a.png'}" in answer.err


def test_no_face_is_an_answer(run, paint, tmp_path):
    assert run("detect", paint(tmp_path / "a.png", None)).code == 0


def test_confidence_reaches_the_detector(run, paint, tmp_path):
    photo = paint(tmp_path / "a.png", (1, 0), confidence=128)
    assert "1 face" in run("detect", photo, "--confidence", 0.5).out
    assert "no face" in run("detect", photo, "--confidence", 0.6).out


@pytest.mark.parametrize(
    "option", [("--confidence", 2), ("--confidence", "nan"), ("--min-face", 0), ("--min-face", "nan")]
)
def test_options_that_make_no_sense(run, paint, tmp_path, option):
    answer = run("detect", paint(tmp_path / "a.png", (1, 0)), *option)
    assert answer.code == 2
    assert option[0] in answer.err


def test_a_missing_photo(run, tmp_path):
    answer = run("detect", tmp_path / "nobody.png")
    assert answer.code == 2
    assert "nobody.png: no such file" in answer.err


class TestDraw:
    def test_faces_are_marked_in_a_folder_like_the_photos_own(self, run, paint, tmp_path):
        one = paint(tmp_path / "in" / "Ada" / "1.png", (1, 0), None)
        paint(tmp_path / "in" / "Bob" / "1.png", (2, 0), None)
        before = one.read_bytes()
        answer = run("detect", tmp_path / "in", "--draw", tmp_path / "out", "--json")
        assert answer.code == 0
        drawn = [photo["drawing"] for photo in json.loads(answer.out)["photos"]]
        assert drawn == [str(tmp_path / "out" / name / "1.png") for name in ("Ada", "Bob")]
        green = (np.asarray(Image.open(drawn[0])) == (46, 204, 64)).all(-1)
        assert green[2, 2:22].all()
        assert green[2:22, 2].all()
        assert one.read_bytes() == before

    def test_photos_of_one_name_do_not_meet(self, run, paint, tmp_path):
        photos = [paint(tmp_path / folder / "A.png", (1, 0)) for folder in ("x", "y")]
        photos.append(paint(tmp_path / "z" / "a.png", (1, 0)))
        run("detect", *photos, "--draw", tmp_path / "out")
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["A.png", "A~2.png", "a~3.png"]

    def test_a_drawing_in_the_way_is_kept(self, run, paint, tmp_path):
        photo = paint(tmp_path / "a.png", (1, 0))
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a.png").write_bytes(b"mine")
        answer = run("detect", photo, "--draw", tmp_path / "out", "--json")
        assert (answer.code, json.loads(answer.out)["photos"][0]["drawing"]) == (0, None)
        assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"
        assert "--overwrite" in answer.err
        run("detect", photo, "--draw", tmp_path / "out", "--overwrite")
        assert (tmp_path / "out" / "a.png").read_bytes() != b"mine"

    def test_never_over_the_source(self, run, paint, tmp_path):
        photo = paint(tmp_path / "a.png", (1, 0))
        before = photo.read_bytes()
        answer = run("detect", photo, "--draw", tmp_path, "--overwrite")
        assert answer.code == 2
        assert "is one of the pictures" in answer.err
        assert photo.read_bytes() == before
