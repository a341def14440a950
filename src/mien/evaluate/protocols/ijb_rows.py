"""The rows of IJB's lists (a face, its template, person and medium), gathered into templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.protocols.lists import read_lines, read_table
from mien.evaluate.protocols.pairing import Missing, missing_files
from mien.evaluate.protocols.pictures import Picture, PictureFolder
from mien.evaluate.protocols.sets import Exclusion, Indices, Templates

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mien.evaluate.protocols.lists import Line

__all__ = ["IjbRows", "Row", "csv_rows", "insightface_rows"]

_BOX: Final = ("FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT")


@dataclass(frozen=True, slots=True)
class Row:
    """A face of a template.

    Attributes:
        template: the template's number in the lists.
        subject: the person's number in the lists.
        medium: the photo or video that the face comes from.
        path: the picture's path, relative to the folder.
        where: the list and line that name it.
        box: as in `Picture`.
        landmarks: as in `Picture`.
    """

    template: int
    subject: int
    medium: str
    path: str
    where: str
    box: tuple[float, float, float, float] | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None


def csv_rows(path: str | os.PathLike[str], files: PictureFolder) -> Iterator[Row]:
    """The rows of one of NIST's CSV files.

    Frames of one video (`frames/123_4.png`) are one medium, and so is a photo; a column MEDIA_ID, where there is one,
    says it instead.

    Raises:
        InputError: a row is malformed, or its file lies outside the folder.
    """
    for line, row in read_table(path, ("TEMPLATE_ID", "SUBJECT_ID", "FILENAME")):
        template, subject = _whole(line, row["TEMPLATE_ID"]), _whole(line, row["SUBJECT_ID"])
        name = files.relative(row["FILENAME"], where=line.where)
        medium = row.get("MEDIA_ID") or _medium(name)
        box = None
        if all(row.get(column) for column in _BOX):
            x, y, width, height = (_finite(line, row[column]) for column in _BOX)
            if width <= 0 or height <= 0:
                raise line.wrong("a face with a width and a height")
            box = (x, y, x + width, y + height)
        yield Row(template, subject, medium, name, line.where, box)


def _medium(name: str) -> str:
    folder, _, file = name.rpartition("/")
    video, mark, _ = file.rpartition("_")
    return f"{folder}/{video}" if mark and folder.rpartition("/")[2] == "frames" else name


def insightface_rows(
    media: str | os.PathLike[str], points: str | os.PathLike[str], files: PictureFolder, subjects: dict[int, int]
) -> list[Row]:
    """The rows of InsightFace's `*_face_tid_mid.txt`, with the points of `*_name_5pts_score.txt`.

    Raises:
        InputError: a row is malformed, its file lies outside the folder, or its points are not given.
    """
    landmarks: dict[str, tuple[tuple[float, float], ...]] = {}
    for line in read_lines(points):
        parts = line.fields()
        if len(parts) != 12:
            raise line.wrong("a name, ten coordinates and a score")
        xy = [_finite(line, part) for part in parts[1:11]]
        landmarks[parts[0]] = tuple(zip(xy[::2], xy[1::2], strict=True))
    rows = []
    for line in read_lines(media):
        parts = line.fields()
        if len(parts) != 3 or parts[0] not in landmarks:
            raise line.wrong("a name that has landmarks, a template and a medium")
        name = files.relative(parts[0], where=line.where)
        template = _whole(line, parts[1])
        # Without a list of subjects a template stands for itself; the pairs say what is the same.
        subject = subjects.get(template, -1 - template)
        rows.append(Row(template, subject, parts[2], name, line.where, landmarks=landmarks[parts[0]]))
    return rows


def _whole(line: Line, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise line.wrong("whole numbers for the template and the person")
    return int(text)


def _finite(line: Line, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not abs(value) < 1e6:  # written so that NaN is wrong too
        raise line.wrong("coordinates in pixels")
    return value


class IjbRows:
    """Rows gathered into templates; pictures that several templates hold are one.

    Immutable once made, so safe to use from several threads at once.

    Attributes:
        pictures: the faces.
        templates: the templates that have a picture.
        exclusions: what was left out.
    """

    def __init__(self, name: str, files: PictureFolder, rows: list[Row], missing: Missing) -> None:
        found: dict[str, str | None] = {}
        for row in rows:
            if row.path not in found:
                found[row.path] = files.find(row.path, where=row.where)
        exclusions = missing_files(name, (path for path, there in found.items() if there is None), missing)
        faces: dict[tuple[str, object], int] = {}
        pictures: list[Picture] = []
        members: dict[int, dict[int, str]] = {}
        subjects: dict[int, int] = {}
        for row in rows:
            if subjects.setdefault(row.template, row.subject) != row.subject:
                raise InputError(f"{row.where}: expected one person for template {row.template}, got two")
            path = found[row.path]
            if path is None:
                continue
            key = (path, row.box)
            if key not in faces:
                faces[key] = len(pictures)
                tag = "" if row.box is None else "#" + ",".join(f"{v:g}" for v in row.box)
                pictures.append(Picture(path + tag, str(files.root / path), row.box, row.landmarks))
            members.setdefault(row.template, {})[faces[key]] = row.medium
        exclusions += [
            Exclusion(f"template {t}", "none of its pictures is there") for t in subjects if t not in members
        ]
        if not members:
            raise InputError(f"{name}: no template with a picture is left to measure")
        self.exclusions: tuple[Exclusion, ...] = tuple(exclusions)
        self.pictures = tuple(pictures)
        self._subjects = subjects
        self._ids = np.array(sorted(members), np.int64)
        self.templates = self._templates(members, subjects)

    def _templates(self, members: dict[int, dict[int, str]], subjects: dict[int, int]) -> Templates:
        pictures: list[int] = []
        media: list[int] = []
        offsets = [0]
        number: dict[str, int] = {}
        for template in self._ids.tolist():
            own = sorted((number.setdefault(medium, len(number)), face) for face, medium in members[template].items())
            media += [medium for medium, _ in own]
            pictures += [face for _, face in own]
            offsets.append(len(pictures))
        people, subject = np.unique([subjects[t] for t in self._ids.tolist()], return_inverse=True)
        return Templates(
            tuple(str(i) for i in self._ids.tolist()),
            np.array(pictures, np.intp),
            np.array(media, np.intp),
            np.array(offsets, np.intp),
            tuple(str(p) for p in people.tolist()),
            subject,
        )

    def positions(self, ids: NDArray[np.int64]) -> Indices:
        """The positions in `templates` of templates by their numbers, of any shape; -1 for one without a picture.

        Raises:
            InputError: the lists hold no such template.
        """
        at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        there = self._ids[at] == ids
        for template in np.unique(ids[~there]).tolist():
            if template not in self._subjects:
                raise InputError(
                    f"template {template} is named by a list of pairs or probes, but has no pictures listed"
                )
        positions: Indices = np.where(there, at, -1)
        return positions

    def subject_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The persons of templates by their numbers (N,). Raises InputError: there is no such template."""
        self.positions(ids)
        return np.array([self._subjects[i] for i in ids.tolist()], np.int64)
