import numpy as np
import pytest

from mien.errors import InputError, NotFoundError
from mien.evaluate.protocols import YtfProtocol
from mien.images import decode

SPLITS = """split number, first name, second name, similarity, is same
1, Ada/0, Ada/1, 0, 1
1, Ada/0, Bo/2, 0, 0
2, Cy/0, Cy/5, 0, 1
2, Bo/2, Cy/5, 0, 0
"""


@pytest.fixture
def ytf(put, text):
    videos = {"Ada/0": 3, "Ada/1": 12, "Bo/2": 1, "Cy/0": 2, "Cy/5": 2}
    put(*(f"frame_images_DB/{v}/{v[-1]}.{i + 98}.jpg" for v, n in videos.items() for i in range(n)))
    return text(SPLITS, "set/splits.txt").parent


def test_templates_of_frames(ytf, words):
    found = YtfProtocol(ytf).read()
    assert words(found) == [
        ("Ada/0", "Ada/1", True, 0),
        ("Ada/0", "Bo/2", False, 0),
        ("Cy/0", "Cy/5", True, 1),
        ("Bo/2", "Cy/5", False, 1),
    ]
    t = found.templates
    assert np.diff(t.offsets).tolist() == [3, 12, 1, 2, 2]
    assert [t.people[s] for s in t.subject] == ["Ada", "Ada", "Bo", "Cy", "Cy"]
    frames = [found.pictures[i].name for i in t.members[t.offsets[1] : t.offsets[2]]]
    assert frames == [f"Ada/1/1.{i}.jpg" for i in range(98, 110)]  # by number: 99 before 100
    assert decode(found.pictures[0].source)
    assert all(p.box is None for p in found.pictures)
    assert "at most 100 frames" in found.rules


def test_most_frames_are_evenly_spread(ytf):
    found = YtfProtocol(ytf, most_frames=4).read()
    t = found.templates
    assert np.diff(t.offsets).max() == 4
    frames = [found.pictures[i].name for i in t.members[t.offsets[1] : t.offsets[2]]]
    assert frames == [f"Ada/1/1.{98 + i}.jpg" for i in (1, 4, 7, 10)]
    assert len(YtfProtocol(ytf, most_frames=None).read().pictures) == 20
    with pytest.raises(InputError, match="most_frames=0"):
        YtfProtocol(ytf, most_frames=0)


def test_labelled_boxes(ytf, text):
    rows = "Ada\\0\\0.98.jpg,0,100.0,80,40,20,0,1\r\nAda\\0\\0.99.jpg,0,10,10,4,4,0,1\r\n"
    text(rows, "set/frame_images_DB/Ada.labeled_faces.txt")
    boxes = {p.name: p.box for p in YtfProtocol(ytf).read().pictures}
    assert boxes["Ada/0/0.98.jpg"] == (80, 70, 120, 90)
    assert boxes["Ada/0/0.99.jpg"] == (8, 8, 12, 12)
    assert boxes["Ada/0/0.100.jpg"] is None
    for wrong in ("Ada\\0\\0.98.jpg,0,nan,80,40,20,0,1", "Ada\\0\\0.98.jpg,0,1,1,0,20,0,1", "Ada\\0\\0.98.jpg"):
        text(wrong, "set/frame_images_DB/Ada.labeled_faces.txt")
        with pytest.raises(InputError, match=r"labeled_faces\.txt, line 1"):
            YtfProtocol(ytf).read()


def test_missing_videos(ytf, words):
    for frame in (ytf / "frame_images_DB/Bo/2").iterdir():
        frame.unlink()
    with pytest.raises(NotFoundError, match="Bo/2"):
        YtfProtocol(ytf).read()
    found = YtfProtocol(ytf, missing="exclude").read()
    assert [row[2] for row in words(found)] == [True, True]
    assert len(found.exclusions) == 3


def test_a_folder_of_people_and_a_list_elsewhere(ytf, text, words):
    listed = text("1, Ada/0, Ada/1, 0, 1\n1, Ada/1, Ada/0, 0, 1\n1, Ada/0, Bo/2, 0, 0\n", "other.txt")
    found = YtfProtocol(ytf / "frame_images_DB", listed).read()
    assert len(words(found)) == 2
    assert found.exclusions[0].why == "the pair repeats an earlier one"


@pytest.mark.parametrize(
    "line",
    [
        "1, Ada/0, Ada/1, 0",
        "1, Ada/0, Ada/1, 0, 2",
        "x, Ada/0, Ada/1, 0, 1",
        "0, Ada/0, Ada/1, 0, 1",
        "99999, Ada/0, Ada/1, 0, 1",
        "1, Ada/0, Bo/2, 0, 1",
        "1, Ada/0, Ada/1, 0, 0",
        "1, Ada/0, Ada, 0, 1",
        "1, ../etc, ../var, 0, 1",
        "1, Ada/.., Ada/1, 0, 1",
        "1, /etc/x, /etc/y, 0, 1",
    ],
)
def test_malformed_lines(ytf, text, line):
    with pytest.raises(InputError, match="line 2: expected"):
        YtfProtocol(ytf, text(f"1, Ada/0, Ada/1, 0, 1\n{line}\n")).read()


def test_videos_behind_links_out_of_the_folder(ytf, put):
    outside = put("1.1.jpg", root="outside")
    (ytf / "frame_images_DB/Cy/9").symlink_to(outside)
    listed = ytf / "splits.txt"
    listed.write_text("1, Cy/9, Cy/5, 0, 1\n1, Ada/0, Bo/2, 0, 0\n")
    with pytest.raises(InputError):
        YtfProtocol(ytf).read()
    assert len(YtfProtocol(ytf, allow_links=True).read().pairs) == 2
