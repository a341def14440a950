"""True faces for detectors: WIDER FACE's lists of boxes and FDDB's lists of ellipses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.protocols.lists import Line, count_of, read_lines
from mien.evaluate.protocols.pairing import Missing, missing_files
from mien.evaluate.protocols.pictures import PictureFolder
from mien.evaluate.protocols.sets import DetectionSet, Exclusion
from mien.images import source_name

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    _Rows = list[list[float]]
    _Listed = dict[str, tuple[_Rows, int]]

__all__ = ["FddbProtocol", "WiderProtocol", "ellipse_boxes"]

_WIDER: Final = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")
_MOST_FACES: Final = 100_000


class WiderProtocol:
    """WIDER FACE: `wider_face_*_bbx_gt.txt` over a folder of pictures `0--Parade/0_Parade_..._849.jpg`.

    Faces marked invalid, without area, or lower than `least_height` are ignored: neither missed nor wrong. The
    attributes are WIDER's: blur 0-2, expression 0-1, illumination 0-1, invalid 0-1, occlusion 0-2, pose 0-1.

    The official easy, medium and hard subsets are lists of their own (in MATLAB files), which this does not read.

    Thread-safe: every `read` starts afresh.

    Args:
        truth: the list.
        folder: the folder of pictures.
        least_height: in pixels.
        missing: what to do about listed pictures that are not there.
        allow_links: whether links in `folder` may lead out of it.
    """

    def __init__(
        self,
        truth: str | os.PathLike[str],
        folder: str | os.PathLike[str],
        *,
        least_height: float = 10,
        missing: Missing = "error",
        allow_links: bool = False,
    ) -> None:
        self.truth, self.folder, self.least_height = truth, folder, least_height
        self._missing: Missing = missing
        self._allow_links = allow_links

    def read(self) -> DetectionSet:
        """Read the list and find its pictures.

        Raises:
            InputError: the list is malformed, leads out of the folder, or names pictures that are not there.
        """
        files = PictureFolder(self.folder, allow_links=self._allow_links)
        listed: _Listed = {}
        lines = read_lines(self.truth)
        for line in lines:
            name = files.relative(line.text, where=line.where)
            faces = _faces(line, lines, 10)
            if not faces and next(lines, line).text.split() != ["0"] * 10:
                raise line.wrong("ten zeros after a picture without faces")
            _put(listed, name, faces, 0, line)
        names, rows, offsets, _, exclusions = _settled("WIDER FACE", listed, files.find, self._missing)
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1).astype(np.float32)
        ignore = (rows[:, 7] != 0) | (rows[:, 2] <= 0) | (rows[:, 3] < max(self.least_height, 1e-6))
        rules = (
            "Found boxes are matched to true ones by IoU >= 0.5, the surest first, each true box once. Faces marked "
            f"invalid or lower than {self.least_height:g} pixels are ignored: neither missed nor wrong."
        )
        attributes = {name: rows[:, 4 + i].astype(np.int8) for i, name in enumerate(_WIDER)}
        return DetectionSet(
            "WIDER FACE", rules, files.pictures(names), boxes, ignore, offsets, attributes, exclusions=exclusions
        )


class FddbProtocol:
    """FDDB: lists of ellipses `FDDB-fold-01-ellipseList.txt` ... over a folder with `2002/08/11/big/img_591.jpg` ...

    Thread-safe: every `read` starts afresh.

    Args:
        lists: the lists, one a fold.
        folder: the folder of pictures.
        missing: what to do about listed pictures that are not there.
        allow_links: whether links in `folder` may lead out of it.
    """

    def __init__(
        self,
        lists: Sequence[str | os.PathLike[str]],
        folder: str | os.PathLike[str],
        *,
        missing: Missing = "error",
        allow_links: bool = False,
    ) -> None:
        if not lists:
            raise InputError("FDDB: expected one or more lists of ellipses, got none")
        self.lists, self.folder = tuple(lists), folder
        self._missing: Missing = missing
        self._allow_links = allow_links

    def read(self) -> DetectionSet:
        """Read the lists and find their pictures; boxes are those that just hold the ellipses.

        Raises:
            InputError: a list is malformed, leads out of the folder, or names pictures that are not there.
        """
        files = PictureFolder(self.folder, allow_links=self._allow_links)
        listed: _Listed = {}
        for fold, path in enumerate(self.lists):
            lines = read_lines(path)
            for line in lines:
                name = files.relative(line.text, where=line.where)
                _put(listed, name, _faces(line, lines, 6), fold, line)

        def find(name: str, *, where: str) -> str | None:
            return files.find_with_suffix(name, where=where)

        names, rows, offsets, folds, exclusions = _settled("FDDB", listed, find, self._missing)
        if (rows[:, :2] <= 0).any():
            raise InputError(f"{source_name(self.lists[0])}: expected ellipses with radii above 0")
        rules = (
            "True faces are ellipses; a found box is compared with the box that just holds the ellipse, by IoU >= 0.5, "
            "the surest first, each true face once."
        )
        return DetectionSet(
            "FDDB",
            rules,
            files.pictures(names),
            ellipse_boxes(rows[:, :5]).astype(np.float32),
            np.zeros(len(rows), np.bool_),
            offsets,
            {"angle": rows[:, 2]},
            folds,
            exclusions,
        )


def ellipse_boxes(ellipses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The boxes that just hold ellipses.

    Args:
        ellipses: (M, 5): major radius, minor radius, angle of the major axis in radians, centre x, centre y.

    Returns:
        (M, 4) xyxy.
    """
    major, minor, angle, x, y = ellipses.T
    width = np.hypot(major * np.cos(angle), minor * np.sin(angle))
    height = np.hypot(major * np.sin(angle), minor * np.cos(angle))
    return np.stack([x - width, y - height, x + width, y + height], axis=1)


