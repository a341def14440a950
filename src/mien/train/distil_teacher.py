"""The teacher of a distillation: any embedder that mien opens, on the student's aligned pictures."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from mien.errors import InputError, MienError
from mien.types import Faces

if TYPE_CHECKING:
    from mien.interfaces import Embedder
    from mien.train.backbones import InputSpec
    from mien.train.data import TrainingSet
    from mien.types import Floats, Pixels

__all__ = ["TeacherRows", "teacher_embeddings"]

_AT_ONCE: Final = 64
_PROBED: Final = 64  # pictures whose content is part of the key


def teacher_embeddings(teacher: Embedder, pictures: Pixels, spec: InputSpec) -> Floats:
    """What the teacher says of pictures that were aligned for the student: float32 (N, T), unit rows.

    The teacher cuts each of them as if it were a photo whose landmarks lie on the student's template, so that it sees
    the face in its own place and size.

    Args:
        teacher: any embedder.
        pictures: uint8 (N, size, size, 3), RGB, or (N, size, size, 1).
        spec: the student's.
    """
    points = np.array([spec.template], np.float32)
    low, high = points[0].min(axis=0), points[0].max(axis=0)
    face = Faces(np.concatenate([low, high])[None], np.ones(1, np.float32), points)
    grey = spec.channels == 1
    cut = [teacher.chips(cv2.cvtColor(one, cv2.COLOR_GRAY2RGB) if grey else one, face) for one in pictures]
    return teacher.embed(np.concatenate(cut))


class TeacherRows:
    """The teacher's embedding of every picture of a set, computed once, in a file; goes on where it was stopped.

    Pictures are shown to it as they were taken, whatever light the student is trained in.

    Not thread-safe. One process fills it, any number may read it.

    Args:
        folder: where the file is kept.
        teacher: the embedder.
        data: the pictures.
        spec: the student's.

    Raises:
        InputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, teacher: Embedder, data: TrainingSet, spec: InputSpec) -> None:
        self._teacher, self._data, self._spec = teacher, data.uneven(), spec
        self.dimension = teacher.identity.dimension
        self._rows_path = folder / "teacher.f32"
        self._about_path = folder / "teacher.json"
        self._key = _key(teacher, self._data, spec)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
        self._rows: Any = None

    def fill(self, progress: Callable[[int, int], None] = lambda _done, _total: None) -> int:
        """Compute what is not there yet; returns how many rows were computed."""
        total, done = len(self._data), self._done()
        before = done
        if done == 0:
            with self._rows_path.open("wb") as file:
                file.truncate(4 * total * self.dimension)
        rows = np.memmap(self._rows_path, np.float32, "r+", shape=(total, self.dimension)) if total else None
        if rows is not None:
            self._ask_again(rows[:done])
        while rows is not None and done < total:
            upto = min(done + _AT_ONCE, total)
            pictures = {i: one for i in range(done, upto) if (one := _picture(self._data, i)) is not None}
            rows[done:upto] = np.nan  # what cannot be read is not shown to the student, either
            if pictures:
                rows[list(pictures)] = teacher_embeddings(self._teacher, np.stack([*pictures.values()]), self._spec)
            rows.flush()
            done = upto
            self._tell(done)
            progress(done, total)
        return done - before

    def _ask_again(self, rows: Floats) -> None:
        """What could not be read then may be readable now."""
        for i in np.flatnonzero(np.isnan(rows[:, 0])).tolist():
            if (picture := _picture(self._data, i)) is not None:
                rows[i] = teacher_embeddings(self._teacher, picture[None], self._spec)[0]

    def rows(self, indices: Any) -> Floats:  # noqa: ANN401 - array of whole numbers
        """Embeddings of some pictures: float32 (B, T)."""
        if self._rows is None:
            self._rows = np.memmap(self._rows_path, np.float32, "r", shape=(len(self._data), self.dimension))
        found: Floats = np.array(self._rows[np.asarray(indices)])
        return found

    def _done(self) -> int:
        """Rows that are there, of this teacher and these pictures."""
        try:
            about = json.loads(self._about_path.read_text(encoding="utf-8"))
            size = self._rows_path.stat().st_size
        except (OSError, ValueError, RecursionError):
            return 0
        done = about.get("done") if isinstance(about, dict) and about.get("key") == self._key else 0
        whole = size == 4 * len(self._data) * self.dimension
        return done if whole and isinstance(done, int) and 0 <= done <= len(self._data) else 0

    def _tell(self, done: int) -> None:
        draft = self._about_path.with_name(".teacher.json.draft")
        with draft.open("w", encoding="utf-8") as file:
            json.dump({"key": self._key, "teacher": str(self._teacher.identity), "done": done}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._about_path)


def _key(teacher: Embedder, data: TrainingSet, spec: InputSpec) -> str:
    """What decides the rows: the teacher, the alignment, whose the pictures are, and the content of some of them."""
    identity = teacher.identity
    facts = (identity.name, identity.preset, identity.sha256, identity.dimension, spec.to_dict(), len(data))
    digest = hashlib.sha256(repr(facts).encode())
    digest.update(np.ascontiguousarray(data.labels).tobytes())
    for i in np.unique(np.linspace(0, len(data) - 1, _PROBED).astype(int)).tolist() if len(data) else ():
        picture = _picture(data, i)
        digest.update(b"" if picture is None else np.ascontiguousarray(picture).tobytes())
    return digest.hexdigest()


def _picture(data: TrainingSet, index: int) -> Pixels | None:
    try:
        return data.picture(index)
    except MienError:
        return None
