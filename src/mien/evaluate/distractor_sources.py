"""Where the distractors of MegaFace come from: pictures that are embedded on the way, or embeddings in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from mien.errors import InputError, NotFoundError
from mien.evaluate.metrics.distractors import DistractorScores, scan_distractors
from mien.evaluate.protocols.lists import read_lines
from mien.images import source_name

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mien.evaluate.embeddings import Embedded
    from mien.evaluate.protocols.pictures import Picture
    from mien.evaluate.results import Failure
    from mien.types import Floats

__all__ = ["Distractors", "PictureDistractors", "StoredDistractors"]

_STRETCH: Final = 16_384  # pictures whose embeddings are in memory at a time


class Distractors(Protocol):
    """Strangers in a fixed order, whose embeddings are known or can be had."""

    @property
    def stretch(self) -> int:
        """How many may be scanned at once."""
        ...

    def __len__(self) -> int: ...

    def scan(self, probes: Floats, start: int, stop: int, tail: int) -> DistractorScores | None:
        """Scores of `probes` among those from `start` to `stop`; None where none of these has an embedding."""
        ...


class PictureDistractors:
    """Distractors that are pictures: embedded when they are asked for, and forgotten again.

    Belongs to one thread.

    Args:
        pictures: the pictures.
        embed: embeds some of them.
    """

    stretch = _STRETCH

    def __init__(self, pictures: Sequence[Picture], embed: Callable[[Sequence[Picture]], Embedded]) -> None:
        self._pictures, self._embed = pictures, embed
        self.failures: list[Failure] = []
        self.cached = 0

    def __len__(self) -> int:
        return len(self._pictures)

    def scan(self, probes: Floats, start: int, stop: int, tail: int) -> DistractorScores | None:
        """See `Distractors`."""
        found = self._embed(self._pictures[start:stop])
        self.failures += found.failures
        self.cached += found.cached
        rows = found.vectors[found.found]
        return scan_distractors(probes, rows, tail=tail) if len(rows) else None


class StoredDistractors:
    """Distractors whose embeddings lie in a .npy file, which is mapped into memory and read where it is needed.

    Reading is safe from several threads at once.

    Args:
        path: the file: float32 or float16 (M, D), unit rows of the model that is measured.
        dimension: D of that model.
        noise: a list of row numbers from 0, one a line, to leave out (the "(R)" variant).

    Raises:
        InputError: the file is no such array, or the list names rows that are not there.
    """

    def __init__(
        self, path: str | os.PathLike[str], dimension: int, *, noise: str | os.PathLike[str] | None = None
    ) -> None:
        shown = source_name(path)
        try:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise NotFoundError(f"{shown}: there is no such file") from error
        except (OSError, ValueError, EOFError, SyntaxError, MemoryError, OverflowError) as error:
            raise InputError(f"{shown}: expected a .npy file of embeddings ({error})") from error
        if not isinstance(rows, np.ndarray):
            rows.close()
            raise InputError(f"{shown}: expected one array in a .npy file, got an archive")
        if rows.ndim != 2 or rows.shape[1] != dimension or rows.dtype not in (np.float32, np.float16):
            raise InputError(
                f"{shown}: expected float32 or float16 (M, {dimension}) of the model, got {rows.dtype} {rows.shape}"
            )
        self._rows, self._shown, self.dropped = rows, shown, 0
        self._keep: NDArray[np.bool_] | None = None
        if noise is not None:
            self._keep = np.ones(len(rows), np.bool_)
            for line in read_lines(noise):
                if not (line.text.isascii() and line.text.isdigit() and len(line.text) < 12) or not int(
                    line.text
                ) < len(rows):
                    raise line.wrong(f"the number of a row of {shown}, from 0 to {len(rows) - 1}")
                self._keep[int(line.text)] = False
            self.dropped = int(np.count_nonzero(~self._keep))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def stretch(self) -> int:
        """All of them: they are read a block at a time in any case."""
        return len(self._rows)

    def scan(self, probes: Floats, start: int, stop: int, tail: int) -> DistractorScores | None:
        """See `Distractors`."""
        keep = None if self._keep is None else self._keep[start:stop]
        if keep is not None and not keep.any():
            return None
        try:
            return scan_distractors(probes, self._rows[start:stop], keep=keep, tail=tail)
        except InputError as error:
            raise InputError(f"{self._shown}, rows {start} to {stop - 1}: {error}") from error
