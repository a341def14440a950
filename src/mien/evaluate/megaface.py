"""MegaFace, measured: rank 1 against the number of distractors, and verification at a very low FAR.

Distractors are embedded or read a stretch at a time, in their order, and only the best scores of each probe and the
highest of all stay in memory: a million of them cost no more than a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.experiment import FAILED_SCORE
from mien.evaluate.metrics.clustering_intervals import resampled_sums
from mien.evaluate.metrics.distractors import DistractorScores, probe_pairs
from mien.evaluate.metrics.intervals import wilson
from mien.evaluate.metrics.tail import ScoreTail, TailCollector
from mien.evaluate.metrics.thresholds import allowed_errors
from mien.evaluate.metrics.verification import tar_at_far_of_tail
from mien.evaluate.rates import WILSON, insufficient
from mien.evaluate.results import RateAt, rate_key
from mien.match.calibration import check_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from mien.evaluate.distractor_sources import Distractors
    from mien.evaluate.embeddings import Embedded
    from mien.evaluate.experiment import Setup
    from mien.evaluate.protocols.sets import IdentificationSet
    from mien.evaluate.results import Experiment
    from mien.types import Floats

__all__ = ["SIZES", "MegafaceResult", "RankAt", "measure_megaface"]

SIZES: Final = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
"""Numbers of distractors at which rank 1 is reported."""

FARS: Final = (1e-3, 1e-4, 1e-5, 1e-6)
_REPLICATES: Final = 1000
_TAIL: Final = 20_000_000  # of the highest scores, kept at most: 240 MB

_RULES: Final = {
    "error": "A probe in which no face is found, or that cannot be read, is never found and finds nobody: its genuine "
    "pairs are misses. A distractor without a face cannot be taken for anybody, and is not counted.",
    "exclude": "Probes and distractors in which no face is found, or that cannot be read, are left out.",
}


@dataclass(frozen=True, slots=True)
class RankAt:
    """Rank 1 among so many distractors.

    Attributes:
        distractors: how many were drawn.
        searched: how many of them have an embedding.
        rate: share of the pairs (probe, mate) whose mate comes first.
        low, high: 95 % interval.
        interval: how it was found.
    """

    distractors: int
    searched: int
    rate: float
    low: float
    high: float
    interval: str

    def record(self) -> dict[str, Any]:
        """In JSON."""
        return {key: getattr(self, key) for key in ("searched", "rate", "low", "high", "interval")}


@dataclass(frozen=True, slots=True, eq=False)
class MegafaceResult:
    """What MegaFace found.

    Attributes:
        experiment: what was measured, and how.
        people, probes: people with two probes or more, and their probes.
        pairs: pairs (probe, mate), each in either role.
        distractors: how many there are.
        ranks: rank 1 by the number of distractors.
        tar_at_far: TAR (that is VR) at stated FARs among all distractors.
        failed: pairs of which a probe has no embedding.
        genuine_mean: mean score of the other pairs.
        impostors: comparisons of a probe with a distractor.
    """

    experiment: Experiment
    people: int
    probes: int
    pairs: int
    distractors: int
    ranks: tuple[RankAt, ...]
    tar_at_far: tuple[RateAt, ...]
    failed: int
    genuine_mean: float
    impostors: int

    def record(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            **self.experiment.record("megaface"),
            "people": self.people,
            "probes": self.probes,
            "pairs": self.pairs,
            "distractors": self.distractors,
            "rank_1": {str(row.distractors): row.record() for row in self.ranks},
            "tar_at_far": {rate_key(row.target): row.record("tar", "far") for row in self.tar_at_far},
            "genuine": {"n": self.pairs, "failed": self.failed, "mean": self.genuine_mean},
            "impostor": {"n": self.impostors, "mean": None},
        }


def measure_megaface(
    data: IdentificationSet,
    probes: Embedded,
    distractors: Distractors,
    setup: Setup,
    *,
    sizes: Sequence[int] = SIZES,
    fars: Sequence[float] = FARS,
    advance: Callable[[int], None] = lambda _n: None,
) -> MegafaceResult:
    """Measure a probe set among distractors.

    Args:
        data: the set, of the scheme "each-mate"; its distractors are not looked at.
        probes: embeddings of the set's pictures.
        distractors: those that are searched, in the order in which more and more of them are taken.
        setup: what is measured, and how.
        sizes: numbers of distractors to report rank 1 at; those above their number become all of them.
        fars: false acceptance rates to report TAR at.
        advance: is told how many more distractors are done.

    Raises:
        InputError: no pair of probes can be compared, no distractor has an embedding, or a size or a rate is none.
    """
    if data.scheme != "each-mate":
        raise InputError(f"{data.name}: expected a set of probes and mates, got one for a {data.scheme} search")
    if not len(distractors) or any(size < 1 for size in sizes):
        raise InputError("distractors: expected at least one, and sizes of at least 1")
    subject = np.asarray(data.templates.subject)[data.known]
    found = probes.found[data.known]
    rows, whose = probes.vectors[data.known][found], subject[found]
    if not len(rows) or np.unique(whose, return_counts=True)[1].max() < 2:
        raise InputError(f"{data.name}: nobody can be measured, because no two probes of a person have a face")
    pairs = probe_pairs(rows, whose)
    wanted = sorted({min(size, len(distractors)) for size in sizes})
    # TAR at a stated rate needs so many of the highest scores; a rate that needs too many is not told.
    needed = [allowed_errors(check_rate("far", far), len(rows) * wanted[-1]) + 1 for far in fars]
    tail = TailCollector(max((n for n in needed if n <= _TAIL), default=0))
    best = np.full(len(rows), -np.inf, np.float32)
    searched, ranks = 0, []
    failed = subject[~found] if setup.failures == "error" else subject[:0]
    people, of_person = _counts(whose, failed)
    owner = np.searchsorted(people, whose[pairs.probe])
    for size, scan in _scans(rows, distractors, wanted, tail, advance):
        if scan is not None:
            searched += scan.distractors
            np.maximum(best, scan.best[:, 0], out=best)
        if size in wanted:
            first = pairs.scores > best[pairs.probe]  # ties count against the system
            hits = np.bincount(owner[first], minlength=len(people))
            rate = float(hits.sum() / of_person.sum())
            ranks.append(RankAt(size, searched, rate, *_interval(hits, of_person, setup.seed)))
    if not searched:
        raise InputError(f"{data.name}: no face was found in any distractor")
    missing = int(of_person.sum()) - len(pairs.scores)
    # A pair of a failed probe belongs to its person, too, whom resampling draws.
    lost = np.repeat(np.arange(len(people)), of_person - np.bincount(owner, minlength=len(people)))
    genuine = np.concatenate([pairs.scores, np.full(missing, FAILED_SCORE, np.float32)])
    highest = ScoreTail(np.clip(tail.sorted()[0], -1, 1), searched * len(rows))
    rule = f"{_RULES[setup.failures]} That concerns {int((~found).sum())} probes, {missing} pairs and "
    rule += f"{wanted[-1] - searched} distractors."
    return MegafaceResult(
        experiment=setup.experiment(data, probes, rule),
        people=len(people),
        probes=len(rows) + len(failed),
        pairs=len(genuine),
        distractors=wanted[-1],
        ranks=tuple(ranks),
        tar_at_far=tuple(
            _tar(genuine, np.concatenate([owner, lost]), of_person, highest, far=far, seed=setup.seed)
            for far in sorted(set(fars), reverse=True)
        ),
        failed=missing,
        genuine_mean=float(pairs.scores.mean(dtype=np.float64)),
        impostors=highest.total,
    )


def _counts(whose: NDArray[np.intp], failed: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The people who are measured, and how many ordered pairs each of them has, failed probes included."""
    people, probes = np.unique(np.concatenate([whose, failed]), return_counts=True)
    pairs = (probes * (probes - 1)).astype(np.int64)
    return people[pairs > 0], pairs[pairs > 0]


