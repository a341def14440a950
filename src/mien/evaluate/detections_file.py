"""Detections that another program wrote, so that any detector can be measured."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.detection import FoundFaces
from mien.evaluate.protocols.columns import PICTURE, Column, Row, read_columns
from mien.images import source_name

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from mien.evaluate.protocols.pictures import Picture

__all__ = ["read_detections"]

_BOX: Final = (
    Column("x0", ("xmin", "left")),
    Column("y0", ("ymin", "top")),
    Column("x1", ("xmax", "right")),
    Column("y1", ("ymax", "bottom")),
)
_SCORE: Final = Column("confidence", ("score", "probability"))
_POINTS: Final = tuple(
    Column(f"{point}_{axis}", needed=False)
    for point in ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    for axis in "xy"
)


def read_detections(path: str | os.PathLike[str], pictures: Sequence[Picture]) -> list[FoundFaces]:
    """Read a CSV file with columns picture, x0, y0, x1, y1, confidence, and the ten of `mien detect --csv`'s landmarks.

    A picture is named as the protocol names it, or by a longer path that ends so. A picture without a row has no
    detections.

    Args:
        path: the file.
        pictures: those of the protocol.

    Returns:
        The detections of each picture.

    Raises:
        InputError: the file is not such a table, names a picture that the protocol does not have, or repeats a box.
    """
    numbers = {picture.name: i for i, picture in enumerate(pictures)}
    values = [array("f") for _ in pictures]
    pointed: bool | None = None
    for row in read_columns(path, (PICTURE, *_BOX, _SCORE, *_POINTS)):
        number = _picture(row, numbers)
        box = [row.number(column.name) for column in _BOX]
        if box[2] <= box[0] or box[3] <= box[1]:
            raise row.line.wrong("a box whose x0, y0 lie left of and above x1, y1")
        points = [row.text(column.name) for column in _POINTS]
        if pointed is None:
            pointed = all(points)
        if pointed != all(points):
            raise row.line.wrong("ten landmark coordinates in every row, or in none")
        landmarks = [row.number(column.name) for column in _POINTS] if pointed else [0.0] * 10
        values[number].extend([*box, row.number("confidence"), *landmarks])
    found = []
    for picture, listed in zip(pictures, values, strict=True):
        rows = np.frombuffer(listed, np.float32).reshape(-1, 15) if listed else np.zeros((0, 15), np.float32)
        if not np.isfinite(rows).all():
            raise InputError(f"{source_name(path)}: {picture.name[:80]!r}: expected numbers that float32 can hold")
        if len(np.unique(rows[:, :5], axis=0)) < len(rows):
            raise InputError(f"{source_name(path)}: {picture.name[:80]!r}: expected every detection once")
        landmarks_of = rows[:, 5:].reshape(-1, 5, 2) if pointed else None
        found.append(FoundFaces(rows[:, :4], rows[:, 4], landmarks_of))
    return found


def _picture(row: Row, numbers: dict[str, int]) -> int:
    name = row.text("picture").replace("\\", "/")
    parts = name.split("/")
    for start in range(min(len(parts), 64)):
        if (number := numbers.get("/".join(parts[start:]))) is not None:
            return number
    raise row.line.wrong("a picture of the protocol")
