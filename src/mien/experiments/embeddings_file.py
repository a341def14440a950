"""Embeddings with their people, from the .npz files of ``mien data embed`` or ones like them."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.errors import InputError, NotFoundError
from mien.images import source_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.types import Floats

__all__ = ["read_embeddings"]

_MOST: Final = 4 << 30  # bytes of one array


def read_embeddings(path: str | os.PathLike[str]) -> tuple[Floats, NDArray[Any]]:
    """Read embeddings (N, D) and whom each shows (N,).

    The file holds ``embeddings``, and either ``labels`` or, as ``mien data embed`` writes them, ``names``: paths below
    the folder, whose first part is the person.

    Args:
        path: the .npz file; read without pickle.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is not such a file, a name has no folder of a person, or an array is larger than 4 GiB.
    """
    shown = source_name(path)
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise InputError(f"{shown}: expected an .npz of several arrays")
            large = [info.filename for info in (file.zip.infolist() if file.zip else ()) if info.file_size > _MOST]
            if large:
                raise InputError(f"{shown}: {large[0]}: would unpack to more than {_MOST >> 30} GiB")
            found = {name: file[name] for name in ("embeddings", "labels", "names") if name in file.files}
    except FileNotFoundError as error:
        raise NotFoundError(f"{shown}: no such file") from error
    except OSError as error:
        raise InputError(f"{shown}: cannot be read ({error.strerror or error})") from error
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError, MemoryError) as error:
        raise InputError(f"{shown}: not an .npz of plain arrays: {error}") from error
    rows = found.get("embeddings")
    if rows is None or rows.ndim != 2 or rows.dtype.kind != "f":
        raise InputError(f"{shown}: embeddings: expected floating-point numbers (N, D)")
    if "labels" in found:
        labels = found["labels"]
    elif "names" in found and found["names"].dtype.kind == "U":
        labels = _people(found["names"].tolist(), shown)
    else:
        raise InputError(f"{shown}: expected the array labels, or names as `mien data embed` writes them")
    if labels.shape != rows.shape[:1]:
        raise InputError(f"{shown}: expected a label for each of {len(rows)} rows, got {labels.shape}")
    return rows.astype(np.float32, copy=False), labels


def _people(names: list[str], shown: str) -> NDArray[Any]:
    alone = [name for name in names if "/" not in name]
    if alone:
        raise InputError(f"{shown}: {alone[0]} lies in no person's folder; embed a folder with a folder per person")
    return np.array([name.partition("/")[0] for name in names])
