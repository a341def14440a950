"""Frames of a video file, in order, with their own times."""

from __future__ import annotations

import contextlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.errors import ImageTooLargeError, InputError, MissingExtraError, NotFoundError
from mien.images import MAX_PIXELS, source_name

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from typing import Self

    from mien.types import Pixels

__all__ = ["Video", "VideoFrame", "need_pyav"]

# Only containers of one file: playlists (hls, concat, ...) could name other files, or hosts.
_FORMATS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,gif,apng,h264,hevc,m4v,mjpeg,ivf,dv,mxf,nut,y4m"
)
_OPTIONS: Final = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """One frame.

    Attributes:
        index: its number among the decoded frames, from 0.
        time: seconds since the video's beginning, as the file says: right for variable frame rates too.
        pixels: RGB uint8 (H, W, 3), turned as the container asks.
    """

    index: int
    time: float
    pixels: Pixels


class Video:
    """A video file; a context manager. Its frames may be read several times, by one thread at a time.

    Attributes:
        source: its name for messages.
        size: (width, height) as coded, before any turning.
        duration: seconds, or None where the file does not say.
        rate: frames a second on average, or None.
        codec: name of the codec.
        problem: why the last reading ended before the file did (a broken tail), or None.

    Args:
        path: the file.
        max_pixels: the most pixels a frame may have.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is no video that can be read.
        ImageTooLargeError: its frames have more pixels than allowed.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> None:
        self._av = need_pyav()
        self._path = Path(path).absolute()
        self._max_pixels = max_pixels
        self.source = source_name(path)
        self.problem: str | None = None
        try:
            regular = stat.S_ISREG(self._path.stat().st_mode)
        except FileNotFoundError as error:
            raise NotFoundError(f"{self.source}: there is no such file") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{self.source}: cannot be read ({error})") from error
        if not regular:
            raise InputError(f"{self.source}: expected a video file")
        with self._opened() as (container, stream):
            context = stream.codec_context
            self.size = (int(context.width), int(context.height))
            self.codec = str(context.name)
            self.rate = float(stream.average_rate) if stream.average_rate else None
            seconds = stream.duration * stream.time_base if stream.duration else None
            if seconds is None and container.duration:
                seconds = container.duration / self._av.time_base
            self.duration = None if seconds is None else float(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing stays open between readings."""

    def frames(self, *, every: float = 0.0, start: float = 0.0, stop: float | None = None) -> Iterator[VideoFrame]:
        """The frames, in order of time.

        Frames that cannot be decoded are left out; where the file breaks off, reading ends and `problem` says where.

        Args:
            every: seconds between the frames that are given; 0 for all of them. Where the file has none at the time
                that is due, the next one is given.
            start: give frames from this time on, in seconds.
            stop: and before this one; None for the end.

        Raises:
            InputError: a time is no number, or not a single frame can be decoded.
        """
        if not (every >= 0 and start >= 0 and (stop is None or stop > start)):
            raise InputError(f"{self.source}: expected times of 0 or more, got every={every} start={start} stop={stop}")
        self.problem = None
        index, due, given = -1, start, 0
        with self._opened() as (container, stream):
            frames = self._decoded(container, stream)
            begin: float | None = None
            for index, frame in enumerate(frames):
                at = float(frame.time) if frame.time is not None else index / (self.rate or 25.0)
                begin = at if begin is None else begin
                time = at - begin
                if stop is not None and time >= stop:
                    break
                if time < due - 1e-6:
                    continue
                while every and due <= time + 1e-6:
                    due += every
                if frame.width * frame.height > self._max_pixels:  # a stream may change its size
                    raise ImageTooLargeError(self.source, f"a frame has {frame.width} x {frame.height} pixels")
                given += 1
                yield VideoFrame(index, time, _upright(frame))
        if index < 0:
            raise InputError(f"{self.source}: no frame can be decoded ({self.problem or 'the stream is empty'})")

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:  # noqa: ANN401 - PyAV's own
        last, skipped = 0.0, 0
        error_type = self._av.error.FFmpegError
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except error_type as error:
                self.problem = f"the file breaks off after {last:.2f} s: {_said(error)}"
                return
            if packet is None:
                break
            try:
                for frame in packet.decode():
                    last = float(frame.time) if frame.time is not None else last
                    yield frame
            except error_type as error:
                skipped += 1
                self.problem = f"{skipped} broken packets, the last at about {last:.2f} s: {_said(error)}"
        # Where only the container says how long it is, that may be the sound, which may end later.
        slack = 1.0 if stream.duration is None and len(container.streams) > 1 else 0.25
        if self.problem is None and self.duration and last < self.duration - max(slack, 3 / (self.rate or 25.0)):
            self.problem = f"the file breaks off after {last:.2f} s of {self.duration:.2f}"

    def _opened(self) -> contextlib.AbstractContextManager[tuple[Any, Any]]:
        return _opened(self._av, self._path, self.source, self._max_pixels)


@contextlib.contextmanager
def _opened(av: Any, path: Path, source: str, max_pixels: int) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 - PyAV's
    """The container and its first video stream, for as long as they are read."""
    try:
        container = av.open(str(path), options=dict(_OPTIONS))
    except av.error.FFmpegError as error:
        raise InputError(f"{source}: not a video that can be read ({_said(error)})") from error
    with container:
        if not container.streams.video:
            raise InputError(f"{source}: it holds no video stream")
        stream = container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > max_pixels:
            raise ImageTooLargeError(source, f"its frames have {width} x {height} pixels")
        stream.thread_type = "AUTO"
        yield container, stream


def _upright(frame: Any) -> Pixels:  # noqa: ANN401 - PyAV's own
    pixels: Pixels = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4  # degrees counter-clockwise, from the container's display matrix
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def need_pyav() -> Any:  # noqa: ANN401 - a module without types
    """The package that decodes videos. Raises MissingExtraError when it is not installed."""
    try:
        import av
        import av.error
    except ImportError as error:
        raise MissingExtraError("Reading videos", "video") from error
    return av
