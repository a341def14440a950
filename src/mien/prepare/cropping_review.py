"""A page to look a cropping run over: what is doubtful first, and what was skipped and why."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Final

from mien.errors import InputError
from mien.evaluate.report.markup import Markup, element, name
from mien.evaluate.report.parts import section, table
from mien.evaluate.report.shell import whole_page, write_page
from mien.evaluate.report.thumbnails import SIDE, jpeg_uri
from mien.images import decode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mien.prepare.cropping_writing import Crop, Cropped

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
        self._doubtful: list[tuple[float, int, Path, Crop]] = []
        self._skipped: dict[str, list[tuple[Path, str]]] = {}
        self._number = itertools.count()

    def add(self, answer: Cropped) -> None:
        """Take what became of one photo."""
        kept = answer.before and answer.decision in ("cut", "there")
        self._count["done before" if kept else answer.decision] += 1
        if answer.error is not None or not (answer.crops or kept):
            listed = self._skipped.setdefault(answer.decision, [])
            if len(listed) < _SKIPPED:
                listed.append((answer.source, str(getattr(answer.error, "reason", answer.error or ""))))
        for crop in answer.crops:
            surety = crop.face.score if crop.similarity is None else crop.similarity
            entry = (-surety, next(self._number), answer.source, crop)
            if len(self._doubtful) < _CROPS:
                heapq.heappush(self._doubtful, entry)
            else:
                heapq.heappushpop(self._doubtful, entry)

    def write(self, path: Path) -> Path:
        """Write the page. Raises InputError when that cannot be done."""
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
                element("p", "Lowest similarity first, or confidence of the detector where nobody was looked for."),
                _sheet(
                    (crop.file, self._below(source), _said(crop)) for _, _, source, crop in sorted(self._doubtful)[::-1]
                ),
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

    def _below(self, photo: Path) -> str:
        return (photo.relative_to(self._source) if photo.is_relative_to(self._source) else photo).as_posix()


def _said(crop: Crop) -> str:
    score = f"confidence {crop.face.score:.2f}"
    return score if crop.similarity is None else f"similarity {crop.similarity:.2f}, {score}"


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
