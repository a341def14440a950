"""The open-set decision: the best subject's name, or unknown, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mien.types import Match

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Candidate", "decide"]

_ROUNDING = 1e-5  # two ways to compute one cosine in float32 differ by less


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

    @property
    def suppressed(self) -> bool:
        """Whether the face is at least as near to one that was said not to be this subject."""
        return self.against > -1 and self.against >= self.score - _ROUNDING


def decide(
    candidates: Sequence[Candidate], *, threshold: float, fpir: float | None = None, extrapolated: bool = False
) -> Match:
    """Name a face, or call it unknown.

    A subject is out of the question where the face is at least as near to an exemplar of who the subject is not. Where
    the best subject that remains is a known stranger, the face is unknown.

    Args:
        candidates: subjects, best first; two that are not suppressed are enough. Empty for an empty gallery.
        threshold: the score needed to be named.
        fpir: the false-positive identification rate it stands for, or None when the caller gave the threshold.
        extrapolated: whether the threshold lies beyond what its calibration measured; the reason then says so.

    Returns:
        The decision; `score`, `nearest` and `runner_up` are filled in for unknown faces too.

    >>> decide([Candidate(1, "Ada", 0.61, "ada.jpg")], threshold=0.93).reason
    '0.610 is below the threshold 0.930'
    >>> decide([Candidate(1, "poster", 0.95, "wall.jpg", told="ignored")], threshold=0.93).reason
    'looks like poster, a known stranger: 0.950 reaches the threshold 0.930'
    """
    if not candidates:
        return Match(None, None, -1.0, threshold, fpir, reason="the gallery is empty")
    left = [candidate for candidate in candidates if not candidate.suppressed]
    # Who is out of the question is worth a word only where they would have been named.
    denied = [c for c in candidates if c.suppressed and c.score >= threshold and (not left or c.score >= left[0].score)]
    words = [
        f"not {c.name}: {c.score:.3f}, but {c.against:.3f} to a face that was said not to be {c.name}" for c in denied
    ]
    if not left:
        reason = "; ".join(words) or "nearer to faces that were said not to be anybody here"
        best = candidates[0]
        return Match(None, None, best.score, threshold, fpir, best.nearest, best.name, reason=reason)
    best = left[0]
    second = left[1] if len(left) > 1 else None
    reached = best.score >= threshold
    known = reached and best.told != "ignored"
    digits = next((n for n in range(3, 7) if reached or f"{best.score:.{n}f}" != f"{threshold:.{n}f}"), 7)
    relation = "reaches" if reached else "is below"
    reason = f"{best.score:.{digits}f} {relation} the threshold {threshold:.{digits}f}"
    reason += " (extrapolated beyond the calibration)" if extrapolated else ""
    if reached and second and second.score >= threshold:
        reason += f"; so does {second.name} with {second.score:.{digits}f}"
    if reached and not known:
        reason = f"looks like {best.name}, a known stranger: {reason}"
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
        reason="; ".join([reason, *words]),
    )
