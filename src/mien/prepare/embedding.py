"""A folder of people, embedded: every picture once, found again in the cache however it is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.evaluate.embedding_cache import EmbeddingCache, cache_folder
from mien.evaluate.embeddings import embed_pictures
from mien.evaluate.protocols.pictures import FolderPictures
from mien.prepare.people import read_people
from mien.prepare.prints import take_prints
from mien.prepare.second_look import look_again

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mien.prepare.people import People
    from mien.prepare.prints import Prints
    from mien.recognizer import Recognizer
    from mien.types import Floats

__all__ = ["PeopleFolder", "embed_people", "print_people"]


@dataclass(frozen=True, slots=True, eq=False)
class PeopleFolder:
    """N pictures of K people, embedded. Immutable by agreement, so safe to share between threads.

    Attributes:
        root: the folder.
        names: path of each picture below it, with forward slashes.
        people: K names, sorted.
        person: (N,) whose each picture is, by position in `people`; rising.
        vectors: float32 (N, D), unit rows; zero where no face was found.
        found: bool (N,): whether there was one.
        landmarks: float32 (N, 5, 2); NaN where there was none.
        reasons: why pictures have no embedding, by position.
        unreadable: those of them that cannot be read.
    """

    root: Path
    names: tuple[str, ...]
    people: tuple[str, ...]
    person: NDArray[np.intp]
    vectors: Floats
    found: NDArray[np.bool_]
    landmarks: Floats
    reasons: dict[int, str]
    unreadable: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.names)

    def path(self, i: int) -> Path:
        """Where a picture lies."""
        return self.root / self.names[i]

    def errors(self) -> list[dict[str, str]]:
        """The pictures that cannot be read, in JSON."""
        return [{"source": str(self.path(i)), "error": self.reasons[i]} for i in sorted(self.unreadable)]


def embed_people(
    folder: str | os.PathLike[str],
    recognizer: Recognizer,
    *,
    people: People | None = None,
    found_by: str | None = None,
    advance: Callable[[int], None] = lambda _n: None,
) -> PeopleFolder:
    """Embed the main face of every picture of a folder of people. Memory: about 1 KB a picture.

    Where none is found, the picture is looked at once more with a border around it, see `mien.prepare.second_look`.

    Args:
        folder: one sub-folder a person, see `mien.images.people_of`.
        recognizer: what finds and embeds faces.
        people: who is there, when `read_people` was called already.
        found_by: all that decides how faces are found, beside the model: looked up and kept in the cache under it;
            None uses no cache.
        advance: is told how many more pictures are done.

    Raises:
        InputError: the folder cannot be read, or nobody is in it.
    """
    root, known = Path(folder), people or read_people(folder)
    names = tuple(path.relative_to(root).as_posix() for _, pictures in known for path in pictures)
    person = np.repeat(np.arange(len(known)), [len(pictures) for _, pictures in known])
    cache = EmbeddingCache.of(recognizer.identity, found_by) if found_by is not None else None
    try:
        done = embed_pictures(FolderPictures(root, names), recognizer, cache=cache, advance=advance)
        reasons = dict(zip(np.flatnonzero(~done.found).tolist(), done.failures, strict=True))
        again = [i for i, failure in reasons.items() if not failure.unreadable]
        vectors, found, landmarks = look_again([root / names[i] for i in again], recognizer, cache=cache)
    finally:
        if cache:
            cache.close()
    done.vectors[again], done.found[again], done.landmarks[again] = vectors, found, landmarks
    reasons = {i: failure for i, failure in reasons.items() if not done.found[i]}
    return PeopleFolder(
        root,
        names,
        tuple(name for name, _ in known),
        person,
        done.vectors,
        done.found,
        done.landmarks,
        {i: failure.reason for i, failure in reasons.items()},
        frozenset(i for i, failure in reasons.items() if failure.unreadable),
    )


def print_people(
    folder: PeopleFolder, *, cached: bool = True, advance: Callable[[int], None] = lambda _n: None
) -> Prints:
    """The fingerprints of a folder's pictures, see `mien.prepare.prints`."""
    cache = EmbeddingCache(cache_folder() / "prints.sqlite") if cached else None
    try:
        return take_prints([folder.path(i) for i in range(len(folder))], folder.landmarks, cache=cache, advance=advance)
    finally:
        if cache:
            cache.close()
