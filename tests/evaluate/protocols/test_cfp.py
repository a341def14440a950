import pytest

from mien.errors import InputError, NotFoundError
from mien.evaluate.protocols import CfpProtocol
from mien.images import decode


@pytest.fixture
def cfp(put, text):
    """Four people with two frontal pictures and one profile each, in two folds, laid out as CFP is."""
    people = ["001", "002", "003", "004"]
    frontal = [f"{p}/frontal/0{i}.jpg" for p in people for i in (1, 2)]
    profile = [f"{p}/profile/01.jpg" for p in people]
    folder = put(*(f"Data/Images/{name}" for name in frontal + profile))
    for kind, names in (("F", frontal), ("P", profile)):
        rows = "".join(f"{i} ../Data/Images/{name}\r\n" for i, name in enumerate(names, 1))
        text(rows, f"set/Protocol/Pair_list_{kind}.txt")
    text("1,2\n3,4\n", "set/Protocol/Split/FF/01/same.txt")
    text("1,3\n2,4\n", "set/Protocol/Split/FF/01/diff.txt")
    text("5,6\n", "set/Protocol/Split/FF/02/same.txt")
    text("5,7\n", "set/Protocol/Split/FF/02/diff.txt")
    text("1,1\n4,2\n", "set/Protocol/Split/FP/01/same.txt")
    text("1,2\n", "set/Protocol/Split/FP/01/diff.txt")
    text("5,3\n", "set/Protocol/Split/FP/02/same.txt")
    text("6,4\n", "set/Protocol/Split/FP/02/diff.txt")
    return folder


def test_frontal_frontal(cfp, words):
    found = CfpProtocol(cfp, "FF").read()
    short = [(a[12:], b[12:], same, fold) for a, b, same, fold in words(found)]
    assert short == [
        ("001/frontal/01.jpg", "001/frontal/02.jpg", True, 0),
        ("002/frontal/01.jpg", "002/frontal/02.jpg", True, 0),
        ("001/frontal/01.jpg", "002/frontal/01.jpg", False, 0),
        ("001/frontal/02.jpg", "002/frontal/02.jpg", False, 0),
        ("003/frontal/01.jpg", "003/frontal/02.jpg", True, 1),
        ("003/frontal/01.jpg", "004/frontal/01.jpg", False, 1),
    ]
    assert found.people == ("001", "002", "003", "004")
    assert decode(found.pictures[0].source)


def test_frontal_profile_takes_its_second_number_from_the_list_of_profiles(cfp, words):
    found = CfpProtocol(cfp, "FP").read()
    assert found.name == "CFP-FP"
    assert "profile" in found.rules
    short = [(a[12:], b[12:], same, fold) for a, b, same, fold in words(found)]
    assert short == [
        ("001/frontal/01.jpg", "001/profile/01.jpg", True, 0),
        ("002/frontal/02.jpg", "002/profile/01.jpg", True, 0),
        ("001/frontal/01.jpg", "002/profile/01.jpg", False, 0),
        ("003/frontal/01.jpg", "003/profile/01.jpg", True, 1),
        ("003/frontal/02.jpg", "004/profile/01.jpg", False, 1),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("Split/FP/01/same.txt", "1\n", "line 1: expected two numbers"),
        ("Split/FP/01/same.txt", "1,1\n1,x\n", "line 2: expected two numbers"),
        ("Split/FP/01/same.txt", "1,99\n", "line 1: expected numbers that the lists"),
        ("Split/FP/01/same.txt", "1,2\n", "line 1: expected a pair of one person"),
        ("Split/FP/01/diff.txt", "1,1\n", "line 1: expected a pair of two people"),
        ("Pair_list_P.txt", "1 ../Data/a.jpg\n1 ../Data/b.jpg\n", "line 2: expected a number that is new"),
        ("Pair_list_P.txt", "1\n", "line 1: expected a number"),
        ("Pair_list_P.txt", "1 ../../../etc/passwd\n", "line 1: expected a file inside"),
        ("Pair_list_P.txt", "1 /etc/passwd\n", "line 1: expected a file inside"),
        ("Pair_list_P.txt", "1 ..\\..\\x\n", "line 1: expected a file inside"),
        ("Pair_list_P.txt", "1 ..\n", "line 1: expected a file inside"),
    ],
)
def test_malformed_lists(cfp, text, name, content, message):
    text(content, f"set/Protocol/{name}")
    with pytest.raises(InputError, match=message):
        CfpProtocol(cfp, "FP").read()


def test_missing_parts(cfp, text, words):
    (cfp / "Data/Images/001/profile/01.jpg").unlink()
    with pytest.raises(NotFoundError, match="001/profile"):
        CfpProtocol(cfp, "FP").read()
    assert len(words(CfpProtocol(cfp, "FP", missing="exclude").read())) == 4
    (cfp / "Protocol/Split/FP/02/diff.txt").unlink()
    with pytest.raises(NotFoundError, match=r"diff\.txt"):
        CfpProtocol(cfp, "FP").read()
    (cfp / "Protocol/Split/FP/02").rename(cfp / "Protocol/Split/FP/03")
    with pytest.raises(InputError, match="folders 01, 02"):
        CfpProtocol(cfp, "FP").read()
    with pytest.raises(InputError, match="FF or FP"):
        CfpProtocol(cfp, "PP")
