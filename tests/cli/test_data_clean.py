"""`mien data dedupe|clean|overlap|merge|stats` from the command line: the fake model of squares, and real faces."""

import csv
import json
import shutil

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def people(paint, tmp_path):
    """Four people with five pictures each; one picture of the fourth is in the first's folder."""
    for person, name in enumerate(("<b>Ada", "Bo", "张伟", "Di"), 1):
        for look in range(1, 6):
            paint(tmp_path / "set" / name / f"{look}.png", (10 * person, look), columns=1)
    paint(tmp_path / "set" / "<b>Ada" / "wrong.png", (40, 9))
    return tmp_path / "set"


def test_clean_list_page_apply_and_undo(squares, run, people, tmp_path, broken):
    listed, page = tmp_path / "l.csv", tmp_path / "p.html"
    found = run("data", "clean", people, "--list", listed, "--sheet", page, "--json")
    assert found.code == 0, found.err
    record = json.loads(found.out)
    assert [r["picture"] for r in record["listed"] if r["verdict"] == "wrong"] == ["<b>Ada/wrong.png"]
    assert record["listed"][0]["reason"] == "looks like Di"
    assert "<b>Ada" not in page.read_text("utf-8")
    assert run("data", "clean", people, "--list", listed).code == 2  # somebody may have changed it
    assert run("data", "clean", people, "--apply", listed, "--dry-run").code == 0
    assert (people / "<b>Ada/wrong.png").exists()
    applied = run("data", "clean", people, "--apply", listed, "--json")
    assert json.loads(applied.out)["moved"] == 1
    assert (tmp_path / "set-quarantine/<b>Ada/wrong.png").exists()
    assert json.loads(run("data", "clean", people, "--undo", "--json").out)["moved"] == 1
    assert (people / "<b>Ada/wrong.png").exists()
    assert run("data", "clean", people, "--undo", "--apply", listed).code == 2
    broken(people / "Bo/broken.jpg")
    again = run("data", "clean", people)
    assert (again.code, "broken.jpg" in again.err) == (2, True)


def test_a_person_changes_the_list(squares, run, people, tmp_path):
    listed = tmp_path / "l.csv"
    assert run("data", "clean", people, "--list", listed, "--all").code == 0
    with listed.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 21
    for row in rows:
        row["verdict"] = "wrong" if row["picture"] == "张伟/1.png" else "keep"
    with listed.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert run("data", "clean", people, "--apply", listed).code == 0
    assert not (people / "张伟/1.png").exists()
    assert (people / "<b>Ada/wrong.png").exists()
    listed.write_text("picture,verdict\n../x.png,wrong\n")
    assert run("data", "clean", people, "--apply", listed).code == 2


def test_dedupe(squares, run, people, tmp_path):
    shutil.copy(people / "Bo/1.png", people / "Bo/1 again.png")
    found = run("data", "dedupe", people, "--list", tmp_path / "d.csv", "--apply", "--json")
    assert found.code == 0, found.err
    record = json.loads(found.out)
    assert [(g["keep"], [d["picture"] for d in g["drop"]]) for g in record["groups"]] == [
        ("Bo/1 again.png", ["Bo/1.png"])
    ]
    assert record["quarantine"]["moved"] == 1
    assert not (people / "Bo/1.png").exists()
    assert run("data", "dedupe", people, "--undo").code == 0
    assert (people / "Bo/1.png").exists()
    assert run("data", "dedupe", people, "--apply-list", tmp_path / "d.csv").code == 0
    assert not (people / "Bo/1.png").exists()


def test_overlap_and_merge(squares, run, people, paint, tmp_path):
    (people / "<b>Ada/wrong.png").unlink()
    for look in range(6, 11):
        paint(tmp_path / "b" / "BO" / f"{look}.png", (20, look))
        paint(tmp_path / "b" / "Fay" / f"{look}.png", (50, look))
    found = run("data", "overlap", people, tmp_path / "b", "--json", "--people-only")
    assert found.code == 1, found.err
    assert [(p["a"], p["b"], p["by"]) for p in json.loads(found.out)["people"]] == [("Bo", "BO", "name and face")]
    would = json.loads(run("data", "overlap", people, tmp_path / "b", "--dry-run", "--json").out)
    assert would["sets"][1] == {"people": 2, "pictures": 10}
    assert "10 pictures of 2 people" in run("data", "overlap", people, tmp_path / "b", "--dry-run").out
    done = run("data", "merge", people, tmp_path / "b", tmp_path / "all", "--json")
    assert done.code == 0, done.err
    assert sorted(p.name for p in (tmp_path / "all").iterdir() if p.is_dir()) == ["<b>Ada", "Bo", "Di", "Fay", "张伟"]
    assert json.loads(run("data", "merge", people, tmp_path / "b", tmp_path / "x", "--dry-run", "--json").out)[
        "dry_run"
    ]
    assert not (tmp_path / "x").exists()
    assert run("data", "merge", people, tmp_path / "all").code == 2
    assert run("data", "merge", people, tmp_path / "b", people / "in").code == 2


def test_stats(squares, run, people, paint, broken, tmp_path):
    paint(people / "Bo" / "two.png", (20, 1), (30, 1))
    paint(people / "Bo" / "none.png", None)
    broken(people / "Di/broken.png")
    found = run("data", "stats", people, "--json", "--page", tmp_path / "s.html")
    assert found.code == 2  # one picture cannot be read
    record = json.loads(found.out)
    assert (record["people"], record["pictures"], record["without_face"], record["several_faces"]) == (4, 24, 1, 1)
    assert record["faces_a_picture"] == {"0": 1, "1": 21, "2": 1}
    assert record["measures"]["width"]["p50"] == 24
    assert record["measures"]["eye_distance"]["n"] == 22
    page = (tmp_path / "s.html").read_text("utf-8")
    assert "<b>Ada" not in page
    assert page.count("<svg") >= 8
    assert run("data", "stats", people, "--page", tmp_path / "s.html").code == 2


def test_real_faces(run, mien_data, tmp_path):
    """Twelve pictures each of three people, with one of another person in the first one's folder."""
    names = ["Chris_Pratt", "Zoe_Saldana", "ellen_page"]
    rng = np.random.default_rng(0)
    for name in names:
        for picture in rng.permutation(sorted((mien_data / "celebs" / name).iterdir()))[:10]:
            target = tmp_path / "set" / name / picture.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, target)
    stranger = sorted((mien_data / "celebs" / "elizabeth_olsen").iterdir())[3]
    shutil.copy(stranger, tmp_path / "set" / "Chris_Pratt" / "图.jpg")
    found = run("data", "clean", tmp_path / "set", "--json")
    assert found.code == 0, found.err
    listed = json.loads(found.out)["listed"]
    assert [r["picture"] for r in listed if r["verdict"] != "review"] == ["Chris_Pratt/图.jpg"]
