"""Why a face is called what it is called: the people nearest to it, and the faces that speak for and against each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mien.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.gallery.home import Home, StoredFace
    from mien.match import Candidate
    from mien.types import Floats, Match

__all__ = ["Exemplar", "Explanation", "Witness", "explanation"]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """An enrolled face and its cosine to the face in question; `face.negative` speaks against."""

    face: StoredFace
    score: float


@dataclass(frozen=True, slots=True)
class Witness:
    """A subject near the face in question, with its nearest faces, best first."""

    candidate: Candidate
    exemplars: tuple[Exemplar, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and what it rests on.

    Attributes:
        match: the decision.
        witnesses: the nearest subjects, best first.
    """

    match: Match
    witnesses: tuple[Witness, ...]


def explanation(
    home: Home, probe: Floats, match: Match, candidates: Sequence[Candidate], *, exemplars: int
) -> Explanation:
    """Gather, of each of the subjects that the decision chose among, the faces nearest to one probe (D,)."""
    witnesses = []
    for candidate in candidates:
        try:
            faces = home.faces(candidate.name)
            scores = home.embeddings([face.id for face in faces]) @ probe
        except NotFoundError:  # removed in between
            continue
        order = sorted(range(len(faces)), key=lambda i: (-scores[i], faces[i].id))[:exemplars]
        nearest = tuple(Exemplar(faces[i], min(1.0, max(-1.0, float(scores[i])))) for i in order)
        witnesses.append(Witness(candidate, nearest))
    return Explanation(match, tuple(witnesses))
