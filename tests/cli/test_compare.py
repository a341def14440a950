import csv
import io
import itertools
import json
import math

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("squares")

SAME_LOOK, PLAIN_AND_LOOK, TWO_LOOKS = 1.0, math.cos(0.3), math.cos(0.3) ** 2
ACROSS = math.sin(0.3) ** 2  # two people who share a look
PHOTOS = {"Ada": [(1, 0), (1, 4), (1, 5)], "Bob": [(2, 0), (2, 4)], "张伟": [(3, 5)]}


@pytest.fixture
def people(paint, tmp_path):
    for name, photos in PHOTOS.items():
        for i, who in enumerate(photos):
            paint(tmp_path / "people" / name / f"{i}.png", who)
    return tmp_path / "people"


def score(a, b):
    """What the fake model gives, from its definition."""
    if a[0] == b[0]:
        return SAME_LOOK if a == b else PLAIN_AND_LOOK if 0 in (a[1], b[1]) else TWO_LOOKS
    return ACROSS if a[1] == b[1] > 0 else 0.0


def pairs():
    shots = [(name, i, who) for name, photos in PHOTOS.items() for i, who in enumerate(photos)]
    for a, b in itertools.combinations(shots, 2):
        yield a, b, score(a[2], b[2])


def test_the_table_equals_a_loop_over_pairs(run, people):
    threshold = 0.93
    answer = run("compare", people, "--threshold", threshold, "--json")
    assert (answer.code, answer.err) == (0, "")
    document = json.loads(answer.out)
    same = [s for a, b, s in pairs() if a[0] == b[0]]
    different = [s for a, b, s in pairs() if a[0] != b[0]]
    for key, scores in (("same", same), ("different", different)):
        assert document[key]["pairs"] == len(scores)
        assert document[key]["mean"] == pytest.approx(np.mean(scores), abs=1e-6)
        assert document[key]["sd"] == pytest.approx(np.std(scores, ddof=1), abs=1e-5)
        assert sum(document["histogram"][key]) == len(scores)
    missed = sum(s < threshold for s in same)
    assert missed == 1
    assert document["false_non_match"]["count"] == missed
    assert document["false_non_match"]["rate"] == pytest.approx(missed / len(same))
    assert 0 < document["false_non_match"]["low"] < 0.25 < document["false_non_match"]["high"] < 1
    none = {"count": 0, "pairs": 11, "rate": 0.0, "low": 0.0, "high": 0, "interval": ""}
    assert document["false_match"] | {"high": 0, "interval": ""} == none
    assert document["false_match"]["interval"].startswith("Wilson")
    assert (document["photos"], document["threshold"], document["fmr"]) == (6, threshold, None)


def test_each_person_and_the_pairs_to_look_at(run, people):
    document = json.loads(run("compare", people, "--threshold", 0.05, "--json").out)
    ada, bob, zhang = document["people"]
    assert [p["name"] for p in document["people"]] == ["Ada", "Bob", "张伟"]
    assert (ada["photos"], ada["same"]["pairs"], ada["different"]["pairs"]) == (3, 3, 9)
    assert (ada["false_matches"], bob["false_matches"], zhang["false_matches"]) == (2, 1, 1)
    assert zhang["same"] is None
    assert bob["closest"]["score"] == pytest.approx(ACROSS, abs=1e-6)
    assert {bob["closest"][side]["source"] for side in "ab"} == {
        str(people / "Ada" / "1.png"),
        str(people / "Bob" / "1.png"),
    }
    least = document["least_alike"][0]
    assert (least["a"]["source"], least["b"]["source"]) == (
        str(people / "Ada" / "1.png"),
        str(people / "Ada" / "2.png"),
    )
    assert least["score"] == pytest.approx(TWO_LOOKS, abs=1e-6)
    assert [{p["a"]["name"], p["b"]["name"]} for p in document["most_alike"][:2]] in (
        [{"Ada", "Bob"}, {"Ada", "张伟"}],
        [{"Ada", "张伟"}, {"Ada", "Bob"}],
    )
    assert document["false_match"]["count"] == 2


