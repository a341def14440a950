"""A folder of people, gone through for pictures of somebody else: verdicts with reasons, for a list and for a page."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError
from mien.prepare.cleaning import CleanRules, FolderPair, Verdict, find_wrong
from mien.prepare.same_person import PersonRules
from mien.prepare.verdicts import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mien.match import Calibration
    from mien.prepare.cleaning import Cleaned
    from mien.prepare.embedding import PeopleFolder

__all__ = ["CleanReport", "clean"]

_SAID = {Verdict.KEEP: "keep", Verdict.REVIEW: "review", Verdict.WRONG: "wrong", Verdict.SECOND: "second"}


@dataclass(frozen=True, slots=True, eq=False)
class CleanReport:
    """What was found in a folder. Immutable by agreement.

    Attributes:
        folder: the folder.
        found: verdicts and scores of its pictures.
        rules: the limits.
    """

    folder: PeopleFolder
    found: Cleaned
    rules: CleanRules

    def verdict(self, i: int) -> str:
        """keep, review, wrong or second."""
        return _SAID[Verdict(int(self.found.verdict[i]))]

    def reason(self, i: int) -> str:
        """Why, in words."""
        folder, found = self.folder, self.found
        if i in folder.reasons:
            return folder.reasons[i]
        score, best = float(found.score[i]), float(found.nearest_score[i])
        other = folder.people[int(found.nearest[i])] if found.nearest[i] >= 0 else ""
        if found.verdict[i] == Verdict.SECOND:
            return f"a second person in the folder (number {int(found.group[i]) + 1})" + (
                f", most like {other}" if best > self.rules.review else ""
            )
        if best > score and best > self.rules.review:
            return f"looks like {other}"
        if math.isnan(score):
            return "nothing to compare with"
        return "fits its folder" if found.verdict[i] == Verdict.KEEP else "unlike the rest of its folder"

    def listed(self) -> list[int]:
        """Pictures that are not kept: folder by folder, the worst first."""
        at = np.flatnonzero(self.found.verdict != Verdict.KEEP)
        score = np.nan_to_num(self.found.score[at], nan=np.inf)
        order = np.lexsort((score, -self.found.verdict[at], self.folder.person[at]))
        listed: list[int] = at[order].tolist()
        return listed

    def rows(self, *, everything: bool = False) -> Iterator[Row]:
        """The list: pictures that are not kept, or all."""
        for i in range(len(self.folder)) if everything else self.listed():
            score, group = float(self.found.score[i]), int(self.found.group[i])
            person = self.folder.people[int(self.folder.person[i])]
            label = f"{person}~{group + 1}" if self.found.verdict[i] == Verdict.SECOND else ""
            yield Row(
                self.folder.names[i], self.verdict(i), self.reason(i), None if math.isnan(score) else score, label
            )

    def counts(self) -> dict[str, int]:
        """How many pictures have each verdict."""
        return {said: int((self.found.verdict == verdict).sum()) for verdict, said in _SAID.items()}

    def record(self) -> dict[str, Any]:
        """All of it in JSON; of kept pictures only how many."""
        people = self.folder.people
        return {
            "people": len(people),
            "pictures": len(self.folder),
            "verdicts": self.counts(),
            "listed": [
                {"picture": r.picture, "verdict": r.verdict, "reason": r.reason, "score": _rounded(r.score)}
                | ({"group": r.group} if r.group else {})
                for r in self.rows()
            ],
            "two_people": [people[p] for p in self.found.second],
            "one_person": [
                {"a": people[pair.a], "b": people[pair.b], "score": round(pair.score, 4)} for pair in self.found.same
            ],
            "errors": self.folder.errors(),
        }


def clean(
    folder: PeopleFolder, calibration: Calibration, *, evidence: Mapping[str, float] | None = None
) -> CleanReport:
    """Find pictures of the wrong person, folders that hold two people, and folders that hold one person together.

    Args:
        folder: see `mien.prepare.embedding.embed_people`.
        calibration: of the model that embedded it.
        evidence: from elsewhere, by picture: 0 belongs there, 1 is wrong.

    Raises:
        InputError: evidence tells of no picture of the folder.
    """
    rules = CleanRules.of(calibration)
    found = find_wrong(folder.vectors, folder.person, rules, evidence=_evidence(folder, evidence))
    return CleanReport(
        folder, replace(found, same=tuple(_confirmed(found, folder, PersonRules.of(calibration)))), rules
    )


def _confirmed(found: Cleaned, folder: PeopleFolder, rules: PersonRules) -> Iterator[FolderPair]:
    """Pairs of folders that reach what their number of pictures asks for."""
    core = folder.found & (found.verdict <= Verdict.REVIEW)
    count = np.bincount(folder.person[core], minlength=len(folder.people))
    for pair in found.same:
        if pair.score >= rules.least(np.array([min(count[pair.a], count[pair.b])]))[0]:
            yield pair


def _evidence(
    folder: PeopleFolder, evidence: Mapping[str, float] | None
) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    if evidence is None:
        return None
    values = np.array([evidence.get(name, np.nan) for name in folder.names])
    if np.isnan(values).all():
        raise InputError(f"evidence: names no picture of {folder.root}; expected paths such as {folder.names[0]}")
    return values


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 3)
