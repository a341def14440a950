"""Frames of videos: times, rotation, variable rate, broken tails, and files that are none."""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import pytest

from mien.errors import ImageTooLargeError, InputError, NotFoundError
from mien.video import Video

av = pytest.importorskip("av", reason="PyAV is not installed")


def picture(i, width=64, height=48):
    """A picture whose corners tell which way up it is, and whose middle tells which number it has."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8] = 8 * (i % 32)
    return pixels


def write(path, times, *, width=64, height=48):
    """A video with frames at these times (milliseconds)."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 2_000_000
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i, width, height), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def turned(path, degrees):
    """Ask for a turn in the track header's matrix, as phones do."""
    matrices = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
    a, b, c, d = (v * 65536 for v in matrices[degrees])
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    data[at + 40 : at + 76] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    other = path.with_name(f"turned{degrees}.mp4")
    other.write_bytes(data)
    return other


def number(frame):
    h, w = frame.pixels.shape[:2]
    return round(frame.pixels[h // 2 - 2 : h // 2 + 2, w // 2 - 2 : w // 2 + 2].mean() / 8)


def corners(pixels):
    h, w = pixels.shape[:2]
    at = ((h // 8, w // 8), (h // 8, -w // 8), (-h // 8, w // 8))
    return ["RGB"[int(pixels[y, x].argmax())] if pixels[y, x].max() > 100 else "-" for y, x in at]


@pytest.fixture
def clip(tmp_path):
    return write(tmp_path / "视频.mp4", range(0, 1000, 40))


def test_all_frames_come_with_their_times(clip):
    with Video(clip) as video:
        assert (video.size, video.codec, video.problem) == ((64, 48), "mpeg4", None)
        assert video.duration == pytest.approx(1.0, abs=0.05)
        frames = list(video.frames())
        again = list(video.frames())
    assert [f.time for f in frames] == pytest.approx([0.04 * i for i in range(25)], abs=1e-3)
    assert [number(f) for f in frames] == [f.index for f in frames] == list(range(25))
    assert corners(frames[0].pixels) == ["R", "G", "B"]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(frames, again, strict=True))


def test_times_of_a_variable_rate_are_the_files_own(tmp_path):
    times = [0, 40, 50, 400, 410, 1000]
    frames = list(Video(write(tmp_path / "v.mp4", times)).frames())
    assert [f.time for f in frames] == pytest.approx([t / 1000 for t in times], abs=2e-3)


def test_sampling_by_time(tmp_path, clip):
    assert [f.index for f in Video(clip).frames(every=0.2)] == [0, 5, 10, 15, 20]
    assert [f.index for f in Video(clip).frames(start=0.5, stop=0.7)] == [13, 14, 15, 16, 17]
    sparse = Video(write(tmp_path / "v.mp4", [0, 40, 50, 400, 410, 1000]))
    assert [f.index for f in sparse.frames(every=0.1)] == [0, 3, 5]
    for bad in ({"every": -1.0}, {"every": float("nan")}, {"start": 2.0, "stop": 1.0}):
        with pytest.raises(InputError, match="expected times"):
            next(Video(clip).frames(**bad))


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2), (270, 1)])
def test_the_containers_turn_is_respected(clip, degrees, turns):
    (upright, *_) = Video(clip).frames()
    (frame, *_) = Video(turned(clip, degrees)).frames()
    assert np.array_equal(frame.pixels, np.rot90(upright.pixels, turns))  # what players show


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9])
def test_a_broken_tail_gives_what_there_is_and_is_reported(tmp_path, share):
    path = write(tmp_path / "v.mkv", range(0, 4000, 40))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    video = Video(path)
    frames = list(video.frames())
    assert 10 < len(frames) < 100
    assert [number(f) for f in frames[:20]] == list(range(20))
    assert video.problem
    assert "v.mkv" not in video.problem


def test_damage_in_the_middle_does_not_end_the_video(tmp_path):
    path = write(tmp_path / "v.mkv", range(0, 4000, 40))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path.write_bytes(data)
    assert len(list(Video(path).frames())) > 40


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mp4", b""),
        ("a.mp4", b"not a video" * 100),
        ("a.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n"),
        ("a.txt", b"ffconcat version 1.0\nfile /etc/passwd\n"),
        ("a.sdp", b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        list(Video(tmp_path / name).frames())


def test_missing_files_folders_and_giants(tmp_path, clip):
    with pytest.raises(NotFoundError, match="no such file"):
        Video(tmp_path / "none.mp4")
    with pytest.raises(InputError, match="expected a video file"):
        Video(tmp_path)
    with pytest.raises(ImageTooLargeError, match="64 x 48"):
        Video(clip, max_pixels=1000)


def test_every_real_clip_is_read_whole(mien_data):
    for path in sorted((mien_data / "videos").glob("*.mp4")):
        video = Video(path)
        frames = sum(1 for _ in video.frames())
        assert (frames > 0, video.problem) == (True, None), path.name
