"""From the scores of a verification to its result: rates with intervals, by resampling people where they are known."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.experiment import FAILED_SCORE
from mien.evaluate.metrics.bootstrap import bootstrap_eer, bootstrap_tar
from mien.evaluate.metrics.curves import roc_points, thinned
from mien.evaluate.metrics.fixed_threshold import MIN_PEOPLE
from mien.evaluate.metrics.scores import ScoreSet, histogram
from mien.evaluate.metrics.thresholds import allowed_errors
from mien.evaluate.metrics.verification import auc, d_prime, eer, tar_at_far
from mien.evaluate.results import Accuracy, Experiment, PairOfShots, RateAt, VerificationResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.evaluate.metrics.bootstrap import SubjectPairs
    from mien.types import Floats

__all__ = ["FARS", "Worst", "insufficient", "summary"]

FARS: Final = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""False acceptance rates that are reported."""

WILSON: Final = "Wilson, which takes pairs or probes of the same people for independent"
WORK: Final = 30_000_000  # pair weights drawn for one interval: about a second
MARGIN: Final = 4  # times more of the highest scores than a rate needs, for replicates that draw look-alikes often

Worst = tuple[tuple[PairOfShots, ...], tuple[PairOfShots, ...]]
"""The impostor pairs with the highest scores, and the genuine pairs with the lowest."""


def summary(
    experiment: Experiment,
    scores: ScoreSet,
    pairs: SubjectPairs | None,
    *,
    fars: Sequence[float],
    accuracy: Accuracy,
    worst: Worst,
) -> VerificationResult:
    """The result of a verification.

    Args:
        experiment: the facts of it.
        scores: all scores.
        pairs: the same with the people they belong to, to resample; None where nobody knows them.
        fars: false acceptance rates to report TAR at.
        accuracy: over folds.
        worst: pairs to look at.
    """
    failed = (0, 0)
    if experiment.failure_policy == "error" and experiment.failures:
        failed = (_failed(scores.genuine), _failed(scores.impostor))
    # Their scores are a convention: they are errors to count, but would put means and histograms anywhere.
    own = _without(scores, failed)
    try:
        distance: float | None = d_prime(own) if own else None
    except InputError:  # a single score of a kind, or all are equal
        distance = None
    began = time.monotonic()
    equal_error = eer(scores)
    equal, why = _eer_interval(pairs, equal_error.rate, experiment.seed)
    result = VerificationResult(
        experiment=experiment,
        scores=scores,
        accuracy=accuracy,
        eer=equal_error,
        eer_interval=equal,
        eer_reason=why,
        auc=auc(scores),
        d_prime=distance if distance is not None and distance < float("inf") else None,
        tar_at_far=tuple(_tar(scores, pairs, far, experiment.seed) for far in sorted(set(fars), reverse=True)),
        curve=thinned(roc_points(scores)),
        histogram=histogram(own or scores),
        false_matches=worst[0],
        false_non_matches=worst[1],
        failed=failed,
    )
    return replace(result, experiment=replace(experiment, seconds=experiment.seconds + time.monotonic() - began))


def insufficient(target: float, trials: int, what: str) -> RateAt:
    """No rate, because there are too few trials to measure `target` on."""
    least = -int(-1 / target // 1)
    reason = f"insufficient data: {trials} {what}, at least {least} needed"
    return RateAt(target, None, None, None, None, None, reason=reason)


def replicates_for(pairs: int) -> int:
    """How many replicates of so many pairs take about a second, within reason."""
    return max(100, min(1000, WORK // max(pairs, 1)))


def _tar(scores: ScoreSet, pairs: SubjectPairs | None, far: float, seed: int) -> RateAt:
    found = tar_at_far(scores, far)
    if not found.sufficient:
        return insufficient(far, found.impostors, "impostor pairs")
    low, high, how = found.low, found.high, WILSON
    # Where nothing went wrong, nothing does in a replicate either, and few people make few different replicates: then
    # Wilson's interval is the honest one.
    enough = pairs is not None and pairs.subjects >= MIN_PEOPLE
    if pairs is not None and enough and 0 < found.tar < 1 and _long_enough(pairs, allowed_errors(far, found.impostors)):
        # A replicate may draw look-alikes more often than the kept scores reach.
        with contextlib.suppress(InputError):
            interval = bootstrap_tar(pairs, far, replicates=replicates_for(len(pairs.impostor)), seed=seed)
            low, high, how = interval.low, interval.high, _how(pairs, interval.replicates)
    return RateAt(far, found.tar, low, high, found.threshold, found.far, how)


def _eer_interval(pairs: SubjectPairs | None, rate: float, seed: int) -> tuple[tuple[float, float, str] | None, str]:
    """The interval and how it was found, or None and why there is none."""
    if pairs is None:
        return None, "the protocol does not tell whose pictures they are, so people cannot be resampled"
    if pairs.subjects < MIN_PEOPLE:
        return None, f"too few people to resample: {pairs.subjects}, at least {MIN_PEOPLE} needed"
    if not 0 < rate < 1:
        return None, "no error was seen, so that resampling shows none either"
    try:
        found = bootstrap_eer(pairs, replicates=replicates_for(len(pairs.impostor)), seed=seed)
    except InputError:
        return None, f"the {len(pairs.impostor)} highest impostor scores, which are resampled, do not reach down to it"
    return (found.low, found.high, _how(pairs, found.replicates)), ""


def _failed(ascending: Floats) -> int:
    return int(np.searchsorted(ascending, FAILED_SCORE, side="right"))


def _without(scores: ScoreSet, failed: tuple[int, int]) -> ScoreSet | None:
    """The scores without the lowest `failed` of each class; None where that leaves nothing of one."""
    genuine, impostor = scores.genuine[failed[0] :], scores.impostor[failed[1] :]
    return ScoreSet(genuine, impostor) if len(genuine) and len(impostor) else None


def _long_enough(pairs: SubjectPairs, needed: int) -> bool:
    return pairs.pictures is None or len(pairs.impostor) >= MARGIN * (needed + 1)


def _how(pairs: SubjectPairs, replicates: int) -> str:
    return f"bootstrap over {pairs.subjects} people, {replicates} replicates"
