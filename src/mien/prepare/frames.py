"""Faces from videos: upright, followed, a folder a face, with the time in the name, and no two nearly the same."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import cv2
import numpy as np

from mien.errors import InputError, MienError
from mien.images import ARCFACE_112, aligned_crops, loose_crops, save
from mien.images.fingerprint import bit_distance, fingerprint
from mien.match import VERIFY_FMR, calibration_for
from mien.prepare.frame_folders import OwnFolders, folder_for
from mien.prepare.manifest import Manifest, done_before, stamp
from mien.prepare.turning import clip_turns, turned
from mien.quality import measure_quality
from mien.types import Image
from mien.video import Tracker, Video

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mien.prepare.manifest import Entry
    from mien.recognizer import Recognizer
    from mien.types import Analysis, Faces, Pixels
    from mien.video import VideoFrame

__all__ = ["ClipReport", "FrameOptions", "SampledBy", "frames"]

SampledBy: TypeAlias = Literal["time", "motion", "quality"]
"""A frame every so often; only where something has moved since; or the best pictures of each face."""

_PICTURES = 1000  # in a line of the manifest, which may not be of any length
_THUMB = (32, 18)
_MOVED = 4.0  # mean difference in grey levels of two small pictures, from which something has moved


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameOptions:
    """What is taken from a clip.

    Attributes:
        sample: see `SampledBy`.
        every: seconds between frames that are looked at; 0 for all.
        best: with sample="quality", how many pictures of each face.
        upright: find out which way up the clip is.
        align: turned upright by the landmarks, or the box as it is.
        size: side of the crops in pixels.
        margin: more around the face, as a share of it.
        near: drop a picture whose fingerprint differs in at most so many bits from the last one kept of that face;
            -1 keeps all.
        least: drop faces whose shorter side has fewer pixels.
        whole: keep the whole frames (turned upright) instead of the faces.
    """

    sample: SampledBy = "time"
    every: float = 0.2
    best: int = 10
    upright: bool = True
    align: bool = True
    size: int = 112
    margin: float = 0.0
    near: int = 3
    least: float = 0.0
    whole: bool = False

    def __post_init__(self) -> None:
        if self.sample not in ("time", "motion", "quality"):
            raise InputError(f"sample: expected time, motion or quality, got {self.sample!r}")
        if not (self.every >= 0 and self.best >= 1 and 8 <= self.size <= 4096 and 0 <= self.margin <= 4):
            raise InputError(f"frames: a value lies outside its range: {self}")


@dataclass(frozen=True, slots=True)
class ClipReport:
    """What became of one video.

    Attributes:
        source: the video.
        folder: where its pictures are.
        turns: quarter turns counter-clockwise that made it upright, besides the container's own.
        looked_at: frames in which faces were searched.
        faces: faces found in them.
        kept: pictures written.
        dropped: pictures left out, by reason.
        tracks: how many faces were followed.
        problem: a broken tail, or why the video could not be used; "" when all is well.
        error: whether it could not be used at all.
        before: whether an earlier run had done it.
        todo: whether it would be looked at now, in a dry run.
    """

    source: str
    folder: str
    turns: int = 0
    looked_at: int = 0
    faces: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    tracks: int = 0
    problem: str = ""
    error: bool = False
    before: bool = False
    todo: bool = False


@dataclass(slots=True)
class _Kept:
    """A picture that was written, or waits to be the best of its face."""

    file: str
    time: float
    track: int
    box: list[float]
    score: float
    quality: float
    pixels: Pixels | None


def frames(
    videos: Iterable[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    recognizer: Recognizer,
    options: FrameOptions | None = None,
    *,
    fresh: bool = False,
    dry_run: bool = False,
) -> Iterator[ClipReport]:
    """Take faces out of videos into `folder/CLIP/face-0001/00012.345s.jpg`; lazily, a report a video.

    A manifest in `folder` tells of every picture: of a clip, a line says that it was begun, then lines of decision
    "kept" list `pictures`, and the line of decision "taken" is the clip's own. A run that was stopped goes on with the
    clip it was at. Only folders that the manifest says were begun are ever written anew or removed.

    Args:
        videos: the files; two of one name get folders of their own.
        folder: where to.
        recognizer: finds and embeds the faces.
        options: see `FrameOptions`.
        fresh: do again what an earlier run did.
        dry_run: only tell which videos would be looked at; none is opened, nothing is written.

    Raises:
        InputError: the folder cannot be used, or a clip's folder there is somebody else's.
        MissingExtraError: PyAV is not installed.
    """
    options = options or FrameOptions()
    target = Path(folder)
    settings = {**asdict(options), "model": str(recognizer.identity)}
    clips = list(_clips(videos))
    done = (lambda *_: False) if fresh else done_before(target, "frames", settings)
    own = OwnFolders(target, fresh=fresh)
    for clip in clips:  # before anything is written
        if not clip.problem and not done(clip.key, clip.marks):
            own.check(clip.place, {"source": clip.key, **clip.marks})
    if dry_run:
        for clip in clips:
            before = not clip.problem and done(clip.key, clip.marks)
            yield _report(clip, target, before=before, todo=not before)
        return
    with Manifest(target, "frames", settings, fresh=fresh) as manifest:
        own.keep(manifest, again=fresh)
        for clip in clips:
            if clip.problem or manifest.done(clip.key, clip.marks):
                yield _report(clip, target, before=True)
                continue
            try:
                report, pictures, entry = _take(clip, target, recognizer, options, own.begin)
            except MienError as error:
                own.give_up(clip.place)
                yield ClipReport(str(clip.path), "", problem=str(error), error=True)
                continue
            parts = [pictures[i : i + _PICTURES] for i in range(0, len(pictures), _PICTURES)]
            lines: list[Entry] = [{"decision": "kept", "folder": clip.place, "pictures": part} for part in parts]
            manifest.add([*lines, {"source": clip.key, **clip.marks, "decision": "taken", **entry}])
            own.finished()
            yield report


class _Clip(NamedTuple):
    """A video, before anything is known of it but its file.

    Attributes:
        path: of the file.
        place: the name of the folder for its pictures.
        marks: size and time of change; empty where there is a problem.
        problem: why it cannot even be looked at.
    """

    path: Path
    place: str
    marks: dict[str, int]
    problem: str = ""

    @property
    def key(self) -> str:
        """What the manifest calls it."""
        return f"{self.place}: {self.path}"


def _clips(videos: Iterable[str | os.PathLike[str]]) -> Iterator[_Clip]:
    taken: set[str] = set()
    for path in map(Path, videos):
        place = folder_for(path, taken)
        try:
            yield _Clip(path, place, stamp(path))
        except (OSError, ValueError) as error:
            yield _Clip(path, place, {}, f"{path}: {getattr(error, 'strerror', None) or error}")


def _report(clip: _Clip, target: Path, *, before: bool, todo: bool = False) -> ClipReport:
    """Of a clip that is not looked at."""
    if clip.problem:
        return ClipReport(str(clip.path), "", problem=clip.problem, error=True)
    return ClipReport(str(clip.path), str(target / clip.place), before=before, todo=todo)


def _take(
    clip: _Clip, target: Path, recognizer: Recognizer, options: FrameOptions, begin: Callable[[str], None]
) -> tuple[ClipReport, list[Entry], Entry]:
    """What is told of a clip, its pictures and the rest of its line; `begin` is called once it can be read."""
    path, folder = clip.path, target / clip.place
    video = Video(path)
    turns = clip_turns(video, recognizer) if options.upright else 0
    try:
        alike = calibration_for(recognizer.identity).threshold(fmr=VERIFY_FMR)
    except InputError:  # a model without calibration: by place alone
        alike = None
    tracker = Tracker(alike=alike, patience=max(1.0, 5 * options.every))
    writer = _Writer(folder, options)
    looked = count = 0
    begin(clip.place)
    for frame, analysis in _analysed(video, recognizer, options, turns, writer):
        looked += 1
        count += len(analysis.faces)
        tracks = tracker.update(frame.time, analysis.faces, analysis.embeddings)
        if analysis.image is not None:
            writer.take(frame.time, analysis.image.pixels, analysis.faces, [track.id for track in tracks])
    kept = writer.finish()
    report = ClipReport(
        str(path), str(folder), turns, looked, count, len(kept), dict(writer.dropped), len(tracker.tracks),
        video.problem or "",
    )  # fmt: skip
    columns = ("file", "time", "track", "box", "score", "quality")
    pictures: list[Entry] = [{column: getattr(k, column) for column in columns} for k in kept]
    entry = {
        "folder": folder.name, "turns": turns, "frames": looked, "faces": count, "dropped": dict(writer.dropped),
        "problem": video.problem, "kept": len(pictures),
    }  # fmt: skip
    return report, pictures, entry


def _analysed(
    video: Video, recognizer: Recognizer, options: FrameOptions, turns: int, writer: _Writer
) -> Iterator[tuple[VideoFrame, Analysis]]:
    """The frames that are looked at, with what is in them."""
    waiting: deque[VideoFrame] = deque()

    def chosen() -> Iterator[Image]:
        before = None
        for frame in video.frames(every=options.every):
            thumb = cv2.resize(frame.pixels, _THUMB, interpolation=cv2.INTER_AREA).astype(np.float32)
            if options.sample == "motion" and before is not None and np.abs(thumb - before).mean() < _MOVED:
                writer.drop("nothing moved")
                continue
            before = thumb
            waiting.append(frame)
            yield Image(turned(frame.pixels, turns), f"{video.source} at {frame.time:.3f} s")

    for analysis in recognizer.analyze(chosen(), keep_images=True):
        frame = waiting.popleft()
        if analysis.error is None:
            yield frame, analysis


class _Writer:
    """Cuts faces out and writes them, near duplicates left out."""

    def __init__(self, folder: Path, options: FrameOptions) -> None:
        self._folder, self._options = folder, options
        self._last: dict[int, int] = {}
        self._kept: list[_Kept] = []
        self.dropped: dict[str, int] = {}

    def drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def take(self, time: float, pixels: Pixels, faces: Faces, tracks: Sequence[int]) -> None:
        if self._options.whole:
            if not self._near(0, pixels):
                self._keep(_Kept(f"{time:09.3f}s.jpg", time, 0, [], 0.0, 0.0, pixels))
            return
        if not len(faces):
            return
        qualities = [quality.score for quality in measure_quality(pixels, faces)]
        for face, crop, track, quality in zip(faces, self._cut(pixels, faces), tracks, qualities, strict=True):
            if min(face.width, face.height) < self._options.least:
                self.drop("too small")
            elif not self._near(track, crop):
                file = f"face-{track:04d}/{time:09.3f}s.jpg"
                box = [round(v, 2) for v in face.box]
                self._keep(
                    _Kept(file, round(time, 6), track, box, round(face.score, 4), round(float(quality), 4), crop)
                )

    def finish(self) -> list[_Kept]:
        return sorted(self._kept, key=lambda kept: (kept.track, kept.time))

    def _cut(self, pixels: Pixels, faces: Faces) -> Sequence[Pixels]:
        side = (self._options.size, self._options.size)
        if self._options.align:
            return list(aligned_crops(pixels, faces, ARCFACE_112, (112, 112), size=side, margin=self._options.margin))
        return loose_crops(pixels, faces, size=side, margin=self._options.margin)

    def _near(self, track: int, crop: Pixels) -> bool:
        mark = fingerprint(crop)
        last = self._last.get(track)
        if last is not None and int(bit_distance(last, mark)) <= self._options.near:
            self.drop("nearly the same as the one before")
            return True
        self._last[track] = mark
        return False

    def _keep(self, kept: _Kept) -> None:
        place = self._folder / kept.file
        place.parent.mkdir(parents=True, exist_ok=True)
        if kept.pixels is not None:
            save(Image(kept.pixels), place, quality=95)
        kept.pixels = None
        self._kept.append(kept)
        if self._options.sample == "quality" and not self._options.whole:
            own = [k for k in self._kept if k.track == kept.track]
            if len(own) > self._options.best:
                worst = min(own, key=lambda k: k.quality)
                (self._folder / worst.file).unlink(missing_ok=True)
                self._kept.remove(worst)
                self.drop("there are better ones of this face")
