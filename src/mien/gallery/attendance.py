"""Who was seen when: the log of sightings, summed up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mien.gallery.home import Sighting

__all__ = ["Attendance", "attendance"]


@dataclass(frozen=True, slots=True)
class Attendance:
    """When somebody was seen.

    Attributes:
        subject_id: who.
        name: the subject's name now.
        first, last: seconds since the epoch.
        times: how often.
        best: the highest score.
    """

    subject_id: int
    name: str
    first: float
    last: float
    times: int
    best: float


def attendance(sightings: Iterable[Sighting]) -> list[Attendance]:
    """One line a subject, in the order in which they were first seen; strangers are left out."""
    seen: dict[int, Attendance] = {}
    for s in sightings:
        if s.subject_id is None:
            continue
        name = s.name or ""
        before = seen.get(s.subject_id, Attendance(s.subject_id, name, s.time, s.time, 0, s.score))
        first, last = min(before.first, s.time), max(before.last, s.time)
        seen[s.subject_id] = Attendance(s.subject_id, name, first, last, before.times + 1, max(before.best, s.score))
    return sorted(seen.values(), key=lambda line: (line.first, line.subject_id))
