"""True faces in the XML of dlib's imglab: boxes, and landmarks where the file has them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.parsers import expat

import numpy as np

from mien.errors import InputError, NotFoundError
from mien.evaluate.protocols.pairing import Missing, missing_files
from mien.evaluate.protocols.pictures import PictureFolder
from mien.evaluate.protocols.sets import DetectionSet
from mien.images import source_name

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["MAX_XML_BYTES", "ImglabProtocol", "five_points"]

MAX_XML_BYTES: Final = 256 << 20
"""Most bytes of a file; the 68 points of one face take about 3 KB."""

_MOST_FACES: Final = 1_000_000
_MOST_PARTS: Final = 500
_DEEPEST: Final = 16
_LONGEST: Final = 4096  # characters of an attribute
_PIECE: Final = 1 << 16
_FLAGS: Final = frozenset({"1", "true", "True"})
_NAMED: Final = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
_NUMBER: Final = re.compile(r"-?\d{1,7}(\.\d{1,9})?\Z")

_Parts = dict[str, tuple[float, float]]


def five_points(parts: _Parts) -> NDArray[np.float32] | None:
    """The five points that mien knows a face by, in image order: (5, 2) float32.

    Args:
        parts: landmarks by name: the 68 of iBUG 300-W, called 0 to 67 (or 00 to 67), or five that are called
            left_eye, right_eye (of the picture, not of the person), nose, mouth_left and mouth_right.

    Returns:
        None where `parts` are of another scheme.
    """
    if all(name in parts for name in _NAMED):
        return np.array([parts[name] for name in _NAMED], np.float32)
    numbered = {int(name): point for name, point in parts.items() if name.isascii() and name.isdigit()}
    if len(numbered) != 68 or len(parts) != 68 or not all(i in numbered for i in range(68)):
        return None
    points = np.array([numbered[i] for i in range(68)], np.float64)
    eyes = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    return np.array([*eyes, points[30], points[48], points[54]], np.float32)


class ImglabProtocol:
    """dlib's imglab: an XML file that lists pictures, the boxes of their faces, and perhaps landmarks.

    Boxes marked to be ignored are neither missed nor wrong. The parser takes no document type, so that there are no
    entities to expand or to fetch, and bounds size, depth and the number of faces and parts.

    Thread-safe: every `read` starts afresh.

    Args:
        truth: the XML file.
        folder: the folder that the pictures' names are relative to; that of the file by default.
        missing: what to do about listed pictures that are not there.
        allow_links: whether links in `folder` may lead out of it.
    """

    def __init__(
        self,
        truth: str | os.PathLike[str],
        folder: str | os.PathLike[str] | None = None,
        *,
        missing: Missing = "error",
        allow_links: bool = False,
    ) -> None:
        self.truth = truth
        self.folder = Path(truth).parent if folder is None else folder
        self._missing: Missing = missing
        self._allow_links = allow_links

    def read(self) -> DetectionSet:
        """Read the file and find its pictures.

        Raises:
            InputError: it is not such a file, leads out of the folder, or names pictures that are not there.
        """
        shown = source_name(self.truth)
        reader = _Reader(shown)
        reader.read(self.truth)
        files = PictureFolder(self.folder, allow_links=self._allow_links)
        listed: dict[str, list[_Face]] = {}
        for name, line, faces in reader.pictures:
            where = f"{shown}, line {line}"
            relative = files.relative(name.replace("\\", "/"), where=where)  # imglab writes them on Windows
            if relative in listed:
                raise InputError(f"{where}: expected a picture that is not listed before, got {name[:80]!r}")
            listed[relative] = faces
        found = {name: files.find(name, where=shown) for name in listed}
        exclusions = missing_files("imglab", (name for name, path in found.items() if path is None), self._missing)
        kept = [(path, listed[name]) for name, path in found.items() if path is not None]
        faces = [face for _, rows in kept for face in rows]
        if not faces or all(face.ignore for face in faces):
            raise InputError(f"{shown}: no face is left to find")
        landmarks = np.full((len(faces), 5, 2), np.nan, np.float32)
        for i, face in enumerate(faces):
            if (points := five_points(face.parts)) is not None:
                landmarks[i] = points
        rules = (
            "Found boxes are matched to true ones by IoU >= 0.5, the surest first, each true box once. Boxes marked to "
            "be ignored are neither missed nor wrong."
        )
        return DetectionSet(
            f"imglab, {Path(self.truth).name}",
            rules,
            files.pictures(path for path, _ in kept),
            np.array([face.box for face in faces], np.float32),
            np.array([face.ignore for face in faces], np.bool_),
            np.concatenate([[0], np.cumsum([len(rows) for _, rows in kept])]).astype(np.intp),
            exclusions=tuple(exclusions),
            landmarks=landmarks if np.isfinite(landmarks).any() else None,
        )


class _Face:
    __slots__ = ("box", "ignore", "parts")

    def __init__(self, box: tuple[float, float, float, float], ignore: bool) -> None:
        self.box, self.ignore = box, ignore
        self.parts: _Parts = {}


class _Reader:
    """Collects pictures from one file, an element at a time."""

    def __init__(self, shown: str) -> None:
        self._shown, self._depth, self._faces = shown, 0, 0
        self.pictures: list[tuple[str, int, list[_Face]]] = []
        self._parser = expat.ParserCreate()
        self._parser.StartDoctypeDeclHandler = lambda *_: self._refuse("no document type")
        self._parser.EntityDeclHandler = lambda *_: self._refuse("no entities")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def read(self, path: str | os.PathLike[str]) -> None:
        try:
            with Path(path).open("rb") as file:
                total = 0
                while piece := file.read(_PIECE):
                    total += len(piece)
                    if total > MAX_XML_BYTES:
                        raise InputError(f"{self._shown}: expected an XML file of at most {MAX_XML_BYTES} bytes")
                    self._parser.Parse(piece, False)
            self._parser.Parse(b"", True)
        except FileNotFoundError as error:
            raise NotFoundError(f"{self._shown}: there is no such file") from error
        except (OSError, ValueError, LookupError) as error:  # LookupError: an encoding that Python does not know
            raise InputError(f"{self._shown}: cannot be read ({error})") from error
        except expat.ExpatError as error:
            raise InputError(f"{self._shown}, line {error.lineno}: expected the XML of imglab ({error})") from error

    def _refuse(self, expected: str) -> None:
        raise InputError(f"{self._shown}, line {self._parser.CurrentLineNumber}: expected {expected}")

    def _start(self, tag: str, given: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1 and tag != "dataset":
            self._refuse(f"the XML of imglab, which begins with <dataset>, got <{tag[:40]}>")
        if self._depth > _DEEPEST or any(len(value) > _LONGEST for value in given.values()):
            self._refuse(f"at most {_DEEPEST} elements inside one another, and {_LONGEST} characters a value")
        if tag == "image":
            if not given.get("file"):
                self._refuse("the picture's file")
            self.pictures.append((given["file"], self._parser.CurrentLineNumber, []))
        elif tag == "box":
            self._box(given)
        elif tag == "part":
            self._part(given)

    def _end(self, _tag: str) -> None:
        self._depth -= 1

    def _box(self, given: dict[str, str]) -> None:
        self._faces += 1
        if not self.pictures or self._faces > _MOST_FACES:
            self._refuse(f"boxes inside pictures, and {_MOST_FACES} at most")
        left, top, width, height = (self._number(given, key) for key in ("left", "top", "width", "height"))
        if width <= 0 or height <= 0:
            self._refuse(f"a box with an area, got {width:g} x {height:g}")
        box = (left, top, left + width, top + height)
        self.pictures[-1][2].append(_Face(box, given.get("ignore", "0") in _FLAGS))

    def _part(self, given: dict[str, str]) -> None:
        if not self.pictures or not self.pictures[-1][2]:
            self._refuse("parts inside boxes")
        parts = self.pictures[-1][2][-1].parts
        name = given.get("name", "")
        if not name or name in parts or len(parts) >= _MOST_PARTS:
            self._refuse(f"parts of different names, {_MOST_PARTS} at most, got {name[:40]!r}")
        parts[name] = self._number(given, "x"), self._number(given, "y")

    def _number(self, given: dict[str, str], key: str) -> float:
        text = given.get(key, "").strip()
        if not _NUMBER.match(text):
            self._refuse(f"a number as {key}, got {text[:40]!r}")
            return math.nan
        return float(text)
