"""Videos: frames with their times, turned upright; and faces followed from frame to frame."""

from mien.video.source import Video, VideoFrame
from mien.video.tracking import Track, Tracker

__all__ = ["Track", "Tracker", "Video", "VideoFrame"]
