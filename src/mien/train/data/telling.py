"""What a person should hear of the pictures: which are left out or replaced, and what looks like a mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mien.train.data.training_set import TrainingSet

__all__ = ["Unreadable", "set_told"]

_SHOWN: Final = 3


def set_told(data: TrainingSet) -> list[str]:
    """Lines about a set, for the start of a run; none where there is nothing to say."""
    told = list(data.notes)
    if data.left_out:
        told.append(f"left out: {_first([f'{one.name} ({one.reason})' for one in data.left_out])}")
    each = np.bincount(data.labels)
    lonely, people = int((each == 1).sum()), int((each > 0).sum())
    if lonely * 2 > people:
        told.append(
            f"warning: {lonely:,} of {people:,} people have one picture: is this a folder with a folder per person (or "
            "a list with one label per person)?"
        )
    return told


class Unreadable:
    """Which pictures could not be read over a whole run; told anew when there are more. Belongs to one thread."""

    def __init__(self) -> None:
        self._all: dict[str, None] = {}
        self._here: set[str] = set()

    def tell(
        self,
        skipped: Iterable[str],
        all_of: Callable[[list[str]], Sequence[list[str]]],
        say: Callable[[str], None],
    ) -> None:
        """Say how many there are by now, and the first three, unless no more have come up since it was last said.

        Args:
            skipped: all that this process met so far: names, and why.
            all_of: gathers a value of each process on all, in the order of their ranks, as `Processes.all_of`; all of
                them call this.
            say: takes the message.
        """
        new = [one for one in skipped if one not in self._here]
        self._here.update(new)
        before = len(self._all)
        for found in all_of(new):
            self._all.update(dict.fromkeys(found))  # processes meet the same picture in different epochs
        if len(self._all) == before:
            return
        count = len(self._all)
        what = "picture could not be read, and another was shown in its place"
        if count > 1:
            what = "pictures could not be read, and others were shown in their place"
        say(f"warning: {count:,} {what}: {_first(list(self._all))}")


def _first(names: Sequence[str]) -> str:
    more = f"; and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more