def _scans(
    rows: Floats,
    distractors: Distractors,
    wanted: Sequence[int],
    tail: TailCollector,
    advance: Callable[[int], None],
) -> Iterator[tuple[int, DistractorScores | None]]:
    """Stretch by stretch, each ending where a size does: how many there are by then, and what the stretch held."""
    total = wanted[-1]
    ends = sorted({*wanted, *range(distractors.stretch, total, distractors.stretch)})
    for start, stop in pairwise([0, *ends]):
        scan = distractors.scan(rows, start, stop, min(tail.size, (stop - start) * len(rows)))
        if scan is not None:
            tail.offer(scan.tail.scores)
        advance(stop - start)
        yield stop, scan


def _tar(
    genuine: Floats, owner: NDArray[np.intp], of_person: NDArray[np.int64], tail: ScoreTail, *, far: float, seed: int
) -> RateAt:
    if far * tail.total * (1 + 1e-12) < 1:
        return insufficient(far, tail.total, "comparisons with distractors")
    if allowed_errors(far, tail.total) >= len(tail.scores):
        reason = f"only the {len(tail.scores)} highest scores are kept, and this rate needs more of them"
        return RateAt(far, None, None, None, None, None, reason=reason)
    found = tar_at_far_of_tail(genuine, tail, far)
    hits = np.bincount(owner[genuine >= np.float32(found.threshold)], minlength=len(of_person))
    low, high, how = _interval(hits, of_person, seed)
    return RateAt(far, found.tar, low, high, found.threshold, found.far, how)


def _interval(hits: NDArray[np.int64], of_person: NDArray[np.int64], seed: int) -> tuple[float, float, str]:
    """Of the share of pairs that are right, from those of each person and how many each has."""
    right, total = int(hits.sum()), int(of_person.sum())
    if len(hits) < 2 or right in {0, total}:  # where nothing went wrong, nothing does in a replicate
        return *wilson(right, total), WILSON
    sums = resampled_sums(np.stack([hits, of_person], axis=1).astype(np.float64), _REPLICATES, seed)
    low, high = np.percentile(sums[:, 0] / sums[:, 1], [2.5, 97.5]).tolist()
    return low, high, f"bootstrap over {len(hits)} people, {_REPLICATES} replicates"
