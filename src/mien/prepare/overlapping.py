"""Whether two sets share people or pictures: the leak check before any evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.prepare.copies import CopyRules, Faced, find_copies
from mien.prepare.embedding import print_people
from mien.prepare.prints import Prints
from mien.prepare.same_person import PersonRules, faces_of, match_people

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mien.match import Calibration
    from mien.prepare.copies import Copy
    from mien.prepare.embedding import PeopleFolder
    from mien.prepare.same_person import PeoplePair

__all__ = ["Overlap", "copies_between", "joined_prints", "overlap"]


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """What two sets share.

    Attributes:
        a, b: the sets.
        people: pairs of people, by position in `a.people` and `b.people`; those "name, not face" are two.
        pictures: pairs of pictures, by position in `a.names` and `b.names`.
    """

    a: PeopleFolder
    b: PeopleFolder
    people: tuple[PeoplePair, ...]
    pictures: tuple[Copy, ...]

    def shared(self) -> list[PeoplePair]:
        """The people that are in both; without those who are only called the same."""
        return [pair for pair in self.people if pair.by != "name, not face"]

    def record(self) -> dict[str, Any]:
        """All of it in JSON."""
        a, b = self.a, self.b
        return {
            "a": {"folder": str(a.root), "people": len(a.people), "pictures": len(a)},
            "b": {"folder": str(b.root), "people": len(b.people), "pictures": len(b)},
            "people": [pair.record(a.people, b.people) for pair in self.shared()],
            "only_called_the_same": [p.record(a.people, b.people) for p in self.people if p.by == "name, not face"],
            "pictures": [
                {"a": a.names[c.a], "b": b.names[c.b], "how": c.how, "mirrored": c.mirrored} for c in self.pictures
            ],
            "errors": a.errors() + b.errors(),
        }


def overlap(
    a: PeopleFolder,
    b: PeopleFolder,
    calibration: Calibration,
    *,
    pictures: bool = True,
    cached: bool = True,
    advance: Callable[[int], None] = lambda _n: None,
) -> Overlap:
    """Find the people and the pictures that two sets share.

    Args:
        a: the one set, see `mien.prepare.embedding.embed_people`.
        b: the other, of the same model.
        calibration: of that model.
        pictures: look for pictures too.
        cached: keep fingerprints in the cache.
        advance: is told how many more pictures are fingerprinted.
    """
    rules = PersonRules.of(calibration)
    pairs = match_people(faces_of(a, rules), a.people, faces_of(b, rules), b.people, rules)
    copies: list[Copy] = []
    if pictures:
        prints = [print_people(folder, cached=cached, advance=advance) for folder in (a, b)]
        copies = [
            c._replace(b=c.b - len(a))
            for c in copies_between((a, b), prints, calibration, part=np.repeat([0, 1], [len(a), len(b)]))
        ]
    return Overlap(a, b, tuple(pairs), tuple(copies))


def copies_between(
    folders: Sequence[PeopleFolder],
    prints: Sequence[Prints],
    calibration: Calibration,
    *,
    part: NDArray[np.intp],
    same: bool = False,
) -> list[Copy]:
    """Copies among the pictures of several folders, by position in all of them one after another.

    Args:
        folders: of one model.
        prints: of each.
        calibration: of that model.
        part: (N,) of each picture: only pictures of different parts are compared,
        same: or only those of the same.
    """
    starts = np.cumsum([0, *(len(folder) for folder in folders)])

    def path(i: int) -> Path:
        at = int(np.searchsorted(starts, i, side="right")) - 1
        return folders[at].path(i - int(starts[at]))

    everything = Faced(
        path,
        joined_prints(prints),
        np.concatenate([folder.vectors for folder in folders]),
        np.concatenate([folder.landmarks for folder in folders]),
    )
    rules = CopyRules.of(calibration)
    return find_copies(everything, rules, part=part, between="same" if same else "different")


def joined_prints(prints: Sequence[Prints]) -> Prints:
    """The fingerprints of several folders, one after another."""
    starts = np.cumsum([0, *map(len, prints)])
    return Prints(
        np.concatenate([found.rows for found in prints]),
        tuple(content for found in prints for content in found.sha256),
        {int(s) + i: why for s, found in zip(starts, prints, strict=False) for i, why in found.reasons.items()},
    )
