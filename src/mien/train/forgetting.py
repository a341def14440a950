"""What a fine-tuning forgot: scores of the pairs before the first step, kept with the run, against those at its end.

Compared are the networks that a run leaves: ``best/``, which is the one that is used, and ``last/``. With several sets
of pairs the first one chooses the best network, so that a loss on another set (LFW View 1, say) is seen here.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from mien.evaluate.protocols.sets import PairSet
from mien.train.promotion_measures import forgetting_report
from mien.types import Floats

__all__ = ["SCORES", "Forgetting", "KeptScores"]

SCORES: Final = "scores.npz"
"""What the kept scores are called in a run's folder."""


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What a network of the run lost on one set of pairs, beside the weights it started from.

    Attributes:
        part: ``best`` or ``last``.
        name: the set's.
        forgot: whether a loss of more than ``allowed`` is beyond doubt; else it may be chance.
        allowed: the loss that counts as none.
        changes: of each rate: its name, before, after, and the 95 % interval of the difference.
        warning: the same in words.
    """

    part: str
    name: str
    forgot: bool
    allowed: float
    changes: tuple[dict[str, Any], ...]
    warning: str


class KeptScores:
    """Scores of a run's pairs, kept in its folder, for it may be stopped in between. Not thread-safe.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / SCORES
        self._held: dict[str, Floats] | None = None

    def keep(self, parts: Sequence[str], scores: Sequence[Floats]) -> None:
        """Keep the scores of each set as those of ``first``, ``best`` or ``last``; the file is replaced as a whole."""
        held = self._read()
        held.update({f"{part}-{i}": np.asarray(one, np.float32) for part in parts for i, one in enumerate(scores)})
        draft = self._path.with_name(f".{SCORES}.draft")
        with draft.open("wb") as file:
            np.savez(file, **held)  # type: ignore[arg-type]  # its stub takes the names for options
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)

    def lost(self, sets: Sequence[tuple[str, PairSet]]) -> list[Forgetting]:
        """What is lost between the first scores and the others: nothing where no first ones were kept, or all is well.

        Args:
            sets: name and list of each set, in the order of the scores.
        """
        held, found = self._read(), []
        for part in ("best", "last"):
            for i, (name, pairs) in enumerate(sets):
                first, after = held.get(f"first-{i}"), held.get(f"{part}-{i}")
                fits = first is not None and after is not None and len(first) == len(after) == len(pairs.pairs)
                if not fits or first is None or after is None or np.array_equal(first, after):
                    continue
                report = forgetting_report(first, after, pairs)
                if report.warning:
                    changes = tuple(asdict(change) for change in report.changes)
                    told = f"{part}/, {name}: {report.warning}"
                    found.append(Forgetting(part, name, report.forgot, report.allowed, changes, told))
        return found

    def _read(self) -> dict[str, Floats]:
        """The scores; none where the file is not there, or damaged: it only warns."""
        if self._held is None:
            self._held = {}
            try:
                with self._path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                    self._held = {name: file[name].astype(np.float32).reshape(-1) for name in file.files}
            except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
                pass
        return self._held
