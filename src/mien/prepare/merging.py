"""Several sets into one: their people matched by name and face, copies dropped, and nothing guessed."""

from __future__ import annotations

import hashlib
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mien.errors import InputError
from mien.images import list_images
from mien.prepare.duplicates import group_copies
from mien.prepare.embedding import print_people
from mien.prepare.manifest import NAME, Manifest
from mien.prepare.overlapping import copies_between, joined_prints
from mien.prepare.putting import Chosen, put_pictures
from mien.prepare.same_person import PersonRules, faces_of, match_people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from mien.match import Calibration
    from mien.prepare.embedding import PeopleFolder
    from mien.prepare.same_person import PeoplePair

__all__ = ["Conflict", "MergePlan", "merge", "plan_merge"]


@dataclass(frozen=True, slots=True)
class Conflict:
    """People that may be one and may not: left apart, each under a name of its own.

    Attributes:
        people: (set, name in it, name in the result) of each.
        reason: why it was not decided.
    """

    people: tuple[tuple[int, str, str], ...]
    reason: str

    def record(self) -> dict[str, Any]:
        """The conflict in JSON."""
        return {"people": [{"set": s, "name": n, "as": to} for s, n, to in self.people], "reason": self.reason}


@dataclass(slots=True, eq=False)
class MergePlan:
    """Who goes where.

    Attributes:
        folders: the sets.
        person: of each set, of each of its people: which person of the result it is.
        names: of the people of the result.
        conflicts: what was not decided.
        aliases: (set, its name, name in the result, mean cosine) of people merged under another name, by face.
        dropped: (set, picture) -> (set, picture) that it is a copy of.
    """

    folders: tuple[PeopleFolder, ...]
    person: list[list[int]]
    names: list[str]
    conflicts: list[Conflict] = field(default_factory=list)
    aliases: list[tuple[int, str, str, float | None]] = field(default_factory=list)
    dropped: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The plan in JSON."""
        return {
            "sets": [str(folder.root) for folder in self.folders],
            "people": len(self.names),
            "pictures": sum(map(len, self.folders)) - len(self.dropped),
            "duplicates": len(self.dropped),
            "merged_by_face": [
                {"set": s, "name": name, "as": to, "score": None if score is None else round(score, 4)}
                for s, name, to, score in self.aliases
            ],
            "conflicts": [conflict.record() for conflict in self.conflicts],
            "errors": [error for folder in self.folders for error in folder.errors()],
        }


def plan_merge(
    folders: Sequence[PeopleFolder],
    calibration: Calibration,
    *,
    cached: bool = True,
    advance: Callable[[int], None] = lambda _n: None,
) -> MergePlan:
    """Decide who of several sets is one person, and which pictures are there twice.

    People are one when their names and faces agree, or their faces alone clearly say so. Where only the names agree, or
    two people of one set would become one, they are left apart and listed.

    Args:
        folders: see `mien.prepare.embedding.embed_people`; of one model.
        calibration: of that model.
        cached: keep fingerprints in the cache.
        advance: is told how many more pictures are fingerprinted.

    Raises:
        InputError: fewer than two sets.
    """
    if len(folders) < 2:
        raise InputError(f"merge: expected at least two sets, got {len(folders)}")
    rules = PersonRules.of(calibration)
    people = [faces_of(folder, rules) for folder in folders]
    edges = [
        (s, t, pair)
        for s in range(len(folders))
        for t in range(s + 1, len(folders))
        for pair in match_people(people[s], folders[s].people, people[t], folders[t].people, rules)
    ]
    plan = _people(folders, edges)
    prints = [print_people(folder, cached=cached, advance=advance) for folder in folders]
    part = np.concatenate([np.array(ids)[f.person] for ids, f in zip(plan.person, folders, strict=True)])
    copies = copies_between(folders, prints, calibration, part=part, same=True)
    at = [(s, i) for s, folder in enumerate(folders) for i in range(len(folder))]
    for group in group_copies(copies, part, joined_prints(prints)):
        plan.dropped |= {at[i]: at[group.keep] for i, _ in group.drop}
    return plan


def merge(
    plan: MergePlan,
    target: str | os.PathLike[str],
    *,
    how: Literal["copy", "link"] = "copy",
    fresh: bool = False,
    advance: Callable[[int], None] = lambda _n: None,
) -> dict[str, int]:
    """Put the pictures of a plan into one folder; its manifest says where each came from, and what was left out.

    A run that was stopped goes on where it was; another plan is refused, for no picture may be in two places.

    Args:
        plan: see `plan_merge`.
        target: the folder; not in one of the sets.
        how: copies, or hard links.
        fresh: forget what an earlier run did.
        advance: called with the number of pictures that are done.

    Returns:
        How many pictures were `placed`, were there `before`, and were left out as `duplicates`.

    Raises:
        InputError: the folder cannot be used, holds another plan's pictures, or another file is in the way.
    """
    place = Path(target)
    for folder in plan.folders:
        if Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder.root)):
            raise InputError(f"{place}: lies in {folder.root}, which is merged; choose another folder")
    settings = {"sets": [os.path.realpath(f.root) for f in plan.folders], "chosen": _digest(plan)}
    if fresh or not (place / NAME).exists():
        _no_others(place, plan)
    try:
        with Manifest(place, "merge", settings, fresh=fresh) as manifest:
            before = put_pictures(_chosen(plan), place, how, manifest, advance=advance)
    except OSError as error:
        raise InputError(f"{error.filename or place}: {error.strerror or error}") from error
    placed = sum(map(len, plan.folders)) - len(plan.dropped) - before
    return {"placed": placed, "before": before, "duplicates": len(plan.dropped)}


def _chosen(plan: MergePlan) -> Iterator[Chosen]:
    for s, i, to in _targets(plan):
        folder = plan.folders[s]
        entry = {"source": f"{s}/{folder.names[i]}", "set": str(folder.root)}
        if to is None:
            other, j = plan.dropped[s, i]
            entry |= {"decision": "duplicate", "of": f"{other}/{plan.folders[other].names[j]}"}
        else:
            entry |= {"decision": "placed", "to": to}
        yield Chosen(folder.path(i), to, entry)


def _people(folders: Sequence[PeopleFolder], edges: Sequence[tuple[int, int, PeoplePair]]) -> MergePlan:
    """Join people; what would join two of one set is taken back, down to agreeing names, and down to nothing."""
    starts = np.cumsum([0, *(len(folder.people) for folder in folders)])
    total = int(starts[-1])
    set_of = np.repeat(np.arange(len(folders)), np.diff(starts))
    sure = [(int(starts[s]) + p.a, int(starts[t]) + p.b, p) for s, t, p in edges if p.by in ("name and face", "face")]
    unsure = [
        (int(starts[s]) + p.a, int(starts[t]) + p.b, p) for s, t, p in edges if p.by not in ("name and face", "face")
    ]
    root, left = _components(total, sure), sure
    torn: list[tuple[int, ...]] = []
    for allowed in ("name and face", None):
        bad = {r for r in set(root.tolist()) if _repeats(set_of[root == r])} if len(left) else set()
        torn += [tuple(np.flatnonzero(root == r).tolist()) for r in bad] if allowed else []
        left = [(a, b, p) for a, b, p in left if root[a] not in bad or p.by == allowed]
        root = _components(total, left)
    order = np.unique(root)  # a component is named by its first person
    names = _distinct([_name(folders, starts, int(r)) for r in order])
    person = np.searchsorted(order, root)
    plan = MergePlan(tuple(folders), [person[a:b].tolist() for a, b in itertools.pairwise(starts)], names)

    def said(node: int) -> tuple[int, str, str]:
        return int(set_of[node]), _name(folders, starts, node), names[person[node]]

    for nodes in torn:
        plan.conflicts.append(Conflict(tuple(map(said, nodes)), "several people of one set look like one of another"))
    for a, b, pair in unsure:
        if root[a] != root[b]:
            reason = "no face to compare" if pair.by == "name" else f"one name, but their faces score {pair.score:.3f}"
            plan.conflicts.append(Conflict((said(a), said(b)), reason))
    best = {b: pair.score for a, b, pair in left if pair.by == "face"}
    for node, score in sorted(best.items()):
        s, name, to = said(node)
        if name != to:
            plan.aliases.append((s, name, to, score))
    return plan


def _components(n: int, edges: Sequence[tuple[int, int, PeoplePair]]) -> NDArray[np.intp]:
    root = np.arange(n)
    for a, b, _ in edges:
        x, y = root[a], root[b]
        if x != y:
            root[root == max(x, y)] = min(x, y)
    return root


def _repeats(sets: NDArray[np.intp]) -> bool:
    return len(np.unique(sets)) < len(sets)


def _name(folders: Sequence[PeopleFolder], starts: NDArray[np.intp], node: int) -> str:
    s = int(np.searchsorted(starts, node, side="right")) - 1
    return folders[s].people[node - int(starts[s])]


def _distinct(names: Sequence[str]) -> list[str]:
    """Names that are different even where case does not count, as on some disks."""
    taken: set[str] = set()
    given = []
    for name in names:
        new, number = name, 1
        while new.casefold() in taken:
            number += 1
            new = f"{name}~{number}"
        taken.add(new.casefold())
        given.append(new)
    return given


def _digest(plan: MergePlan) -> str:
    """Where everything goes, in a few letters: another model, or other pictures, make another plan."""
    text = hashlib.sha256()
    for s, i, to in _targets(plan):
        text.update(f"{s}/{plan.folders[s].names[i]}\0{to}\n".encode("utf-8", "surrogatepass"))
    return f"{sum(map(len, plan.folders))} pictures, {text.hexdigest()[:16]}"


def _no_others(place: Path, plan: MergePlan) -> None:
    """Raise InputError where the folder holds pictures that the plan puts elsewhere, or does not know."""
    if place.is_dir():
        own = {to for _, _, to in _targets(plan)}
        other = next((path for path in list_images(place) if path.relative_to(place).as_posix() not in own), None)
        if other is not None:
            raise InputError(f"{other}: is not of this merge; choose another folder, or empty it")


def _targets(plan: MergePlan) -> Iterator[tuple[int, int, str | None]]:
    """(set, picture, its path in the result) of all pictures; None for one that is left out."""
    taken: set[str] = set()
    for s, folder in enumerate(plan.folders):
        for i, name in enumerate(folder.names):
            if (s, i) in plan.dropped:
                yield s, i, None
                continue
            path = PurePosixPath(plan.names[plan.person[s][int(folder.person[i])]], PurePosixPath(name).name)
            new, number = path, 1
            while str(new).casefold() in taken:
                number += 1
                new = path.with_name(f"{path.stem}~{number}{path.suffix}")
            taken.add(str(new).casefold())
            yield s, i, str(new)
