"""What a training set is made of: where its pictures are, and what the data room needs to know of a network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, get_args

from mien.errors import InputError, NotFoundError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mien.types import Evening

__all__ = ["KINDS", "Kind", "PictureRecords", "PictureSpec", "Source", "kind_of"]

Kind: TypeAlias = Literal["auto", "folder", "list", "rec", "tfrecord", "webdataset", "parquet", "bin"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_SUFFIXES: Final[dict[str, Kind]] = {
    ".rec": "rec",
    ".idx": "rec",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".tar": "webdataset",
    ".parquet": "parquet",
    ".bin": "bin",
    ".txt": "list",
    ".lst": "list",
    ".tsv": "list",
    ".csv": "list",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One place that pictures come from.

    Attributes:
        path: a folder with a sub-folder a person, or a file; for several shards (NAME-00000.tar, ...) it is NAME.tar.
        kind: its format; "auto" goes by folder or suffix.
        aligned: whether the pictures are faces cut out by the network's template already. Otherwise the main face of
            each is found and aligned once, and kept in the cache.
        proportion: its share of the pictures shown in training, for `Mixed`; None for its share of all pictures.
    """

    path: str
    kind: Kind = "auto"
    aligned: bool = False
    proportion: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"{self.path}: kind: expected one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.proportion is not None and not 0 < self.proportion < float("inf"):
            raise InputError(f"{self.path}: proportion: expected a positive number, got {self.proportion}")


class PictureSpec(Protocol):
    """What the data room reads of `mien.train.backbones.InputSpec`."""

    @property
    def size(self) -> int:
        """Side of the square picture."""

    @property
    def channels(self) -> int:
        """3, or 1 for grey."""

    @property
    def template(self) -> tuple[tuple[float, float], ...]:
        """Where the five landmarks lie at that size."""

    @property
    def evening(self) -> tuple[Evening, ...]:
        """How the light of the aligned picture is evened out."""


class PictureRecords(Protocol):
    """Encoded pictures with labels, of one source, read in any order. Implementations can be pickled."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 (N,): the number of each picture's person within the source."""

    @property
    def people(self) -> tuple[str, ...]:
        """Name of each person; "" where it is not known."""

    def __len__(self) -> int: ...

    def name(self, i: int) -> str:
        """What messages call a picture."""

    def encoded(self, i: int) -> bytes | str:
        """The picture's bytes, or its path. Raises InputError."""

    def stamp(self) -> str:
        """Changes when the source changes."""


def kind_of(source: Source) -> Kind:
    """The source's format.

    Raises:
        NotFoundError: it is not there.
        InputError: its suffix names no format.
    """
    path = Path(source.path)
    suffix = path.suffix.lower()
    if source.kind != "auto":
        return source.kind
    if path.is_dir():
        return "folder"
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if not os.path.lexists(path):
        raise NotFoundError(f"{source.path}: there is no such file or folder")
    raise InputError(f"{source.path}: expected a folder or a name that ends in {', '.join(_SUFFIXES)}; or say its kind")
