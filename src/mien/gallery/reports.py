"""What became of the pictures of an enrolment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from mien.errors import ImageError, InputError, NoFaceError
from mien.gallery.gate_reasons import Reason, ReasonCode
from mien.types import Face, Subject

__all__ = ["EnrolReport", "FolderReport", "Outcome", "PictureReport", "nothing_enrolled"]

Outcome: TypeAlias = Literal["added", "known", "skipped"]
"""Enrolled now; its content was already enrolled for this person; or not usable."""


@dataclass(frozen=True, slots=True)
class PictureReport:
    """What became of one picture.

    Attributes:
        picture: its name.
        outcome: "added", "known" or "skipped".
        reason: why, in a few words, where it was not simply added.
        faces: how many faces it showed; 0 also where it was not looked at.
        error: whether it was skipped because it cannot be read, rather than for what it shows.
        reasons: what speaks against it, also where it was added: stable codes and sentences.
        face: the one that was looked at, or None.
    """

    picture: str
    outcome: Outcome
    reason: str = ""
    faces: int = 0
    error: bool = False
    reasons: tuple[Reason, ...] = ()
    face: Face | None = None

    @property
    def codes(self) -> tuple[ReasonCode, ...]:
        """The codes of the reasons, in order."""
        return tuple(reason.code for reason in self.reasons)

    @property
    def refused(self) -> bool:
        """Whether it shows a face that can be used, and the gate keeps it out."""
        return self.outcome == "skipped" and self.face is not None


@dataclass(frozen=True, slots=True)
class EnrolReport:
    """What became of one person's pictures.

    Attributes:
        name: the person's name.
        subject: the subject as it is enrolled now; None for somebody of whom nothing could be enrolled.
        pictures: one report a picture, in order.
    """

    name: str
    subject: Subject | None
    pictures: tuple[PictureReport, ...]

    @property
    def added(self) -> tuple[str, ...]:
        """Pictures that were enrolled now."""
        return tuple(p.picture for p in self.pictures if p.outcome == "added")

    @property
    def known(self) -> tuple[str, ...]:
        """Pictures whose content was already enrolled."""
        return tuple(p.picture for p in self.pictures if p.outcome == "known")

    @property
    def skipped(self) -> tuple[PictureReport, ...]:
        """Pictures that could not be used or were refused, with reasons."""
        return tuple(p for p in self.pictures if p.outcome == "skipped")

    @property
    def refused(self) -> tuple[PictureReport, ...]:
        """Of the skipped ones, those that the gate keeps out."""
        return tuple(p for p in self.pictures if p.refused)


@dataclass(frozen=True, slots=True)
class FolderReport:
    """What became of a folder of people.

    Attributes:
        people: one report a person, in the folder's order.
        unread: sub-folders that could not be read, with reasons.
    """

    people: tuple[EnrolReport, ...]
    unread: tuple[str, ...] = ()

    @property
    def added(self) -> int:
        """Pictures that were enrolled now."""
        return sum(len(p.added) for p in self.people)

    @property
    def known(self) -> int:
        """Pictures that were already enrolled."""
        return sum(len(p.known) for p in self.people)

    @property
    def skipped(self) -> tuple[PictureReport, ...]:
        """Pictures that could not be used or were refused, with reasons."""
        return tuple(report for p in self.people for report in p.skipped)


def nothing_enrolled(report: EnrolReport) -> InputError:
    """The error for a person none of whose pictures could be used."""
    skipped = report.skipped
    if len(skipped) == 1 and skipped[0].error:
        return ImageError(skipped[0].picture, skipped[0].reason)
    listed = "; ".join(f"{p.picture}: {p.reason}" for p in skipped[:5])
    faceless = not report.refused and not all(p.error for p in skipped)
    kind = NoFaceError if faceless else InputError
    return kind(f"{report.name} was not enrolled: no picture could be used ({listed})")
