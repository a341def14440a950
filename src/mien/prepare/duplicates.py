"""Exact and near duplicates of a folder, in groups with the one to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.prepare.copies import CopyRules, Faced, find_copies
from mien.prepare.embedding import print_people
from mien.prepare.verdicts import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from mien.match import Calibration
    from mien.prepare.copies import Copy
    from mien.prepare.embedding import PeopleFolder
    from mien.prepare.prints import Prints

__all__ = ["Duplicates", "Group", "dedupe", "group_copies"]


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures that are one, by position.

    Attributes:
        keep: the largest; of equally large ones the sharpest, then the first by name.
        drop: the others, and in what way each is a copy of one in the group.
        people: positions of all people whose folders hold them; of several, somebody has a wrong picture.
    """

    keep: int
    drop: tuple[tuple[int, str], ...]
    people: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates:
    """What was found: the groups in the order of the folder, and the pictures' fingerprints."""

    folder: PeopleFolder
    groups: tuple[Group, ...]
    prints: Prints

    def rows(self) -> Iterator[Row]:
        """The list: what is kept of a group, then what is not."""
        names = self.folder.names
        for number, group in enumerate(self.groups, 1):
            several = len(group.people) > 1
            note = f"; also in {', '.join(self.folder.people[p] for p in group.people)}" if several else ""
            yield Row(names[group.keep], "keep", f"the largest and sharpest{note}", group=str(number))
            for i, how in group.drop:
                same = self.folder.person[i] == self.folder.person[group.keep]
                # Who of two people a picture shows is not ours to guess.
                verdict = "duplicate" if same else "review"
                yield Row(names[i], verdict, f"{how} as {names[group.keep]}", group=str(number))

    def record(self) -> dict[str, Any]:
        """The groups in JSON."""
        names, people = self.folder.names, self.folder.people
        return {
            "pictures": len(self.folder),
            "duplicates": sum(row.verdict == "duplicate" for row in self.rows()),
            "groups": [
                {
                    "keep": names[g.keep],
                    "drop": [{"picture": names[i], "how": how} for i, how in g.drop],
                    "people": [people[p] for p in g.people],
                }
                for g in self.groups
            ],
            "errors": self.folder.errors(),
        }


def dedupe(
    folder: PeopleFolder,
    calibration: Calibration,
    *,
    across: bool = False,
    cached: bool = True,
    advance: Callable[[int], None] = lambda _n: None,
) -> Duplicates:
    """Find the pictures of a folder that are there more than once: as they are, re-encoded, resized, cropped, mirrored.

    Args:
        folder: see `mien.prepare.embedding.embed_people`.
        calibration: of the model that embedded it.
        across: look for copies under different people too; without, only each person's own.
        cached: keep fingerprints in the cache.
        advance: is told how many more pictures are done; twice for each.
    """
    prints = print_people(folder, cached=cached, advance=advance)
    pictures = Faced(folder.path, prints, folder.vectors, folder.landmarks)
    copies = find_copies(
        pictures,
        CopyRules.of(calibration),
        part=folder.person,
        between="any" if across else "same",
        advance=advance,
    )
    return Duplicates(folder, tuple(group_copies(copies, folder.person, prints)), prints)


def group_copies(copies: list[Copy], person: NDArray[np.intp], prints: Prints) -> Iterator[Group]:
    """Join pairs of copies into groups, and choose the one of each to keep.

    Args:
        copies: pairs by position.
        person: (N,) whose each picture is.
        prints: of all pictures.
    """
    root = np.arange(len(person))
    how: dict[int, str] = {}
    for copy in copies:
        a, b = _root(root, copy.a), _root(root, copy.b)
        root[max(a, b)] = min(a, b)
        for i in copy[:2]:
            said = f"{copy.how}, mirrored," if copy.mirrored else copy.how
            if how.get(i) != "same file":
                how[i] = said
    members: dict[int, list[int]] = {}
    for i in sorted(how):
        members.setdefault(_root(root, i), []).append(i)
    rows = prints.rows
    for group in members.values():
        size = rows["width"][group].astype(np.int64) * rows["height"][group]
        best = group[int(np.lexsort((np.array(group), -rows["sharpness"][group], -size))[0])]
        drop = tuple((i, how[i]) for i in group if i != best)
        yield Group(best, drop, tuple(np.unique(person[group]).tolist()))


def _root(root: NDArray[np.intp], i: int) -> int:
    while root[i] != i:
        root[i] = root[root[i]]
        i = int(root[i])
    return i
