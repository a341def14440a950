"""Training sets opened: sources listed, aligned where they are not yet, and their people numbered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.train.data.picture_files import files_of_folder, files_of_list
from mien.train.data.sources import Source, kind_of
from mien.train.data.training_set import Decoding, Pictures, TrainingSet

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from mien.train.data.sources import PictureRecords, PictureSpec

    Progress: TypeAlias = Callable[[int, int], None]

__all__ = ["open_training_set"]


def open_training_set(
    sources: Sequence[Source],
    *,
    spec: PictureSpec,
    cache: str | os.PathLike[str] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    same_names: bool = False,
) -> TrainingSet:
    """Open sources as one set of aligned pictures.

    Args:
        sources: where the pictures are.
        spec: the network's input: its `size`, `channels` and `template` count.
        cache: a folder where aligned pictures are kept.
        workers: threads for finding and aligning faces.
        progress: called now and then with (pictures done, pictures in all) while faces are aligned.
        same_names: whether the same name in two sources is the same person. By default it is not: sets name their
            people independently, and two people in one class harm more than one person in two. Set it where sources
            are parts of one set.

    Raises:
        NotFoundError: a source is not there.
        InputError: a source cannot be read, or holds no pictures.
    """
    if not sources:
        raise InputError("a training set needs at least one source")
    listed = [_records(source) for source in sources]
    shelves = [Decoding(records, spec.size, spec.channels) for records in listed]
    labels, people, shared = _numbered([(r.labels, r.people) for r in listed], same_names=same_names)
    origins = np.repeat(np.arange(len(sources), dtype=np.int16), [len(shelf) for shelf in shelves])
    proportions = tuple(source.proportion for source in sources)
    return TrainingSet(
        Pictures(shelves), labels, origins, people, spec=spec, proportions=proportions, shared_names=shared
    )


def _records(source: Source) -> PictureRecords:
    kind, path = kind_of(source), Path(source.path)
    if kind == "folder":
        return files_of_folder(path)
    if kind == "list":
        return files_of_list(path)
    raise InputError(f"{path}: {kind} cannot be read yet")


def _numbered(
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
