"""Whose pictures do not belong in a folder: wrong people, folders that hold two, and two folders that hold one.

1. The faces of a folder are joined into people by average linkage; the largest group is its core.
2. Every face is scored with its own folder's core and with those of the others: the mean cosine to the core's faces
   (to the others of them, for a face of the core). The scores with the other folders say what a stranger to this face
   scores, so the own score is written in standard deviations above strangers; with few other folders the model's
   calibration stands in for them.
3. The cores are chosen anew by these scores, and the faces scored once more.
4. A second group that is large enough and stays together is a second person. Other faces below the limit are wrong,
   and so are faces that score clearly higher with another folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.prepare.linkage import average_linkage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mien.match import Calibration
    from mien.types import Floats

__all__ = ["CleanRules", "Cleaned", "FolderPair", "Verdict", "find_wrong"]

_AT_ONCE: Final = 1 << 22  # scores in a block
_COHORT: Final = 512  # other folders that say what strangers score
_NO_SCORE: Final = np.nan


class Verdict(IntEnum):
    """What is said of a picture."""

    KEEP = 0
    REVIEW = 1
    WRONG = 2
    SECOND = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanRules:
    """The limits; the defaults were chosen on half of the people of a set and measured on the others.

    Attributes:
        link: faces of a folder are one person while they score this on average, a cosine.
        same: two folders are one person when their faces score this on average, a cosine.
        stranger_mean, stranger_sd: scores of two strangers, where there are too few folders to measure them.
        trust: other folders that count as much as these two numbers.
        wrong: standard deviations above strangers below which a face is wrong.
        review: below which it is listed for review.
        other: by how much more another folder must fit.
        second_least: faces of a second person at least.
        second_share: and as a share of the first person's.
    """

    link: float
    same: float
    stranger_mean: float
    stranger_sd: float
    trust: float = 10.0
    wrong: float = 1.6
    review: float = 2.2
    other: float = 0.3
    second_least: int = 3
    second_share: float = 0.1

    @classmethod
    def of(cls, calibration: Calibration) -> CleanRules:
        """The rules for a model: its cosines by what they mean."""
        strangers = calibration.impostor
        return cls(
            link=calibration.threshold(fmr=0.02),
            same=calibration.threshold(fmr=0.002),
            stranger_mean=strangers.mean,
            stranger_sd=strangers.sd,
        )


@dataclass(frozen=True, slots=True)
class FolderPair:
    """Two folders that seem to hold one person: their positions, and the mean cosine of their faces."""

    a: int
    b: int
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """What was found about N faces of K folders.

    Attributes:
        verdict: int8 (N,), see `Verdict`.
        score: float32 (N,) standard deviations above strangers of the own folder; NaN where there is no face, or
            nothing to compare with.
        nearest: (N,) the other folder that fits best; -1 for none.
        nearest_score: float32 (N,) that one's, likewise.
        group: (N,) the person in the folder, 0 for its core's; -1 for neither.
        second: folders that hold two people.
        same: pairs of folders that hold one, the surest first.
    """

    verdict: NDArray[np.int8]
    score: Floats
    nearest: NDArray[np.intp]
    nearest_score: Floats
    group: NDArray[np.intp]
    second: tuple[int, ...]
    same: tuple[FolderPair, ...]


def find_wrong(
    vectors: Floats,
    folder: NDArray[np.intp],
    rules: CleanRules,
    *,
    evidence: NDArray[np.float64] | None = None,
) -> Cleaned:
    """Say of every face whether it belongs in its folder. Folders with one face, alone or beside wrong ones, are kept.

    Args:
        vectors: (N, D) unit rows; rows of zeros, and only these, are pictures without a face.
        folder: (N,) which folder each is in, 0 to K - 1.
        rules: the limits.
        evidence: (N,) from elsewhere, such as a training's sub-centers: 1 says wrong, 0 right, 0.5 and NaN nothing.
            It moves a face's score by up to one standard deviation.

    Returns:
        For pictures without a face the verdict REVIEW.
    """
    has = np.einsum("nd,nd->n", vectors, vectors) > 0.25
    k = int(folder.max(initial=-1)) + 1
    rows_of = _rows_of(folder, has, k)
    group = np.full(len(folder), -1, np.intp)
    for rows in rows_of:
        group[rows] = average_linkage(vectors[rows], rules.link) if len(rows) else 0
    core = group == 0
    first = _scored(vectors, folder, core, has, k, rules)
    again = np.where(core, first.own > rules.review, first.own > rules.review + 0.5)
    empty = np.bincount(folder[again & has], minlength=k) * 2 < np.bincount(folder[core & has], minlength=k)
    again[empty[folder]] = core[empty[folder]]  # a folder like no other rule expects: the first core stands
    second = _second_people(group, rows_of, first, rules)
    again[second] = False
    scored = _scored(vectors, folder, again, has, k, rules)
    own = scored.own.copy()
    if evidence is not None:
        own -= np.nan_to_num(2 * np.clip(evidence, 0, 1) - 1)
    verdict = _verdicts(own, scored, rules)
    verdict[second & (verdict != Verdict.KEEP)] = Verdict.SECOND
    verdict[second & (scored.best > own)] = Verdict.SECOND
    two = tuple(np.unique(folder[verdict == Verdict.SECOND]).tolist())
    verdict[~has] = Verdict.REVIEW
    person = np.where(verdict == Verdict.SECOND, group, np.where(verdict <= Verdict.REVIEW, 0, -1))
    same = tuple(_one_person(scored.means, rules.same))
    return Cleaned(verdict, own.astype(np.float32), scored.nearest, scored.best.astype(np.float32), person, two, same)


@dataclass(slots=True)
class _Scores:
    """Faces against folders, in standard deviations above strangers; `means` (K, D) of the cores."""

    own: NDArray[np.float64]
    best: NDArray[np.float64]
    nearest: NDArray[np.intp]
    means: Floats


def _scored(  # noqa: PLR0917
    vectors: Floats,
    folder: NDArray[np.intp],
    core: NDArray[np.bool_],
    has: NDArray[np.bool_],
    k: int,
    rules: CleanRules,
) -> _Scores:
    n = len(vectors)
    used = core & has
    count = np.bincount(folder[used], minlength=k)
    sums: Floats = np.zeros((k, vectors.shape[1]), np.float32)
    np.add.at(sums, folder[used], vectors[used])
    means = (sums / np.maximum(count, 1)[:, None]).astype(np.float32)
    full = np.flatnonzero(count)
    cohort = full if len(full) <= _COHORT else full[np.linspace(0, len(full) - 1, _COHORT).astype(np.intp)]
    found = _Scores(np.full(n, np.nan), np.full(n, np.nan), np.full(n, -1, np.intp), means)
    for rows in _blocks(np.flatnonzero(has), max(k, 1)):
        at, here = folder[rows], np.arange(len(rows))
        scores = vectors[rows] @ means.T
        own, others = scores[here, at].astype(np.float64), count[at] - used[rows]
        # A face of the core must not be compared with itself.
        own = np.where(used[rows], (own * count[at] - 1) / np.maximum(others, 1), own)
        own[others == 0] = np.nan
        scores[here, at] = np.nan
        strangers = scores[:, cohort].astype(np.float64)
        mean, sd = _spread(strangers, rules)
        found.own[rows] = (own - mean) / sd
        scores[:, count == 0] = np.nan
        scores = np.where(np.isnan(scores), -np.inf, scores)
        best = scores.argmax(axis=1)
        value = scores[here, best].astype(np.float64)
        some = np.isfinite(value)
        found.nearest[rows] = np.where(some, best, -1)
        found.best[rows] = np.where(some, (np.where(some, value, 0) - mean) / sd, np.nan)
    return found


def _spread(strangers: NDArray[np.float64], rules: CleanRules) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of what strangers score with each face; few strangers lean on the calibration."""
    n = (~np.isnan(strangers)).sum(axis=1)
    filled = np.nan_to_num(strangers)
    mean = filled.sum(axis=1) / np.maximum(n, 1)
    sd = np.sqrt(np.where(np.isnan(strangers), 0, (filled - mean[:, None]) ** 2).sum(axis=1) / np.maximum(n, 1))
    weight = n / (n + rules.trust)
    return weight * mean + (1 - weight) * rules.stranger_mean, weight * sd + (1 - weight) * rules.stranger_sd


