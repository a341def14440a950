"""`mien data`: the verbs on small made-up folders, for people and for programs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mien.cli import main
from mien.images import decode, save
from mien.types import Image


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for person, count in (("Ada Lovelace", 4), ("Grace", 2), ("张伟", 3), ("<b>", 2)):
        for i in range(count):
            path = tmp_path / "in" / person / f"图 {i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save(Image(rng.integers(0, 256, (20, 16, 3), np.uint8)), path)
    return tmp_path / "in"


def run(capsys, *words):
    code = main([str(word) for word in ("data", *words)])
    return code, capsys.readouterr()


def run_json(capsys, *words):
    code, out = run(capsys, *words, "--json")
    assert code == 0, out.err
    return json.loads(out.out)


def test_select_split_pack_unpack(folder, tmp_path, capsys):
    found = run_json(capsys, "select", folder, tmp_path / "chosen", "--people", 2, "--most", 3)
    assert found["sets"] == [{"set": "", "people": 2, "pictures": 6}] or found["sets"][0]["pictures"] == 6
    assert sorted(p.name for p in (tmp_path / "chosen").iterdir() if p.is_dir()) == ["Ada Lovelace", "张伟"]
    code, out = run(capsys, "select", folder, tmp_path / "chosen", "--people", 3)
    assert (code, "other settings" in out.err) == (2, True)
    assert run_json(capsys, "select", folder, tmp_path / "chosen", "--people", 3, "--force")["sets"][0]["people"] == 3

    sets = run_json(capsys, "split", folder, tmp_path / "sets", "--shares", "train:0.5,test:0.5")["sets"]
    assert [s["people"] for s in sets] == [2, 2]
    lines = [(tmp_path / "sets" / f"{n}.txt").read_text("utf-8").splitlines() for n in ("train", "test")]
    assert not {line.partition("/")[0] for line in lines[0]} & {line.partition("/")[0] for line in lines[1]}

    packed = run_json(capsys, "pack", folder, tmp_path / "set.rec")
    assert (packed["pictures"], len(packed["people"])) == (11, 4)
    assert run_json(capsys, "unpack", tmp_path / "set.rec", tmp_path / "back")["pictures"] == 11
    for path in folder.rglob("*.png"):
        assert (tmp_path / "back" / path.relative_to(folder)).read_bytes() == path.read_bytes()
    code, out = run(capsys, "pack", folder, tmp_path / "set.rec")
    assert (code, "exists already" in out.err) == (2, True)


def test_pairs_of_a_folder_that_is_not_numbered_are_measured(folder, tmp_path, capsys):
    from mien.evaluate.protocols import LfwPairs

    found = run_json(capsys, "pairs", folder, tmp_path / "pairs.txt", "--pairs", 2, "--folds", 2)
    assert (found["pairs"], found["numbered"]) == (8, False)
    pairs = LfwPairs(tmp_path / "pairs.txt", folder).read()
    assert (len(pairs.pairs), int(pairs.same.sum()), pairs.exclusions) == (8, 4, ())
    code, out = run(capsys, "pairs", folder, tmp_path / "pairs.txt")
    assert (code, "exists already" in out.err) == (2, True)


def test_pairs_into_a_bin_and_back(folder, tmp_path, capsys):
    run_json(capsys, "pairs", folder, tmp_path / "pairs.txt", "--pairs", 2, "--folds", 2)
    assert run_json(capsys, "pack", folder, tmp_path / "a.bin", "--pairs", tmp_path / "pairs.txt")["pictures"] == 16
    assert run_json(capsys, "unpack", tmp_path / "a.bin", tmp_path / "back")["pictures"] == 16
    run_json(capsys, "pack", tmp_path / "back", tmp_path / "b.bin")
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()
    originals = {p.read_bytes() for p in folder.rglob("*.png")}
    assert {p.read_bytes() for p in (tmp_path / "back").glob("*.png")} <= originals
    code, out = run(capsys, "pack", folder, tmp_path / "c.bin")
    assert (code, "needs a list of pairs" in out.err) == (2, True)


def test_dry_runs_write_nothing(folder, tmp_path, capsys):
    def everything():
        return {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}

    run_json(capsys, "pairs", folder, tmp_path / "pairs.txt", "--pairs", 2, "--folds", 2)
    run_json(capsys, "pack", folder, tmp_path / "a.bin", "--pairs", tmp_path / "pairs.txt")
    before = everything()
    for words, said in (
        (("pairs", folder, tmp_path / "b.txt", "--pairs", 2, "--folds", 2), "8 pairs in 2 folds would be in"),
        (("pack", folder, tmp_path / "b.bin", "--pairs", tmp_path / "pairs.txt"), "16 pictures would be in b.bin"),
        (("pack", folder, tmp_path / "b.tar"), "11 pictures of 4 people would be in b.tar"),
        (("unpack", tmp_path / "a.bin", tmp_path / "back"), "16 pictures would be in"),
        (("stats", folder, "--page", tmp_path / "page.html"), "11 pictures of 4 people would be measured"),
    ):
        code, out = run(capsys, *words, "--dry-run")
        assert (code, said in out.out) == (0, True), out
        assert run_json(capsys, *words, "--dry-run")["dry_run"] is True
    assert everything() == before


def test_shards_are_not_written_over_unasked(folder, tmp_path, capsys):
    words = ("pack", folder, tmp_path / "a.tar", "--shard-size", 1)
    run_json(capsys, *words)
    code, out = run(capsys, *words)
    assert (code, "a-00000.tar: exists already" in out.err) == (2, True)
    code, out = run(capsys, *words[:3])
    assert (code, "a-00000.tar: exists already" in out.err) == (2, True)
    run_json(capsys, *words[:3], "--force")
    assert [p.name for p in tmp_path.glob("a*.tar")] == ["a.tar"]
    code, out = run(capsys, *words)
    assert (code, "a.tar: exists already" in out.err) == (2, True)


def test_reencoded_pictures_are_smaller_and_of_the_kind_asked_for(folder, tmp_path, capsys):
    from mien.prepare.unpacking import read_packed

    run_json(capsys, "pack", folder, tmp_path / "a.tar", "--reencode", "jpg", "--side", 8)
    samples = list(read_packed(tmp_path / "a.tar"))
    assert {s.key.rpartition(".")[2] for s in samples} == {"jpg"}
    assert {decode(bytes(s.picture)).size for s in samples} == {(8, 10)}
    assert run(capsys, "pack", folder, tmp_path / "b.tar", "--side", 8)[0] == 2


def test_cfps_layout_is_read_by_its_protocol(tmp_path, capsys):
    from mien.evaluate.protocols import CfpProtocol

    rng = np.random.default_rng(0)
    rows = ["picture,pose"]
    for person in range(6):
        for pose, count in (("frontal", 3), ("profile", 2)):
            for i in range(count):
                name = f"人 {person}/{pose}/{i}.png"
                (tmp_path / "cfp" / name).parent.mkdir(parents=True, exist_ok=True)
                save(Image(rng.integers(0, 256, (9, 9, 3), np.uint8)), tmp_path / "cfp" / name)
                rows.append(f"{name},{pose}")
    (tmp_path / "poses.csv").write_text("\n".join(rows), "utf-8")
    words = ("pairs", tmp_path / "cfp", "--poses", tmp_path / "poses.csv", "--folds", 3, "--pairs", 4)
    assert run_json(capsys, *words, "--dry-run")["pairs"] == 48
    assert not (tmp_path / "cfp" / "Protocol").exists()
    found = run_json(capsys, *words)
    assert (found["frontal"], found["profile"], found["pairs"]) == (18, 12, 48)
    for part in ("FF", "FP"):
        pairs = CfpProtocol(tmp_path / "cfp", part).read()
        assert (len(pairs.pairs), int(pairs.same.sum()), pairs.exclusions) == (24, 12, ())
        names = [pairs.pictures[int(b)].name for _, b in pairs.pairs]
        assert {("profile" in n) for n in names} == {part == "FP"}
        whose = {f: {int(pairs.subject[i]) for p in pairs.pairs[pairs.folds == f] for i in p} for f in range(3)}
        assert not whose[0] & whose[1] | whose[0] & whose[2] | whose[1] & whose[2]
    assert run(capsys, *words)[0] == 2  # there already
    code, out = run(capsys, *words[:-2], "--pairs", 999, "--force")
    assert (code, "too few pictures" in out.err) == (2, True)


def test_mesh_and_generate(folder, tmp_path, capsys):
    found = run_json(capsys, "mesh", folder, tmp_path / "mesh", "--workers", 1)
    assert (found["made"], found["errors"]) == (11, 0)
    assert decode(tmp_path / "mesh" / "mesh" / "张伟" / "图 0.png~1.png").size == (16, 20)
    code, out = run(capsys, "generate", "grey", folder, tmp_path / "grey", "--workers", 1, "--jpeg", "--copies", 2)
    assert (code, "22 pictures made" in out.out) == (0, True)
    (folder / "Grace" / "bad.jpg").write_bytes(b"x")
    code, out = run(capsys, "mesh", folder, tmp_path / "mesh", "--workers", 1)
    assert (code, "11 done before, 1 broken" in out.out) == (2, True)
    dry = run_json(capsys, "mesh", folder, tmp_path / "mesh", "--dry-run")
    assert (dry["made"], dry["before"]) == (0, 11 + 1)  # the broken one is on record too
    assert "would be made" in run(capsys, "mesh", folder, tmp_path / "dry", "--dry-run")[1].out
    assert not (tmp_path / "dry").exists()
    code, out = run(capsys, "mesh", folder, tmp_path / "mesh", "--dry-run", "--strength", 2)
    assert (code, "other settings" in out.err) == (2, True)
    assert not (tmp_path / "dry").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("split", "{in}", "{out}", "--shares", "a:1,b"), "--shares"),
        (("split", "{in}", "{out}", "--shares", "../x:1"), "--shares"),
        (("split", "{in}", "{out}", "--by", "colour"), "--by"),
        (("select", "{in}", "{out}", "--place", "move"), "--place"),
        (("select", "{in}", "{out}", "--people", "9"), "only 4"),
        (("select", "{in}", "{out}", "--least", "100"), "nobody has"),
        (("pack", "{in}", "{out}.zip"), "ends in"),
        (("unpack", "{out}.tar", "{out}"), "no such file"),
        (("generate", "snow", "{in}", "{out}"), "kind"),
        (("frames", "{in}"), "VIDEO"),
        (("frames", "{in}/x.mp4", "{out}", "--sample", "dice"), "sample"),
        (("pairs", "{in}", "{out}", "--pairs", "99"), "pairs of pictures"),
        (("mesh", "{out}", "{out}2"), "no such"),
    ],
)
def test_what_cannot_be_done_is_said(folder, tmp_path, capsys, words, message):
    filled = [w.replace("{in}", str(folder)).replace("{out}", str(tmp_path / "out")) for w in words]
    code, out = run(capsys, *filled)
    assert (code, out.out) == (2, "")
    assert message in out.err


def test_frames_of_a_video_that_is_not_there_and_a_dry_run(tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes(b"x")
    code, out = run(capsys, "frames", tmp_path / "gone.mp4", tmp_path / "a.mp4", tmp_path / "out", "--dry-run")
    assert code == 2
    assert f"skipped: {tmp_path / 'gone.mp4'}: No such file or directory" in out.err
    assert "1 video of 2 to look at" in out.out
    assert str(tmp_path / "a.mp4") in out.out
    assert not (tmp_path / "out").exists()


def test_frames_of_a_bad_video(tmp_path, capsys):
    pytest.importorskip("av", reason="PyAV is not installed")
    (tmp_path / "a.mp4").write_bytes(b"no video")
    code, out = run(capsys, "frames", tmp_path / "a.mp4", tmp_path / "out", "--json")
    assert code == 2
    assert json.loads(out.out)["videos"][0]["error"] is True
    assert "a.mp4" in out.err
