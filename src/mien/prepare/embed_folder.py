"""The embeddings of a folder's main faces as one .npz file: stopped anywhere, gone on with, only what is new computed.

What is done so far lies beside the file, in `FILE.npz.state/`: the vectors as they come, and the manifest, whose lines
name a vector each. A vector is on the disk before its line is.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.errors import InputError, MienError
from mien.file_draft import draft_beside
from mien.images import list_images
from mien.prepare.cropping_cut import Photo, content_sha256
from mien.prepare.manifest import NAME, Manifest, read_manifest, stamp, write_whole
from mien.prepare.ray_pipeline import chunk_for

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from io import FileIO

    from mien.prepare.manifest import Entry
    from mien.prepare.ray_pipeline import Cluster
    from mien.recognizer import Recognizer
    from mien.types import Analysis, Face, Floats, ModelIdentity

__all__ = ["EmbeddedPhoto", "embed_folder"]

_BATCH: Final = 256  # photos between two writes
_ROWS: Final = 65_536  # vectors copied at a time
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class EmbeddedPhoto:
    """What became of one photo.

    Attributes:
        source: the photo.
        decision: "embedded", "no face" or "failed"; with `dry_run` "to do".
        before: whether an earlier run had decided so.
        faces: how many there were; 0 where it was not looked at now.
        error: why it failed.
    """

    source: Path
    decision: str
    before: bool = False
    faces: int = 0
    error: MienError | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    photo: Photo
    sha256: str = ""
    faces: int = 0
    face: Face | None = None
    vector: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    error: MienError | None = None


def embed_folder(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    recognizer: Recognizer,
    *,
    fresh: bool = False,
    dry_run: bool = False,
    pinned: Mapping[str, Any] | None = None,
    photos: Sequence[Path] | None = None,
    cluster: Cluster | None = None,
) -> Generator[EmbeddedPhoto]:
    """Embed the main face of every photo of a folder into one file; lazily, an answer a photo.

    The file is written at the end, whole. N photos with a face, in the order of `list_images`, give: `embeddings`
    float32 (N, D), unit rows; `names` (N,), paths below the folder with forward slashes; `boxes` float32 (N, 4);
    `landmarks` float32 (N, 5, 2); `scores` float32 (N,), the detector's; `sha256` (N,) of the files; and `model`, the
    model's identity. It is read by `numpy.load` without pickle. A run that is left early (its iterator is closed, an
    error or Ctrl-C comes) brings to the disk what is finished, beside the file, and the next one goes on there.

    Args:
        folder: the photos.
        path: the .npz file.
        recognizer: finds and embeds the faces.
        fresh: forget what earlier runs did.
        dry_run: only tell what would be done.
        pinned: what else decides the result, such as the detector's name: a run with other values is refused.
        photos: the photos of the folder, where the caller has listed them.
        cluster: where to work instead of this machine; see `mien.prepare.ray_pipeline`.

    Raises:
        InputError: there are no photos, the file cannot be written, or what lies beside it was made another way.
    """
    root, target = Path(folder), Path(path)
    if target.suffix.lower() != ".npz" or target.is_dir():
        raise InputError(f"{target}: expected a file whose name ends in .npz")
    photos = list_images(root) if photos is None else photos
    if not photos:
        raise InputError(f"{root}: no pictures in it")
    state = target.with_name(f"{target.name}.state")
    if dry_run:
        done = _Done() if fresh or not (state / NAME).exists() else _Done.read(state)
        for photo in _photos(photos, root):
            decision = done.decision(photo)
            yield EmbeddedPhoto(photo.path, decision or "to do", before=decision is not None)
        return
    settings = {"model": str(recognizer.identity), **(pinned or {})}
    with Manifest(state, "embed", settings, fresh=fresh) as manifest:
        done = _Done.read(state)
        with _Vectors(state / "vectors.f32", recognizer.identity.dimension, done.count) as vectors:
            todo: list[int] = []
            for i, photo in enumerate(_photos(photos, root)):
                if (decision := done.decision(photo)) is None:
                    todo.append(i)
                else:
                    yield EmbeddedPhoto(photo.path, decision, before=True)
            if todo:
                new = _photos([photos[i] for i in todo], root)
                options: dict[str, Any] = {"embed": True, "chunk": chunk_for(len(photos))}
                found = cluster.map(new, _take, **options) if cluster else recognizer.map(new, _take, **options)
                yield from _kept(found, manifest, vectors, done)
            _write(target, state, photos, root, recognizer.identity)


def _kept(found: Iterator[_Found], manifest: Manifest, vectors: _Vectors, done: _Done) -> Iterator[EmbeddedPhoto]:
    """Bring what was found to the disk, and tell of it; at an end that nobody planned, what there is till then."""
    pending: list[_Found] = []

    def flush() -> list[EmbeddedPhoto]:
        together = pending.copy()
        pending.clear()
        rows = vectors.add([one.vector for one in together if one.face is not None])
        lines = [_line(one, next(rows) if one.face is not None else None) for one in together]
        manifest.add(line for one, line in zip(together, lines, strict=True) if not done.failed_so(one.photo, line))
        return [
            EmbeddedPhoto(one.photo.path, line["decision"], faces=one.faces, error=one.error)
            for one, line in zip(together, lines, strict=True)
        ]

    try:
        for one in found:
            pending.append(one)
            if len(pending) >= _BATCH:
                yield from flush()
        yield from flush()
    except BaseException:
        with contextlib.suppress(InputError):
            flush()
        raise


def _take(photo: Photo, analysis: Analysis) -> _Found:
    """The job of a worker."""
    if analysis.error is not None:
        return _Found(photo, error=analysis.error)
    try:
        content = photo.sha256 or content_sha256(photo.path)
    except MienError as error:
        return _Found(photo, error=error)
    if not len(analysis.faces):
        return _Found(photo, content)
    main = analysis.main()
    return _Found(photo, content, len(analysis.faces), analysis.faces[main], analysis.embeddings[main].copy())


def _line(one: _Found, row: int | None) -> Entry:
    entry: Entry = {"source": one.photo.name, **one.photo.marks}
    if one.error is not None:
        return {**entry, "decision": "failed", "error": str(getattr(one.error, "reason", one.error))}
    entry |= {"sha256": one.sha256, "faces": one.faces}
    if one.face is None:
        return {**entry, "decision": "no face"}
    face = {"box": list(one.face.box), "score": one.face.score, "landmarks": [list(p) for p in one.face.landmarks]}
    return {**entry, "decision": "embedded", **face, "row": row}


def _photos(photos: Sequence[Path], root: Path) -> Iterator[Photo]:
    for path in photos:
        try:
            marks = stamp(path)
        except (OSError, ValueError):
            marks = {}
        yield Photo(path, path.relative_to(root).as_posix(), path.name, marks)


class _Done:
    """The decisions of earlier runs, and how many vectors they hold."""

    def __init__(self) -> None:
        self._decisions: dict[tuple[Any, ...], str] = {}
        self.count = 0

    @classmethod
    def read(cls, state: Path) -> _Done:
        """From the manifest."""
        done = cls()
        for entry in read_manifest(state):
            decision = str(entry.get("decision"))
            done._decisions[_marks(entry)] = f"failed: {entry.get('error')}" if decision == "failed" else decision
            if decision == "embedded":
                done.count = max(done.count, _row(entry, state) + 1)
        return done

    def decision(self, photo: Photo) -> str | None:
        """What stands; None for a photo that must be looked at."""
        found = self._decisions.get((photo.name, photo.marks.get("size"), photo.marks.get("modified")))
        return None if found is None or found.startswith("failed") else found

    def failed_so(self, photo: Photo, line: Entry) -> bool:
        """Whether the photo failed in the same way before."""
        key = (photo.name, photo.marks.get("size"), photo.marks.get("modified"))
        return line["decision"] == "failed" and self._decisions.get(key) == f"failed: {line['error']}"


def _marks(entry: Entry) -> tuple[Any, ...]:
    return entry.get("source"), entry.get("size"), entry.get("modified")


def _row(entry: Entry, state: Path) -> int:
    row = entry.get("row")
    if not isinstance(row, int) or row < 0:
        raise InputError(f"{state / NAME}: a line without its row; the manifest is damaged")
    return row


class _Vectors:
    """A growing file of float32 rows."""

    def __init__(self, path: Path, dimension: int, count: int) -> None:
        self.path, self._dimension, self._count = path, dimension, count
        self._file: FileIO | None = None

    def __enter__(self) -> _Vectors:
        size = 4 * self._dimension * self._count
        try:
            if size and self.path.stat().st_size < size:
                raise InputError(
                    f"{self.path}: shorter than its manifest says; remove {self.path.parent} to begin anew"
                )
            self._file = self.path.open("ab", buffering=0)  # see Manifest
            self._file.truncate(size)  # what a killed run wrote without a line
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        return self

    def add(self, vectors: Sequence[Floats]) -> Iterator[int]:
        """Append rows, onto the disk; their numbers."""
        if self._file is None:
            raise ValueError("the file is not open")
        first, self._count = self._count, self._count + len(vectors)
        try:
            write_whole(self._file, b"".join(np.ascontiguousarray(v, "<f4").tobytes() for v in vectors))
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        return iter(range(first, self._count))

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()


def _write(target: Path, state: Path, photos: Sequence[Path], root: Path, identity: ModelIdentity) -> None:
    """The one file, of the rows that the photos have now."""
    rows = {_marks(entry): entry["row"] for entry in read_manifest(state) if entry.get("decision") == "embedded"}
    where: dict[int, int] = {}
    order: list[int] = []
    names: list[str] = []
    for photo in _photos(photos, root):
        row = rows.get((photo.name, photo.marks.get("size"), photo.marks.get("modified")))
        if row is not None:
            where[row] = len(order)
            order.append(row)
            names.append(photo.name)
    del rows
    n = len(order)
    boxes, scores = np.zeros((n, 4), np.float32), np.zeros(n, np.float32)
    landmarks, sums = np.zeros((n, 5, 2), np.float32), np.zeros(n, "S64")
    for entry in read_manifest(state):
        at = where.get(entry.get("row", -1))
        if at is not None:
            boxes[at], scores[at], landmarks[at] = entry["box"], entry["score"], entry["landmarks"]
            sums[at] = entry["sha256"].encode()
    parts = {
        "names": np.array(names or [], np.str_), "boxes": boxes, "landmarks": landmarks, "scores": scores,
        "sha256": sums.astype(np.str_), "model": np.array(str(identity)), "model_name": np.array(identity.name),
        "model_preset": np.array(identity.preset), "model_sha256": np.array(identity.sha256),
        "format": np.array(_FORMAT),
    }  # fmt: skip
    try:
        with (
            draft_beside(target) as draft,
            zipfile.ZipFile(draft, "x", zipfile.ZIP_STORED, allowZip64=True) as archive,
        ):
            _write_rows(archive, state / "vectors.f32", np.array(order, np.int64), identity.dimension)
            for name, array in parts.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error


def _write_rows(archive: zipfile.ZipFile, path: Path, order: np.ndarray[Any, np.dtype[np.int64]], width: int) -> None:
    """The vectors in the order of the photos, without holding all of them."""
    with archive.open("embeddings.npy", "w", force_zip64=True) as file:
        shape = {"descr": "<f4", "fortran_order": False, "shape": (len(order), width)}
        np.lib.format.write_array_header_1_0(file, shape)
        if not len(order):
            return
        vectors = np.memmap(path, "<f4", "r").reshape(-1, width)
        for start in range(0, len(order), _ROWS):
            file.write(np.ascontiguousarray(vectors[order[start : start + _ROWS]]).tobytes())
