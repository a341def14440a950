import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("squares")
CLOSE = 0.955336  # cosine of 0.3 radians: a known person in another look
THRESHOLD = 0.8  # of the fake calibration, at a rate that a gallery of one face can have


@pytest.fixture
def gallery(run, paint, tmp_path):
    """Ada, in one look."""
    paint(tmp_path / "people/Ada/ada.png", (1, 0))
    assert run("enrol", tmp_path / "people", "-g", tmp_path / "p.db").code == 0
    return tmp_path / "p.db"


@pytest.fixture
def two(run, paint, gallery, tmp_path):
    """And 张伟."""
    paint(tmp_path / "people/张伟.png", (2, 0))
    assert run("enrol", tmp_path / "people", "-g", gallery).code == 0
    return gallery


def test_a_known_face_and_a_stranger_with_everything_behind_the_answer(run, paint, gallery, tmp_path):
    photo = paint(tmp_path / "photo.png", (1, 1), (9, 0))
    answer = run("identify", photo, "-g", gallery, "--json")
    assert (answer.code, answer.err) == (0, "")
    document = json.loads(answer.out)
    assert (document["subjects"], document["errors"]) == (1, [])
    (found,) = document["photos"]
    assert (found["source"], found["size"], found["turns"]) == (str(photo), [48, 24], 0)
    known, stranger = found["faces"]
    assert (known["name"], known["nearest"], known["runner_up"], known["margin"]) == ("Ada", "Ada", None, None)
    assert (known["score"], known["threshold"], known["fpir"]) == (pytest.approx(CLOSE, abs=1e-5), THRESHOLD, 1e-3)
    assert known["nearest_picture"].endswith("ada.png")
    assert (known["box"], known["confidence"]) == ([2, 2, 22, 22], 1.0)
    assert "reaches the threshold" in known["reason"]
    assert (stranger["name"], stranger["nearest"], stranger["score"]) == (None, "Ada", 0)
    assert "is below the threshold" in stranger["reason"]


def test_the_runner_up_and_the_margin(run, paint, two, tmp_path):
    photo = paint(tmp_path / "photo.png", (2, 1))
    (face,) = json.loads(run("identify", photo, "-g", two, "--threshold", "0.9", "--json").out)["photos"][0]["faces"]
    assert (face["name"], face["runner_up"], face["fpir"]) == ("张伟", "Ada", None)
    assert face["margin"] == pytest.approx(CLOSE, abs=1e-5)


def test_text_for_people(run, paint, two, tmp_path):
    paint(tmp_path / "photos/a.png", (1, 1), (9, 0))
    paint(tmp_path / "photos/b.png", None)
    answer = run("identify", tmp_path / "photos", "-g", two, "--threshold", "0.9")
    assert answer.code == 0
    assert "a.png: 2 faces" in answer.out
    assert "  Ada  0.955 reaches the threshold 0.900; next 张伟, 0.955 behind; like" in answer.out
    assert "  unknown  0.000 is below the threshold 0.900; closest is" in answer.out
    assert "b.png: no face" in answer.out
    assert answer.out.rstrip().endswith("2 photos, 2 faces: 1 named (1 person), 1 unknown")


def test_csv_has_a_line_a_face(run, paint, gallery, tmp_path):
    photo = paint(tmp_path / "=photo.png", (1, 1), (9, 0))
    rows = list(csv.DictReader(io.StringIO(run("identify", photo, "-g", gallery, "--csv").out)))
    assert [(row["face"], row["name"], row["nearest"], row["x0"]) for row in rows] == [
        ("1", "Ada", "Ada", "2.0"),
        ("2", "", "Ada", "26.0"),
    ]


def test_exit_codes_nobody_named_is_one_and_a_bad_photo_is_two(run, paint, broken, gallery, tmp_path):
    stranger, ada = paint(tmp_path / "s.png", (9, 0)), paint(tmp_path / "a.png", (1, 0))
    assert run("identify", stranger, "-g", gallery).code == 1
    bad = run("identify", broken(tmp_path / "bad.png"), stranger, ada, "-g", gallery, "--json")
    assert bad.code == 2
    document = json.loads(bad.out)
    assert [photo["source"] for photo in document["photos"]] == [str(stranger), str(ada)]
    assert [error["source"] for error in document["errors"]] == [str(tmp_path / "bad.png")]


