import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import InputError, NotFoundError
from mien.evaluate.protocols import FddbProtocol, WiderProtocol
from mien.evaluate.protocols.detection import ellipse_boxes
from mien.images import decode

WIDER = """0--Parade/a.jpg
3
10 20 30 40 1 0 1 0 2 1
5 5 8 9 2 0 0 0 0 0
1 1 20 20 0 0 0 1 0 0
1--Hand/b.jpg
0
0 0 0 0 0 0 0 0 0 0
1--Hand/c.jpg
2
0 0 0 0 0 0 0 0 0 0
7 7 12 12 0 1 0 0 0 0
"""


@pytest.fixture
def wider(put):
    return put("0--Parade/a.jpg", "1--Hand/b.jpg", "1--Hand/c.jpg")


def test_wider(wider, text):
    found = WiderProtocol(text(WIDER), wider).read()
    assert [p.name for p in found.pictures] == ["0--Parade/a.jpg", "1--Hand/b.jpg", "1--Hand/c.jpg"]
    assert found.offsets.tolist() == [0, 3, 3, 5]
    assert found.boxes.tolist() == [
        [10, 20, 40, 60],
        [5, 5, 13, 14],
        [1, 1, 21, 21],
        [0, 0, 0, 0],
        [7, 7, 19, 19],
    ]
    assert found.boxes.dtype == np.float32
    assert found.ignore.tolist() == [False, True, True, True, False]
    assert found.attributes["blur"].tolist() == [1, 2, 0, 0, 0]
    assert found.attributes["occlusion"].tolist() == [2, 0, 0, 0, 0]
    assert decode(found.pictures[0].source)
    all_heights = WiderProtocol(text(WIDER), wider, least_height=0).read()
    assert all_heights.ignore.tolist() == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no face"),
        ("0--Parade/a.jpg\n", "line 1: expected the number of its faces to follow"),
        ("0--Parade/a.jpg\nx\n", "line 2: expected the number of faces"),
        ("0--Parade/a.jpg\n999999999\n", "line 2: expected"),
        ("0--Parade/a.jpg\n2\n1 1 1 1 0 0 0 0 0 0\n", "line 1: expected 2 faces to follow, got 1"),
        ("0--Parade/a.jpg\n1\n1 1 1 1 0 0 0 0 0\n", "line 3: expected 10 numbers"),
        ("0--Parade/a.jpg\n1\n1 1 1 nan 0 0 0 0 0 0\n", "line 3: expected 10 numbers"),
        ("0--Parade/a.jpg\n0\n1--Hand/b.jpg\n", "line 1: expected ten zeros"),
        ("0--Parade/a.jpg\n0\n", "line 1: expected ten zeros"),
        (WIDER + WIDER, "line 11: .*expected|expected a picture that is not listed before"),
        ("../a.jpg\n1\n1 1 20 20 0 0 0 0 0 0\n", "line 1: expected a file inside"),
    ],
)
def test_wider_lists_that_are_none(wider, text, content, message):
    with pytest.raises(InputError, match=message):
        WiderProtocol(text(content), wider).read()


def test_wider_missing(wider, text):
    (wider / "0--Parade/a.jpg").unlink()
    with pytest.raises(NotFoundError, match=r"a\.jpg"):
        WiderProtocol(text(WIDER), wider).read()
    found = WiderProtocol(text(WIDER), wider, missing="exclude").read()
    assert found.offsets.tolist() == [0, 0, 2]
    assert found.exclusions[0].what == "0--Parade/a.jpg"


def test_fddb(put, text):
    folder = put("2002/08/img_1.jpg", "2002/08/img_2.jpg")
    first = text(f"2002/08/img_1\n2\n30 20 {np.pi / 2} 100 90  1\n10 10 0.3 50 50  1\n", "fold-01.txt")
    second = text("2002/08/img_2\n1\n30 20 0 100 90  1\n", "fold-02.txt")
    found = FddbProtocol([first, second], folder).read()
    np.testing.assert_allclose(found.boxes, [[80, 60, 120, 120], [40, 40, 60, 60], [70, 70, 130, 110]], atol=1e-4)
    assert [p.name for p in found.pictures] == ["2002/08/img_1.jpg", "2002/08/img_2.jpg"]
    assert found.folds.tolist() == [0, 1]
    for wrong in ("2002/08/img_1\n1\n0 20 0 100 90 1\n", "2002/08/img_1\n1\n30 20 0 100 90\n"):
        with pytest.raises(InputError):
            FddbProtocol([text(wrong, "fold-03.txt")], folder).read()
    with pytest.raises(InputError, match="none"):
        FddbProtocol([], folder)


@given(st.floats(1, 50), st.floats(1, 50), st.floats(-7, 7), st.floats(-100, 100), st.floats(-100, 100))
def test_boxes_against_points_on_the_ellipse(major, minor, angle, x, y):
    t = np.linspace(0, 2 * np.pi, 20_001)
    px = x + major * np.cos(t) * np.cos(angle) - minor * np.sin(t) * np.sin(angle)
    py = y + major * np.cos(t) * np.sin(angle) + minor * np.sin(t) * np.cos(angle)
    box = ellipse_boxes(np.array([[major, minor, angle, x, y]]))[0]
    np.testing.assert_allclose(box, [px.min(), py.min(), px.max(), py.max()], atol=1e-5)
