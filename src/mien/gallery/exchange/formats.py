"""The kinds of file a gallery is exchanged in: each writes rows, and reads them back checked."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import IO, TYPE_CHECKING, Protocol, TypeAlias, cast

import numpy as np

from mien.errors import InputError
from mien.types import ModelIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mien.gallery.exchange.rows import Row
    from mien.types import Floats

    Read: TypeAlias = Iterator[tuple[ModelIdentity, Row]]

__all__ = ["Format", "checked_embeddings", "format_of", "identity_from", "identity_text"]

_MODULES = {".csv": "csv_file", ".npz": "npz_file", ".parquet": "parquet_file"}


class _Write(Protocol):
    def __call__(self, file: IO[bytes], rows: Iterable[Row], identity: ModelIdentity) -> None: ...


class _Read(Protocol):
    def __call__(self, path: Path, identity: ModelIdentity | None) -> Read: ...


@dataclass(frozen=True, slots=True)
class Format:
    """How one kind of file is written and read."""

    write: _Write
    read: _Read


def format_of(path: Path) -> Format:
    """The format that a file's suffix names. Raises InputError for another one."""
    module = _MODULES.get(path.suffix.lower())
    if module is None:
        raise InputError(f"{path}: expected a file that ends in {', '.join(_MODULES)}")
    found = import_module(f"mien.gallery.exchange.{module}")
    return Format(cast("_Write", found.write), cast("_Read", found.read))


def identity_text(identity: ModelIdentity) -> str:
    """A model's identity in one cell."""
    return f"{identity.name}/{identity.preset}/{identity.sha256}/{identity.dimension}"


def identity_from(text: str | None, where: str, given: ModelIdentity | None) -> ModelIdentity:
    """The identity that a file states, or else the one given.

    Raises:
        InputError: neither says, they contradict each other, or the text is none.
    """
    if not text:
        if given is None:
            raise InputError(f"{where}: does not say which model made its embeddings (column model); name it")
        return given
    parts = text.rsplit("/", 3)
    if len(parts) != 4 or len(parts[2]) != 64 or not parts[3].isdecimal() or not 1 <= int(parts[3]) <= 65536:
        raise InputError(f"{where}: model: expected name/preset/sha256/dimension, got {text!r:.80}")
    found = ModelIdentity(parts[0], parts[1], parts[2], int(parts[3]))
    if given not in (None, found):
        raise InputError(f"{where}: made with {found}, expected {given}")
    return found


def checked_embeddings(rows: Floats, identity: ModelIdentity, where: str) -> Floats:
    """The rows, if they are unit vectors of the model's dimension. Raises InputError, naming the first that is not."""
    if rows.ndim != 2 or rows.shape[1] != identity.dimension:
        raise InputError(f"{where}: expected embeddings of {identity.dimension} numbers, got shape {rows.shape}")
    lengths = np.einsum("nd,nd->n", rows, rows)
    bad = np.flatnonzero(~(np.abs(lengths - 1) < 1e-2))
    if len(bad):
        raise InputError(f"{where}: row {int(bad[0]) + 1}: expected an embedding of length 1; it is damaged")
    return rows
