"""`mien evaluate liveness`: rates by attack type from a table of scores."""

from __future__ import annotations

import json

import pytest

LIVE = [0.9, 0.8, 0.7, 0.4]
PRINT = [0.1, 0.2, 0.3, 0.75]
REPLAY = [0.05, 0.6]


@pytest.fixture
def scores(tmp_path):
    rows = ["picture,attack,score"]
    rows += [f"l{i},{['', 'bona fide', 'Live', ''][i]},{s}" for i, s in enumerate(LIVE)]
    rows += [f"p{i},print,{s}" for i, s in enumerate(PRINT)] + [f"r{i},<b>replay</b>,{s}" for i, s in enumerate(REPLAY)]
    (tmp_path / "scores.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "scores.csv"


def test_the_documented_shape(run, scores, tmp_path):
    answer = run("evaluate", "liveness", scores, "--threshold", "0.5", "--bpcer", "0.25", "--apcer", "0.25",
                 "--json", "--out", tmp_path / "out")  # fmt: skip
    found = json.loads(answer.out)
    assert answer.code == 0
    assert (found["version"], found["kind"], found["bona_fide"]) == (1, "liveness", 4)
    assert found["attacks"] == {"<b>replay</b>": 2, "print": 4}
    given = found["points"]["given"]
    assert given["threshold"] == 0.5
    assert given["bpcer"]["value"] == 0.25
    assert given["apcer"]["print"] | {"low": 0, "high": 0} == {
        "value": 0.25, "low": 0, "high": 0, "errors": 1, "presentations": 4,
    }  # fmt: skip
    assert given["apcer"]["<b>replay</b>"]["value"] == 0.5
    assert (given["worst"], given["acer"]) == ("<b>replay</b>", 0.375)
    assert given["acer_low"] <= 0.375 <= given["acer_high"]
    at = found["points"]["bpcer_0.25"]
    assert at["bpcer"]["value"] <= 0.25
    assert at["threshold"] == pytest.approx(0.7)  # one of four live faces may be refused, no more
    few = found["points"]["apcer_0.25"]
    assert few["acer"] is None
    assert few["reason"] == "insufficient data: 2 attacks of the type <b>replay</b>, at least 4 needed"
    assert set(few) == set(given)
    assert found["points"]["eer"]["threshold"] is not None
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "&lt;b&gt;replay" in page
    assert "<b>replay" not in page
    assert "ACER" in run("evaluate", "liveness", scores).out


def test_scores_the_wrong_way_round_are_noticed(run, tmp_path):
    rows = ["picture,attack,score", *(f"l{i},,{i / 10}" for i in range(3)), *(f"a{i},print,{5 + i}" for i in range(3))]
    (tmp_path / "s.csv").write_text("\n".join(rows) + "\n")
    answer = run("evaluate", "liveness", tmp_path / "s.csv", "--json")
    assert "higher for attacks" in json.loads(answer.out)["warning"]
    assert "higher for attacks" in run("evaluate", "liveness", tmp_path / "s.csv").err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("picture,attack,score\na,,0.5\nb,,0.6\n", "no attack"),
        ("picture,attack,score\na,print,0.5\n", "no live face"),
        ("picture,attack,score\na,,0.5\nb,print,nan\n", "line 3"),
        ("picture,attack,score\na,,0.5\nb,print,inf\n", "line 3"),
        ("picture,attack,score\na,,=1+1\nb,print,0.1\n", "line 2"),
        ("picture,attack,score\na,,0.5\na,print,0.1\n", "line 3"),
        ("picture,attack,score\na,,\nb,print,0.1\n", "line 2"),
        ("picture,score\na,0.5\n", "attack"),
        ("picture,attack,score\na,,1e99\nb,print,0.1\n", "line 2"),
        ("picture,attack,score\na,,1_0\nb,print,0.1\n", "line 2"),
    ],
)
def test_broken_tables_are_refused_by_line(run, tmp_path, text, said):
    (tmp_path / "s.csv").write_text(text)
    answer = run("evaluate", "liveness", tmp_path / "s.csv", "--json")
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


@pytest.mark.parametrize("option", [("--apcer", "2"), ("--bpcer", "0"), ("--threshold", "nan")])
def test_rates_that_are_none(run, scores, option):
    assert run("evaluate", "liveness", scores, *option, "--json").code == 2


def test_a_file_that_is_not_there(run, tmp_path):
    assert "no such file" in run("evaluate", "liveness", tmp_path / "gone.csv").err