def _faces(name: Line, lines: Iterator[Line], columns: int) -> _Rows:
    """The faces that follow a picture's name: their number, then a row of numbers for each."""
    line = next(lines, None)
    if line is None:
        raise name.wrong("the number of its faces to follow; is the list cut short?")
    count = count_of(line, line.text, "the number of faces", least=0)
    if count > _MOST_FACES:
        raise line.wrong(f"at most {_MOST_FACES} faces in a picture")
    rows: _Rows = []
    for _ in range(count):
        line = next(lines, None)
        if line is None:
            raise name.wrong(f"{count} faces to follow, got {len(rows)}; is the list cut short?")
        try:
            row = [float(part) for part in line.text.split()]
        except ValueError:
            row = []
        if len(row) != columns or not (np.abs(row) < 1e6).all():
            raise line.wrong(f"{columns} numbers for a face")
        rows.append(row)
    return rows


def _put(listed: _Listed, name: str, rows: _Rows, fold: int, line: Line) -> None:
    if name in listed:
        raise line.wrong("a picture that is not listed before")
    listed[name] = (rows, fold)


def _settled(
    protocol: str, listed: _Listed, find: Callable[..., str | None], missing: Missing
) -> tuple[list[str], NDArray[np.float64], NDArray[np.intp], NDArray[np.intp], tuple[Exclusion, ...]]:
    """Names, rows (M, columns), offsets and folds of the pictures that are there, and what is left out."""
    found = {name: find(name, where=protocol) for name in listed}
    exclusions = missing_files(protocol, (name for name, path in found.items() if path is None), missing)
    kept = [(path, *listed[name]) for name, path in found.items() if path is not None]
    rows = [row for _, faces, _ in kept for row in faces]
    if not rows:
        raise InputError(f"{protocol}: no face is left to find")
    offsets = np.concatenate([[0], np.cumsum([len(faces) for _, faces, _ in kept])]).astype(np.intp)
    folds = np.array([fold for *_, fold in kept], np.intp)
    return [path for path, *_ in kept], np.array(rows, np.float64), offsets, folds, tuple(exclusions)
