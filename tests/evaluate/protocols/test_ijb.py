import numpy as np
import pytest

from mien.errors import InputError, NotFoundError
from mien.evaluate.protocols import IjbProtocol, InsightFaceIjb
from mien.images import decode

HEAD = "TEMPLATE_ID,SUBJECT_ID,FILENAME,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT\n"
G1 = (
    HEAD
    + "1,100,img/1.jpg,1,2,10,12\n1,100,frames/7_1.png,0,0,8,8\n1,100,frames/7_2.png,0,0,8,8\n2,101,img/2.jpg,1,1,9,9\n"
)
G2 = HEAD + '3,102,"img/3.jpg",1,1,9,9\n'
PROBE = (
    HEAD + "11,100,img/4.jpg,1,1,9,9\n12,102,img/5.jpg,1,1,9,9\n12,102,img/1.jpg,12,2,10,12\n13,101,img/6.jpg,1,1,9,9\n"
)
MATCHES = "1,11\n2,11\n3,12\n1,13\n"


@pytest.fixture
def nist(put, text):
    put(*(f"images/img/{i}.jpg" for i in range(1, 7)), "images/frames/7_1.png", "images/frames/7_2.png")
    for name, content in (("1N_gallery_G1", G1), ("1N_gallery_G2", G2), ("1N_probe_mixed", PROBE)):
        text(content, f"set/protocols/ijbc_{name}.csv")
    return text(MATCHES, "set/protocols/ijbc_11_G1_G2_matches.csv").parents[1]


def test_verification(nist, words):
    found = IjbProtocol.of_folder(nist).verification()
    assert found.name == "IJB-C 1:1"
    assert words(found) == [("1", "11", True, 0), ("2", "11", False, 0), ("3", "12", True, 0), ("1", "13", False, 0)]
    t = found.templates
    first = slice(t.offsets[0], t.offsets[1])
    assert [found.pictures[i].name for i in t.members[first]] == [
        "img/1.jpg#1,2,11,14",
        "frames/7_1.png#0,0,8,8",
        "frames/7_2.png#0,0,8,8",
    ]
    media = t.media[first]
    assert media[1] == media[2] != media[0]  # two frames of one video
    assert found.pictures[0].box == (1, 2, 11, 14)
    assert decode(found.pictures[0].source)
    # One file with two faces is two pictures.
    assert sum(p.name.startswith("img/1.jpg") for p in found.pictures) == 2


def test_identification_in_two_galleries(nist):
    first, second = IjbProtocol.of_folder(nist).identification()
    names = first.templates.names

    def named(numbers):
        return [names[i] for i in numbers]

    assert (named(first.gallery), named(first.known), named(first.unknown)) == (["1", "2"], ["11", "13"], ["12"])
    assert (named(second.gallery), named(second.known), named(second.unknown)) == (["3"], ["12"], ["11", "13"])
    assert (first.gallery_size, second.gallery_size) == (2, 1)
    assert first.scheme == "gallery"


def test_match_lists_with_header_spaces_and_odd_pairs(nist, text, words):
    path = "set/protocols/ijbc_11_G1_G2_matches.csv"
    plain = words(IjbProtocol.of_folder(nist).verification())
    for other in (
        "ENROLL,VERIF\n" + MATCHES,
        MATCHES.replace(",", " "),
        MATCHES.replace("\n", "\r\n"),
        "\ufeff" + MATCHES,
    ):
        text(other, path)
        assert words(IjbProtocol.of_folder(nist).verification()) == plain
    text(MATCHES + "11,1\n2,2\n1,11\n", path)
    found = IjbProtocol.of_folder(nist).verification()
    assert words(found) == plain
    assert [(e.what, e.why) for e in found.exclusions] == [
        ("1 pairs of templates", "they compare a template with itself"),
        ("2 pairs of templates", "they repeat an earlier pair"),
    ]


@pytest.mark.parametrize(
    "content", ["", "\n", "1\n", "1,2,3\n", "1,x\n", "1,2\n3\n", "a,b\n", "1,2.5\n", "1,99999999999999999999\n"]
)
def test_match_lists_that_are_none(nist, text, content):
    text(content, "set/protocols/ijbc_11_G1_G2_matches.csv")
    with pytest.raises(InputError, match="expected 2 whole numbers a row"):
        IjbProtocol.of_folder(nist).verification()


