"""How much of what exact search finds a home's own search finds, measured on real faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mien.gallery.home import Home
    from mien.gallery.records import Ids
    from mien.types import Floats

__all__ = ["Recall", "recall_of"]

_TIE = 1e-5  # two homes may round the last bits of a score differently


@dataclass(frozen=True, slots=True)
class Recall:
    """How a home's search compares with exact search.

    Each probe is an enrolled face. That a face finds itself is `own`; the other figures leave its own subject out,
    for to find the very vector one asks for is easy.

    Attributes:
        probes: faces that were asked for.
        at_1: share of probes whose nearest other subject was found first.
        at_10: share of the ten nearest other subjects that were among the ten found, over all probes.
        own: share of probes that found their own subject first.
    """

    probes: int
    at_1: float
    at_10: float
    own: float


def recall_of(truth: Home, searched: Home, *, probes: int = 100, seed: int = 0) -> Recall | None:
    """Ask `searched` for faces of `truth` and compare with a full scan of `truth`.

    Args:
        truth: where the faces are read, twice, a batch at a time.
        searched: the home whose search is measured; it holds the same gallery.
        probes: how many faces are asked for; all of a smaller gallery.
        seed: which.

    Returns:
        The figures; None where there are fewer than two subjects with faces.
    """
    asked, owners = _sample(truth, probes, np.random.default_rng(seed))
    if not len(asked):
        return None
    best, ids = _exact(truth, asked)
    if len(ids) < 2:
        return None
    answers = searched.search(asked, k=min(11, len(ids)))
    first = every = wanted = own = 0
    for scores, owner, found in zip(best, owners.tolist(), answers, strict=True):
        own += bool(found) and found[0].subject_id == owner
        others = scores[ids != owner]
        depth = min(10, len(others))
        limit = np.partition(others, len(others) - depth)[len(others) - depth] - _TIE
        got = [candidate for candidate in found if candidate.subject_id != owner][:depth]
        first += bool(got) and bool(got[0].score >= others.max() - _TIE)
        every += sum(bool(candidate.score >= limit) for candidate in got)
        wanted += depth
    return Recall(len(asked), first / len(asked), every / wanted, own / len(asked))


def _sample(home: Home, count: int, rng: np.random.Generator) -> tuple[Floats, Ids]:
    """Faces drawn evenly from all, in one pass that keeps only them, and whose they are."""
    rows: list[Floats] = []
    owners: list[int] = []
    seen = 0
    for batch in home.batches():
        for face, row in zip(batch.faces, batch.embeddings, strict=True):
            if face.negative:
                continue
            seen += 1
            if len(rows) < count:
                rows.append(row.copy())
                owners.append(face.subject_id)
            elif (place := int(rng.integers(seen))) < count:
                rows[place], owners[place] = row.copy(), face.subject_id
    return np.array(rows, np.float32), np.array(owners, np.int64)


def _exact(home: Home, asked: Floats) -> tuple[Floats, Ids]:
    """Each probe's score to every subject that has faces: float32 (P, S), and int64 (S,)."""
    columns: dict[int, int] = {}
    best = np.full((64, len(asked)), -2.0, np.float32)
    for batch in home.batches():
        real = [i for i, face in enumerate(batch.faces) if not face.negative]
        if not real:
            continue
        at = np.array([columns.setdefault(batch.faces[i].subject_id, len(columns)) for i in real], np.int64)
        while len(columns) > len(best):
            best = np.concatenate([best, np.full_like(best, -2.0)])
        np.maximum.at(best, at, batch.embeddings[real] @ asked.T)
    return best[: len(columns)].T, np.array(list(columns), np.int64)