def _second_people(
    group: NDArray[np.intp], rows_of: list[NDArray[np.intp]], first: _Scores, rules: CleanRules
) -> NDArray[np.bool_]:
    """Faces of groups that are large enough to be a person of their own, and unlike the core."""
    second = np.zeros(len(group), np.bool_)
    for rows in rows_of:
        sizes = np.bincount(group[rows]) if len(rows) else np.zeros(1, np.intp)
        for g in range(1, len(sizes)):
            if sizes[g] < max(rules.second_least, rules.second_share * sizes[0]):
                break
            members = rows[group[rows] == g]
            if np.nanmedian(first.own[members]) < rules.review:
                second[members] = True
    return second


def _verdicts(own: NDArray[np.float64], scored: _Scores, rules: CleanRules) -> NDArray[np.int8]:
    verdict = np.full(len(own), Verdict.KEEP, np.int8)
    with np.errstate(invalid="ignore"):
        elsewhere = scored.best - own
        verdict[(own < rules.review) | (elsewhere > 0)] = Verdict.REVIEW
        verdict[(own < rules.wrong) | (elsewhere > rules.other)] = Verdict.WRONG
    return verdict


def _one_person(means: NDArray[np.float32], least: float) -> Iterator[FolderPair]:
    """Pairs of folders whose faces score `least` or more on average, the highest first."""
    found: list[FolderPair] = []
    step = max(1, _AT_ONCE // max(len(means), 1))
    for start in range(0, len(means), step):
        scores = means[start : start + step] @ means.T
        a, b = np.nonzero(scores >= least)
        keep = a + start < b
        found += [
            FolderPair(int(i) + start, int(j), float(scores[i, j])) for i, j in zip(a[keep], b[keep], strict=True)
        ]
    yield from sorted(found, key=lambda pair: -pair.score)


def _rows_of(folder: NDArray[np.intp], has: NDArray[np.bool_], k: int) -> list[NDArray[np.intp]]:
    order = np.argsort(folder, kind="stable")
    parts = np.split(order, np.searchsorted(folder[order], np.arange(1, k))) if k else []
    return [rows[has[rows]] for rows in parts]


def _blocks(rows: NDArray[np.intp], width: int) -> Iterator[NDArray[np.intp]]:
    step = max(1, _AT_ONCE // width)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
