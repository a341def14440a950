import csv
import io
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

SAME = math.cos(0.3)  # a person's plain look against another look of theirs


@pytest.mark.usefixtures("squares")
class TestDecision:
    @pytest.fixture
    def photos(self, paint, tmp_path):
        return {
            "plain": paint(tmp_path / "plain.png", (1, 0)),
            "other look": paint(tmp_path / "other.png", (1, 5)),
            "group": paint(tmp_path / "group.png", (2, 0), (1, 5), (3, 0)),
            "stranger": paint(tmp_path / "stranger.png", (4, 0)),
            "nobody": paint(tmp_path / "nobody.png", None),
        }

    def test_the_same_person(self, run, photos):
        answer = run("verify", photos["plain"], photos["group"], "--json")
        assert (answer.code, answer.err) == (0, "")
        document = json.loads(answer.out)
        assert document["matched"] is True
        assert document["score"] == pytest.approx(SAME, abs=1e-6)
        assert (document["threshold"], document["fmr"], document["provisional"]) == (0.8, 1e-3, True)
        assert document["a"]["faces"] == 1
        assert document["b"]["faces"] == 3
        assert document["b"]["face"]["box"] == [26, 2, 46, 22]  # the middle one
        assert document["errors"] == []

    def test_a_stranger(self, run, photos):
        answer = run("verify", photos["plain"], photos["stranger"])
        assert answer.code == 1
        assert answer.out.startswith("Not the same person\nscore 0.0000, threshold 0.8000, 1 in 1,000")
        assert "provisional" in answer.out

    def test_which_face_was_used_is_said(self, run, photos):
        out = run("verify", photos["plain"], photos["group"]).out
        assert out.startswith("Same person\n")
        assert "plain.png: its only face, 20 x 20 pixels at (2, 2)" in out
        assert "group.png: the main of its 3 faces, 20 x 20 pixels at (26, 2)" in out

    def test_a_hint_where_another_face_may_be_meant(self, run, photos):
        assert "mien find" in run("verify", photos["stranger"], photos["group"]).out
        assert "mien find" not in run("verify", photos["stranger"], photos["plain"]).out

    def test_in_csv(self, run, photos):
        answer = run("verify", photos["plain"], photos["other look"], "--csv")
        (row,) = csv.DictReader(io.StringIO(answer.out))
        assert (row["matched"], row["threshold"], row["fmr"]) == ("True", "0.8", "0.001")
        assert float(row["score"]) == pytest.approx(SAME, abs=1e-6)

    def test_a_looser_rate_and_a_given_threshold(self, run, photos):
        pair = photos["plain"], photos["other look"]
        assert json.loads(run("verify", *pair, "--fmr", 0.01, "--json").out)["threshold"] == 0.5
        answer = run("verify", *pair, "--threshold", 0.99, "--json")
        assert answer.code == 1
        document = json.loads(answer.out)
        assert (document["threshold"], document["fmr"], document["provisional"]) == (0.99, None, False)

    def test_a_rate_beyond_the_calibration_says_so(self, run, photos):
        answer = run("verify", photos["plain"], photos["other look"], "--fmr", 1e-9, "--json")
        assert json.loads(answer.out)["extrapolated"] is True
        assert "extrapolated" in run("verify", photos["plain"], photos["other look"], "--fmr", 1e-9).out

    @pytest.mark.parametrize(
        "options", [("--fmr", 0), ("--fmr", 1), ("--fmr", "nan"), ("--threshold", 2), ("--threshold", "nan")]
    )
    def test_options_that_make_no_sense(self, run, photos, options):
        answer = run("verify", photos["plain"], photos["group"], *options)
        assert (answer.code, answer.out) == (2, "")
        assert options[0] in answer.err

    def test_a_rate_and_a_threshold_contradict(self, run, photos):
        answer = run("verify", photos["plain"], photos["group"], "--fmr", 0.1, "--threshold", 0.5)
        assert answer.code == 2
        assert "one of the two" in answer.err

    @pytest.mark.parametrize("turned", [False, True])
    @pytest.mark.parametrize("bad", ["missing.png", "nobody.png", "broken.png"])
    def test_no_answer(self, run, photos, broken, tmp_path, bad, turned):
        broken(tmp_path / "broken.png")
        pair = [photos["plain"], tmp_path / bad]
        answer = run("verify", *(reversed(pair) if turned else pair), "--json")
        assert answer.code == 2
        assert bad in answer.err
        document = json.loads(answer.out)
        assert document["matched"] is None
        assert [e["source"] for e in document["errors"]] == [str(tmp_path / bad)]
        assert bad not in document["errors"][0]["error"]

    def test_a_preset_that_does_not_exist(self, run, photos):
        answer = run("verify", photos["plain"], photos["group"], "--preset", "best")
        assert answer.code == 2
        assert "fast or accurate" in answer.err

    def test_a_drawing_of_both(self, run, photos, tmp_path):
        answer = run("verify", photos["plain"], photos["group"], "--draw", tmp_path / "both.png")
        assert answer.code == 0
        picture = np.asarray(Image.open(tmp_path / "both.png"))
        assert picture.shape[1] > 2 * 512
        reddish = picture[..., 0].astype(int) + picture[..., 1] < 120  # the dark photos on white paper, on both sides
        assert reddish[:, :512].any()
        assert reddish[:, 540:].any()

    @pytest.mark.parametrize(
        ("name", "why"), [("plain.png", "one of the pictures"), ("x.gif", "ends in"), ("no/x.png", "folder")]
    )
    def test_a_drawing_that_cannot_be_is_refused_before_the_work(self, run, photos, tmp_path, name, why):
        before = photos["plain"].read_bytes()
        answer = run("verify", photos["plain"], photos["group"], "--draw", tmp_path / name)
        assert (answer.code, answer.out) == (2, "")
        assert why in answer.err
        assert photos["plain"].read_bytes() == before


def test_as_a_program(hopper, astronaut, tmp_path):
    """The true models, in a process of their own: a face against itself, mirrored and small, and a stranger."""
    from PIL import ImageOps

    small = tmp_path / "small mirrored é.jpg"
    with Image.open(hopper) as picture:
        ImageOps.mirror(picture).resize((picture.width // 2, picture.height // 2)).save(small, quality=80)
    command = [sys.executable, "-m", "mien", "verify", "--json"]
    same = subprocess.run([*command, str(hopper), str(small)], capture_output=True, check=False, encoding="utf-8")
    assert same.returncode == 0, same.stderr
    assert same.stderr == ""
    document = json.loads(same.stdout)
    assert document["score"] > document["threshold"]
    assert document["b"]["source"] == str(small)
    other = subprocess.run([*command, str(hopper), str(astronaut)], capture_output=True, check=False, encoding="utf-8")
    assert other.returncode == 1, other.stderr
    assert json.loads(other.stdout)["matched"] is False