def test_in_csv(run, people):
    rows = list(csv.DictReader(io.StringIO(run("compare", people, "--csv").out)))
    assert [(r["name"], r["photos"], r["same_pairs"], r["different_pairs"]) for r in rows] == [
        ("Ada", "3", "3", "9"),
        ("Bob", "2", "1", "8"),
        ("张伟", "1", "0", "5"),
    ]
    assert (rows[1]["closest"], rows[2]["mean_same"]) == ("Ada", "")
    assert float(rows[1]["mean_same"]) == pytest.approx(PLAIN_AND_LOOK, abs=1e-6)


def test_text_for_people(run, people):
    out = run("compare", people).out
    assert out.startswith("3 people in 6 photos\n")
    assert "threshold 0.8000, 1 in 1,000 pairs of strangers passes (provisional calibration)" in out
    same = (2 * PLAIN_AND_LOOK + TWO_LOOKS + PLAIN_AND_LOOK) / 4
    assert f"{same:.4f}" in out
    assert "false matches (FMR)" in out
    assert "(interval: Wilson, which takes pairs" in out
    assert "0 %" in out
    assert "< threshold" in out
    assert "Most alike, yet different people:" in out
    assert "██" in out


def test_photos_without_a_face_or_broken_are_listed(run, people, paint, broken):
    paint(people / "Ada" / "wall.png", None)
    broken(people / "Bob" / "bad.png")
    answer = run("compare", people, "--json")
    assert answer.code == 2
    document = json.loads(answer.out)
    assert document["without_face"] == [{"name": "Ada", "source": str(people / "Ada" / "wall.png")}]
    assert [e["source"] for e in document["errors"]] == [str(people / "Bob" / "bad.png")]
    assert document["photos"] == 6
    assert "besides 1 without a face and 1 that cannot be read" in run("compare", people).out


def test_a_photo_without_a_face_is_no_error(run, people, paint):
    paint(people / "Ada" / "wall.png", None)
    assert run("compare", people).code == 0


def test_pairs_are_named_below_the_folder(run, people):
    lines = run("compare", people).out.splitlines()
    assert any(line.split()[1:] == ["Ada/1.png", "Ada/2.png"] for line in lines)


@pytest.mark.parametrize("name", ["$\\frac{", "张伟"])
def test_a_folder_whose_name_no_plot_can_print(run, people, tmp_path, name):
    folder = people.rename(tmp_path / name)
    assert run("compare", folder, "--histogram", tmp_path / "x.png").code == 0


def test_one_person_only(run, people):
    answer = run("compare", people / "Ada", "--json")  # a flat folder: each photo is a person
    assert json.loads(answer.out)["same"] is None
    (people / "solo").mkdir()
    (people / "Ada").rename(people / "solo" / "Ada")
    document = json.loads(run("compare", people / "solo", "--json").out)
    assert document["different"] is None
    assert document["false_match"]["rate"] is None
    assert run("compare", people / "solo").code == 0


@pytest.mark.parametrize("name", ["gone", "empty", "one"])
def test_nothing_to_compare(run, paint, tmp_path, name):
    (tmp_path / "empty").mkdir()
    paint(tmp_path / "one" / "Ada" / "1.png", (1, 0))
    answer = run("compare", tmp_path / name)
    assert (answer.code, answer.out) == (2, "")
    assert name in answer.err


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_histogram_as_a_picture(run, people, tmp_path, suffix):
    target = tmp_path / f"scores.{suffix}"
    assert run("compare", people, "--histogram", target).code == 0
    if suffix == "png":
        pixels = np.asarray(Image.open(target).convert("RGB")).astype(int)
        green = (pixels[..., 1] - pixels[..., 0] > 40).sum()
        red = (pixels[..., 0] - pixels[..., 1] > 40).sum()
        assert min(green, red) > 1000
    else:
        assert target.read_bytes()[:5] == (b"<?xml" if suffix == "svg" else b"%PDF-")


@pytest.mark.parametrize("name", ["people/Ada/0.png", "x.jpg", "no/x.png"])
def test_a_histogram_that_cannot_be_is_refused_before_the_work(run, people, tmp_path, name):
    before = (people / "Ada" / "0.png").read_bytes()
    answer = run("compare", people, "--histogram", tmp_path / name)
    assert (answer.code, answer.out) == (2, "")
    assert (people / "Ada" / "0.png").read_bytes() == before


def test_a_histogram_that_cannot_be_written(run, people, tmp_path):
    (tmp_path / "x.png").mkdir()
    answer = run("compare", people, "--histogram", tmp_path / "x.png")
    assert answer.code == 2
    assert "got a folder" in answer.err
