"""Faces from videos: upright, followed, a folder a face, with the time in the name, and no two nearly the same."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import cv2
import numpy as np

from mien.errors import InputError, MienError
from mien.match import VERIFY_FMR, calibration_for
from mien.models.catalogue import DEFAULT_DETECTOR
from mien.prepare.cropping_cut import content_sha256
from mien.prepare.frame_folders import OwnFolders, folder_for
from mien.prepare.frame_writing import FrameWriter
from mien.prepare.manifest import Manifest, done_before, stamp
from mien.prepare.turning import clip_turns, turned
from mien.types import Image
from mien.video import Tracker, Video
from mien.video.source import need_pyav

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from mien.prepare.manifest import Entry
    from mien.recognizer import Recognizer
    from mien.types import Analysis
    from mien.video import VideoFrame

__all__ = ["FAINT", "SURE", "ClipReport", "FrameOptions", "SampledBy", "frames"]

SampledBy: TypeAlias = Literal["time", "motion", "quality"]
"""A frame every so often; only where something has moved since; or the best pictures of each face."""

FAINT: Final = 0.8
"""The least detection score of the default detector that is worth following."""
SURE: Final = 0.95
"""Its score from which there surely is a face."""
_AT_ONCE = 20  # lines that are written together
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
        sure: drop what was followed and in no frame had at least this detection score; None for 0.95 with the default
            detector and 0 with others. With it a recognizer may find fainter faces (`confidence=FAINT`): a face that
            turns away for some frames is followed through them, and a pattern that looks like one for a moment goes.
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
    sure: float | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        if self.sample not in ("time", "motion", "quality"):
            raise InputError(f"sample: expected time, motion or quality, got {self.sample!r}")
        fine = self.best >= 1 and 0 <= (self.sure or 0.0) <= 1
        if not (fine and self.every >= 0 and 8 <= self.size <= 4096 and 0 <= self.margin <= 4):
            raise InputError(f"frames: a value lies outside its range: {self}")


@dataclass(frozen=True, slots=True)
class ClipReport:
    """What became of one video.

    Attributes:
        source: the video.
        folder: where its pictures are.
        turns: quarter turns counter-clockwise that made it upright, besides the container's own.
        looked_at: frames in which faces were searched.
        faces: faces found in them, of those who were surely faces.
        kept: pictures written.
        dropped: pictures, and things that were never surely a face, that were left out, by reason.
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

    A manifest in `folder` tells of every face: of a clip, a line says that it was begun, lines of decision "kept" list
    `pictures`, lines of decision "dropped" what was `left_out` and why, all with box and landmarks in the upright
    frame, and the line of decision "taken" is the clip's own; what stands before the last "begun" of a folder no longer
    holds. A run that was stopped goes on with the clip it was at. Only folders that the manifest says were begun are
    ever written anew or removed.

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
    if options.sure is None:
        options = replace(options, sure=SURE if recognizer.detector_name == DEFAULT_DETECTOR else 0.0)
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
    need_pyav()  # once, and not clip by clip
    with Manifest(target, "frames", settings, fresh=fresh) as manifest:
        own.keep(manifest, again=fresh)
        for clip in clips:
            if clip.problem or manifest.done(clip.key, clip.marks):
                yield _report(clip, target, before=True)
                continue
            try:
                report, lines = _take(clip, target, recognizer, options, own.begin)
            except (MienError, OSError) as error:
                own.give_up(clip.place)
                problem = str(error)
                if isinstance(error, OSError):
                    problem = f"{error.filename or clip.path}: {error.strerror or error}"
                yield ClipReport(str(clip.path), "", problem=problem, error=True)
                continue
            while part := list(itertools.islice(lines, _AT_ONCE)):  # lines count from the last "begun" on
                manifest.add(part)
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
    clip: _Clip, target: Path, recognizer: Recognizer, options: FrameOptions, begin: Callable[[str, str], None]
) -> tuple[ClipReport, Iterator[Entry]]:
    """What is told of a clip, and its lines; `begin` is called once it can be read."""
    path, folder = clip.path, target / clip.place
    video = Video(path)
    turns = clip_turns(video, recognizer) if options.upright else 0
    try:
        alike = calibration_for(recognizer.identity).threshold(fmr=VERIFY_FMR)
    except InputError:  # a model without calibration: by place alone
        alike = None
    tracker = Tracker(alike=alike, patience=max(1.0, 5 * options.every), history=1)
    writer = FrameWriter(folder, options)
    looked, unmoved = 0, Counter[str]()
    begin(clip.place, clip.key)
    for frame, analysis in _analysed(video, recognizer, options, turns, unmoved):
        looked += 1
        tracks = tracker.update(frame.time, analysis.faces, analysis.embeddings)
        if analysis.image is not None:
            writer.take(frame.time, analysis.image.pixels, analysis.faces, [track.id for track in tracks])
    sure = [track for track in tracker.tracks if track.score >= (options.sure or 0.0)]
    record = writer.finish({track.id for track in sure})
    reasons, kept = dict(unmoved + record.reasons()), len(record.kept)
    count = sum(track.seen for track in sure)
    entry = {
        "sha256": content_sha256(path), "folder": folder.name, "turns": turns, "frames": looked, "faces": count,
        "dropped": reasons, "problem": video.problem, "kept": kept,
    }  # fmt: skip
    about = {"folder": folder.name}
    lines: Iterator[Entry] = itertools.chain(
        ({"decision": "kept", **about, "pictures": part} for part in record.pictures(_PICTURES)),
        ({"decision": "dropped", **about, "left_out": part} for part in record.left_out(_PICTURES)),
        [{"source": clip.key, **clip.marks, "decision": "taken", **entry}],
    )
    report = ClipReport(str(path), str(folder), turns, looked, count, kept, reasons, len(sure), video.problem or "")
    return report, lines


def _analysed(
    video: Video, recognizer: Recognizer, options: FrameOptions, turns: int, dropped: Counter[str]
) -> Iterator[tuple[VideoFrame, Analysis]]:
    """The frames that are looked at, with what is in them."""
    waiting: deque[VideoFrame] = deque()

    def chosen() -> Iterator[Image]:
        before = None
        for frame in video.frames(every=options.every):
            thumb = cv2.resize(frame.pixels, _THUMB, interpolation=cv2.INTER_AREA).astype(np.float32)
            if options.sample == "motion" and before is not None and np.abs(thumb - before).mean() < _MOVED:
                dropped["nothing moved"] += 1
                continue
            before = thumb
            waiting.append(frame)
            yield Image(turned(frame.pixels, turns), f"{video.source} at {frame.time:.3f} s")

    for analysis in recognizer.analyze(chosen(), keep_images=True):
        frame = waiting.popleft()
        if analysis.error is None:
            yield frame, analysis
