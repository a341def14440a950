"""imglab's XML: what it says, and what a hostile file may not do."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from mien.errors import InputError, NotFoundError
from mien.evaluate.protocols import ImglabProtocol
from mien.evaluate.protocols.imglab import five_points

HEAD = "<?xml version='1.0' encoding='ISO-8859-1'?><?xml-stylesheet type='text/xsl' href='http://evil/x.xsl'?>"


def xml(body, head=HEAD):
    return f"{head}<dataset><name>n</name><images>{body}</images></dataset>"


BOX = "<box top='1' left='2' width='3' height='4'/>"


def test_boxes_ignored_ones_and_landmarks(put, text):
    folder = put("a.jpg", "sub/b.jpg", "empty.jpg")
    parts = "".join(f"<part name='{i:02d}' x='{i}' y='{2 * i}'/>" for i in range(68))
    body = f"<image file='a.jpg'>{BOX}<box top='0' left='0' width='9' height='9' ignore='1'>{parts}</box></image>"
    body += f"<image file='sub\\b.jpg'>{BOX}</image><image file='empty.jpg'/>"
    found = ImglabProtocol(text(xml(body), "set/t.xml")).read()
    assert folder == text(xml(body), "set/t.xml").parent
    assert [p.name for p in found.pictures] == ["a.jpg", "sub/b.jpg", "empty.jpg"]
    assert found.boxes.tolist() == [[2, 1, 5, 5], [0, 0, 9, 9], [2, 1, 5, 5]]
    assert found.ignore.tolist() == [False, True, False]
    assert found.offsets.tolist() == [0, 2, 3, 3]
    assert found.landmarks is not None
    assert np.isnan(found.landmarks[[0, 2]]).all()
    assert found.landmarks[1].tolist() == [[38.5, 77], [44.5, 89], [30, 60], [48, 96], [54, 108]]


def test_other_schemes_of_landmarks():
    named = {name: (i, i) for i, name in enumerate(("left_eye", "right_eye", "nose", "mouth_left", "mouth_right"))}
    assert five_points(named).tolist() == [[i, i] for i in range(5)]
    assert five_points({str(i): (0, 0) for i in range(5)}) is None
    assert five_points({}) is None


BOMB = "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>]>"
FETCH = "<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (xml(f"<image file='a.jpg'>{BOX}&b;</image>", BOMB), "no document type"),
        (xml(f"<image file='a.jpg'>{BOX}&x;</image>", FETCH), "no document type"),
        ("<html/>", "begins with <dataset>"),
        ("", "expected the XML of imglab"),
        ("<dataset><images>", "expected the XML of imglab"),
        (xml(BOX), "boxes inside pictures"),
        (xml("<image file='a.jpg'><part name='1' x='1' y='1'/></image>"), "parts inside boxes"),
        (xml(f"<image>{BOX}</image>"), "the picture's file"),
        (xml(f"<image file='../a.jpg'>{BOX}</image>"), "inside"),
        (xml(f"<image file='/etc/passwd'>{BOX}</image>"), "inside"),
        (xml(f"<image file='a.jpg'>{BOX}</image><image file='./a.jpg'>{BOX}</image>"), "not listed before"),
        (xml(f"<image file='gone.jpg'>{BOX}</image>"), "gone.jpg"),
        (xml("<image file='a.jpg'><box top='1' left='nan' width='3' height='4'/></image>"), "a number as left"),
        (xml("<image file='a.jpg'><box top='1' left='1e999' width='3' height='4'/></image>"), "a number as left"),
        (xml("<image file='a.jpg'><box top='1' left='1' width='0' height='4'/></image>"), "with an area"),
        (xml("<image file='a.jpg'><box left='1' width='0' height='4'/></image>"), "a number as top"),
        (xml("<image file='a.jpg'/>"), "no face is left"),
        (xml(f"<image file='{'a' * 5000}'>{BOX}</image>"), "characters a value"),
        (xml("<a>" * 30 + "</a>" * 30), "inside one another"),
        (xml("", "<?xml version='1.0' encoding='no-such'?>"), "t.xml"),
    ],
)
def test_what_is_refused(put, text, content, said):
    put("a.jpg")
    with pytest.raises((InputError, NotFoundError), match=said):
        ImglabProtocol(text(content, "set/t.xml")).read()


def test_parts_of_one_name_and_a_missing_picture(put, text):
    put("a.jpg")
    twice = "<box top='1' left='2' width='3' height='4'><part name='1' x='1' y='1'/><part name='1' x='1' y='1'/></box>"
    with pytest.raises(InputError, match="line 1: expected parts of different names"):
        ImglabProtocol(text(xml(f"<image file='a.jpg'>{twice}</image>"), "set/t.xml")).read()
    body = f"<image file='a.jpg'>{BOX}</image><image file='gone.jpg'>{BOX}</image>"
    found = ImglabProtocol(text(xml(body), "set/t.xml"), missing="exclude").read()
    assert [(e.what, e.why) for e in found.exclusions] == [("gone.jpg", "the file is not there")]


def test_memory_is_bounded(put, text, monkeypatch):
    put("a.jpg")
    monkeypatch.setattr("mien.evaluate.protocols.imglab.MAX_XML_BYTES", 1 << 20)
    path = text(xml(f"<image file='a.jpg'>{'<x/>' * (1 << 20)}{BOX}</image>"), "set/t.xml")
    tracemalloc.start()
    with pytest.raises(InputError, match="at most 1048576 bytes"):
        ImglabProtocol(path).read()
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_dlibs_own_files(mien_data):
    faces = mien_data / "photos" / "dlib" / "faces"
    found = ImglabProtocol(faces / "testing_with_face_landmarks.xml").read()
    assert (len(found.pictures), found.boxes.shape, found.landmarks.shape) == (5, (25, 4), (25, 5, 2))
    assert (found.landmarks[:, 0, 0] < found.landmarks[:, 1, 0]).all()  # the left eye of the picture comes first
