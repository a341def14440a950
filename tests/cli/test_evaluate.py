"""`mien evaluate`: whole runs on made-up layouts whose answers are known, and on real faces."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mien.evaluate.protocols import FolderProtocol


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def lfw(tmp_path, paint):
    """Four people with three pictures each: person 1 to 4 (red), looks 0 to 2 (green)."""
    for person in range(1, 5):
        for look in range(3):
            paint(tmp_path / "lfw" / f"P{person}" / f"P{person}_{look + 1:04d}.png", (person, look))
    return tmp_path / "lfw"


def one_fold(path, header="3"):
    pairs = ["P1\t1\t2", "P2\t1\t3", "P3\t2\t3", "P1\t1\tP2\t1", "P3\t1\tP4\t2", "P2\t3\tP4\t1"]
    path.write_text("\n".join([header, *pairs]) + "\n")
    return path


def verified(run, *arguments):
    answer = run("evaluate", "verify", *arguments, "--json")
    assert answer.code in (0, 2), answer.err
    return json.loads(answer.out)


@pytest.mark.usefixtures("squares")
def test_one_fold_of_lfw_has_the_documented_shape(run, lfw, tmp_path):
    found = verified(
        run, "--protocol", "lfw", "--pairs", one_fold(tmp_path / "pairs.txt"), lfw, "--far", "0.4", "--far", "0.001"
    )
    assert (found["version"], found["kind"], found["protocol"]) == (1, "verification", "LFW View 1")
    assert (found["pairs"], found["pictures"], found["failures"]) == (6, 9, 0)
    assert found["accuracy"]["mean"] == 1
    assert found["accuracy"]["standard_error"] is None
    assert "optimistic" in found["accuracy"]["rule"]
    assert len(found["accuracy"]["folds"]) == 1
    assert (found["eer"], found["auc"]) == (0, 1)
    assert list(found["tar_at_far"]) == ["0.4", "0.001"]
    assert found["tar_at_far"]["0.4"]["tar"] == 1
    assert found["tar_at_far"]["0.4"]["far"] <= 0.4
    assert found["tar_at_far"]["0.001"]["tar"] is None
    assert "insufficient data" in found["tar_at_far"]["0.001"]["reason"]
    assert (found["genuine"]["n"], found["impostor"]["n"]) == (3, 3)
    assert found["genuine"]["mean"] > found["impostor"]["mean"]
    assert found["model"]["name"] == "dlib-resnet29"
    assert found["model"]["sha256"] == "ab" * 32
    assert found["model"]["licence"] == "CC0-1.0"
    assert found["command"].startswith("mien evaluate verify --protocol lfw --pairs ")
    assert found["seconds"] >= 0
    assert {"seed", "exclusions"} <= set(found)


@pytest.mark.usefixtures("squares")
def test_ten_fold_view_2_goes_the_same_way(run, lfw, tmp_path):
    folds = ["P1\t1\t2\nP1\t1\tP2\t1", "P2\t1\t2\nP2\t2\tP3\t1", "P3\t1\t2\nP3\t2\tP4\t1"]
    (tmp_path / "pairs.txt").write_text("\n".join(["3\t1", *folds]) + "\n")
    found = verified(run, "--pairs", tmp_path / "pairs.txt", lfw)  # lfw is the protocol of --pairs
    assert found["protocol"] == "LFW View 2"
    assert len(found["accuracy"]["folds"]) == 3
    assert (found["accuracy"]["mean"], found["accuracy"]["standard_error"]) == (1, 0)


@pytest.mark.usefixtures("squares")
def test_the_threshold_may_come_from_another_list(run, lfw, tmp_path):
    one_fold(tmp_path / "test.txt")
    one_fold(tmp_path / "train.txt")
    arguments = ["--pairs", tmp_path / "test.txt", lfw, "--threshold-pairs", tmp_path / "train.txt"]
    assert "most accurate on train.txt (6 pairs)" in verified(run, *arguments)["accuracy"]["rule"]


@pytest.mark.usefixtures("squares")
@pytest.mark.parametrize("part", ["cfp-ff", "cfp-fp"])
def test_cfp_in_its_own_folder(run, paint, tmp_path, part):
    data, protocol = tmp_path / "cfp" / "Data" / "Images", tmp_path / "cfp" / "Protocol"
    lists = {"F": [], "P": []}
    for person in range(1, 5):
        for look in range(2):
            for kind, name, shift in (("F", "frontal", 0), ("P", "profile", 2)):
                paint(data / f"{person:03d}" / name / f"{look + 1:02d}.png", (person, look + shift))
                lists[kind].append(f"../Data/Images/{person:03d}/{name}/{look + 1:02d}.png")
    for kind, paths in lists.items():
        protocol.mkdir(exist_ok=True)
        text = "".join(f"{i + 1} {path}\n" for i, path in enumerate(paths))
        (protocol / f"Pair_list_{kind}.txt").write_text(text)
    for fold in (1, 2):
        split = protocol / "Split" / part[-2:].upper() / f"{fold:02d}"
        split.mkdir(parents=True)
        a = 4 * (fold - 1) + 1  # the fold's first person has pictures a and a + 1, the second a + 2 and a + 3
        (split / "same.txt").write_text(f"{a},{a + 1}\n{a + 2},{a + 3}\n")
        (split / "diff.txt").write_text(f"{a},{a + 2}\n{a + 1},{a + 3}\n")
    found = verified(run, "--protocol", part, tmp_path / "cfp")
    assert found["protocol"] == f"CFP-{part[-2:].upper()}"
    assert (found["pairs"], len(found["accuracy"]["folds"]), found["accuracy"]["mean"]) == (8, 2, 1)


@pytest.mark.usefixtures("squares")
def test_a_missing_face_is_an_error_of_the_system_or_excluded(run, lfw, paint, tmp_path):
    paint(lfw / "P1" / "P1_0002.png", None)
    pairs = one_fold(tmp_path / "pairs.txt")
    found = verified(run, "--pairs", pairs, lfw)
    assert (found["pairs"], found["failures"], found["without_face"]) == (6, 1, ["P1/P1_0002.png"])
    assert found["accuracy"]["mean"] == pytest.approx(5 / 6)
    without = verified(run, "--pairs", pairs, lfw, "--failures", "exclude")
    assert (without["pairs"], without["failures"], without["accuracy"]["mean"]) == (5, 1, 1)


@pytest.mark.usefixtures("squares")
def test_every_pair_of_a_folder_with_failures_agrees_with_counting(run, lfw, paint):
    paint(lfw / "P1" / "P1_0002.png", None)
    found = verified(run, lfw, "--far", "0.1")
    assert (found["genuine"]["n"], found["impostor"]["n"]) == (12, 54)
    assert found["tar_at_far"]["0.1"]["tar"] == pytest.approx(10 / 12)  # two pairs with the picture without a face
    assert found["accuracy"]["mean"] is None
    assert (found["genuine"]["failed"], found["impostor"]["failed"]) == (2, 9)
    without = verified(run, lfw, "--far", "0.1", "--failures", "exclude")
    assert (without["genuine"]["n"], without["impostor"]["n"]) == (10, 45)
    assert without["tar_at_far"]["0.1"]["tar"] == 1
    assert (without["genuine"]["failed"], without["impostor"]["failed"]) == (0, 0)
    # What a pair without a face counts as is a convention, which may not move what describes the scores.
    for kind in ("genuine", "impostor"):
        assert found[kind]["mean"] == pytest.approx(without[kind]["mean"])
    assert found["d_prime"] == pytest.approx(without["d_prime"])
    assert without["eer_interval"] == {
        "low": None,
        "high": None,
        "interval": None,
        "reason": "too few people to resample: 4, at least 10 needed",
    }


@pytest.mark.usefixtures("squares")
def test_no_interval_of_no_width_where_nothing_went_wrong(run, paint, tmp_path):
    for person in range(1, 13):
        for look in range(2):
            paint(tmp_path / "many" / f"P{person}" / f"{look}.png", (person, look))
    found = verified(run, tmp_path / "many", "--far", "0.1")
    assert found["eer"] == 0
    assert found["eer_interval"]["low"] is None
    assert found["eer_interval"]["reason"] == "no error was seen, so that resampling shows none either"
    assert found["tar_at_far"]["0.1"]["low"] < 1
    paint(tmp_path / "many" / "P1" / "wall.png", None)
    shown = run("evaluate", "verify", tmp_path / "many").out
    assert "14 genuine pairs, 2 of them without a face, mean score" in shown
    assert "No interval of the EER: the 264 highest impostor scores" in shown  # the fake people all score alike


@pytest.mark.usefixtures("squares")
def test_identify_a_folder_with_strangers(run, lfw, paint, tmp_path):
    answer = run("evaluate", "identify", lfw, "--fpir", "0.2", "--fpir", "0.01", "--json")
    found = json.loads(answer.out)
    assert answer.code == 0
    assert found["kind"] == "identification"
    assert (found["gallery_size"], found["probes"]) == (2, {"known": 6, "unknown": 6})
    row = found["dir_at_fpir"]["0.2"]
    assert (row["dir"], row["high"], row["reason"]) == (1, 1, None)
    assert row["low"] < 1
    assert row["fpir"] <= 0.2
    assert "insufficient data" in found["dir_at_fpir"]["0.01"]["reason"]
    assert found["cmc"] == [1, 1]
    known = FolderProtocol(lfw).identification()
    lost = known.pictures[int(known.known[0])].name
    paint(lfw / lost, None)
    worse = json.loads(run("evaluate", "identify", lfw, "--fpir", "0.2", "--json").out)
    assert worse["probes"] == {"known": 6, "unknown": 6}
    assert worse["dir_at_fpir"]["0.2"]["dir"] == pytest.approx(5 / 6)
    assert worse["cmc"] == pytest.approx([5 / 6, 5 / 6])
    alone = json.loads(run("evaluate", "identify", lfw, "--fpir", "0.2", "--failures", "exclude", "--json").out)
    assert (alone["probes"]["known"], alone["dir_at_fpir"]["0.2"]["dir"]) == (5, 1)


@pytest.mark.usefixtures("squares")
def test_a_person_who_cannot_be_enrolled_is_missed(run, lfw, paint):
    known = FolderProtocol(lfw).identification()
    person = known.pictures[int(known.known[0])].name.split("/")[0]
    for path in sorted((lfw / person).iterdir())[1:]:
        paint(path, None)
    found = json.loads(run("evaluate", "identify", lfw, "--fpir", "0.2", "--json").out)
    assert (found["probes"]["known"], found["dir_at_fpir"]["0.2"]["dir"]) == (6, 0.5)


@pytest.mark.usefixtures("squares")
@pytest.mark.parametrize("verb", ["verify", "identify"])
def test_a_picture_without_a_face_does_not_squeeze_the_histogram(run, lfw, paint, tmp_path, verb):
    for person in range(1, 5):  # known or a stranger: either kind has one
        paint(lfw / f"P{person}" / "wall.png", None)
    assert run("evaluate", verb, lfw, "--out", tmp_path / "report").code == 0
    page = (tmp_path / "report" / "report.html").read_text()
    drawing = page[page.index("Histogram of scores") :]
    assert "score (cosine similarity)" in drawing
    assert "\u22121.0" not in drawing[: drawing.index("</svg>")]  # where a pair without a face counts


@pytest.mark.usefixtures("squares")
def test_people_read_tables_and_nothing_is_written_beside_the_photos(run, lfw):
    before = sorted(lfw.rglob("*"))
    first, second = run("evaluate", "verify", lfw), run("evaluate", "verify", lfw)
    assert first.code == second.code == 0
    assert "TAR at FAR 0.01" in first.out
    assert "95 % interval" in first.out
    assert "0 of 12 embeddings from the cache" in first.out
    assert "12 of 12 embeddings from the cache" in second.out
    assert sorted(lfw.rglob("*")) == before
    assert "DIR at FPIR 0.1" in run("evaluate", "identify", lfw).out


@pytest.mark.usefixtures("squares")
def test_a_broken_picture_is_named_and_the_exit_code_says_so(run, lfw, broken):
    broken(lfw / "P1" / "P1_0002.png")
    answer = run("evaluate", "verify", lfw, "--json")
    assert answer.code == 2
    assert [error["source"] for error in json.loads(answer.out)["errors"]] == ["P1/P1_0002.png"]
    assert "P1_0002.png" in answer.err


@pytest.mark.usefixtures("squares")
def test_bad_input_is_a_clear_error(run, lfw, tmp_path):
    one_fold(tmp_path / "short.txt", header="4")
    one_fold(tmp_path / "gone.txt").write_text("1\nP1\t1\t9\nP1\t1\tP2\t1\n")
    for arguments, said in [
        (["--pairs", tmp_path / "short.txt", lfw], "cut short"),
        (["--pairs", tmp_path / "gone.txt", lfw], "P1_0009"),
        (["--pairs", tmp_path / "gone.txt", lfw], "--skip-missing leaves them out"),
        (["--protocol", "lfw", lfw], "--pairs"),
        (["--protocol", "lwf", lfw], "lwf"),
        (["--failures", "ignore", lfw], "ignore"),
        ([lfw / "P1"], "second person|two pictures"),
        ([lfw, "--far", "2"], "far"),
    ]:
        answer = run("evaluate", "verify", *arguments)
        assert (answer.code, answer.out) == (2, ""), said
        assert any(part in answer.err for part in said.split("|")), answer.err


def test_view_1_on_real_faces(run, mien_data, tmp_path):
    lines = (mien_data / "lists" / "pairsDevTest.txt").read_text().splitlines()
    (tmp_path / "pairs.txt").write_text("\n".join(["20", *lines[1:21], *lines[-20:]]) + "\n")
    arguments = ["--preset", "fast", "--pairs", tmp_path / "pairs.txt", mien_data / "lfw"]
    found = verified(run, *arguments)
    assert (found["pairs"], found["failures"]) == (40, 0)
    assert found["accuracy"]["mean"] >= 0.95
    again = verified(run, *arguments)
    assert again["cached"] == again["pictures"]
    assert np.isclose(again["auc"], found["auc"], rtol=0)
