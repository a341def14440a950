"""Reasons that lie in whom a face shows: somebody else, or somebody unlike the subject's other faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.gallery.gate_reasons import Reason
from mien.match import similarity_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.gallery.gate_limits import GateThresholds
    from mien.match import Candidate
    from mien.types import Floats

__all__ = ["Consensus", "collision", "consensus"]


@dataclass(frozen=True, slots=True, eq=False)
class Consensus:
    """Which faces of a group show one person.

    Attributes:
        member: bool (K,), whether each does.
        score: float32 (K,), mean cosine to the members that it was compared with; 1 for a face that was compared with
            nothing.
        decided: whether there is a person at all: False where no two faces agree, or as many show one as another.
    """

    member: NDArray[np.bool_]
    score: Floats
    decided: bool


def consensus(embeddings: Floats, threshold: float, *, own: Floats | None = None) -> Consensus:
    """Find the faces of a group that show the person whom most of it shows.

    A person's faces are gathered one by one, each time the face that is most like those gathered, for as long as its
    mean cosine to them reaches the threshold. (Of the statistics tried, the mean has the steadiest impostor scores: one
    threshold serves any number of faces. The best of n would need a higher one for every n.) With enrolled faces, the
    gathering starts from them; without, from the face best supported by the others. Of two faces that disagree nobody
    can tell which is right; nor of two groups of one size.

    Args:
        embeddings: float32 (K, D), unit norm.
        threshold: least mean cosine.
        own: float32 (n, D) faces of the subject that are enrolled, and trusted; None or (0, D) for a new subject.
    """
    k = len(embeddings)
    score = np.ones(k, np.float32)
    if own is not None and len(own):
        total = embeddings @ own.sum(0)
        return Consensus(
            _gather(embeddings, threshold, score, np.zeros(k, bool), total=total, count=len(own)), score, True
        )
    if k < 2:
        return Consensus(np.ones(k, bool), score, True)
    first = _person(embeddings, threshold, score)
    rest = embeddings[~first]
    second = _person(rest, threshold, np.ones(len(rest), np.float32))
    return Consensus(first, score, decided=int(first.sum()) > max(1, int(second.sum())))


def _person(embeddings: Floats, threshold: float, score: Floats) -> NDArray[np.bool_]:
    """The faces that go with the best supported one; fills `score`."""
    k = len(embeddings)
    member = np.zeros(k, bool)
    if k < 2:
        return ~member
    support = np.empty(k, np.float32)
    for start, alike in similarity_blocks(embeddings, embeddings):
        rows = np.arange(len(alike))
        alike[rows, start + rows] = -2  # not by itself
        half = k // 2  # the nearer half of the others: one wrong face among three must not drag the right ones down
        support[start : start + len(alike)] = np.partition(alike, k - half, axis=1)[:, k - half :].mean(1)
    seed = int(support.argmax())
    member[seed] = True
    alike_seed = embeddings @ embeddings[seed]
    member = _gather(embeddings, threshold, score, member, total=alike_seed, count=1)
    compared = member.copy() if member.sum() > 1 else ~member  # alone, it stands against everybody
    compared[seed] = False
    score[seed] = alike_seed[compared].mean()
    return member


def _gather(
    embeddings: Floats, threshold: float, score: Floats, member: NDArray[np.bool_], *, total: Floats, count: int
) -> NDArray[np.bool_]:
    """Add faces to the members one by one, the likest first; `total` is each face's summed cosine to `count` faces."""
    sums = total.astype(np.float64)
    while not member.all():
        mean = np.where(member, -np.inf, sums / count)
        best = int(mean.argmax())
        if mean[best] < threshold:
            score[~member] = mean[~member]
            break
        score[best] = mean[best]
        member[best] = True
        sums += embeddings @ embeddings[best]
        count += 1
    return member


def collision(
    others: Sequence[Candidate], own: Floats, thresholds: GateThresholds, *, doubtful: bool = False
) -> Reason | None:
    """Whether a face looks like another subject, and more so than like its own.

    Args:
        others: the nearest other subjects, best first; may be empty.
        own: float32 (n,), its cosines to the subject's own faces; empty where there are none.
        thresholds: the cosines that decide.
        doubtful: whether the face is unlike its own anyway; then any subject at the threshold may be the right one.
    """
    if not others:
        return None
    other = others[0]
    sure = other.score >= thresholds.collision
    than = ""
    if len(own):
        nearest = float(own.max())
        than = f", against {nearest:.3f} with the subject's own nearest face"
        margin = thresholds.margin_one if len(own) == 1 else thresholds.margin_several
        sure = (sure and (doubtful or other.score > nearest)) or other.score > nearest + margin
    if not sure:
        return None
    enough = f" ({thresholds.collision:.3f} settles it)" if other.score >= thresholds.collision else ""
    return Reason(
        "looks_like_somebody_else",
        f"looks like {other.name}: score {other.score:.3f}{enough}{than}; check whose picture it is. If both are one "
        'person, enrol under one name; if not, use the policy "warn"',
        value=other.score,
        limit=thresholds.collision,
        other=other.name,
    )
