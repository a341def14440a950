"""`mien evaluate detect`: the three layouts of true faces, a detector, and detections from a file."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.usefixtures("squares")


@pytest.fixture
def imglab(tmp_path, paint):
    """Two pictures of squares: three faces that are found, one that is not there, and one to ignore."""
    paint(tmp_path / "set" / "a.png", (1, 0), (2, 0))
    paint(tmp_path / "set" / "b & c.png", (3, 0), None)
    xml = """<?xml version='1.0'?><dataset><images>
      <image file='a.png'>
        <box top='2' left='2' width='20' height='20'>{parts}</box>
        <box top='2' left='26' width='20' height='20'/>
      </image>
      <image file='b &amp; c.png'>
        <box top='2' left='2' width='20' height='20' ignore='1'/>
        <box top='2' left='26' width='20' height='18'/>
      </image></images></dataset>"""
    five = {
        "left_eye": (8, 10),
        "right_eye": (16, 10),
        "nose": (12, 15),
        "mouth_left": (9, 18),
        "mouth_right": (15, 18),
    }
    parts = "".join(f"<part name='{name}' x='{x}' y='{y}'/>" for name, (x, y) in five.items())
    (tmp_path / "set" / "truth.xml").write_text(xml.format(parts=parts))
    return tmp_path / "set"


def test_imglab_has_the_documented_shape(run, imglab, tmp_path):
    answer = run("evaluate", "detect", imglab / "truth.xml", "--json", "--out", tmp_path / "out")
    found = json.loads(answer.out)
    assert answer.code == 0, answer.err
    assert (found["version"], found["kind"], found["protocol"]) == (1, "detection", "imglab, truth.xml")
    assert (found["faces"], found["ignored"], found["detections"], found["pictures"]) == (3, 1, 3, 2)
    assert found["recall"]["value"] == pytest.approx(2 / 3)
    assert found["precision"]["value"] == 1
    assert found["ap"]["value"] == pytest.approx(2 / 3)
    assert found["ap"]["low"] <= found["ap"]["value"] <= found["ap"]["high"]
    assert list(found["recall_by_height"]) == ["16"]
    assert found["recall_at_fppi"]["0.1"]["value"] == pytest.approx(2 / 3)
    # The detector's points lie at (6, 8) ... of its box at (2, 2): the nose is a pixel off, at an eye distance of 8.
    assert found["landmarks"]["nme"] == pytest.approx(1 / 8 / 5)
    assert found["landmarks"]["by_point"]["nose"] == pytest.approx(1 / 8)
    assert found["landmarks"]["faces"] == 1
    assert found["misses"] == [{"picture": "b & c.png", "box": [26, 2, 46, 20], "height": 18}]
    assert found["false_alarms"] == []
    assert found["detector"]["name"] == "mtcnn"
    assert found["detecting_seconds"] >= 0
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert page.count("<img") == 1
    assert "b &amp; c.png" in page
    text = run("evaluate", "detect", imglab, "--protocol", "imglab").out
    assert "AP at IoU 0.5" in text
    assert "recall, height 16 to 31" in text


def test_wider(run, paint, tmp_path):
    root = tmp_path / "wider"
    paint(root / "WIDER_val" / "images" / "0--Parade" / "0_1.png", (1, 0), (2, 0))
    (root / "wider_face_split").mkdir()
    (root / "wider_face_split" / "wider_face_val_bbx_gt.txt").write_text(
        "0--Parade/0_1.png\n3\n2 2 20 20 0 0 0 0 0 0\n26 2 20 20 2 0 0 0 0 0\n0 0 5 5 0 0 0 0 0 0\n"
    )
    found = json.loads(run("evaluate", "detect", "--protocol", "wider", root, "--json").out)
    assert (found["faces"], found["ignored"], found["recall"]["value"], found["ap"]["value"]) == (2, 1, 1, 1)
    assert found["recall_by_attribute"]["blur"]["2"]["of"] == 1
    assert found["landmarks"]["nme"] is None
    assert found["landmarks"]["reason"]
    for split, said in (("train", "bbx_gt"), ("test", "train or val")):
        answer = run("evaluate", "detect", "--protocol", "wider", root, "--split", split)
        assert answer.code == 2
        assert said in answer.err


def test_fddb(run, paint, tmp_path):
    root = tmp_path / "fddb"
    paint(root / "originalPics" / "2002" / "img_1.png", (1, 0))
    (root / "FDDB-folds").mkdir()
    (root / "FDDB-folds" / "FDDB-fold-01-ellipseList.txt").write_text("2002/img_1\n1\n10 10 0 12 12  1\n")
    found = json.loads(run("evaluate", "detect", "--protocol", "fddb", root, "--json").out)
    assert (found["faces"], found["recall"]["value"], found["recall_at_fppi"]["1"]["value"]) == (1, 1, 1)


HEADER = "picture,x0,y0,x1,y1,confidence\n"


def test_detections_of_another_program(run, imglab, tmp_path):
    rows = ["/data/set/a.png,2,2,22,22,0.9", "a.png,3,3,23,23,0.8", "b & c.png,26,2,46,20,0.7", "a.png,60,2,80,22,0.2"]
    (tmp_path / "found.csv").write_text(HEADER + "\n".join(rows) + "\n")
    options = ["evaluate", "detect", imglab / "truth.xml", "--detections", tmp_path / "found.csv"]
    found = json.loads(run(*options, "--json", "--out", tmp_path / "out").out)
    assert (found["detector"], found["detecting_seconds"]) == (None, None)
    assert (found["recall"]["count"], found["precision"]["count"], found["precision"]["of"]) == (2, 2, 4)
    assert [alarm["confidence"] for alarm in found["false_alarms"]] == [0.8, 0.2]  # a repetition, and nothing at all
    assert found["ap"]["value"] == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    assert "detections from a file" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert run(*options, "--min-face", "20").code == 2


def test_what_mien_detect_writes_is_measured_alike(run, imglab, tmp_path):
    (tmp_path / "found.csv").write_text(run("detect", imglab, "--csv").out)
    found = json.loads(
        run("evaluate", "detect", imglab / "truth.xml", "--detections", tmp_path / "found.csv", "--json").out
    )
    own = json.loads(run("evaluate", "detect", imglab / "truth.xml", "--json").out)
    for key in ("ap", "recall", "precision", "landmarks", "misses"):
        assert found[key] == own[key]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("gone.png,0,0,1,1,1", "line 2"),
        ("a.png,0,0,1,nan,1", "line 2"),
        ("a.png,5,5,1,1,1", "line 2"),
        ("a.png,0,0,1,1,", "line 2"),
        ("a.png,0,0,1,1", "line 2"),
        ("a.png,0,0,1,1,1\na.png,0,0,1,1,1", "once"),
    ],
)
def test_broken_detections(run, imglab, tmp_path, row, said):
    (tmp_path / "found.csv").write_text(HEADER + row + "\n")
    answer = run("evaluate", "detect", imglab / "truth.xml", "--detections", tmp_path / "found.csv", "--json")
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_a_picture_that_cannot_be_read_is_missed_and_named(run, imglab, broken):
    broken(imglab / "a.png")
    answer = run("evaluate", "detect", imglab / "truth.xml", "--json")
    found = json.loads(answer.out)
    assert answer.code == 2
    assert [e["source"] for e in found["errors"]] == ["a.png"]
    assert found["recall"]["value"] == 0


def test_options_that_name_nothing(run, imglab, tmp_path):
    (imglab / "other.xml").write_text("<dataset/>")
    for arguments, said in [
        ([imglab], "--protocol"),
        ([imglab, "--protocol", "imglab"], "other.xml, truth.xml"),
        ([imglab, "--protocol", "coco"], "coco"),
        ([imglab, "--protocol", "fddb"], "FDDB-fold"),
        ([tmp_path / "gone.xml"], "no such file"),
        ([imglab / "other.xml"], "no face is left"),
    ]:
        answer = run("evaluate", "detect", *arguments)
        assert answer.code == 2
        assert said in answer.err, answer.err
    assert run("evaluate", "detect", imglab, "--truth", "truth.xml").code == 0
