"""From near faces to near subjects: the last, exact step of a search in a home that keeps its rows elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.match import Candidate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mien.types import Floats

__all__ = ["NearFace", "highest", "reranked"]


@dataclass(frozen=True, slots=True)
class NearFace:
    """A face that a database found near a probe."""

    id: int
    subject_id: int
    name: str
    told: str
    picture: str


def reranked(
    probe: Floats, near: Sequence[NearFace], embeddings: Floats, *, k: int, against: Mapping[int, float]
) -> list[Candidate]:
    """The k best subjects among near faces, best first; of equal scores the lower face id wins.

    Args:
        probe: float32 (D,), unit norm.
        near: faces, in any order.
        embeddings: float32 (N, D), theirs.
        k: subjects wanted.
        against: subject id -> highest cosine to the subject's negative exemplars.
    """
    if not near:
        return []
    scores = _cosines(embeddings, probe)
    best: dict[int, Candidate] = {}
    for i in np.lexsort((np.array([face.id for face in near], np.int64), -scores)).tolist():
        face = near[i]
        if face.subject_id in best:
            continue
        best[face.subject_id] = Candidate(
            face.subject_id,
            face.name,
            float(scores[i]),
            face.picture,
            told=face.told,
            against=against.get(face.subject_id, -1.0),
            face_id=face.id,
        )
        if len(best) == k:
            break
    return list(best.values())


def highest(probe: Floats, owners: Sequence[int], embeddings: Floats) -> dict[int, float]:
    """The highest cosine of a probe to the embeddings of each owner."""
    found: dict[int, float] = {}
    for owner, score in zip(owners, _cosines(embeddings, probe).tolist(), strict=True):
        found[owner] = max(score, found.get(owner, -1.0))
    return found


def _cosines(embeddings: Floats, probe: Floats) -> Floats:
    """In float64 and rounded, so that equal embeddings score equally whatever rows stand beside them."""
    exact = embeddings.astype(np.float64) @ probe.astype(np.float64)
    return np.clip(exact, -1, 1).astype(np.float32)
