"""From raw pictures to packed sets and back: crop, clean, split, pack in every format, unpack, the same bytes."""

from __future__ import annotations

import json
import shutil

import pytest

from mien.cli import main


def run_json(capsys, *words):
    code = main([*map(str, words), "--json"])
    out = capsys.readouterr()
    assert code in (0, 1), out.err
    return json.loads(out.out)


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.jpg")}


@pytest.mark.data
def test_raw_pictures_to_every_format_and_back(mien_data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    people = sorted(p for p in (mien_data / "celebs").iterdir() if p.is_dir())[:6]
    for person in people:
        (tmp_path / "raw" / person.name).mkdir(parents=True)
        for picture in sorted(person.glob("*.jpg"))[:10]:
            shutil.copy(picture, tmp_path / "raw" / person.name)
    # One picture lies in a stranger's folder.
    wrong = next((tmp_path / "raw" / people[0].name).glob("*.jpg"))
    shutil.move(wrong, tmp_path / "raw" / people[1].name / "wrong.jpg")

    run_json(capsys, "crop", tmp_path / "raw", tmp_path / "faces", "--preset", "fast")
    run_json(capsys, "data", "clean", tmp_path / "raw", "--preset", "fast", "--list", tmp_path / "doubtful.csv")
    assert f"{people[1].name}/wrong.jpg" in (tmp_path / "doubtful.csv").read_text("utf-8")
    (tmp_path / "faces" / people[1].name / "wrong.jpg").unlink()

    words = ("--shares", "train:0.5,test:0.5", "--place", "copy")
    sets = run_json(capsys, "data", "split", tmp_path / "faces", tmp_path / "sets", *words)["sets"]
    assert [s["people"] for s in sets] == [3, 3]
    train = tmp_path / "sets" / "train"
    for suffix in ("rec", "tfrecord", "tar", "parquet"):
        if suffix == "parquet":
            pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
        packed = run_json(capsys, "data", "pack", train, tmp_path / f"train.{suffix}")
        unpacked = run_json(capsys, "data", "unpack", tmp_path / f"train.{suffix}", tmp_path / f"from-{suffix}")
        assert content(tmp_path / f"from-{suffix}") == content(train)
        assert unpacked["people"] == packed["people"] == sorted(p.name for p in train.iterdir() if p.is_dir())
    run_json(capsys, "data", "pairs", train, tmp_path / "pairs.txt", "--pairs", 10, "--folds", 1)
    run_json(capsys, "data", "pack", train, tmp_path / "train.bin", "--pairs", tmp_path / "pairs.txt")
    run_json(capsys, "data", "unpack", tmp_path / "train.bin", tmp_path / "from-bin")
    assert set(content(tmp_path / "from-bin").values()) <= set(content(train).values())
