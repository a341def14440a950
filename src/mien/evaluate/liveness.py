"""Presentation attack detection, measured from a table of scores that any program may have written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.curves import roc_points, thinned
from mien.evaluate.metrics.intervals import Rate, wilson
from mien.evaluate.metrics.liveness import LivenessRates, bpcer_at_apcer, liveness_rates
from mien.evaluate.metrics.scores import histogram, score_set
from mien.evaluate.metrics.thresholds import allowed_errors
from mien.evaluate.metrics.verification import auc, eer
from mien.evaluate.protocols.columns import PICTURE, Column, read_columns
from mien.evaluate.results import rate_key
from mien.images import source_name

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mien.evaluate.measured import Call, Measured
    from mien.evaluate.metrics.curves import Curve
    from mien.evaluate.metrics.scores import ScoreHistogram
    from mien.types import Floats

__all__ = ["APCERS", "BPCERS", "LivenessResult", "LivenessScores", "OperatingRates", "measure_liveness", "read_scores"]

APCERS: Final = (0.1, 0.05, 0.01)
"""Stated APCERs at which BPCER is reported: BPCER10, BPCER20 and BPCER100."""

BPCERS: Final = (0.01,)
"""Stated BPCERs at which APCER is reported."""

_LIVE: Final = frozenset({"", "bona fide", "bona-fide", "bonafide", "bona_fide", "genuine", "live", "real", "none"})
_MOST_TYPES: Final = 200
_REPLICATES: Final = 2000

RULES: Final = (
    "Scores are higher for live faces; a score at or above the threshold passes. APCER is counted for each attack type "
    "on its own, and the worst type speaks for the system: ACER is the mean of the worst APCER and of BPCER (ISO/IEC "
    "30107-3). The equal error rate, the curve and AUC take all attacks together. Intervals of rates are Wilson's, "
    "that of ACER draws every rate from Jeffreys' posterior; both take presentations for independent, which those of "
    "one person or of one recording are not."
)


@dataclass(frozen=True, slots=True, eq=False)
class LivenessScores:
    """Scores of presentations: float32, of live faces and of attacks by type."""

    live: Floats
    attacks: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class OperatingRates:
    """Rates at one threshold.

    Attributes:
        title: how the threshold was chosen, in words.
        key: the same, for programs.
        rates: the rates; None where there is not enough data for the stated rate.
        acer_low, acer_high: 95 % interval of ACER.
        reason: why there are no rates; empty where there are.
    """

    title: str
    key: str
    rates: LivenessRates | None
    acer_low: float | None = None
    acer_high: float | None = None
    reason: str = ""

    def record(self) -> dict[str, Any]:
        """In JSON."""
        if self.rates is None:
            keys = ("threshold", "acer", "acer_low", "acer_high", "bpcer", "worst", "apcer")
            return {"rule": self.title, **dict.fromkeys(keys), "reason": self.reason}
        return {
            "rule": self.title,
            "threshold": _number(self.rates.threshold),
            "acer": self.rates.acer,
            "acer_low": self.acer_low,
            "acer_high": self.acer_high,
            "bpcer": _rate(self.rates.bpcer),
            "worst": self.rates.worst,
            "apcer": {name: _rate(rate) for name, rate in self.rates.apcer.items()},
            "reason": None,
        }


@dataclass(frozen=True, slots=True, eq=False)
class LivenessResult:
    """What `evaluate liveness` found.

    Attributes:
        experiment: what was measured, and how.
        live: presentations of live faces.
        attacks: presentations of each attack type.
        eer: with all attacks together.
        auc: likewise.
        points: rates at a given threshold, at that of the equal error rate, and at stated rates.
        curve: BPCER (`fnmr`) against APCER (`fmr`), all attacks together, thinned for drawing.
        histogram: of both classes.
        warning: something that looks wrong about the scores; empty if nothing does.
    """

    experiment: Measured
    live: int
    attacks: Mapping[str, int]
    eer: float
    auc: float
    points: tuple[OperatingRates, ...]
    curve: Curve
    histogram: ScoreHistogram
    warning: str = ""

    def record(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            **self.experiment.record("liveness"),
            "bona_fide": self.live,
            "attacks": dict(self.attacks),
            "eer": self.eer,
            "auc": self.auc,
            "points": {point.key: point.record() for point in self.points},
            "warning": self.warning or None,
        }


def read_scores(path: str | os.PathLike[str]) -> LivenessScores:
    """Read a CSV file with columns picture, attack (empty or bona fide for a live face) and score.

    Raises:
        InputError: the file is not such a table, names a presentation twice, has a score that is not a finite number,
            or has presentations of one class only.
    """
    columns = (
        PICTURE,
        Column("attack", ("attack_type", "type", "pai", "label")),
        Column("score", ("liveness", "live_score", "probability")),
    )
    seen: dict[str, str] = {}
    live: list[float] = []
    attacks: dict[str, list[float]] = {}
    for row in read_columns(path, columns):
        name = row.text("picture")
        if not name:
            raise row.line.wrong("the name of a picture")
        if name in seen:
            raise row.line.wrong(f"a picture that is not named before (at {seen[name]});")
        seen[name] = row.line.where.rpartition(", ")[2]
        kind, score = row.text("attack"), row.number("score")
        if kind.lower() in _LIVE:
            live.append(score)
            continue
        if kind not in attacks and len(attacks) >= _MOST_TYPES:
            raise row.line.wrong(f"at most {_MOST_TYPES} attack types; is the column of attacks the right one?")
        attacks.setdefault(kind, []).append(score)
    shown = source_name(path)
    if not live or not attacks:
        lacking = "attack" if live else "live face (an empty attack, or bona fide)"
        raise InputError(f"{shown}: expected presentations of both kinds, but there is no {lacking}")
    return LivenessScores(
        np.array(live, np.float32), {name: np.array(attacks[name], np.float32) for name in sorted(attacks)}
    )


def measure_liveness(
    scores: LivenessScores,
    name: str,
    call: Call,
    *,
    threshold: float | None = None,
    apcers: Sequence[float] = APCERS,
    bpcers: Sequence[float] = BPCERS,
) -> LivenessResult:
    """Measure scores that were read from a file called `name`.

    Args:
        scores: of live faces and of attacks.
        name: of the file.
        call: how it was asked for.
        threshold: a threshold to report the rates at.
        apcers: stated APCERs to report BPCER at.
        bpcers: stated BPCERs to report APCER at.

    Raises:
        InputError: `threshold` is not finite, or a stated rate is none.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise InputError(f"threshold: expected a finite number, got {threshold}")
    live, attacks = scores.live, scores.attacks
    both = score_set(live, np.concatenate(list(attacks.values())))
    equal, area = eer(both), auc(both)
    points = []
    if threshold is not None:
        points.append(_point(f"threshold {threshold:g}, as given", "given", scores, threshold, call.seed))
    points.append(_point("equal error rate, all attacks together", "eer", scores, equal.threshold, call.seed))
    points += [_at_bpcer(scores, bpcer, call.seed) for bpcer in sorted(set(bpcers), reverse=True)]
    points += [_at_apcer(scores, apcer, call.seed) for apcer in sorted(set(apcers), reverse=True)]
    total = len(live) + sum(map(len, attacks.values()))
    warning = ""
    if area < 0.5:
        warning = "attacks score higher than live faces: are these scores higher for attacks? Then negate them"
    return LivenessResult(
        experiment=call.measured(name, RULES, pictures=total),
        live=len(live),
        attacks={name: len(values) for name, values in attacks.items()},
        eer=equal.rate,
        auc=area,
        points=tuple(points),
        curve=thinned(roc_points(both)),
        histogram=histogram(both),
        warning=warning,
    )


