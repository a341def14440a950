"""`mien evaluate cluster`: tables that any program wrote, and folders that mien clusters by its baseline."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))


def table(path, rows, header="picture,label,cluster"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


ROWS = ["1.jpg,Ada,x", "2.jpg,Ada,x", "3.jpg,Ada,y", "4.jpg,Bo,y", "5.jpg,Bo,", "6.jpg,Cy,-1", "7.jpg,,y"]


def test_a_table_has_the_documented_shape(run, tmp_path):
    answer = run("evaluate", "cluster", table(tmp_path / "c.csv", ROWS), "--json", "--out", tmp_path / "out")
    found = json.loads(answer.out)
    assert answer.code == 0
    assert (found["version"], found["kind"], found["protocol"]) == (1, "clustering", "c.csv")
    assert (found["faces"], found["people"], found["clusters"], found["alone"]) == (6, 3, 4, 2)
    # Pairs together: 12, 34; right: 12; of one person: 12, 13, 23, 45.
    assert found["pairwise"]["precision"]["value"] == 0.5
    assert found["pairwise"]["recall"]["value"] == 0.25
    assert found["bcubed"]["precision"]["value"] == pytest.approx((1 + 1 + 0.5 + 0.5 + 1 + 1) / 6)
    assert found["bcubed"]["recall"]["value"] == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 0.5 + 0.5 + 1) / 6)
    for kind in ("pairwise", "bcubed"):
        for row in found[kind].values():
            assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert found["split"] == [
        {"person": "Ada", "faces": 3, "clusters": 2, "largest": 2, "lost_pairs": 2},
        {"person": "Bo", "faces": 2, "clusters": 2, "largest": 1, "lost_pairs": 1},
    ]
    assert found["merged"] == [{"cluster": "y", "faces": 2, "people": 2, "most": "Ada", "largest": 1, "wrong_pairs": 1}]
    assert (found["split_people"], found["merged_clusters"]) == (2, 1)
    assert found["exclusions"] == [{"what": "7.jpg", "why": "has no label"}]
    assert (found["method"], found["threshold"]) == (None, None)
    assert json.loads((tmp_path / "out" / "report.json").read_text("utf-8")) == found
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "Clustering report" in page
    assert "<bdi>Ada</bdi>" in page


def test_people_read_a_table(run, tmp_path):
    answer = run("evaluate", "cluster", table(tmp_path / "c.csv", ROWS))
    assert answer.code == 0
    assert "B-cubed F" in answer.out
    assert "Left out: 7.jpg: has no label" in answer.out


def test_other_names_of_columns_and_faces_of_one_picture(run, tmp_path):
    rows = ["a.jpg,0,1,Ada,0.9", "a.jpg,1,2,Bo,0.8", "b.jpg,0,1,Ada,0.7"]
    path = table(tmp_path / "c.csv", rows, header="\ufeffSource,Face,Cluster_ID,Identity,quality")
    found = json.loads(run("evaluate", "cluster", path, "--json").out)
    assert (found["faces"], found["bcubed"]["f"]["value"], found["pairwise"]["f"]["value"]) == (3, 1, 1)


def test_one_person_has_no_interval(run, tmp_path):
    found = json.loads(run("evaluate", "cluster", table(tmp_path / "c.csv", ROWS[:3]), "--json").out)
    assert found["bcubed"]["f"]["low"] is None
    assert found["reason"] == "one person cannot be resampled"


def test_names_are_text_everywhere(run, tmp_path):
    evil = "<script>alert(1)</script>"
    rows = [f"a,{evil},=cmd|x", f"b,{evil},[red]y[/red]", "c,\x1b[31mBo,=cmd|x"]
    path = table(tmp_path / "c.csv", rows)
    answer = run("evaluate", "cluster", path, "--out", tmp_path / "out")
    assert answer.code == 0
    assert "\x1b" not in answer.out
    assert evil in answer.out
    assert "[red]y[/red]" in answer.out or "=cmd|x" in answer.out
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty file"),
        ("picture,label\n1,a\n", "cluster or group"),
        ("picture,label,cluster\n", "rows below the header"),
        ("picture,label,cluster\n1,a\n", "line 2"),
        ("picture,label,cluster\n1,a,b,c\n", "line 2"),
        ("picture,label,cluster\n1,a,x\n\n1,b,y\n", "line 4"),
        ("picture,label,cluster,label\n1,a,x,b\n", "twice"),
        ("picture;label;cluster\n1;a;x\n", "line 1"),
        ("picture,label,cluster\n,a,x\n", "line 2"),
        ("picture,label,cluster\n1,,x\n", "no face has a label"),
        ('picture,label,cluster\n1,"a\nb",x\n', "line 2"),
        ("picture,label,cluster\n1," + "a" * 200_000 + ",x\n", "line 2"),
        ("picture,label,cluster\n1,\udc80,x\n", "UTF-8"),
    ],
)  # fmt: skip
def test_broken_tables_are_refused_by_line(run, tmp_path, text, said):
    (tmp_path / "c.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    answer = run("evaluate", "cluster", tmp_path / "c.csv", "--json")
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert len(answer.err) < 1000


@pytest.fixture
def people(tmp_path, paint):
    for person in range(1, 4):
        for look in range(3):
            paint(tmp_path / "people" / f"P{person}" / f"{look}.png", (person, look))
    paint(tmp_path / "people" / "P3" / "9.png", None)
    return tmp_path / "people"


@pytest.mark.usefixtures("squares")
def test_a_folder_is_clustered_and_measured(run, people, tmp_path):
    answer = run("evaluate", "cluster", people, "--threshold", "0.5", "--json", "--out", tmp_path / "out")
    found = json.loads(answer.out)
    assert answer.code == 0
    assert (found["faces"], found["people"], found["clusters"], found["threshold"]) == (10, 3, 4, 0.5)
    assert found["pairwise"]["precision"]["value"] == 1
    assert found["pairwise"]["recall"]["value"] == pytest.approx(9 / 12)  # the picture without a face is alone
    assert found["model"]["name"] == "dlib-resnet29"
    assert "connected components" in found["method"]
    alone = json.loads(run("evaluate", "cluster", people, "--threshold", "0.5", "--failures", "exclude", "--json").out)
    assert (alone["faces"], alone["pairwise"]["f"]["value"]) == (9, 1)
    assert (alone["pairwise"]["f"]["low"], alone["pairwise"]["f"]["high"]) == (
        None,
        None,
    )  # the same in every replicate
    assert found["bcubed"]["recall"]["low"] < found["bcubed"]["recall"]["value"] < 1
    shown = run("evaluate", "cluster", people, "--threshold", "0.5", "--failures", "exclude").out
    assert "1.0000 to 1.0000" not in shown
    chained = json.loads(run("evaluate", "cluster", people, "--threshold", "-1", "--json").out)
    assert chained["merged"][0]["faces"] == 9
    calibrated = json.loads(run("evaluate", "cluster", people, "--fmr", "0.01", "--json").out)
    assert calibrated["threshold"] == 0.5
    assert "calibrated" in calibrated["rules"]
    assert run("evaluate", "cluster", people, "--threshold", "nan").code == 2
    assert run("evaluate", "cluster", tmp_path / "gone").code == 2
