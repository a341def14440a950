"""Several source folders, one output: no crop takes the place of another folder's photo's."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from mien.errors import InputError
from mien.images import decode
from mien.prepare import cropping_sources
from mien.prepare.cropping import CropOptions, crop
from mien.prepare.cropping_writing import Writer
from mien.prepare.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from mien.recognizer import Recognizer


@pytest.fixture
def cut(recognizer: Recognizer, tmp_path: Path):
    """Crop a folder into `out`; the names that were worked on now."""

    def run(folder: Path, **options) -> list[str]:
        source = folder if folder.is_dir() else folder.parent
        answers = list(crop(folder, tmp_path / "out", recognizer, **options))
        return [a.source.relative_to(source).as_posix() for a in answers if not a.before]

    return run


@pytest.fixture
def without_a_record_of_folders(monkeypatch):
    """As earlier versions wrote it."""
    monkeypatch.setattr(cropping_sources.Sources, "head", {})


def change(photo: Path, paint, *people) -> None:
    before = photo.stat().st_mtime
    paint(photo, *people)
    os.utime(photo, (before + 10,) * 2)


def state(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(cut, source: Path, out: Path, words: str, **options) -> None:
    """By the run and by its dry run, before anything is written."""
    before = state(out)
    for dry_run in (True, False):
        with pytest.raises(InputError, match=words):
            cut(source, dry_run=dry_run, **options)
    assert state(out) == before


class TestAnotherFolder:
    def test_a_photo_of_the_same_name_is_refused_before_anything_is_written(self, cut, paint, tmp_path):
        a, b = paint(tmp_path / "a" / "x" / "1.png", (1, 12)), paint(tmp_path / "b" / "x" / "1.png", (2, 12))
        paint(tmp_path / "b" / "x" / "0.png", (3, 12))
        cut(tmp_path / "a")
        refused(
            cut, tmp_path / "b", tmp_path / "out", rf"^{b}: .*{tmp_path / 'out' / 'x' / '1.png'}.* from {a};.*--moved"
        )

    def test_other_names_go_beside(self, cut, paint, who, tmp_path):
        for i, (folder, name) in enumerate([("a", "x/1"), ("b", "x/2"), ("b", "y/1")], 1):
            paint(tmp_path / folder / f"{name}.png", (i, 12))
        assert cut(tmp_path / "a") == ["x/1.png"]
        assert cut(tmp_path / "b") == ["x/2.png", "y/1.png"]
        assert cut(tmp_path / "a") == cut(tmp_path / "b") == []
        assert [who(tmp_path / "out" / name) for name in ("x/1.png", "x/2.png", "y/1.png")] == [1, 2, 3]
        change(tmp_path / "a" / "x" / "1.png", paint, (5, 12))
        change(tmp_path / "b" / "y" / "1.png", paint, (6, 12))
        assert (cut(tmp_path / "a"), cut(tmp_path / "b")) == (["x/1.png"], ["y/1.png"])  # each its own
        paint(tmp_path / "b" / "x" / "1.png", (7, 12))
        refused(cut, tmp_path / "b", tmp_path / "out", "x/1.png: its crop would replace")

    def test_size_and_time_prove_nothing_while_both_are_there(self, cut, paint, tmp_path):
        """Uncompressed pictures of one size, unpacked with one time."""
        for folder, person in (("a", 1), ("b", 2)):
            os.utime(paint(tmp_path / folder / "1.bmp", (person, 12)), (1e9, 1e9))
        cut(tmp_path / "a")
        refused(cut, tmp_path / "b", tmp_path / "out", "1.bmp: its crop would replace")

    def test_photos_without_crops_are_in_nobody_s_way(self, cut, paint, who, tmp_path):
        paint(tmp_path / "a" / "1.png", None)
        paint(tmp_path / "a" / "2.png", (1, 12))
        cut(tmp_path / "a")
        paint(tmp_path / "b" / "1.png", (2, 12))
        paint(tmp_path / "b" / "2.png", (3, 12))
        (tmp_path / "out" / "2.png").unlink()
        assert cut(tmp_path / "b") == ["1.png", "2.png"]
        assert [who(tmp_path / "out" / name) for name in ("1.png", "2.png")] == [2, 3]

    def test_nothing_was_cut_of_a_photo_of_another_folder_that_seems_the_same(self, cut, paint, who, tmp_path):
        """Uncompressed pictures of one size, unpacked with one time, the first without a face."""
        for folder, person in (("a", None), ("b", (2, 12))):
            os.utime(paint(tmp_path / folder / "1.bmp", person), (1e9, 1e9))
        cut(tmp_path / "a")
        assert cut(tmp_path / "b", dry_run=True) == cut(tmp_path / "b") == ["1.bmp"]
        assert who(tmp_path / "out" / "1.bmp") == 2
        assert cut(tmp_path / "b") == []

    @pytest.mark.parametrize("way", ["copied", "moved"])
    def test_nothing_was_cut_of_the_same_photo_elsewhere(self, cut, paint, tmp_path, way):
        paint(tmp_path / "a" / "1.png", None)
        cut(tmp_path / "a")
        if way == "moved":
            (tmp_path / "a").rename(tmp_path / "b")
        else:
            shutil.copytree(tmp_path / "a", tmp_path / "b")
        assert cut(tmp_path / "b") == []

    def test_another_name_whose_crop_lies_there(self, cut, paint, tmp_path):
        shutil.move(paint(tmp_path / "a" / "1.png", (1, 12)), tmp_path / "a" / "1.gif")  # gets 1.gif.png
        paint(tmp_path / "b" / "1.gif.png", (2, 12))
        cut(tmp_path / "a")
        refused(cut, tmp_path / "b", tmp_path / "out", r"1\.gif\.png: .*a/1\.gif;")

    def test_names_that_differ_in_case_alone_share_a_place_only_on_some_disks(self, cut, paint, tmp_path):
        paint(tmp_path / "a" / "x" / "IMG.png", (1, 12))
        paint(tmp_path / "b" / "x" / "img.png", (2, 12))
        cut(tmp_path / "a")
        if (tmp_path / "out" / "x" / "img.png").exists():
            refused(cut, tmp_path / "b", tmp_path / "out", "would replace")
        else:
            assert cut(tmp_path / "b") == ["x/img.png"]

    def test_a_crop_that_was_there_before_the_record(self, cut, paint, tmp_path):
        os.utime(paint(tmp_path / "a" / "1.png", (1, 12)), (1e9, 1e9))
        paint(tmp_path / "out" / "1.png", (9, 12))
        cut(tmp_path / "a")
        change(paint(tmp_path / "b" / "1.png", (2, 12)), paint, (2, 12))  # newer than the crop
        refused(cut, tmp_path / "b", tmp_path / "out", "1.png: its crop would replace")

    def test_every_face(self, cut, paint, tmp_path):
        paint(tmp_path / "a" / "1.png", (1, 12), (2, 10))
        paint(tmp_path / "b" / "1.png", (3, 12), (4, 10))
        cut(tmp_path / "a", options=CropOptions(choose="all"))
        (tmp_path / "out" / "1~1.png").unlink()  # the second face is in the way all the same
        refused(cut, tmp_path / "b", tmp_path / "out", "its crop would replace", options=CropOptions(choose="all"))

    def test_single_photos(self, cut, paint, tmp_path):
        a, b = paint(tmp_path / "a" / "1.png", (1, 12)), paint(tmp_path / "b" / "1.png", (2, 12))
        assert cut(a) == ["1.png"]
        assert cut(a) == []
        refused(cut, b, tmp_path / "out", f"^{b}: .* from {a};")
        assert cut(tmp_path / "a") == []
        paint(tmp_path / "a" / "2.png", (3, 12))
        assert cut(tmp_path / "a" / "2.png") == ["2.png"]

    def test_cutting_everything_again_is_a_word(self, cut, paint, who, tmp_path):
        paint(tmp_path / "a" / "1.png", (1, 12))
        paint(tmp_path / "b" / "1.png", (2, 12))
        cut(tmp_path / "a")
        assert cut(tmp_path / "b", fresh=True) == ["1.png"]
        assert who(tmp_path / "out" / "1.png") == 2
        refused(cut, tmp_path / "a", tmp_path / "out", "its crop would replace")
        with pytest.raises(InputError, match="moved: means nothing"):
            cut(tmp_path / "b", fresh=True, moved=True)


class TestMoved:
    @pytest.fixture
    def photos(self, cut, paint, tmp_path):
        for i in range(4):
            paint(tmp_path / "a" / "x" / f"{i}.png", (i + 1, 12) if i else None)
        cut(tmp_path / "a")
        return tmp_path / "a"

    @pytest.mark.parametrize("way", ["moved", "copied", "copied with new times", "linked"])
    def test_it_goes_on(self, cut, paint, photos, who, tmp_path, way):
        new = tmp_path / "b"
        if way == "moved":
            photos.rename(new)
        elif way == "linked":
            new.symlink_to(photos)
        else:
            shutil.copytree(photos, new, copy_function=shutil.copy2 if way == "copied" else shutil.copyfile)
            for photo in new.rglob("*.png") if "times" in way else ():
                os.utime(photo, (1e9, 1e9))
        paint(new / "x" / "9.png", (9, 12))
        done = cut(new)
        assert done == (["x/9.png"] if "times" not in way else [f"x/{i}.png" for i in (0, 1, 2, 3, 9)])
        assert cut(new) == []
        assert [who(tmp_path / "out" / "x" / f"{i}.png") for i in (1, 2, 3, 9)] == [2, 3, 4, 9]

    def test_photos_that_change_after_it_are_cut_again(self, cut, paint, photos, who, tmp_path):
        photos.rename(tmp_path / "b")
        assert cut(tmp_path / "b") == []  # all are there: the record says it now
        change(tmp_path / "b" / "x" / "1.png", paint, (8, 12))
        assert cut(tmp_path / "b") == ["x/1.png"]
        (tmp_path / "b").rename(tmp_path / "c")
        assert cut(tmp_path / "c") == []
        change(tmp_path / "c" / "x" / "2.png", paint, (9, 12))
        assert cut(tmp_path / "c") == ["x/2.png"]
        assert [who(tmp_path / "out" / "x" / f"{i}.png") for i in (1, 2, 3)] == [8, 9, 4]

    def test_a_photo_that_changed_meanwhile_is_a_question(self, cut, paint, photos, who, tmp_path):
        photos.rename(tmp_path / "b")
        change(tmp_path / "b" / "x" / "1.png", paint, (8, 12))
        refused(cut, tmp_path / "b", tmp_path / "out", "x/1.png: .*--moved")
        assert cut(tmp_path / "b", moved=True, dry_run=True) == ["x/1.png"]
        assert cut(tmp_path / "b", moved=True) == ["x/1.png"]
        change(tmp_path / "b" / "x" / "2.png", paint, (9, 12))
        assert cut(tmp_path / "b") == ["x/2.png"]  # once is enough
        assert [who(tmp_path / "out" / "x" / f"{i}.png") for i in (1, 2, 3)] == [8, 9, 4]

    def test_a_folder_that_is_seen_under_two_names(self, cut, paint, photos, tmp_path):
        """As one that is mounted twice: what changes there changes here."""
        shutil.copytree(photos, tmp_path / "b", copy_function=os.link)
        change(photos / "x" / "1.png", paint, (8, 12))
        assert cut(tmp_path / "b") == ["x/1.png"]
        assert cut(photos) == []

    @pytest.mark.parametrize("between", [False, True])
    def test_another_folder_under_its_old_name_is_another_one(self, cut, paint, photos, who, tmp_path, between):
        if between:  # a third folder's crops in the record before it moved
            paint(tmp_path / "z" / "z" / "1.png", (7, 12))
            assert cut(tmp_path / "z") == ["z/1.png"]
        photos.rename(tmp_path / "b")
        assert cut(tmp_path / "b") == []
        paint(photos / "x" / "1.png", (9, 12))
        refused(cut, photos, tmp_path / "out", f"from {tmp_path / 'b' / 'x' / '1.png'};")
        (photos / "x" / "1.png").unlink()
        (photos / "x").rmdir()
        photos.rmdir()
        (tmp_path / "b").rename(photos)  # and back
        assert cut(photos) == []
        change(photos / "x" / "1.png", paint, (8, 12))
        assert cut(photos) == ["x/1.png"]
        assert [who(tmp_path / "out" / "x" / f"{i}.png") for i in (1, 2, 3)] == [8, 3, 4]

    def test_some_of_its_photos_are_not_all_of_them(self, cut, paint, photos, tmp_path):
        """A folder that is not there may be on a disk that is not there."""
        photos.rename(tmp_path / "away")
        shutil.copytree(tmp_path / "away", tmp_path / "b")
        (tmp_path / "b" / "x" / "1.png").unlink()
        assert cut(tmp_path / "b") == []
        paint(tmp_path / "b" / "x" / "1.png", (9, 12))
        refused(cut, tmp_path / "b", tmp_path / "out", "x/1.png: its crop would replace")


@pytest.mark.usefixtures("without_a_record_of_folders")
class TestRecordsOfEarlierVersions:
    @pytest.fixture
    def photos(self, cut, paint, tmp_path, monkeypatch):
        for i in range(1, 5):
            paint(tmp_path / "a" / f"{i}.png", (i, 12))
        cut(tmp_path / "a")
        assert b"/a" not in (tmp_path / "out" / "manifest.jsonl").read_bytes()
        return tmp_path / "a"

    def test_the_run_goes_on_though_photos_changed(self, cut, paint, photos, who, tmp_path):
        change(photos / "1.png", paint, (9, 12))
        assert cut(photos) == ["1.png"]
        assert cut(photos) == []
        change(photos / "2.png", paint, (8, 12))
        assert cut(photos) == ["2.png"]
        assert [who(tmp_path / "out" / f"{i}.png") for i in range(1, 5)] == [9, 8, 3, 4]
        for i in range(1, 5):
            paint(tmp_path / "b" / f"{i}.png", (20 + i, 12))
        refused(cut, tmp_path / "b", tmp_path / "out", f"from {photos / '1.png'};")

    def test_another_folder_is_refused(self, cut, paint, photos, tmp_path):
        shutil.copytree(photos, tmp_path / "b")
        for i in (1, 2, 3):
            change(tmp_path / "b" / f"{i}.png", paint, (20 + i, 12))
        refused(cut, tmp_path / "b", tmp_path / "out", r"1\.png: .*another photo called 1\.png;.*--moved")
        assert cut(tmp_path / "b", moved=True) == ["1.png", "2.png", "3.png"]
        refused(cut, photos, tmp_path / "out", f"from {tmp_path / 'b' / '1.png'};")


def test_an_ordinary_record_has_a_line_a_photo_and_says_whose_they_are(cut, paint, tmp_path):
    paint(tmp_path / "a" / "1.png", (1, 12))
    cut(tmp_path / "a")
    cut(tmp_path / "a")
    assert [entry["source"] for entry in read_manifest(tmp_path / "out")] == ["1.png"]
    head = json.loads((tmp_path / "out" / "manifest.jsonl").read_bytes().splitlines()[0])
    assert head["from"] == str((tmp_path / "a").resolve())


def test_a_run_that_ended_while_this_one_began(cut, paint, recognizer, tmp_path, monkeypatch):
    paint(tmp_path / "a" / "1.png", (1, 12))
    paint(tmp_path / "b" / "1.png", (2, 12))
    begin = Manifest.__init__

    def late(*given, **named):
        monkeypatch.undo()
        cut(tmp_path / "a")
        begin(*given, **named)

    monkeypatch.setattr(Manifest, "__init__", late)
    with pytest.raises(InputError, match="another run"):
        cut(tmp_path / "b")
    assert decode(tmp_path / "out" / "1.png").pixels[56, 56, 0] == 1


def test_a_run_that_was_stopped_goes_on(cut, paint, recognizer, tmp_path, monkeypatch):
    for i in range(30):
        paint(tmp_path / "a" / f"{i:02}.png", (1, 12))
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "ready", Writer.flush)
        run = crop(tmp_path / "a", tmp_path / "out", recognizer)
        next(run)
        run.close()
    (tmp_path / "a").rename(tmp_path / "b")
    assert 0 < len(cut(tmp_path / "b")) < 30
    assert cut(tmp_path / "b") == []
    paint(tmp_path / "c" / "00.png", (3, 12))
    refused(cut, tmp_path / "c", tmp_path / "out", "its crop would replace")


@pytest.mark.parametrize(
    "line",
    [
        {"decision": "cut"}, {"decision": "cut", "source": "1.png", "crops": []}, {"decision": "begun", "was": 5},
        {"decision": "cut", "source": "1.png", "crops": [5]}, {"decision": "cut", "source": "\0", "crops": {"0": 1}},
        {"decision": "begun", "was": [[], None], "from": ["\0"]}, {"decision": ["cut"]}, {"decision": {}},
    ],
)  # fmt: skip
def test_lines_by_somebody_s_hand_are_no_error(cut, paint, tmp_path, line):
    paint(tmp_path / "a" / "1.png", (1, 12))
    cut(tmp_path / "a")
    paint(tmp_path / "b" / "2.png", (1, 12))
    with (tmp_path / "out" / "manifest.jsonl").open("ab") as file:
        file.write(
            json.dumps({"decision": "begun", "from": "/x\0"}).encode() + b"\n" + json.dumps(line).encode() + b"\n"
        )
    assert cut(tmp_path / "b") == ["2.png"]
    with contextlib.suppress(InputError):  # that the crop is another photo's, if the line says so
        cut(tmp_path / "a")
