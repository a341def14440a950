"""What a home that keeps itself can be asked for: a copy while it is in use, and whether all is well with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from mien.gallery.home import Counts
    from mien.gallery.search import RecallReport

__all__ = ["Approximates", "BacksUp", "CheckReport", "Checks", "Vacuums"]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check of a gallery found.

    Attributes:
        source: the gallery.
        counts: what it holds, or None where it could not even be counted.
        audit_entries: length of the audit log.
        audit_head: digest of its last entry; note it elsewhere, and a later cut of the log can be seen.
        problems: what is wrong, in words; empty where all is well.
    """

    source: str
    counts: Counts | None
    audit_entries: int
    audit_head: str
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@runtime_checkable
class BacksUp(Protocol):
    """A home that can copy itself while it is in use."""

    def backup(self, path: str | os.PathLike[str]) -> Path:
        """Write a verified copy to a new file."""
        ...


@runtime_checkable
class Approximates(Protocol):
    """A home whose exact search can give way to a faster one, as long as it is open."""

    def approximate(self, recall: float) -> RecallReport:
        """Search approximately from now on, finding the nearest person in this share of cases."""
        ...

    def exact(self) -> None:
        """Search exactly again."""
        ...

    @property
    def recall(self) -> RecallReport | None:
        """What was measured of approximate search; None while searches are exact."""
        ...


@runtime_checkable
class Checks(Protocol):
    """A home that can say whether all is well with it."""

    def check(self) -> CheckReport:
        """Look at every row."""
        ...


@runtime_checkable
class Vacuums(Protocol):
    """A home that can be rid of every byte of what was removed."""

    def vacuum(self) -> None:
        """Rewrite what is stored, so that nothing of what was removed is left."""
        ...
