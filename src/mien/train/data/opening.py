"""Training sets opened: sources listed, aligned where they are not yet, and their people numbered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.train.data.aligning import aligned_store, decoded_store
from mien.train.data.cropped_folder import misfit, was_cropped
from mien.train.data.packed_index import packed_pictures
from mien.train.data.picture_files import PictureFiles, files_of_folder
from mien.train.data.picture_lists import files_of_list
from mien.train.data.sources import Source, kind_of
from mien.train.data.store import Stored
from mien.train.data.training_set import Decoding, LeftOut, Pictures, Shelf, TrainingSet

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from mien.images import Border
    from mien.train.data.sources import PictureRecords, PictureSpec

    Progress: TypeAlias = Callable[[int, int], None]

__all__ = ["numbered", "open_training_set", "source_records"]


def open_training_set(
    sources: Sequence[Source],
    *,
    spec: PictureSpec,
    cache: str | os.PathLike[str] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    same_names: bool = False,
    decode_once: bool = False,
    border: Border = "constant",
) -> TrainingSet:
    """Open sources as one set of aligned pictures.

    Args:
        sources: where the pictures are.
        spec: the network's input: its `size`, `channels` and `template` count; by its `evening`, light is evened out
            in every picture, before anything else changes (nothing of that is kept in `cache`).
        cache: a folder where aligned pictures are kept, as plain pixels; needed unless all sources are aligned.
            Where it holds what is asked for, nothing is made again; a run that was stopped goes on where it was.
        workers: threads for finding and aligning faces.
        progress: called now and then with (pictures done, pictures in all) while faces are aligned.
        same_names: whether the same name in two sources is the same person. By default it is not: sets name their
            people independently, and two people in one class harm more than one person in two. Set it where sources
            are parts of one set.
        decode_once: keep the pixels of aligned sources in `cache` too, so that no epoch decodes them again; they take
            size * size * channels bytes each.
        border: what an aligned picture shows where the photo ends: black, as everywhere in mien; "reflect" where photos
            are cut so tightly that black corners would be learned as a part of faces.

    Raises:
        NotFoundError: a source is not there, or a picture that a list names.
        InputError: a source cannot be read, or holds no pictures.
        MissingExtraError: a Parquet file needs pyarrow.
    """
    if not sources:
        raise InputError("a training set needs at least one source")
    kept = None if cache is None else Path(cache)
    shelves: list[Shelf] = []
    parts: list[tuple[NDArray[np.int64], tuple[str, ...]]] = []
    left_out: list[LeftOut] = []
    notes: list[str] = []
    for source in sources:
        records = source_records(source, kept)
        notes += records.notes if isinstance(records, PictureFiles) else ()
        shelf = _shelf(source, records, spec, kept, decode_once, workers=workers, progress=progress, border=border)
        if isinstance(shelf, Stored):
            left_out += shelf.left_out
        if not len(shelf):
            raise InputError(f"{source.path}: no picture of it can be used; the first: {_first(left_out)}")
        shelves.append(shelf)
        parts.append((records.labels[shelf.rows] if isinstance(shelf, Stored) else records.labels, records.people))
    labels, people, shared = numbered(parts, same_names=same_names)
    return TrainingSet(
        Pictures(shelves, spec.evening),
        labels,
        np.repeat(np.arange(len(sources), dtype=np.int16), [len(shelf) for shelf in shelves]),
        people,
        spec=spec,
        proportions=tuple(source.proportion for source in sources),
        left_out=tuple(left_out),
        notes=tuple(notes),
        shared_names=shared,
    )


def _shelf(
    source: Source,
    records: PictureRecords,
    spec: PictureSpec,
    cache: Path | None,
    decode_once: bool,
    *,
    workers: int,
    progress: Progress | None,
    border: Border,
) -> Shelf:
    """The source's pictures, aligned."""
    settings = was_cropped(Path(source.path))
    why = None if settings is None else misfit(settings, spec)
    if source.aligned and why:
        raise InputError(
            f"{source.path}: {why}; crop the photos again with another --template, or say that they are not aligned"
        )
    aligned = source.aligned or (settings is not None and not why)
    if aligned and not decode_once:
        return Decoding(records, spec.size, spec.channels)
    if cache is None:
        need = "decoded pictures" if aligned else "aligned pictures (or say that the source is aligned)"
        raise InputError(f"{source.path}: expected a cache folder for its {need}")
    workers = max(workers, 1)
    if aligned:
        return decoded_store(cache, records, spec, workers=workers, progress=progress)
    return aligned_store(cache, records, spec, workers=workers, progress=progress, border=border)


def _first(left_out: Sequence[LeftOut]) -> str:
    return f"{left_out[0].name}: {left_out[0].reason}" if left_out else "none"


def source_records(source: Source, cache: Path | None) -> PictureRecords:
    """A source's pictures as they lie there, and whose they are; nothing is decoded.

    Raises:
        InputError: it is not there, empty, malformed, or of a kind that no classes can be learnt from.
    """
    kind, path = kind_of(source), Path(source.path)
    if kind == "folder":
        return files_of_folder(path)
    if kind == "list":
        return files_of_list(path)
    if kind == "bin":
        raise InputError(
            f"{path}: a verification file holds pairs (the same person or not) and nobody's name or number, so no "
            "classes can be learnt from it; it is for measuring (mien evaluate)"
        )
    return packed_pictures(path, kind, cache=cache)


def numbered(
    parts: Sequence[tuple[NDArray[np.int64], tuple[str, ...]]], *, same_names: bool
) -> tuple[NDArray[np.int64], tuple[str, ...], int]:
    """Labels over all sources without gaps, the names by label, and how many names occur in several sources."""
    people: list[str] = []
    numbers: dict[str, int] = {}
    shared: set[str] = set()
    labels = []
    for local, names in parts:
        used = np.unique(local)
        table = np.full(int(used[-1]) + 1 if len(used) else 0, -1, np.int64)
        for person in used.tolist():
            name = names[person] if person < len(names) else ""
            if name and name in numbers:
                shared.add(name)
            if name and same_names and name in numbers:
                table[person] = numbers[name]
                continue
            if name:
                numbers.setdefault(name, len(people))
            table[person] = len(people)
            people.append(name)
        labels.append(table[local])
    return np.concatenate(labels), tuple(people), len(shared)
