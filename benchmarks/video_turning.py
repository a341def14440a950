"""Videos that lie on their side: are the faces the same after turning back?

    python benchmarks/video_turning.py VIDEO... [--every 0.2] [--out results.json]

Every clip is looked at as it is, and again after it was turned by 90, 180 and 270 degrees in two ways: encoded anew
with turned pictures, and with the turn stated in the container as phones do. `mien data frames` decides once a clip
which way up it is; then the boxes of each frame are compared with those of the upright run: boxes agree when they
overlap by at least 0.8 (intersection over union).
"""

from __future__ import annotations

import argparse
import json
import struct
import tempfile
from pathlib import Path

import av
import numpy as np

from mien.detect.boxes import overlaps
from mien.prepare.turning import clip_turns, turned
from mien.recognizer import Recognizer
from mien.types import Image
from mien.video import Video

AGREE = 0.8


def boxes_of(path: Path, recognizer: Recognizer, every: float, *, upright: bool) -> tuple[int, dict[float, np.ndarray]]:
    """The turn that was decided, and by time the boxes of the turned frame."""
    video = Video(path)
    turns = clip_turns(video, recognizer) if upright else 0
    frames = [(frame.time, turned(frame.pixels, turns)) for frame in video.frames(every=every)]
    found = recognizer.analyze([Image(pixels) for _, pixels in frames], embed=False)
    return turns, {round(time, 2): a.faces.boxes for (time, _), a in zip(frames, found, strict=True)}


def encoded(source: Path, target: Path, turns: int) -> Path:
    """The clip again, every picture turned clockwise by quarter turns; turns=0 only encodes it anew."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        before = old.streams.video[0]
        stream = new.add_stream("libx264", rate=before.average_rate, options={"crf": "12"})
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = before.time_base
        for frame in old.decode(before):
            pixels = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), -turns))
            pixels = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
            if not stream.codec_context.is_open:
                stream.height, stream.width = pixels.shape[:2]
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            picture.pts, picture.time_base = frame.pts, frame.time_base
            new.mux(stream.encode(picture))
        new.mux(stream.encode())
    return target


def flagged(path: Path, turns: int) -> Path:
    """State in the track header that players are to turn the picture counter-clockwise by quarter turns."""
    a, b, c, d = {1: (0, -1, 1, 0), 2: (-1, 0, 0, -1), 3: (0, 1, -1, 0)}[turns]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    data[at + 40 : at + 76] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def agreement(upright: dict[float, np.ndarray], other: dict[float, np.ndarray]) -> tuple[int, int, int]:
    """(frames whose largest face agrees, frames in which every face agrees and none is new, frames)."""
    largest = every = 0
    for time, boxes in upright.items():
        found = other.get(time, np.zeros((0, 4), np.float32))
        if not len(boxes) or not len(found):
            largest += len(boxes) == len(found)
            every += len(boxes) == len(found)
            continue
        best = overlaps(boxes, found).max(axis=1)  # largest face first
        largest += bool(best[0] >= AGREE)
        every += bool((best >= AGREE).all()) and len(found) == len(boxes)
    return largest, every, len(upright)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--every", type=float, default=0.2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    recognizer = Recognizer("fast")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for path in options.videos:
            # The upright run is of the same encoding, so that only the turning differs.
            same = encoded(path, Path(folder) / f"{path.stem}-0.mp4", 0)
            _, upright = boxes_of(same, recognizer, options.every, upright=False)
            for turns in (0, 1, 2, 3):
                for way in ("pictures",) if not turns else ("pictures", "container"):
                    clip = encoded(path, Path(folder) / f"{path.stem}-{turns}-{way}.mp4", turns)
                    if way == "container":
                        flagged(clip, turns)
                    decided, boxes = boxes_of(clip, recognizer, options.every, upright=True)
                    largest, whole, frames = agreement(upright, boxes)
                    row = {"video": path.name, "turned": 90 * turns, "way": way, "decided": decided}
                    rows.append({**row, "frames": frames, "largest": largest, "every": whole})
                    told = f"largest face {largest}/{frames}, every face {whole}/{frames}"
                    print(f"{path.name:40} {90 * turns:4} {way:10} decided {decided}: {told}", flush=True)
    total = {key: sum(row[key] for row in rows if row["turned"]) for key in ("frames", "largest", "every")}
    shares = {key: total[key] / total["frames"] for key in ("largest", "every")}
    print(f"in {total['frames']} turned frames the largest face agrees in {shares['largest']:.1%}, "
          f"every face in {shares['every']:.1%}")  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps({**total, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
