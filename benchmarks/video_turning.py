"""Videos that lie on their side: are the faces the same after turning back?

    python benchmarks/video_turning.py VIDEO... [--every 0.2] [--crf 12] [--out results.json]

Every clip is looked at as it is, and again after it was turned by 90, 180 and 270 degrees in two ways: encoded anew
with turned pictures, and with the turn stated in the container as phones do. `mien data frames` (all faces kept)
decides once a clip which way up it is; then the boxes of each frame in its manifest are compared with those of the
upright run: boxes agree when they overlap by at least 0.8 (intersection over union).

Three counts: frames in which every face of the upright run is found again; those in which, besides, no face is new; and
those whose largest face agrees. The row `again` is of the same pictures, not turned, encoded a little worse: what
encoding alone changes, at the least. The bare detector's agreement is told too, without following faces.
"""

from __future__ import annotations

import argparse
import json
import struct
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np

from mien.detect.boxes import overlaps
from mien.prepare.clips import FAINT, FrameOptions, frames
from mien.prepare.manifest import read_manifest
from mien.prepare.turning import turned
from mien.recognizer import Recognizer
from mien.types import Image
from mien.video import Video

AGREE = 0.8

Boxes: TypeAlias = dict[float, np.ndarray]


def frames_of(path: Path, recognizer: Recognizer, every: float, folder: Path, *, upright: bool) -> tuple[int, Boxes]:
    """What `mien data frames` makes of a clip: the turn that was decided, and by time the boxes of all faces."""
    options = FrameOptions(every=every, near=-1, upright=upright)
    (report,) = frames([path], folder, recognizer, options)
    found: dict[float, list[list[float]]] = {round(frame.time, 2): [] for frame in Video(path).frames(every=every)}
    for line in read_manifest(folder):
        for face in line.get("pictures", []):
            found[round(face["time"], 2)].append(face["box"])
    return report.turns, {time: np.array(boxes, np.float32).reshape(-1, 4) for time, boxes in found.items()}


def detected(path: Path, recognizer: Recognizer, every: float, turns: int) -> Boxes:
    """By time the boxes of the bare detector in the turned frames."""
    pictures = [(frame.time, Image(turned(frame.pixels, turns))) for frame in Video(path).frames(every=every)]
    found = recognizer.analyze([image for _, image in pictures], embed=False)
    return {round(time, 2): a.faces.boxes for (time, _), a in zip(pictures, found, strict=True)}


def encoded(source: Path, target: Path, turns: int, crf: int) -> Path:
    """The clip again, every picture turned clockwise by quarter turns; turns=0 only encodes it anew."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        before = old.streams.video[0]
        stream = new.add_stream("libx264", rate=before.average_rate, options={"crf": str(crf)})
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


def agreement(upright: Boxes, other: Boxes) -> dict[str, int]:
    """Frames in which what agrees; see the top."""
    count = dict.fromkeys(("frames", "found", "same", "largest"), 0)
    for time, boxes in upright.items():
        seen = other.get(time, np.zeros((0, 4), np.float32))
        best = overlaps(boxes, seen).max(axis=1) if len(boxes) and len(seen) else np.zeros(len(boxes), np.float32)
        largest = np.argmax((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)) if len(boxes) else None
        count["frames"] += 1
        count["found"] += bool((best >= AGREE).all())
        count["same"] += bool((best >= AGREE).all()) and len(seen) == len(boxes)
        count["largest"] += not len(seen) if largest is None else bool(best[largest] >= AGREE)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--every", type=float, default=0.2)
    parser.add_argument("--crf", type=int, default=12, help="of H.264, for every encoding")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    plain, faint = Recognizer("fast"), Recognizer("fast", confidence=FAINT)  # as `mien data frames` has it
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for path in options.videos:
            base = Path(folder) / path.stem
            base.mkdir()
            # The upright run is of the same encoding, so that only the turning differs.
            same = encoded(path, base / "0.mp4", 0, options.crf)
            _, upright = frames_of(same, faint, options.every, base / "upright", upright=False)
            bare = detected(same, plain, options.every, 0)
            for turns, way in ((0, "again"), *((t, w) for t in (1, 2, 3) for w in ("pictures", "container"))):
                clip = encoded(path, base / f"{turns}-{way}.mp4", turns, options.crf + (way == "again"))
                if way == "container":
                    flagged(clip, turns)
                decided, boxes = frames_of(clip, faint, options.every, base / f"{turns}-{way}", upright=True)
                row = {"video": path.name, "turned": 90 * turns, "way": way, "decided": decided}
                alone = agreement(bare, detected(clip, plain, options.every, decided))
                rows.append({**row, **agreement(upright, boxes), "detector": alone})
                print(f"{path.name:38} {90 * turns:4} {way:10} decided {decided}: {_told(rows[-1])}", flush=True)
    total = {"again": _total([row for row in rows if not row["turned"]])}
    total["turned"] = _total([row for row in rows if row["turned"]])
    total["detector alone"] = _total([row["detector"] for row in rows if row["turned"]])
    for name, count in total.items():
        print(f"{name:15} {_told(count)}")
    if options.out:
        options.out.write_text(json.dumps({"crf": options.crf, **total, "rows": rows}, indent=1) + "\n")


def _total(rows: list[dict[str, Any]]) -> dict[str, int]:
    return {key: sum(row[key] for row in rows) for key in ("frames", "found", "same", "largest")}


def _told(count: dict[str, Any]) -> str:
    of = count["frames"]
    shares = {"every face found again": "found", "and none new": "same", "largest face": "largest"}
    return ", ".join(f"{words} {count[key]}/{of} ({count[key] / of:.1%})" for words, key in shares.items())


if __name__ == "__main__":
    main()
