"""`mien enrol` as a gatekeeper: policies, reasons, reports, crops, and folders of other tools."""

import csv
import io
import json
import re

import pytest

from mien.errors import InputError
from mien.gallery import Gallery

pytestmark = pytest.mark.usefixtures("squares")


@pytest.fixture
def people(paint, tmp_path):
    """Ada in three looks with Eve among them, and Eve in her own folder."""
    for look in range(3):
        paint(tmp_path / f"people/Ada/{look}.png", (1, look))
        paint(tmp_path / f"people/Eve/{look}.png", (2, look))
    paint(tmp_path / "people/Ada/9.png", (2, 5))
    return tmp_path / "people"


def faces_of(path):
    with Gallery.open(path, readonly=True) as known:
        return {subject.name: subject.faces for subject in known.subjects()}


def test_a_wrong_picture_is_refused_with_its_reason(run, people, tmp_path):
    answer = run("enrol", people, "-g", tmp_path / "p.db", "--json")
    assert answer.code == 2
    wrong = str(people / "Ada/9.png")
    assert f"refused: {wrong}: does not look like Ada's 3 other faces" in answer.err
    document = json.loads(answer.out)
    (remark,) = document["people"][0]["remarks"]
    assert (remark["source"], remark["outcome"]) == (wrong, "skipped")
    (reason,) = remark["reasons"]
    assert (reason["code"], reason["value"] < reason["limit"], reason["other"]) == ("unlike_own_faces", True, None)
    assert [error["source"] for error in document["errors"]] == [wrong]
    assert faces_of(tmp_path / "p.db") == {"Ada": 3, "Eve": 3}
    again = run("enrol", people, "-g", tmp_path / "p.db")  # by now Eve is known: the reason says so
    assert "looks like Eve" in again.err
    assert faces_of(tmp_path / "p.db") == {"Ada": 3, "Eve": 3}


def test_warn_enrols_it_and_says_so_and_off_says_nothing(run, people, tmp_path):
    warned = run("enrol", people, "-g", tmp_path / "w.db", "--policy", "warn")
    assert warned.code == 0
    assert f"note: {people / 'Ada/9.png'}: does not look like" in warned.err
    assert faces_of(tmp_path / "w.db")["Ada"] == 4
    off = run("enrol", people, "-g", tmp_path / "o.db", "--policy", "off")
    assert (off.code, off.err) == (0, "")


def test_several_faces_can_be_refused(run, paint, tmp_path):
    paint(tmp_path / "people/Ada/two.png", (1, 0), (2, 0))
    answer = run("enrol", tmp_path / "people", "-g", tmp_path / "p.db", "--several", "refuse")
    assert answer.code == 2
    assert "2 faces in the picture; cut the right one out" in answer.err
    assert faces_of(tmp_path / "p.db") == {}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--policy", "lax"], "policy: expected one of strict, warn, off"),
        (["--several", "all"], "several: expected"),
        (["--report", "r.txt"], "expected a name that ends in .html or .csv"),
        (["--report", "people"], "expected a name that ends in"),
    ],
)
def test_choices_are_checked_before_a_gallery_is_made(run, people, tmp_path, monkeypatch, options, says):
    monkeypatch.chdir(tmp_path)
    answer = run("enrol", people, "-g", "p.db", *options)
    assert (answer.code, says in answer.err) == (2, True), answer.err
    assert not (tmp_path / "p.db").exists()


def test_crops_are_kept_on_request(run, people, tmp_path):
    run("enrol", people, "-g", tmp_path / "p.db", "--keep-crops")
    with Gallery.open(tmp_path / "p.db", readonly=True) as known:
        assert all(face.crop for face in known.faces("Eve"))
        assert known.home.crop(known.faces("Eve")[0].id).startswith(b"\xff\xd8\xff")


