"""Every protocol through `mien evaluate`, on small made-up copies of its layout, and broken or hostile copies of it."""

from __future__ import annotations

import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from mien.data.insightface_bin import write_bin

pytestmark = pytest.mark.usefixtures("squares")

HEAD = "TEMPLATE_ID,SUBJECT_ID,FILENAME,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT\n"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def verified(run):
    def verify(*arguments, code=0):
        answer = run("evaluate", "verify", *arguments, "--json")
        assert answer.code == code, answer.err
        return json.loads(answer.out)

    return verify


@pytest.fixture
def refused(run):
    """Run, and return what stderr says: nothing on stdout, exit code 2, no traceback."""

    def refuse(*arguments, verb="verify"):
        answer = run("evaluate", verb, *arguments, "--json")
        assert (answer.code, answer.out) == (2, ""), answer
        assert "internal error" not in answer.err
        return answer.err

    return refuse


@pytest.fixture
def people(tmp_path, paint):
    """A folder per person: person 1 to 4 (red), looks 0 to 2 (green)."""
    for person in range(1, 5):
        for look in range(3):
            paint(tmp_path / "people" / f"P{person}" / f"P{person}_{look + 1:04d}.png", (person, look))
    return tmp_path / "people"


def face(person, look=0):
    """An aligned face: 112 x 112 of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (112, 112), (person, look, 255)).save(file, "PNG")
    return file.getvalue()


def test_bin(verified, tmp_path):
    pictures, same = [], []
    for i in range(20):
        a, b = i % 4 + 1, (i + 1) % 4 + 1
        pictures += [face(a, i), face(a if i % 2 else b, i + 40)]
        same.append(bool(i % 2))
    found = verified("--protocol", "bin", write_bin(tmp_path / "agedb_30.bin", pictures, same))
    assert (found["protocol"], found["pairs"], found["failures"]) == ("agedb_30", 20, 0)
    assert (len(found["accuracy"]["folds"]), found["accuracy"]["mean"]) == (10, 1)
    assert "aligned already" in found["rules"]
    assert found["eer_interval"] == {
        "low": None, "high": None, "interval": None,
        "reason": "the protocol does not tell whose pictures they are, so people cannot be resampled",
    }  # fmt: skip


def test_ytf(verified, paint, tmp_path):
    for person, videos in (("Ada", 2), ("Bo", 2), ("Cy", 2)):
        for video in range(videos):
            for frame in range(3):
                number = ["Ada", "Bo", "Cy"].index(person) + 1
                path = tmp_path / "ytf" / "frame_images_DB" / person / str(video) / f"{video}.{frame + 98}.png"
                paint(path, None if frame == 1 else (number, video * 3 + frame))
    splits = "split number, first name, second name, similarity, is same\n"
    splits += "".join(f"{i + 1}, {p}/0, {p}/1, 0, 1\n" for i, p in enumerate(("Ada", "Bo", "Cy")))
    splits += "1, Ada/0, Bo/1, 0, 0\n2, Bo/0, Cy/1, 0, 0\n3, Cy/0, Ada/1, 0, 0\n"
    (tmp_path / "ytf" / "splits.txt").write_text(splits)
    found = verified("--protocol", "ytf", tmp_path / "ytf")
    assert (found["pairs"], len(found["accuracy"]["folds"]), found["accuracy"]["mean"]) == (6, 3, 1)
    assert (found["pictures"], found["failures"]) == (18, 6)  # the other frames stand for their videos


@pytest.fixture
def nist(tmp_path, paint):
    """IJB as NIST lays it out: two galleries, mixed probes, several faces of a template."""
    root = tmp_path / "ijb"
    for i, who in enumerate([(1, 0), (1, 1), (2, 0), (3, 0), (1, 2), (3, 1), (2, 1)], 1):
        paint(root / "images" / "img" / f"{i}.png", who)
    rows = {
        "1N_gallery_G1": "1,100,img/1.png,2,2,20,20\n1,100,img/2.png,2,2,20,20\n2,101,img/3.png,2,2,20,20\n",
        "1N_gallery_G2": "3,102,img/4.png,2,2,20,20\n",
        "1N_probe_mixed": "11,100,img/5.png,2,2,20,20\n12,102,img/6.png,2,2,20,20\n13,101,img/7.png,2,2,20,20\n",
    }
    (root / "protocols").mkdir()
    for name, text in rows.items():
        (root / "protocols" / f"ijbc_{name}.csv").write_text(HEAD + text)
    (root / "protocols" / "ijbc_11_G1_G2_matches.csv").write_text("1,11\n2,11\n3,12\n2,13\n1,13\n3,11\n")
    return root


def test_ijb_of_nist(verified, run, nist):
    found = verified("--protocol", "ijb", nist)
    assert (found["protocol"], found["pairs"], found["auc"]) == ("IJB-C 1:1", 6, 1)
    for gallery, size, known in ((1, 2, 2), (2, 1, 1)):
        answer = run("evaluate", "identify", "--protocol", "ijb", nist, "--gallery", gallery, "--fpir", "0.5", "--json")
        searched = json.loads(answer.out)
        assert (searched["gallery_size"], searched["probes"]["known"]) == (size, known)
        assert searched["cmc"][0] == 1


def test_ijb_of_insightface(verified, tmp_path):
    root = tmp_path / "IJBB"
    (root / "loose_crop").mkdir(parents=True)
    (root / "meta").mkdir()
    for i in range(1, 7):
        (root / "loose_crop" / f"{i}.jpg").write_bytes(face((i - 1) // 2 + 1, i))
    landmarks = "38 52 74 52 56 72 42 92 71 92 0.99"
    (root / "meta" / "ijbb_face_tid_mid.txt").write_text("".join(f"{i}.jpg {i} {i}\n" for i in range(1, 7)))
    pairs = "1 2 1\n3 4 1\n5 6 1\n1 3 0\n3 5 0\n5 2 0\n"
    (root / "meta" / "ijbb_template_pair_label.txt").write_text(pairs)
    names = "".join(f"{i}.jpg {landmarks}\n" for i in range(1, 7))
    (root / "meta" / "ijbb_name_5pts_score.txt").write_text(names)
    found = verified("--protocol", "ijb", root)
    assert (found["pairs"], found["failures"], found["auc"]) == (6, 0, 1)


def test_lfw_people(verified, run, people, tmp_path):
    (tmp_path / "people.txt").write_text("4\n" + "".join(f"P{i}\t3\n" for i in range(1, 5)))
    found = verified("--protocol", "lfw-people", "--people", tmp_path / "people.txt", people)
    assert (found["genuine"]["n"], found["impostor"]["n"]) == (12, 54)
    answer = run("evaluate", "identify", "--people", tmp_path / "people.txt", people, "--fpir", "0.2", "--json")
    assert json.loads(answer.out)["dir_at_fpir"]["0.2"]["dir"] == 1


@pytest.fixture
def strangers(tmp_path, paint):
    for i in range(12):
        paint(tmp_path / "strangers" / f"{i % 3}" / f"{i}.png", (i + 10, 0) if i else None)
    return tmp_path / "strangers"


@pytest.mark.parametrize("verb", ["identify", "verify"])
def test_megaface(run, people, strangers, tmp_path, verb):
    options = ["--protocol", "megaface", people, "--distractors", strangers, "--size", "4", "--size", "100"]
    answer = run("evaluate", verb, *options, "--out", tmp_path / "out", "--json")
    found = json.loads(answer.out)
    assert (answer.code, found["kind"], found["version"]) == (0, "megaface", 1)
    assert (found["people"], found["probes"], found["pairs"], found["distractors"]) == (4, 12, 24, 12)
    assert list(found["rank_1"]) == ["4", "12"]
    assert found["rank_1"]["12"]["searched"] == 11  # one has no face
    assert found["rank_1"]["12"]["rate"] == 1
    assert found["tar_at_far"]["0.001"]["reason"].startswith("insufficient data: 132 ")
    assert found["failures"] == 1
    assert "MegaFace report" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert json.loads((tmp_path / "out" / "report.json").read_text("utf-8")) == found
    assert "rank 1 among 12" in run("evaluate", verb, *options).out


def test_megaface_with_stored_embeddings_and_noise(run, people, tmp_path):
    rows = np.zeros((6, 128), np.float32)
    rows[np.arange(6), [1, 100, 101, 102, 103, 104]] = 1  # the first is person 1, plainly
    np.save(tmp_path / "rows.npy", rows)
    options = ["--protocol", "megaface", people, "--distractors", tmp_path / "rows.npy", "--size", "6", "--far", "0.05"]
    spoiled = json.loads(run("evaluate", "verify", *options, "--json").out)
    assert spoiled["rank_1"]["6"]["rate"] == 0.75  # every search for person 1 finds the stranger first
    assert spoiled["rank_1"]["6"]["low"] < 0.75 < spoiled["rank_1"]["6"]["high"]
    (tmp_path / "noise.txt").write_text("0\n")
    found = json.loads(run("evaluate", "verify", *options, "--distractor-noise", tmp_path / "noise.txt", "--json").out)
    assert (found["rank_1"]["6"]["rate"], found["rank_1"]["6"]["searched"]) == (1, 5)
    assert found["tar_at_far"]["0.05"]["tar"] == 1
    assert "1 rows of the distractors are left out" in found["rules"]


def test_megaface_refuses_what_it_cannot_use(refused, people, strangers, tmp_path):
    mega = ["--protocol", "megaface", people]
    np.save(tmp_path / "wide.npy", np.zeros((3, 5), np.float32))
    np.save(tmp_path / "nan.npy", np.full((3, 128), np.nan, np.float32))
    np.save(tmp_path / "object.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "many.npz", np.zeros((3, 128), np.float32))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "wide.npy").read_bytes()[:40])
    (tmp_path / "noise.txt").write_text("0\n7\n")
    np.save(tmp_path / "good.npy", np.eye(3, 128, dtype=np.float32))
    for options, said in [
        ([], "--distractors"),
        (["--distractors", tmp_path / "wide.npy"], "(3, 5)"),
        (["--distractors", tmp_path / "nan.npy"], "nan.npy"),
        (["--distractors", tmp_path / "object.npy"], "object.npy"),
        (["--distractors", tmp_path / "many.npz"], "archive"),
        (["--distractors", tmp_path / "cut.npy"], "cut.npy"),
        (["--distractors", tmp_path / "gone.npy"], "no such file"),
        (["--distractors", tmp_path / "good.npy", "--distractor-noise", tmp_path / "noise.txt"], "noise.txt, line 2"),
        (["--distractors", strangers, "--most", "3"], "--most"),
    ]:
        assert said in refused(*mega, *options)
    assert "belongs to --protocol megaface" in refused(people, "--distractors", strangers)


class _Bomb:
    def __reduce__(self):
        import os

        return os.mkdir, ("exploded",)


def test_a_hostile_bin_runs_nothing(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.bin").write_bytes(pickle.dumps(([_Bomb()], [True])))
    assert "evil.bin" in refused("--protocol", "bin", tmp_path / "evil.bin")
    assert not (tmp_path / "exploded").exists()
    good = write_bin(tmp_path / "good.bin", [face(1), face(1, 1), face(1), face(2)], [True, False])
    (tmp_path / "cut.bin").write_bytes(good.read_bytes()[:200])
    assert "cut.bin" in refused("--protocol", "bin", tmp_path / "cut.bin")


def test_odd_pairs_are_stated_and_missing_ones_refused(verified, refused, people, tmp_path):
    lines = [
        "P1\t1\t2",
        "P1\t2\t1",
        "P2\t1\t1",
        "P2\t1\t2",
        "P1\t1\tP2\t1",
        "P2\t1\tP1\t1",
        "P3\t1\tP4\t1",
        "P3\t2\tP4\t9",
    ]
    (tmp_path / "pairs.txt").write_text("\n".join(["4", *lines]) + "\n")
    assert "P4_0009" in refused("--pairs", tmp_path / "pairs.txt", people)
    found = verified("--pairs", tmp_path / "pairs.txt", people, "--skip-missing")
    assert found["pairs"] == 4
    whys = [e["why"] for e in found["exclusions"]]
    assert whys.count("the pair repeats an earlier one") == 2
    assert whys.count("the pair compares a picture with itself") == 1
    assert "the file is not there" in whys
    (tmp_path / "cut.txt").write_text("\n".join(["4", *lines[:5]]) + "\n")
    assert "cut short" in refused("--pairs", tmp_path / "cut.txt", people)


def test_one_class_is_refused(refused, people, tmp_path):
    lines = [*(f"P{i}\t1\t2" for i in range(1, 4)), *["P1\t1\tP1\t2"] * 3]
    (tmp_path / "same.txt").write_text("\n".join(["3", *lines]) + "\n")
    assert "same.txt" in refused("--pairs", tmp_path / "same.txt", people)
    folder = tmp_path / "alone"
    folder.mkdir()
    (people / "P1").rename(folder / "P1")
    assert "second person" in refused(folder)


def test_scores_that_are_no_numbers_are_never_counted(run, people, monkeypatch, tmp_path):
    """A model that gives NaN for one person breaks its contract: that is said, and there is no number."""
    import mien.recognizer

    made = mien.recognizer.DlibResNet

    def broken(*arguments, **options):
        embedder = made(*arguments, **options)

        class Broken(type(embedder)):
            def embed(self, chips):
                rows = super().embed(chips)
                rows[chips[:, 0, 0, 0, 0] == 2] = np.nan
                return rows

        return Broken()

    monkeypatch.setattr("mien.recognizer.DlibResNet", broken)
    answer = run("evaluate", "verify", people, "--json", "--no-cache")
    assert (answer.code, answer.out) == (3, "")
    assert "expected finite numbers, got NaN" in answer.err
    aligned = write_bin(
        tmp_path / "x.bin", [face(1), face(1, 1), face(2), face(2, 1), face(1), face(2)], [True, True, False]
    )
    answer = run("evaluate", "verify", "--protocol", "bin", aligned, "--json", "--no-cache")
    assert answer.code in {2, 3}
    assert answer.out == ""
    assert "unit" in answer.err or "NaN" in answer.err


def test_a_closed_set_keeps_its_shape(run, people, nist):
    open_set = json.loads(run("evaluate", "identify", people, "--fpir", "0.2", "--json").out)
    probes = nist / "protocols" / "ijbc_1N_probe_mixed.csv"
    probes.write_text(HEAD + "11,100,img/5.png,2,2,20,20\n13,101,img/7.png,2,2,20,20\n")
    closed = json.loads(run("evaluate", "identify", "--protocol", "ijb", nist, "--fpir", "0.2", "--json").out)
    assert set(closed) == set(open_set)
    assert closed["probes"] == {"known": 2, "unknown": 0}
    row = closed["dir_at_fpir"]["0.2"]
    assert set(row) == set(open_set["dir_at_fpir"]["0.2"])
    assert [row[key] for key in ("dir", "low", "high", "threshold", "fpir", "interval")] == [None] * 6
    assert row["reason"] == "a closed set: there is no unknown probe"
    assert closed["cmc"][0] == 1
