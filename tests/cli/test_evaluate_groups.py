"""`mien evaluate --groups` and `mien compare`: whole runs on made-up people, and the same numbers from both."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.usefixtures("squares")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def people(tmp_path, paint):
    """Twelve people with four pictures each; Ann and Twin are one person under two names."""
    for number in range(1, 13):
        name = {1: "Ann", 2: "Twin"}.get(number, f"P{number:02d}")
        for look in range(4):
            paint(tmp_path / "people" / name / f"{look}.png", (1 if number < 3 else number, look))
    return tmp_path / "people"


def attributes(path, header="image,light,age\n"):
    lines = []
    for number in range(1, 13):
        name = {1: "Ann", 2: "Twin"}.get(number, f"P{number:02d}")
        lines += [f"{name}/{look}.png,{'day' if look < 2 else 'night'},{20 + number * look}\n" for look in range(4)]
    path.write_text(header + "".join(lines))
    return path


def evaluated(run, verb, *arguments):
    answer = run("evaluate", verb, *arguments, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_verify_by_a_file_of_pictures(run, people, tmp_path):
    file = attributes(tmp_path / "a.csv")
    options = ["--groups", file, "--bin", "age:0-39,40+", "--gap", "age:0-9,10+", "--measure", "colour, size"]
    found = evaluated(run, "verify", people, *options, "--far", "0.1")
    groups = found["groups"]
    assert (groups["source"], groups["pictures"]) == (str(file), {"matched": 48, "unmatched": 0})
    assert groups["unknown_keys"] == {"count": 0, "examples": []}
    assert [(a["name"], a["kind"]) for a in groups["attributes"]] == [
        ("light", "value"),
        ("age", "value"),
        ("age gap", "gap"),
        ("colour", "value"),
        ("size", "value"),
    ]
    for attribute in groups["attributes"]:
        assert sum(group["genuine"] for group in attribute["groups"]) == found["genuine"]["n"] == 72
        assert sum(group["impostor"] for group in attribute["groups"]) == found["impostor"]["n"] == 1056
        passed = sum(group["at_far"]["0.1"]["fmr"]["count"] for group in attribute["groups"])
        assert passed == round(found["tar_at_far"]["0.1"]["far"] * 1056)
    light = groups["attributes"][0]
    assert [g["values"] for g in light["groups"]] == [["day"], ["day", "night"], ["night"]]
    day = light["groups"][0]
    assert (day["genuine"], day["impostor"], day["people"]) == (12, 264, 12)
    rates = day["at_far"]["0.1"]
    assert set(rates) == {"fmr", "fnmr", "own"}
    assert set(rates["fmr"]) == {"count", "pairs", "rate", "low", "high", "interval", "reason"}
    assert rates["fmr"]["interval"].startswith("bootstrap over 12 people")
    assert "12 genuine pairs, at least 30 needed" in rates["fnmr"]["reason"]
    assert rates["own"]["threshold"] is not None
    assert set(light["worst_group"]["0.1"]) == {"group", "threshold", "far", "tar", "tar_before"}


def test_people_who_are_too_alike(run, people):
    found = evaluated(run, "verify", people, "--far", "0.02", "--alike-fmr", "0.02")["too_alike"]
    assert (found["fmr"], found["people"], found["found"], found["reason"]) == (0.02, 12, 1, None)
    (couple,) = found["couples"]
    assert (couple["a"]["name"], couple["b"]["name"]) == ("Ann", "Twin")
    assert (couple["matches"], couple["pairs"]) == (16, 16)
    assert couple["score"] == pytest.approx(1)
    assert couple["a"]["picture"].startswith("Ann/")
    few = evaluated(run, "verify", people, "--far", "0.00001")["too_alike"]
    assert (few["threshold"], few["couples"]) == (None, [])
    assert "insufficient data" in few["reason"]


def test_identify_by_people(run, people, tmp_path):
    file = tmp_path / "a.csv"
    names = [path.name for path in sorted(people.iterdir())]
    rows = [f"{name},{'old' if i % 2 else 'young'}\n" for i, name in enumerate(names)]
    file.write_text("subject,age\n" + "".join(rows) + "Nobody,old\n")
    found = evaluated(run, "identify", people, "--groups", file, "--fpir", "0.2")
    groups = found["groups"]
    assert groups["unknown_keys"] == {"count": 1, "examples": ["Nobody"]}
    (age,) = groups["attributes"]
    assert [group["group"] for group in age["groups"]] == ["old", "young"]
    assert sum(group["known"] for group in age["groups"]) == found["probes"]["known"]
    assert sum(group["unknown"] for group in age["groups"]) == found["probes"]["unknown"]
    rates = age["groups"][0]["at_fpir"]["0.2"]
    assert set(rates["fpir"]) == {"count", "probes", "rate", "low", "high", "interval", "reason"}
    assert set(age["worst_group"]["0.2"]) == {"group", "threshold", "fpir", "dir", "dir_before"}
    assert found["too_alike"]["people"] == 6


def test_people_read_tables_and_the_report_escapes_names(run, people, tmp_path):
    file = attributes(tmp_path / "a.csv", "image,<b>light</b>,age\n")
    answer = run(
        "evaluate",
        "verify",
        people,
        "--groups",
        file,
        "--bin",
        "age:0-39,40+",
        "--far",
        "0.02",
        "--out",
        tmp_path / "r",
    )
    assert answer.code == 0, answer.err
    assert "By <b>light</b>, at the threshold" in answer.out
    assert "day / night" in answer.out
    assert "Too alike at the threshold" in answer.out
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "By &lt;b&gt;light&lt;/b&gt;" in page
    assert "<b>light" not in page
    assert "<bdi>Twin</bdi>" in page
    assert json.loads((tmp_path / "r" / "report.json").read_text())["groups"]["attributes"][0]["name"] == "<b>light</b>"
    assert run("evaluate", "identify", people, "--measure", "turn", "--fpir", "0.2", "--out", tmp_path / "i").code == 0


def test_without_groups_there_are_none(run, people):
    assert evaluated(run, "verify", people)["groups"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--groups", "gone.csv"], "cannot be read"),
        (["--bin", "age:0+"], "--groups attributes.csv"),
        (["--measure", "mood"], "colour, size, turn"),
        (["--groups", "a.csv", "--bin", "weight:0+"], "expected a column 'weight'"),
        (["--groups", "a.csv", "--bin", "light:0+"], "line 2, column light: expected a number, got 'day'"),
        (["--groups", "a.csv", "--gap", "age"], "--gap: expected COLUMN:RANGES"),
        (["--alike-fmr", "2"], "alike_fmr"),
    ],
)
def test_bad_options_are_clear_errors(run, people, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    attributes(tmp_path / "a.csv")
    answer = run("evaluate", "verify", people, *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


@pytest.mark.parametrize("far", [0.02, 0.015, 0.3])
def test_compare_counts_what_evaluate_counts(run, people, far):
    found = evaluated(run, "verify", people, "--far", far)
    point = found["tar_at_far"][str(far)]
    quick = json.loads(run("compare", people, "--threshold", repr(point["threshold"]), "--json").out)
    assert (quick["same"]["pairs"], quick["different"]["pairs"]) == (found["genuine"]["n"], found["impostor"]["n"])
    assert quick["same"]["mean"] == pytest.approx(found["genuine"]["mean"], abs=1e-12)
    assert quick["different"]["mean"] == pytest.approx(found["impostor"]["mean"], abs=1e-12)
    assert quick["false_match"]["rate"] == pytest.approx(point["far"], abs=1e-12)
    assert quick["false_non_match"]["rate"] == pytest.approx(1 - point["tar"], abs=1e-12)
    assert quick["most_alike"][0]["score"] == pytest.approx(found["false_matches"][0]["score"], abs=1e-6)


def test_the_intervals_of_compare_are_those_of_one_group_of_everybody(run, people, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("subject,all\n" + "".join(f"{path.name},one\n" for path in people.iterdir()))
    found = evaluated(run, "verify", people, "--far", "0.015", "--groups", file)
    (group,) = found["groups"]["attributes"][0]["groups"]
    threshold = found["tar_at_far"]["0.015"]["threshold"]
    quick = json.loads(run("compare", people, "--threshold", repr(threshold), "--json").out)
    for key, other in (("false_match", "fmr"), ("false_non_match", "fnmr")):
        want = group["at_far"]["0.015"][other]
        assert want.pop("reason") is None
        assert quick[key] == want


def test_compare_on_real_faces(run, mien_data, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    for name in ("s1", "s2", "s3"):
        (tmp_path / "orl" / name).mkdir(parents=True)
        for i in range(1, 5):
            target = tmp_path / "orl" / name / f"{i}.pgm"
            target.write_bytes((mien_data / "orl" / name / f"{i}.pgm").read_bytes())
    arguments = ("--preset", "fast")
    found = evaluated(run, "verify", tmp_path / "orl", *arguments, "--far", "0.1")
    point = found["tar_at_far"]["0.1"]
    quick = json.loads(
        run("compare", tmp_path / "orl", *arguments, "--threshold", repr(point["threshold"]), "--json").out
    )
    assert quick["false_match"]["count"] == round(point["far"] * 48)
    assert quick["false_non_match"]["rate"] == pytest.approx(1 - point["tar"], abs=1e-12)
    assert quick["same"]["mean"] == pytest.approx(found["genuine"]["mean"], abs=1e-12)