def test_an_empty_gallery_names_nobody_and_has_no_score(run, paint, gallery, tmp_path):
    run("people", "remove", "Ada", "-g", gallery, "--yes")
    answer = run("identify", paint(tmp_path / "a.png", (1, 0)), "-g", gallery, "--json")
    (face,) = json.loads(answer.out)["photos"][0]["faces"]
    assert (answer.code, face["name"], face["score"], face["reason"]) == (1, None, None, "the gallery is empty")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--fpir", "0"], "--fpir"),
        (["--fpir", "nan"], "--fpir"),
        (["--fpir", "0.01", "--threshold", "0.5"], "one of the two"),
        (["--threshold", "2"], "between -1 and 1"),
        (["--min-face", "-3"], "--min-face"),
        (["-g", "nowhere.db"], "mien enrol"),
    ],
)
def test_bad_options_are_explained(run, paint, gallery, tmp_path, arguments, says):
    answer = run("identify", paint(tmp_path / "a.png", (1, 0)), "-g", gallery, *arguments)
    assert answer.code == 2
    assert says in answer.err


def test_identifying_leaves_no_new_gallery_behind(run, paint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("identify", paint(tmp_path / "a.png", (1, 0))).code == 2
    assert not (tmp_path / "people.db").exists()


def test_drawings_show_names_and_a_legend_where_no_font_has_them(run, paint, two, tmp_path, monkeypatch):
    from mien.images import _fonts

    monkeypatch.setattr(_fonts, "_SYSTEM_FONTS", ())
    photo = paint(tmp_path / "photo.png", (2, 1), (9, 0), columns=2)
    answer = run("identify", photo, "-g", two, "--threshold", "0.9", "--draw", tmp_path / "drawn", "--json")
    assert answer.code == 0
    drawing = json.loads(answer.out)["photos"][0]["drawing"]
    assert drawing["path"] == str(tmp_path / "drawn/photo.png")
    drawn, plain = (np.asarray(Image.open(path).convert("RGB")) for path in (drawing["path"], photo))
    assert drawn.shape == plain.shape
    assert not np.array_equal(drawn, plain)
    assert drawing["legend"] == ["1: 张伟"]
    assert "1: 张伟" in answer.err


def test_a_photo_is_never_drawn_over(run, paint, gallery, tmp_path):
    photo = paint(tmp_path / "photo.png", (1, 1))
    before = photo.read_bytes()
    answer = run("identify", photo, "-g", gallery, "--draw", tmp_path, "--json")
    assert answer.code == 2
    assert photo.read_bytes() == before
    assert json.loads(answer.out)["photos"][0]["faces"][0]["name"] == "Ada"


def test_two_people_of_one_face_are_both_named(run, paint, tmp_path):
    for name in ("Ada", "Twin"):
        paint(tmp_path / "people" / f"{name}.png", (1, 0))
    assert run("enrol", tmp_path / "people", "-g", tmp_path / "p.db", "--policy", "off").code == 0
    out = run("identify", paint(tmp_path / "a.png", (1, 0)), "-g", tmp_path / "p.db").out
    assert "so does Twin with 1.000; like" in out


def test_a_provisional_calibration_is_said_unless_the_threshold_was_given(run, paint, gallery, tmp_path):
    photo = paint(tmp_path / "a.png", (1, 0))
    assert "strangers may be named (provisional calibration)" in run("identify", photo, "-g", gallery).out
    assert json.loads(run("identify", photo, "-g", gallery, "--json").out)["provisional"] is True
    assert "(provisional" not in run("identify", photo, "-g", gallery, "--threshold", "0.9").out
    assert json.loads(run("identify", photo, "-g", gallery, "--threshold", "0.9", "--json").out)["provisional"] is False