def test_unknown_templates_are_an_error(nist, text):
    text("1,77\n", "set/protocols/ijbc_11_G1_G2_matches.csv")
    with pytest.raises(InputError, match="template 77"):
        IjbProtocol.of_folder(nist).verification()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected a header"),
        ("TEMPLATE_ID,SUBJECT_ID\n1,2\n", "header with FILENAME"),
        (HEAD + "1,2\n", "line 2: expected 7 fields"),
        (HEAD + "x,2,img/1.jpg,1,1,1,1\n", "line 2: expected whole numbers"),
        (HEAD + "1,2,img/1.jpg,1,1,0,1\n", "line 2: expected a face"),
        (HEAD + "1,2,img/1.jpg,nan,1,1,1\n", "line 2: expected coordinates"),
        (HEAD + "1,2,../../x.jpg,1,1,1,1\n", "line 2: expected a file inside"),
        (HEAD + '1,2,"img/1.jpg,1,1,1,1\n', "line 2: expected"),
        (HEAD + "1,2,img/1.jpg,1,1,1,1\n1,3,img/2.jpg,1,1,1,1\n", "line 3: expected one person"),
    ],
)
def test_malformed_rows(nist, text, content, message):
    text(content, "set/protocols/ijbc_1N_gallery_G1.csv")
    with pytest.raises(InputError, match=message):
        IjbProtocol.of_folder(nist).verification()


def test_missing_pictures(nist, words):
    (nist / "images/img/2.jpg").unlink()
    with pytest.raises(NotFoundError, match=r"img/2\.jpg"):
        IjbProtocol.of_folder(nist).verification()
    found = IjbProtocol.of_folder(nist, missing="exclude").verification()
    assert [row[:2] for row in words(found)] == [("1", "11"), ("3", "12"), ("1", "13")]
    assert {e.what for e in found.exclusions} == {"img/2.jpg", "template 2", "1 pairs of templates"}
    first, _ = IjbProtocol.of_folder(nist, missing="exclude").identification()
    assert first.gallery_size == 1
    assert [first.templates.names[i] for i in first.unknown] == ["12", "13"]
    with pytest.raises(NotFoundError, match="1N_gallery"):
        IjbProtocol.of_folder(nist / "images")
    with pytest.raises(InputError, match="needs the list"):
        IjbProtocol(nist / "images", [nist / "protocols/ijbc_1N_gallery_G1.csv"], nist / "x.csv").verification()


@pytest.fixture
def insightface(put, text):
    put(*(f"loose_crop/{i}.jpg" for i in range(1, 6)))
    points = "".join(f"{i}.jpg {' '.join(str(i + k) for k in range(10))} 0.9\n" for i in range(1, 6))
    text(points, "set/meta/ijbb_name_5pts_score.txt")
    text("1.jpg 1 7\n2.jpg 1 7\n3.jpg 2 8\n4.jpg 11 9\n5.jpg 12 10\n", "set/meta/ijbb_face_tid_mid.txt")
    text("TEMPLATE_ID,SUBJECT_ID\n1,50\n1,50\n", "set/meta/ijbb_1N_gallery_S1.csv")
    text("TEMPLATE_ID,SUBJECT_ID\n2,51\n", "set/meta/ijbb_1N_gallery_S2.csv")
    text("TEMPLATE_ID,SUBJECT_ID\n11,50\n12,99\n", "set/meta/ijbb_1N_probe_mixed.csv")
    return text("1 11 1\n2 11 0\n2 12 0\n", "set/meta/ijbb_template_pair_label.txt").parents[1]


def test_insightface_layout(insightface, words):
    protocol = InsightFaceIjb(insightface)
    found = protocol.verification()
    assert found.name == "IJB-B 1:1"
    assert words(found) == [("1", "11", True, 0), ("2", "11", False, 0), ("2", "12", False, 0)]
    assert found.pictures[0].landmarks == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10))
    assert np.diff(found.templates.offsets).tolist() == [2, 1, 1, 1]
    first, second = protocol.identification()
    assert (len(first.known), len(first.unknown)) == (1, 1)
    assert (len(second.known), len(second.unknown)) == (0, 2)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("face_tid_mid", "9.jpg 1 7\n"),
        ("face_tid_mid", "1.jpg 1\n"),
        ("face_tid_mid", "1.jpg x 7\n"),
        ("name_5pts_score", "1.jpg 1 2 3\n"),
        ("name_5pts_score", "1.jpg " + "inf " * 10 + "1\n"),
        ("template_pair_label", "1 11 2\n"),
        ("template_pair_label", "1 11\n"),
    ],
)
def test_insightface_lists_that_are_none(insightface, text, name, content):
    text(content, f"set/meta/ijbb_{name}.txt")
    with pytest.raises(InputError, match=r"ijbb_.*expected"):
        InsightFaceIjb(insightface).verification()
