"""How a subject with several faces scores: by its nearest face, by the mean of its faces, or by both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from mien.gallery.home import Home
    from mien.gallery.records import Ids
    from mien.match import Candidate
    from mien.types import Floats

__all__ = ["CALIBRATED", "NEAREST", "RULES", "Rule", "check_rule", "mean_templates", "means_of", "ranked", "top_mean"]

Rule: TypeAlias = Literal["blend", "max", "mean", "top3"]
"""A subject's score: the highest cosine to its faces ("max"); the cosine to their mean ("mean"); half of each, for the
`NEAREST` subjects by their nearest face ("blend"); or the mean of the three highest ("top3").

A subject with one face scores alike by all of them. On strangers the blend scores as the nearest face does, so that a
calibration made with "max" serves it, and known people score higher: `benchmarks/score_rules.py`.
"""

NEAREST = 32
"""Subjects that "blend" looks at. It is a part of the rule, not an approximation: a subject of whom no face is among
those of the 32 nearest subjects is not meant."""

CALIBRATED: tuple[str, ...] = ("blend", "max")
"""Rules whose scores the calibrations are right for."""

RULES: tuple[str, ...] = get_args(Rule)

_SLACK = 1e-5  # two ways to compute one cosine differ by less
_FIRST = 16  # subjects asked for before widening


def check_rule(rule: str) -> None:
    """Raises InputError unless `rule` is one of `RULES`."""
    if rule not in RULES:
        raise InputError(f"rule: expected one of {', '.join(RULES)}, got {rule!r}")


def ranked(home: Home, probes: Floats, *, rule: Rule, k: int, group: str | None = None) -> list[list[Candidate]]:
    """The k best subjects of each probe by a rule, best first; exact where the home's search is.

    Args:
        home: where to search.
        probes: float32 (Q, D), unit norm.
        rule: how a subject scores.
        k: subjects wanted.
        group: only subjects of this group.
    """
    if rule == "max" or not len(probes):
        return home.search(probes, k=k, group=group)
    if rule == "blend":
        return _blended(home, probes, home.search(probes, k=max(NEAREST, k), group=group), k)
    if rule == "top3":
        first = home.search(probes, k=max(_FIRST, k), group=group)
        return [_by_top(home, probe, found, k, group) for probe, found in zip(probes, first, strict=True)]
    templates = mean_templates(home, group)
    return [_by_mean(home, probe, templates, k, group) for probe in probes]


def top_mean(scores: Floats, count: int = 3) -> float:
    """Mean of the highest scores, or of all where they are fewer.

    >>> top_mean(np.array([0.5, 0.2, 0.8, 0.6]), 2)
    0.7
    """
    return float(np.sort(scores)[-count:].mean())


def mean_templates(home: Home, group: str | None = None) -> tuple[Ids, Floats]:
    """Every subject's mean template: int64 (S,) ids and float32 (S, D), unit norm; those without faces are left out."""
    remembered = getattr(home, "mean_templates", None)
    if remembered is not None:
        ids, means = remembered()
        if group is not None:
            keep = np.isin(ids, [subject.id for subject in home.subjects(group=group)])
            ids, means = ids[keep], means[keep]
        return ids, means
    vectors, owners = home.template_faces([subject.id for subject in home.subjects(group=group)])
    return means_of(vectors, owners)


def means_of(vectors: Floats, owners: Ids) -> tuple[Ids, Floats]:
    """The mean of each owner's vectors, scaled to unit norm: int64 (S,) and float32 (S, D)."""
    if not len(owners):
        return owners, vectors
    order = np.argsort(owners, kind="stable")
    ids, starts = np.unique(owners[order], return_index=True)
    sums = np.add.reduceat(vectors[order], starts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return ids, np.asarray(sums / np.maximum(lengths, 1e-12), np.float32)


def _blended(home: Home, probes: Floats, found: list[list[Candidate]], k: int) -> list[list[Candidate]]:
    """Re-rank the nearest subjects of all probes; their faces are fetched once."""
    wanted = sorted({candidate.subject_id for row in found for candidate in row})
    if not wanted:
        return found
    ids, means = means_of(*home.template_faces(wanted))
    place = {subject_id: i for i, subject_id in enumerate(ids.tolist())}
    ranked_rows = []
    for probe, row in zip(probes, found, strict=True):
        here = [candidate for candidate in row if candidate.subject_id in place]  # others were removed in between
        cosines = means[[place[candidate.subject_id] for candidate in here]] @ probe
        scored = [
            replace(candidate, score=min(1.0, max(-1.0, (candidate.score + float(cosine)) / 2)))
            for candidate, cosine in zip(here, cosines, strict=True)
        ]
        ranked_rows.append(sorted(scored, key=lambda candidate: -candidate.score)[:k])
    return ranked_rows


def _by_top(home: Home, probe: Floats, found: list[Candidate], k: int, group: str | None) -> list[Candidate]:
    """Widen the search until nobody outside can be among the k best: their highest cosine bounds their mean."""
    asked = max(_FIRST, k)
    while True:
        vectors, owners = home.template_faces([candidate.subject_id for candidate in found])
        scores = vectors @ probe
        scored = []
        for candidate in found:
            own = scores[owners == candidate.subject_id]
            score = top_mean(own) if len(own) else candidate.score  # removed in between
            scored.append(replace(candidate, score=min(1.0, max(-1.0, score))))
        scored.sort(key=lambda candidate: -candidate.score)
        if len(found) < asked or scored[k - 1].score > found[-1].score + _SLACK:
            return scored[:k]
        asked *= 8
        found = home.search(probe[None], k=asked, group=group)[0]


def _by_mean(home: Home, probe: Floats, templates: tuple[Ids, Floats], k: int, group: str | None) -> list[Candidate]:
    """Rank by all mean templates, then widen the search until it tells of all of the k best."""
    ids, means = templates
    if not len(ids):
        return []
    scores = means @ probe
    best = np.argsort(-scores, kind="stable")[:k]
    asked = max(_FIRST, k)
    while True:
        found = {candidate.subject_id: candidate for candidate in home.search(probe[None], k=asked, group=group)[0]}
        if len(found) < asked or all(int(ids[i]) in found for i in best):
            break
        asked *= 8
    return [
        replace(found[int(ids[i])], score=min(1.0, max(-1.0, float(scores[i])))) for i in best if int(ids[i]) in found
    ]
