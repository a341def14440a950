"""The main faces of a data set with their embeddings under both presets, computed once and kept: for quality.py.

Reads LFW-style folders (Name/picture.jpg). Only numbers are kept, in NPZ files without pickles.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mien
from mien.quality.stability import stability
from mien.recognizer import PRESETS
from mien.types import Faces


@dataclass(frozen=True)
class FaceSet:
    """One main face a picture; pictures without a face are left out and counted."""

    paths: np.ndarray  # (N,) text, relative to the data set's folder
    people: np.ndarray  # (N,) text
    sizes: np.ndarray  # (N, 2) width, height
    counts: np.ndarray  # (N,) faces found in the picture
    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray
    fast: np.ndarray  # (N, 128)
    accurate: np.ndarray  # (N, 128)
    stability: np.ndarray  # (N,) of the fast embedding
    pictures: np.ndarray  # () all pictures, faces or not

    def faces(self, i: int) -> Faces:
        """Face i alone."""
        return Faces(self.boxes[i : i + 1], self.scores[i : i + 1], self.landmarks[i : i + 1])

    def take(self, rows: np.ndarray) -> FaceSet:
        """The faces at these rows, or where the mask is true."""
        return FaceSet(*(v if v.ndim == 0 else v[rows] for v in vars(self).values()))


def pictures_of(folder: Path, per_person: int | None) -> list[str]:
    """At most so many pictures of each person, evenly spread over their names."""
    chosen: list[str] = []
    for person in sorted(p for p in folder.iterdir() if p.is_dir()):
        files = sorted(person.iterdir())
        if per_person and len(files) > per_person:
            files = [files[i * len(files) // per_person] for i in range(per_person)]
        chosen += [f"{person.name}/{f.name}" for f in files]
    return chosen


def face_set(name: str, folder: Path, cache: Path, *, per_person: int | None = None) -> FaceSet:
    """The faces of `folder`, from `cache` when they are there."""
    file = cache / f"faces-{name}-{per_person or 'all'}.npz"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(file, **_compute(folder, pictures_of(folder, per_person)))
    with np.load(file, allow_pickle=False) as stored:
        return FaceSet(**stored)


def _compute(folder: Path, relative: list[str]) -> dict[str, np.ndarray]:
    fast, accurate = (mien.Recognizer(preset) for preset in PRESETS)
    rows: dict[str, list] = {k: [] for k in FaceSet.__annotations__ if k != "pictures"}
    start = time.perf_counter()
    sources = [str(folder / r) for r in relative]
    for done, (name, found) in enumerate(zip(relative, accurate.analyze(sources, keep_images=True), strict=True)):
        if len(found.faces):
            main = found.main()
            face = found.faces.take([main])
            quick = fast.embed_faces(found.image.pixels, face)
            rows["paths"].append(name)
            rows["people"].append(name.split("/")[0])
            rows["sizes"].append(found.size)
            rows["counts"].append(len(found.faces))
            rows["boxes"].append(face.boxes[0])
            rows["scores"].append(face.scores[0])
            rows["landmarks"].append(face.landmarks[0])
            rows["accurate"].append(found.embeddings[main])
            rows["fast"].append(quick[0])
            rows["stability"].append(stability(found.image.pixels, face, quick, fast.embed_faces)[0])
        if done % 1000 == 999:
            print(f"  {done + 1} of {len(relative)} pictures, {time.perf_counter() - start:.0f} s", flush=True)
    return {k: np.array(v) for k, v in rows.items()} | {"pictures": np.array(len(relative))}
