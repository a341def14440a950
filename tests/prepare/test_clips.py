"""Faces from videos: upright whichever way the clip lies, followed, without near duplicates, stopped and gone on."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pathlib
import sys

import numpy as np
import pytest

from mien.errors import InputError, MissingExtraError
from mien.images import decode
from mien.prepare.clips import FrameOptions, frames
from mien.prepare.frame_writing import FrameWriter
from mien.prepare.manifest import read_manifest
from mien.prepare.turning import clip_turns, turned, votes
from mien.recognizer import Recognizer
from mien.types import Faces
from mien.video import Video

av = pytest.importorskip("av", reason="PyAV is not installed")


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer("fast")


def write(path, pictures, rate=10):
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 8_000_000
        for pixels in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        out.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def moving(hopper, astronaut):
    """Two people in front of a grey wall, moving slowly; the second leaves half-way."""
    a = decode(hopper).pixels[40:440, 80:400]
    b = decode(astronaut).pixels[0:300, 80:340]
    out = []
    for i in range(12):
        wall = np.full((480, 720, 3), 128, np.uint8)
        wall[40 : 40 + a.shape[0], 10 + 4 * i : 10 + 4 * i + a.shape[1]] = a
        if i < 6:
            wall[60 : 60 + b.shape[0], 430 - 2 * i : 430 - 2 * i + b.shape[1]] = b
        out.append(wall)
    return out


def listed(folder):
    return [picture for entry in read_manifest(folder) for picture in entry.get("pictures", [])]


def test_two_people_give_two_folders(tmp_path, moving, recognizer):
    clip = write(tmp_path / "片段.mp4", moving)
    (report,) = frames([clip], tmp_path / "out", recognizer, FrameOptions(every=0, near=-1))
    assert (report.turns, report.tracks, report.looked_at, report.problem) == (0, 2, 12, "")
    assert (report.faces, report.kept) == (18, 18)
    names = sorted(p.relative_to(tmp_path / "out" / "片段").as_posix() for p in (tmp_path / "out").rglob("*.jpg"))
    assert names[0] == "face-0001/00000.000s.jpg"
    assert sorted({n.partition("/")[0] for n in names}) == ["face-0001", "face-0002"]
    assert decode(tmp_path / "out" / "片段" / names[0]).size == (112, 112)
    *_, entry = read_manifest(tmp_path / "out")
    assert (entry["folder"], entry["kept"]) == ("片段", 18)
    assert [p["file"] for p in listed(tmp_path / "out")] == names
    assert all(p["time"] == pytest.approx(float(p["file"][10:19])) for p in listed(tmp_path / "out"))


def test_near_duplicates_are_dropped_and_said(tmp_path, moving, recognizer):
    clip = write(tmp_path / "a.mp4", [moving[0]] * 8)
    (report,) = frames([clip], tmp_path / "out", recognizer, FrameOptions(every=0))
    assert (report.kept, report.dropped) == (2, {"nearly the same as the one before": 14})


def test_only_what_moved(tmp_path, moving, recognizer):
    clip = write(tmp_path / "a.mp4", [moving[0]] * 5 + [moving[11]] * 5)
    (report,) = frames([clip], tmp_path / "out", recognizer, FrameOptions(sample="motion", every=0, near=-1))
    assert (report.looked_at, report.dropped) == (2, {"nothing moved": 8})


def test_the_best_pictures_of_each_face(tmp_path, moving, recognizer):
    clip = write(tmp_path / "a.mp4", moving)
    options = FrameOptions(sample="quality", best=2, every=0, near=-1)
    (report,) = frames([clip], tmp_path / "out", recognizer, options)
    (every,) = frames([clip], tmp_path / "all", recognizer, FrameOptions(every=0, near=-1))
    assert (report.kept, every.kept) == (4, 18)
    kept, whole = (listed(tmp_path / n) for n in ("out", "all"))
    for track in (1, 2):
        best = sorted((p["quality"] for p in whole if p["track"] == track), reverse=True)[:2]
        assert sorted((p["quality"] for p in kept if p["track"] == track), reverse=True) == best
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 4


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_clip_that_lies_on_its_side_is_turned(tmp_path, moving, recognizer, turns):
    clip = write(tmp_path / "a.mp4", [np.rot90(p, -turns) for p in moving])
    assert clip_turns(Video(clip), recognizer) == turns


def test_a_second_run_takes_only_what_is_new_and_other_settings_are_refused(tmp_path, moving, recognizer):
    clips = [write(tmp_path / f"{n}.mp4", moving[:2]) for n in "ab"]
    options = FrameOptions(every=0)
    assert [r.before for r in frames(clips[:1], tmp_path / "out", recognizer, options)] == [False]
    assert [r.before for r in frames(clips, tmp_path / "out", recognizer, options)] == [True, False]
    with pytest.raises(InputError, match="other settings"):
        list(frames(clips, tmp_path / "out", recognizer, FrameOptions(every=1.0)))


def test_a_dry_run_tells_what_would_be_looked_at_and_writes_nothing(tmp_path, moving, recognizer):
    clips, out = [write(tmp_path / f"{name}.mp4", moving[:2]) for name in "ab"], tmp_path / "out"
    list(frames(clips[:1], out, recognizer))
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    plan = list(frames([*clips, tmp_path / "gone.mp4"], out, recognizer, dry_run=True))
    assert [(r.before, r.todo, r.error) for r in plan] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    assert plan[1].folder == str(out / "b")
    assert plan[2].problem == f"{tmp_path / 'gone.mp4'}: No such file or directory"
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    assert [r.todo for r in frames(clips, out, recognizer, dry_run=True, fresh=True)] == [True, True]
    with pytest.raises(InputError, match="other settings"):
        list(frames(clips, out, recognizer, FrameOptions(size=50), dry_run=True))


def test_bad_videos_are_reported_and_stop_nothing(tmp_path, moving, recognizer):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    good = write(tmp_path / "good.mp4", moving[:2])
    found = list(frames([tmp_path / "bad.mp4", tmp_path / "none.mp4", good], tmp_path / "out", recognizer))
    assert [r.error for r in found] == [True, True, False]
    assert "not a video" in found[0].problem
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir()) == ["good"]


def test_two_clips_of_one_name_get_folders_of_their_own(tmp_path, moving, recognizer):
    (tmp_path / "x").mkdir()
    clips = [write(tmp_path / "a.mp4", moving[:2]), write(tmp_path / "x" / "A.mp4", moving[:2])]
    list(frames(clips, tmp_path / "out", recognizer))
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir()) == ["A~2", "a"]


def test_votes_ignore_faces_that_hang_upside_down():
    def face(up):
        points = np.array([[[3, 3], [7, 3], [5, 5], [4, 7], [6, 7]]], np.float32)
        return Faces(np.array([[0, 0, 10, 10]], np.float32), np.ones(1, np.float32), points if up else 10 - points)

    none = Faces.none()
    assert votes([]) == votes([[none] * 4]) == 0
    assert votes([[face(False), none, face(True), none]] * 2) == 2
    assert votes([[face(True), none, none, none]] + [[none, face(True), none, none]] * 2) == 1


def test_turning_four_times_is_nothing():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    assert np.array_equal(turned(turned(pixels, 1), 3), pixels)


@pytest.mark.parametrize("bad", [{"sample": "x"}, {"every": -1.0}, {"best": 0}, {"size": 1}, {"margin": float("nan")}])
def test_options_that_make_no_sense(bad):
    with pytest.raises(InputError):
        FrameOptions(**bad)


def test_the_manifest_is_plain_json(tmp_path, moving, recognizer):
    list(frames([write(tmp_path / "a.mp4", moving[:2])], tmp_path / "out", recognizer))
    lines = (tmp_path / "out" / "manifest.jsonl").read_text("utf-8").splitlines()
    assert next(json.loads(line) for line in lines)["verb"] == "frames"


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
@pytest.mark.parametrize("fresh", [False, True])
def test_what_is_somebody_elses_stays_and_stops_the_run_before_it_begins(tmp_path, moving, recognizer, kind, fresh):
    clips, out = [write(tmp_path / f"{name}.mp4", moving[:2]) for name in "ab"], tmp_path / "out"
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "mine.jpg").write_text("precious")
    out.mkdir()
    if kind == "folder":
        (tmp_path / "else").rename(out / "b")
    elif kind == "file":
        (out / "b").write_text("precious")
    else:
        (out / "b").symlink_to(tmp_path / "else")
    before = sorted(tmp_path.rglob("*"))
    for dry_run in (True, False):
        with pytest.raises(InputError, match=r"out.b: "):
            list(frames(clips, out, recognizer, fresh=fresh, dry_run=dry_run))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_video_that_cannot_be_read_removes_nothing(tmp_path, moving, recognizer):
    clip, out = write(tmp_path / "a.mp4", moving[:2]), tmp_path / "out"
    list(frames([clip], out, recognizer))
    before = sorted(out.rglob("*.jpg"))
    clip.write_bytes(b"no video")
    assert [r.error for r in frames([clip], out, recognizer)] == [True]
    assert sorted(out.rglob("*.jpg")) == before != []
    write(clip, moving[:1])
    assert [(r.error, r.kept) for r in frames([clip], out, recognizer, FrameOptions())] == [(False, 2)]
    assert len(list(out.rglob("*.jpg"))) == 2


def test_a_clip_that_breaks_down_leaves_no_folder_and_later_ones_of_its_name_are_safe(tmp_path, moving, monkeypatch):
    clip, out, recognizer = write(tmp_path / "a.mp4", moving[:2]), tmp_path / "out", Recognizer("fast")

    def broken(*_, **__):
        raise InputError("mine")

    with monkeypatch.context() as patch:
        patch.setattr("mien.prepare.frame_writing.aligned_crops", broken)
        assert [r.problem for r in frames([clip], out, recognizer)] == ["mine"]
    assert not (out / "a").exists()
    (out / "a").mkdir()
    (out / "a" / "mine.jpg").write_text("precious")
    with pytest.raises(InputError, match="holds files that are not from here"):
        list(frames([clip], out, recognizer))
    assert (out / "a" / "mine.jpg").read_text() == "precious"


def test_a_disk_without_room_for_a_folder_is_a_problem_of_the_clip(tmp_path, moving, recognizer, monkeypatch):
    first, second = write(tmp_path / "a.mp4", moving[:2]), write(tmp_path / "b.mp4", moving[:2])
    make, full = pathlib.Path.mkdir, tmp_path / "out" / "a" / "face-0001"

    def no_room(place, *given, **named):
        if place == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
        make(place, *given, **named)

    monkeypatch.setattr(pathlib.Path, "mkdir", no_room)
    broken, fine = frames([first, second], tmp_path / "out", recognizer)
    assert (broken.error, broken.problem) == (True, f"{full}: {os.strerror(errno.ENOSPC)}")
    assert (fine.error, fine.kept) == (False, 2)
    assert not (tmp_path / "out" / "a").exists()


def test_a_video_that_is_put_back_after_a_run_with_another_was_stopped_is_not_done(
    tmp_path, moving, recognizer, monkeypatch
):
    clip, out = write(tmp_path / "a.mp4", moving[:1]), tmp_path / "out"
    list(frames([clip], out, recognizer))
    clip.rename(tmp_path / "before.mp4")
    write(clip, moving[:4])
    with monkeypatch.context() as patch:
        patch.setattr(FrameWriter, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            list(frames([clip], out, recognizer, FrameOptions()))
    (tmp_path / "before.mp4").replace(clip)
    assert [(r.before, r.kept) for r in frames([clip], out, recognizer)] == [(False, 2)]
    assert len(list(out.rglob("*.jpg"))) == 2


def test_a_run_that_was_stopped_begins_its_clip_anew(tmp_path, moving, recognizer, monkeypatch):
    clip, out = write(tmp_path / "a.mp4", moving[:2]), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("mien.prepare.clips.FrameWriter.finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            list(frames([clip], out, recognizer))
    (out / "a" / "face-0001" / "left.jpg").write_text("of the run that was stopped")
    assert [r.kept for r in frames([clip], out, recognizer, fresh=True)] == [2]
    assert len(list(out.rglob("*.jpg"))) == 2
    assert [r.kept for r in frames([clip], out, recognizer, fresh=True)] == [2]


def test_a_folder_of_a_manifest_from_before_is_known(tmp_path, moving, recognizer):
    clip, out = write(tmp_path / "a.mp4", moving[:2]), tmp_path / "out"
    list(frames([clip], out, recognizer))
    head, *_, last = (out / "manifest.jsonl").read_text("utf-8").splitlines()
    (out / "manifest.jsonl").write_text(f"{head}\n{last}\n", "utf-8")
    write(clip, moving[:1])
    assert [(r.before, r.kept) for r in frames([clip], out, recognizer)] == [(False, 2)]


def test_long_lists_of_pictures_take_several_lines(tmp_path, moving, recognizer, monkeypatch):
    monkeypatch.setattr("mien.prepare.clips._PICTURES", 3)
    list(frames([write(tmp_path / "a.mp4", moving[:4])], tmp_path / "out", recognizer, FrameOptions(every=0, near=-1)))
    lines = list(read_manifest(tmp_path / "out"))
    assert [len(line.get("pictures", [])) for line in lines] == [0, 3, 3, 2, 0]
    assert lines[-1]["kept"] == 8


def test_the_folder_above_is_no_name_for_a_clip(tmp_path, recognizer):
    (report,) = frames([tmp_path / "x" / ".."], tmp_path / "out", recognizer, dry_run=True)
    assert report.error or report.folder == str(tmp_path / "out" / "clip")


def test_faces_of_another_video_of_that_name_stay(tmp_path, moving, recognizer):
    (tmp_path / "A").mkdir()
    (tmp_path / "B").mkdir()
    first, second = write(tmp_path / "A" / "a.mp4", moving[:2]), write(tmp_path / "B" / "a.mp4", moving[:4])
    out = tmp_path / "out"
    list(frames([first], out, recognizer))
    before = sorted(out.rglob("*.jpg"))
    with pytest.raises(InputError, match="another video"):
        list(frames([second], out, recognizer))
    assert before
    assert sorted(out.rglob("*.jpg")) == before
    (tmp_path / "A" / "a.mp4").rename(tmp_path / "a.mp4")  # the same video, elsewhere now
    assert [report.problem for report in frames([tmp_path / "a.mp4"], out, recognizer)] == [""]


class Scripted:
    """A detector that finds what it is told to: a list of (box, score) for each frame, by the grey of its corner."""

    name = "scripted"

    def __init__(self, script):
        self._script = script

    def detect(self, images):
        return [self._of(self._script[round(int(image[0, 0, 0]) / 20)]) for image in images]

    @staticmethod
    def _of(found):
        boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
        points = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
        places = boxes[:, None, :2] + points * (boxes[:, 2:] - boxes[:, :2])[:, None]
        return Faces(boxes, np.array([score for _, score in found], np.float32), places)


def test_what_is_never_surely_a_face_goes_and_a_faint_look_of_a_face_stays(tmp_path, moving):
    a, b = (20, 50, 260, 330), (440, 80, 640, 300)
    script = [[(a, 0.99), (b, 0.9)], [(a, 0.82), (b, 0.93)], [(a, 0.85), (b, 0.9)]]
    pictures = [picture.copy() for picture in moving[:3]]
    for i, picture in enumerate(pictures):
        picture[:16, :16] = 20 * i
    clip, out = write(tmp_path / "a.mp4", pictures), tmp_path / "out"
    recognizer = Recognizer("fast", detector=Scripted(script))
    options = FrameOptions(every=0, near=-1, upright=False, sure=0.95)
    (report,) = frames([clip], out, recognizer, options)
    assert (report.tracks, report.faces, report.kept, report.dropped) == (1, 3, 3, {"never surely a face": 3})
    assert sorted({picture.parent.name for picture in out.rglob("*.jpg")}) == ["face-0001"]
    assert not (out / "a" / "face-0002").exists()
    dropped = [face for line in read_manifest(out) for face in line.get("left_out", [])]
    assert [(face["track"], face["reason"]) for face in dropped] == [(2, "never surely a face")] * 3
    assert [face["box"] for face in dropped] == [list(b)] * 3
    assert {len(face["landmarks"]) for face in dropped} == {5}
    (all_of_it,) = frames([clip], tmp_path / "all", recognizer, FrameOptions(every=0, near=-1, upright=False))
    assert (all_of_it.kept, all_of_it.dropped) == (6, {})  # the score of a detector nobody knows says nothing


def test_the_manifest_tells_of_every_face_and_of_the_file(tmp_path, moving, recognizer):
    clip = write(tmp_path / "a.mp4", [moving[0]] * 3)
    (report,) = frames([clip], tmp_path / "out", recognizer, FrameOptions(every=0))
    lines = list(read_manifest(tmp_path / "out"))
    kept = [p for line in lines if line["decision"] == "kept" for p in line["pictures"]]
    dropped = [p for line in lines if line["decision"] == "dropped" for p in line["left_out"]]
    assert (len(kept), len(dropped), report.faces) == (2, 4, 6)
    for one in kept + dropped:
        x0, y0, x1, y1 = one["box"]
        assert all(x0 <= x <= x1 and y0 <= y <= y1 for x, y in one["landmarks"])
    assert {one["reason"] for one in dropped} == {"nearly the same as the one before"}
    assert lines[-1]["sha256"] == hashlib.sha256(clip.read_bytes()).hexdigest()


def test_without_the_extra_the_run_is_refused_once_and_nothing_is_written(tmp_path, moving, recognizer, monkeypatch):
    clips = [write(tmp_path / f"{n}.mp4", moving[:1]) for n in "ab"]
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install \"mien\[video\]\""):
        list(frames(clips, tmp_path / "out", recognizer))
    assert not (tmp_path / "out").exists()
    assert [r.todo for r in frames(clips, tmp_path / "out", recognizer, dry_run=True)] == [True, True]
