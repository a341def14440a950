"""The open-set decision: the best subject's name, or unknown, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mien.types import Match

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Candidate", "decide"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A subject that a face may be.

    Attributes:
        subject_id: the subject's id in the gallery.
        name: its name.
        score: cosine of the face to the subject; a subject scores as its nearest enrolled face does.
        nearest: name of that enrolled picture.
        told: "person", or "ignored" for a known stranger who is not to be named.
        against: highest cosine to the exemplars of who the subject is not; -1 where there are none.
        face_id: the enrolled face's id in the gallery; 0 where it has none.
    """

    subject_id: int
    name: str
    score: float
    nearest: str
    told: str = "person"
    against: float = -1.0
    face_id: int = 0


def decide(
    candidates: Sequence[Candidate], *, threshold: float, fpir: float | None = None, extrapolated: bool = False
) -> Match:
    """Name a face, or call it unknown.

    Args:
        candidates: subjects, best first; two are enough. Empty for an empty gallery.
        threshold: the score needed to be named.
        fpir: the false-positive identification rate it stands for, or None when the caller gave the threshold.
        extrapolated: whether the threshold lies beyond what its calibration measured; the reason then says so.

    Returns:
        The decision; `score`, `nearest` and `runner_up` are filled in for unknown faces too.

    >>> decide([Candidate(1, "Ada", 0.61, "ada.jpg")], threshold=0.93).reason
    '0.610 is below the threshold 0.930'
    """
    if not candidates:
        return Match(None, None, -1.0, threshold, fpir, reason="the gallery is empty")
    best = candidates[0]
    second = candidates[1] if len(candidates) > 1 else None
    known = best.score >= threshold
    digits = next((n for n in range(3, 7) if known or f"{best.score:.{n}f}" != f"{threshold:.{n}f}"), 7)
    relation = "reaches" if known else "is below"
    reason = f"{best.score:.{digits}f} {relation} the threshold {threshold:.{digits}f}"
    reason += " (extrapolated beyond the calibration)" if extrapolated else ""
    if known and second and second.score >= threshold:
        reason += f"; so does {second.name} with {second.score:.{digits}f}"
    return Match(
        name=best.name if known else None,
        subject_id=best.subject_id if known else None,
        score=best.score,
        threshold=threshold,
        fpir=fpir,
        nearest=best.nearest,
        nearest_name=best.name,
        runner_up=second.name if second else None,
        runner_up_score=second.score if second else None,
        reason=reason,
    )