def test_the_report_as_a_table(run, people, broken, tmp_path):
    (people / "=Ada").mkdir()
    broken(people / "=Ada/broken.png")
    run("enrol", people, "-g", tmp_path / "p.db", "--report", tmp_path / "out/report.csv")
    text = (tmp_path / "out/report.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(r["name"], r["outcome"], r["codes"]) for r in rows[:1]] == [("'=Ada", "skipped", "")]
    assert {r["codes"] for r in rows if r["source"].endswith("9.png")} == {"unlike_own_faces"}
    assert sum(r["outcome"] == "added" for r in rows) == 6


def test_the_report_as_a_page_that_runs_and_loads_nothing(run, people, paint, broken, tmp_path):
    hostile = "<script>alert(1)<!--"
    paint(people / hostile.replace("/", "") / "1.png", (5, 0))
    paint(people / "عدا" / "1.png", (6, 0), (7, 0))
    paint(people / "Nobody" / "wall.png", None)
    broken(people / "Broken" / "1.png")
    answer = run("enrol", people, "-g", tmp_path / "p.db", "--report", tmp_path / "report.html")
    assert answer.code == 2
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;!--" in page
    assert "default-src &#x27;none&#x27;" in page
    assert not re.search(r'(?:src|href)="(?!#|data:image/jpeg;base64,)', page)
    for title in ("Refused", "Cannot be used", "Enrolled, with a remark", "Everybody", "Enrolled without a remark"):
        assert f">{title}</h2>" in page
    assert "does not look like Ada&#x27;s 3 other faces" in page
    assert page.count("data:image/jpeg") == 10  # every picture but the broken one
    assert "cannot be read" in page


def test_a_stopped_run_has_its_report(run, people, tmp_path, monkeypatch):
    whole = Gallery.enrol_people

    def stopped(self, sources, **how):
        yield next(whole(self, sources, **how))
        raise KeyboardInterrupt

    monkeypatch.setattr(Gallery, "enrol_people", stopped)
    assert run("enrol", people, "-g", tmp_path / "p.db", "--report", tmp_path / "r.csv").code == 130
    rows = csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text(encoding="utf-8")))
    assert {row["name"] for row in rows} == {"Ada"}


def test_a_folder_of_deepface_is_enrolled_and_its_pickle_never_opened(run, people, tmp_path):
    pickle = people / "ds_model_facenet_detector_opencv_aligned_normalization_base_expand_0.pkl"
    pickle.write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    pickle.chmod(0)
    answer = run("enrol", people, "-g", tmp_path / "p.db", "--policy", "warn")
    assert answer.code == 0
    assert f"note: {pickle}: a cache of another tool; it is not opened" in answer.err
    assert faces_of(tmp_path / "p.db") == {"Ada": 4, "Eve": 3}


def test_a_flat_folder_of_face_recognition_is_enrolled(run, paint, tmp_path):
    for i, name in enumerate(["Barack Obama", "张伟", "Zoe\u0301"], 1):
        paint(tmp_path / "known" / f"{name}.png", (i, 0))
    assert run("enrol", tmp_path / "known", "-g", tmp_path / "p.db").code == 0
    assert faces_of(tmp_path / "p.db") == {"Barack Obama": 1, "Zo\u00e9": 1, "张伟": 1}


def test_without_a_calibration_it_says_what_is_not_judged(run, people, tmp_path, monkeypatch):
    def none(identity):
        raise InputError(f"{identity} has no calibration")

    monkeypatch.setattr("mien.gallery.embeddings.calibration_for", none)
    answer = run("enrol", people, "-g", tmp_path / "p.db")
    assert (answer.code, answer.err.count("whom they show is not")) == (0, 1)
    assert faces_of(tmp_path / "p.db") == {"Ada": 4, "Eve": 3}
    assert run("enrol", people, "-g", tmp_path / "q.db", "--policy", "off").err == ""


def test_an_encrypted_gallery_is_made_by_enrolling(run, people, tmp_path, monkeypatch):
    pytest.importorskip("cryptography")
    key = f"file:{tmp_path / 'k'}"
    assert run("gallery", "new-key", key).code == 0
    assert run("enrol", people, "-g", tmp_path / "s.db", "--key", key, "--keep-crops").code == 2
    assert run("people", "list", "-g", tmp_path / "s.db").code == 2
    assert run("people", "list", "-g", tmp_path / "s.db", "--key", key, "--csv").out.count("\n") == 3
    assert b"\xff\xd8\xff\xe0" not in (tmp_path / "s.db").read_bytes()  # no JPEG lies open in it
