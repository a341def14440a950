"""What the enrolment gate says: a verdict, and reasons that a person understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Reason", "ReasonCode", "Verdict"]

ReasonCode: TypeAlias = Literal[
    "no_face",
    "several_faces",
    "too_small",
    "blurred",
    "dark",
    "bright",
    "flat",
    "turned_away",
    "cut_off",
    "low_quality",
    "duplicate_picture",
    "looks_like_somebody_else",
    "unlike_own_faces",
    "people_disagree",
]
"""Stable names of the reasons, for programs."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that speaks against a face.

    Attributes:
        code: its stable name.
        message: what was found, what was expected, and what to do, in a sentence.
        refuses: whether it keeps the face out under the policy "strict"; the others are only worth knowing.
        value: what was measured, or None.
        limit: what was expected at least (or at most), or None.
        other: whom or what it is about besides the face: the other subject's or the other picture's name; or None.
    """

    code: ReasonCode
    message: str
    refuses: bool = True
    value: float | None = None
    limit: float | None = None
    other: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer about one face.

    Attributes:
        accepted: whether to enrol it.
        reasons: what speaks against it, also where it is accepted.
    """

    accepted: bool
    reasons: tuple[Reason, ...] = ()

    @property
    def codes(self) -> tuple[ReasonCode, ...]:
        """The codes of the reasons, in order."""
        return tuple(reason.code for reason in self.reasons)

    def __str__(self) -> str:
        """The reasons in one line; "accepted" where there are none."""
        return "; ".join(reason.message for reason in self.reasons) or "accepted"