def _at_bpcer(scores: LivenessScores, bpcer: float, seed: int) -> OperatingRates:
    title, key = f"BPCER at most {rate_key(bpcer)}", f"bpcer_{rate_key(bpcer)}"
    if not 0 < bpcer < 1:
        raise InputError(f"bpcer: expected a rate between 0 and 1 (for example 0.01), got {bpcer!r}")
    n = len(scores.live)
    if bpcer * n * (1 + 1e-12) < 1:
        return OperatingRates(title, key, None, reason=_insufficient(n, "live faces", bpcer))
    # The highest threshold that refuses no more: at the first score that has to pass.
    least = float(np.sort(scores.live)[allowed_errors(bpcer, n)])
    return _point(title, key, scores, least, seed)


def _at_apcer(scores: LivenessScores, apcer: float, seed: int) -> OperatingRates:
    title, key = f"APCER of every type at most {rate_key(apcer)}", f"apcer_{rate_key(apcer)}"
    found = bpcer_at_apcer(scores.live, scores.attacks, apcer)
    if not found.sufficient:
        fewest = min(scores.attacks, key=lambda name: len(scores.attacks[name]))
        said = _insufficient(len(scores.attacks[fewest]), f"attacks of the type {fewest}", apcer)
        return OperatingRates(title, key, None, reason=said)
    return _point(title, key, scores, found.rates.threshold, seed)


def _point(title: str, key: str, scores: LivenessScores, threshold: float, seed: int) -> OperatingRates:
    rates = liveness_rates(scores.live, scores.attacks, threshold)
    low, high = _acer_interval(rates, seed)
    return OperatingRates(title, key, rates, low, high)


def _acer_interval(rates: LivenessRates, seed: int) -> tuple[float, float]:
    """Percentiles of ACER over draws of every rate from what its counts tell (Jeffreys' posterior).

    Resampling would claim that a rate without errors is certainly 0; this does not.
    """
    random = np.random.default_rng(seed)

    def drawn(rate: Rate) -> NDArray[np.float64]:
        return random.beta(rate.count + 0.5, rate.trials - rate.count + 0.5, _REPLICATES)

    worst = np.max([drawn(rate) for rate in rates.apcer.values()], axis=0)
    low, high = np.percentile((worst + drawn(rates.bpcer)) / 2, [2.5, 97.5])
    return min(float(low), rates.acer), max(float(high), rates.acer)


def _insufficient(n: int, what: str, rate: float) -> str:
    return f"insufficient data: {n} {what}, at least {math.ceil(1 / rate - 1e-9)} needed"


def _rate(rate: Rate) -> dict[str, Any]:
    low, high = wilson(rate.count, rate.trials)
    return {"value": rate.value, "low": low, "high": high, "errors": rate.count, "presentations": rate.trials}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
