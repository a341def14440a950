"""YouTube Faces: pairs of videos, each a template of its frames."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.protocols.lists import count_of, person_folder, read_lines
from mien.evaluate.protocols.pairing import FOLD_RULE, Missing, Pairing, numbered
from mien.evaluate.protocols.pictures import Picture, PictureFolder
from mien.evaluate.protocols.sets import Templates, TemplateSet

if TYPE_CHECKING:
    import os

__all__ = ["YtfProtocol"]

_PAIR: Final = "split number, first name, second name, similarity, is same (0 or 1), with commas between"

_Box = tuple[float, float, float, float]


class YtfProtocol:
    """YouTube Faces verification: `splits.txt` names pairs of videos ``Person/3``, each a folder of frames.

    Thread-safe: every `read` starts afresh.

    Args:
        folder: the data set's folder (with `frame_images_DB` or `aligned_images_DB`), or the folder of people itself.
        splits: the list of pairs; `splits.txt` in `folder` by default.
        most_frames: frames of a video, evenly spread over it; None for all.
        missing: what to do about listed videos that are not there or hold no frame.
        allow_links: whether links in `folder` may lead out of it.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        splits: str | os.PathLike[str] | None = None,
        *,
        most_frames: int | None = 100,
        missing: Missing = "error",
        allow_links: bool = False,
    ) -> None:
        if most_frames is not None and most_frames < 1:
            raise InputError(f"YTF: expected at least 1 frame of a video, got most_frames={most_frames}")
        self.folder, self.splits, self.most_frames = folder, splits, most_frames
        self._missing: Missing = missing
        self._allow_links = allow_links

    def read(self) -> TemplateSet:
        """Read the list and find the frames.

        Where the frames' folder has a list of labelled faces, each frame's box says whose face is meant.

        Raises:
            InputError: a list is malformed, leads out of the folder, or names videos that are not there.
        """
        whole = PictureFolder(self.folder, allow_links=self._allow_links)
        files = whole.folder("frame_images_DB", "aligned_images_DB")
        pairing: Pairing[list[str]] = Pairing("YTF", self._missing)
        folds_seen = self._listed(pairing, self.splits or whole.root / "splits.txt")
        pairs, same, folds, exclusions = pairing.settle(lambda key, _: self._frames(files, key))
        people, subject = numbered([key.partition("/")[0] for key in pairing.keys])
        boxes = _Boxes(files)
        counts = [len(frames) for frames in pairing.items]
        pictures = [
            Picture(name, str(files.root / name), box=boxes.of(name)) for name in chain.from_iterable(pairing.items)
        ]
        templates = Templates(
            tuple(pairing.keys),
            np.arange(len(pictures)),
            np.repeat(np.arange(len(counts)), counts),
            np.concatenate([[0], np.cumsum(counts)]),
            people,
            subject,
        )
        most = "all frames" if self.most_frames is None else f"at most {self.most_frames} frames, evenly spread,"
        rules = (
            f"Pairs of videos, in {folds_seen} folds of people. The embeddings of {most} of a video are averaged and "
            f"scaled to unit length. {FOLD_RULE}"
        )
        return TemplateSet("YTF", rules, pictures, templates, pairs, same, folds, exclusions)

    def _listed(self, pairing: Pairing[list[str]], splits: str | os.PathLike[str]) -> int:
        folds = 0
        for i, line in enumerate(read_lines(splits)):
            parts = [part.strip() for part in line.text.split(",")]
            if i == 0 and parts[0] == "split number":
                continue
            if len(parts) != 5 or parts[4] not in ("0", "1"):
                raise line.wrong(_PAIR)
            fold = count_of(line, parts[0], _PAIR)
            if fold > 1000:
                raise line.wrong("a split number of at most 1000")
            sides = [part.split("/") for part in parts[1:3]]
            if any(len(side) != 2 for side in sides):
                raise line.wrong("videos as person/number")
            for side in chain.from_iterable(sides):
                person_folder(line, side)
            if (sides[0][0] == sides[1][0]) != (parts[4] == "1"):
                raise line.wrong("two videos of one person where is same = 1, and of two people where it is 0")
            pairing.add(parts[1], parts[2], same=parts[4] == "1", fold=fold - 1, where=line.where)
            folds = max(folds, fold)
        return folds

    def _frames(self, files: PictureFolder, video: str) -> list[str] | None:
        if not (files.root / video).is_dir():
            return None
        frames = sorted((name for name in files.walk(video) if name.count("/") == 2), key=_natural)
        if self.most_frames is not None and len(frames) > self.most_frames:
            # The middles of equal stretches: a spread that neither favours the start nor the end.
            at = (np.arange(self.most_frames) + 0.5) * len(frames) / self.most_frames
            frames = [frames[int(i)] for i in at]
        return frames or None


def _natural(name: str) -> list[tuple[int, str]]:
    """Order by the numbers in a name: frame 5.99 comes before 5.100."""
    return [(int(part[:18]) if part.isdigit() else -1, part) for part in re.split(r"([0-9]+)", name)]


class _Boxes:
    r"""The boxes of `Person.labeled_faces.txt`: lines ``Person\1\1.7.jpg,_,centre x,centre y,width,height,_,_``."""

    def __init__(self, files: PictureFolder) -> None:
        self._files = files
        self._person = ""
        self._boxes: dict[str, _Box] = {}

    def of(self, name: str) -> _Box | None:
        person = name.partition("/")[0]
        if person != self._person:
            self._person, self._boxes = person, self._read(f"{person}.labeled_faces.txt")
        return self._boxes.get(name)

    def _read(self, listed: str) -> dict[str, _Box]:
        if self._files.find(listed, where="YTF") is None:
            return {}
        boxes: dict[str, _Box] = {}
        for line in read_lines(self._files.root / listed):
            parts = line.text.split(",")
            try:
                x, y, width, height = (float(part) for part in parts[2:6])
            except ValueError:
                raise line.wrong("a frame, a number, centre x, centre y, width, height") from None
            if not (np.isfinite([x, y]).all() and 0 < width < 1e6 and 0 < height < 1e6):
                raise line.wrong("the centre and the size of a face")
            boxes[parts[0].replace("\\", "/")] = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return boxes
