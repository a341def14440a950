"""A page to look crops over, those of earlier runs too: what is doubtful first, and what was skipped and why."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Final, NamedTuple

from mien.errors import InputError
from mien.evaluate.report.markup import Markup, element, name
from mien.evaluate.report.parts import section, table
from mien.evaluate.report.shell import whole_page, write_page
from mien.evaluate.report.thumbnails import SIDE, jpeg_uri
from mien.images import decode
from mien.prepare.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mien.prepare.cropping_writing import Cropped
    from mien.prepare.manifest import Entry

__all__ = ["Review"]

_CROPS: Final = 200  # the most doubtful ones
_SKIPPED: Final = 60  # of each reason


class Review:
    """Collects the answers of `crop`, few of which it keeps, and writes the page. Used by one thread.

    Args:
        source: the folder of photos.
        target: the output folder.
    """

    def __init__(self, source: Path, target: Path) -> None:
        self._source, self._target = source, target
        self._count: Counter[str] = Counter()
        self._doubtful = _Doubtful(_CROPS)
        self._skipped: dict[str, list[tuple[Path, str]]] = {}

    def add(self, answer: Cropped) -> None:
        """Take what became of one photo."""
        kept = answer.before and answer.decision in ("cut", "there")
        self._count["done before" if kept else answer.decision] += 1
        if answer.error is not None or not (answer.crops or kept):
            listed = self._skipped.setdefault(answer.decision, [])
            if len(listed) < _SKIPPED:
                listed.append((answer.source, str(getattr(answer.error, "reason", answer.error or ""))))
        for crop in answer.crops:
            self._doubtful.add(
                _Shown(crop.file, self._below(answer.source), float(crop.face.score), _number(crop.similarity))
            )

    def write(self, path: Path) -> Path:
        """Write the page. Raises InputError when that cannot be done."""
        earlier = self._count["done before"]
        doubtful = (self._of_all_runs() if earlier else self._doubtful).most(there=bool(earlier))
        total = sum(self._count.values())
        sections = [
            section(
                "account",
                "What became of the photos",
                table(
                    ["Decision", "Photos", "Share"],
                    [[what, f"{n:,}", f"{n / total:.1%}"] for what, n in self._count.most_common()],
                    caption="Photos by decision",
                    numbers=2,
                ),
            ),
            section(
                "doubtful",
                "The most doubtful crops",
                element(
                    "p",
                    "Lowest similarity first, or confidence of the detector where nobody was looked for."
                    + (" Those of earlier runs are among them, from the folder's record." if earlier else ""),
                ),
                _sheet((shown.file, shown.source, _said(shown)) for shown in doubtful),
            ),
        ]
        for number, (reason, photos) in enumerate(sorted(self._skipped.items()), 1):
            note = f"{self._count[reason]:,} photos" + (
                f"; the first {_SKIPPED} of them" if len(photos) == _SKIPPED else ""
            )
            shown = _sheet((photo, self._below(photo), said) for photo, said in photos)
            sections.append(section(f"skipped-{number}", f"Skipped: {reason}", element("p", note), shown))
        top = element(
            "header",
            element("p", "Cropping", class_="kind"),
            element("h1", name(self._source.name or str(self._source))),
            element("p", f"{total:,} photos, into ", name(str(self._target)), class_="facts"),
        )
        return write_page(path, whole_page(f"{self._source.name}: crops, mien", top, element("main", sections)))

    def _of_all_runs(self) -> _Doubtful:
        """The most doubtful of the crops that the manifest tells of."""
        doubtful = _Doubtful(_CROPS)
        for entry in read_manifest(self._target):
            for shown in _recorded(entry, self._target):
                doubtful.add(shown)
        return doubtful

    def _below(self, photo: Path) -> str:
        return (photo.relative_to(self._source) if photo.is_relative_to(self._source) else photo).as_posix()


class _Shown(NamedTuple):
    """A crop, and what is said of it."""

    file: Path
    source: str
    score: float
    similarity: float | None

    @property
    def surety(self) -> float:
        return self.score if self.similarity is None else self.similarity


class _Doubtful:
    """The most doubtful of any number of crops. A later one of the same file takes the place of the earlier.

    Twice as many as are asked for are remembered, so that some of them may be replaced by surer ones.
    """

    def __init__(self, most: int) -> None:
        self._most, self._limit = most, math.inf
        self._kept: dict[Path, _Shown] = {}

    def add(self, shown: _Shown) -> None:
        if shown.surety > self._limit:
            self._kept.pop(shown.file, None)
            return
        self._kept[shown.file] = shown
        if len(self._kept) > 4 * self._most:
            least = sorted(self._kept.values(), key=lambda each: each.surety)[: 2 * self._most]
            self._kept, self._limit = {each.file: each for each in least}, least[-1].surety

    def most(self, *, there: bool) -> list[_Shown]:
        """Least sure first; with `there` without those whose file has gone."""
        shown = sorted(self._kept.values(), key=lambda each: each.surety)
        return list(itertools.islice((each for each in shown if not there or each.file.is_file()), self._most))


def _recorded(entry: Entry, folder: Path) -> Iterable[_Shown]:
    """The crops of a line of the manifest, as far as it makes sense: it may have been written by anybody."""
    crops = entry.get("crops")
    for crop in crops if isinstance(crops, list) else []:
        file, score = (crop.get("file"), _number(crop.get("score"))) if isinstance(crop, dict) else (None, None)
        if not isinstance(file, str) or score is None or "\0" in file:
            continue
        place, read_there = PurePosixPath(file), PureWindowsPath(file)  # the page may be made there
        if not (place.is_absolute() or read_there.anchor or ".." in {*place.parts, *read_there.parts}):
            yield _Shown(folder / place, str(entry.get("source")), score, _number(entry.get("similarity")))


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None


def _said(shown: _Shown) -> str:
    score = f"confidence {shown.score:.2f}"
    return score if shown.similarity is None else f"similarity {shown.similarity:.2f}, {score}"


def _sheet(pictures: Iterable[tuple[Path, str, str]]) -> Markup:
    shown = [
        element("li", element("p", said), element("div", _figure(path, label), class_="faces one"), class_="pair")
        for path, label, said in pictures
    ]
    return element("ol", shown, class_="pairs small") if shown else element("p", "There are none.")


def _figure(path: Path, label: str) -> Markup:
    try:
        uri = _thumbnail(path)
    except (InputError, MemoryError):
        shown = element("span", "cannot be read", class_="nothing")
    else:
        shown = element("img", src=uri, alt=label)
    return element("figure", shown, element("figcaption", name(label)), class_="shot")


def _thumbnail(path: Path) -> str:
    import cv2

    pixels = decode(path).pixels
    scale = SIDE / max(pixels.shape[:2])
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in pixels.shape[1::-1])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return jpeg_uri(pixels)
