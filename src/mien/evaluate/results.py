"""What an evaluation found: frozen results with all that a report draws, and the JSON that programs read.

The JSON shapes are versioned by `VERSION`: keys may be added under the same number, but none is taken away or changes
its meaning. Rates are fractions. All results are immutable, so safe to share between threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from mien.evaluate.groups_results import Groups
    from mien.evaluate.metrics.curves import Curve
    from mien.evaluate.metrics.folds import FoldAccuracy
    from mien.evaluate.metrics.identification import Cmc, Search
    from mien.evaluate.metrics.scores import ScoreHistogram, ScoreSet
    from mien.evaluate.metrics.verification import Eer
    from mien.evaluate.protocols.sets import Exclusion
    from mien.evaluate.twins import TooAlike

__all__ = [
    "VERSION",
    "Accuracy",
    "Experiment",
    "Failure",
    "IdentificationResult",
    "ModelFacts",
    "PairOfShots",
    "RateAt",
    "Shot",
    "VerificationResult",
    "rate_key",
]

VERSION: Final = 1
"""Version of the JSON shapes."""


def rate_key(rate: float) -> str:
    """A rate as a key in JSON: plain decimals.

    >>> rate_key(1e-3), rate_key(1e-5)
    ('0.001', '0.00001')
    """
    return str(np.format_float_positional(rate, trim="-"))


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that gave no embedding.

    Attributes:
        name, reason: its name in the protocol, and why.
        unreadable: whether the picture itself is broken; otherwise no face was found in it.
    """

    name: str
    reason: str
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture that a report shows.

    Attributes:
        name: its name in the protocol.
        source: what `mien.images.decode` takes.
        landmarks: five (x, y) points in image order of the face that was compared; None where there is none.
    """

    name: str
    source: str | memoryview
    landmarks: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True, slots=True)
class PairOfShots:
    """Two pictures that were compared, and their score; of templates, the first picture stands for each."""

    a: Shot
    b: Shot
    score: float

    def record(self) -> dict[str, Any]:
        """The pair in JSON."""
        return {"a": self.a.name, "b": self.b.name, "score": round(self.score, 6)}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What was measured: facts of the model's card.

    Attributes:
        name, preset, sha256, dimension: the model's identity.
        licence: of the weights, as its card says; "unknown" without a card.
        detector, detector_licence: the detector's name, and the licence of its weights.
        settings: what else decides the embeddings, such as the smallest face, in words; empty for the defaults.
        facts: further lines of the card for people: (title, text).
    """

    name: str
    preset: str
    sha256: str
    dimension: int
    licence: str
    detector: str
    detector_licence: str
    settings: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    def record(self) -> dict[str, Any]:
        """The model in JSON."""
        keys = ("name", "preset", "sha256", "dimension", "licence", "detector", "detector_licence", "settings")
        return {key: getattr(self, key) for key in keys}


@dataclass(frozen=True, slots=True)
class Experiment:
    """What both kinds of evaluation have in common.

    Attributes:
        protocol: its name.
        rules: what is measured and how, in the protocol's words.
        failure_policy: "error" (a picture without an embedding is the system's error) or "exclude".
        failure_rule: the same in words.
        failures: pictures that gave no embedding.
        pictures: how many pictures the protocol has.
        exclusions: what was left out and why.
        model: what was measured.
        command: the command line.
        seed: of every random draw.
        date, seconds: when, ISO 8601 in UTC, and how long it took in all.
        cached: how many embeddings came from the cache.
    """

    protocol: str
    rules: str
    failure_policy: str
    failure_rule: str
    failures: tuple[Failure, ...]
    pictures: int
    exclusions: tuple[Exclusion, ...]
    model: ModelFacts
    command: str
    seed: int
    date: str
    seconds: float
    cached: int = 0

    def record(self, kind: str) -> dict[str, Any]:
        """The common part of the JSON."""
        return {
            "version": VERSION,
            "kind": kind,
            "protocol": self.protocol,
            "rules": self.rules,
            "pictures": self.pictures,
            "failures": len(self.failures),
            "failure_policy": self.failure_policy,
            "failure_rule": self.failure_rule,
            "without_face": [f.name for f in self.failures if not f.unreadable],
            "errors": [{"source": f.name, "error": f.reason} for f in self.failures if f.unreadable],
            "exclusions": [{"what": e.what, "why": e.why} for e in self.exclusions],
            "model": self.model.record(),
            "command": self.command,
            "seed": self.seed,
            "date": self.date,
            "seconds": round(self.seconds, 3),
            "cached": self.cached,
        }


@dataclass(frozen=True, slots=True)
class RateAt:
    """A rate of success at a stated rate of false alarms: TAR at FAR, or DIR at FPIR.

    Attributes:
        target: the stated rate.
        rate: the rate of success; None where there are fewer than 1 / `target` trials to measure `target` on.
        low, high: its 95 % interval.
        threshold: the score needed; the smallest one that keeps the stated rate.
        reached: the measured rate of false alarms there.
        interval: how the interval was found.
        reason: why there is no rate; empty where there is one.
    """

    target: float
    rate: float | None
    low: float | None
    high: float | None
    threshold: float | None
    reached: float | None
    interval: str = ""
    reason: str = ""

    def record(self, rate: str, reached: str) -> dict[str, Any]:
        """In JSON, with the names that the two rates have there."""
        found = {rate: self.rate, "low": self.low, "high": self.high, "threshold": self.threshold}
        return {**found, reached: self.reached, "interval": self.interval or None, "reason": self.reason or None}


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of pairs that are decided rightly.

    Attributes:
        found: the folds; None where accuracy is not defined.
        standard_error: over folds; None where there is one fold only.
        rule: where the threshold comes from, or why there is no accuracy.
        low, high: 95 % Wilson interval of one fold's accuracy; None over folds.
    """

    found: FoldAccuracy | None
    standard_error: float | None
    rule: str
    low: float | None = None
    high: float | None = None

    def record(self) -> dict[str, Any]:
        """In JSON."""
        folds = self.found.folds if self.found else ()
        return {
            "mean": self.found.mean if self.found else None,
            "standard_error": self.standard_error,
            "low": self.low,
            "high": self.high,
            "rule": self.rule,
            "folds": [{"accuracy": f.accuracy, "threshold": f.threshold, "pairs": f.pairs} for f in folds],
        }


@dataclass(frozen=True, slots=True, eq=False)
class VerificationResult:
    """What `evaluate verify` found.

    Attributes:
        experiment: what was measured, and how.
        scores: all scores; failures are the lowest.
        accuracy: over folds.
        eer, eer_interval: the equal error rate; its (low, high) and how it was found, None where it could not be.
        eer_reason: why there is none, or empty.
        auc, d_prime: area under the ROC; distance of the classes without failures, or None where it is not defined.
        tar_at_far: by falling FAR.
        curve: ROC and DET, thinned for drawing.
        histogram: of both classes, without failures.
        false_matches: the impostor pairs with the highest scores, highest first.
        false_non_matches: the genuine pairs with the lowest scores, lowest first; failures apart.
        too_alike, groups: people whom the system cannot tell apart; rates by group. None where not measured.
        failed: how many genuine and impostor pairs have no score of their own, because a picture has no embedding.
    """

    experiment: Experiment
    scores: ScoreSet
    accuracy: Accuracy
    eer: Eer
    eer_interval: tuple[float, float, str] | None
    auc: float
    d_prime: float | None
    tar_at_far: tuple[RateAt, ...]
    curve: Curve
    histogram: ScoreHistogram
    false_matches: tuple[PairOfShots, ...] = ()
    false_non_matches: tuple[PairOfShots, ...] = ()
    eer_reason: str = ""
    too_alike: TooAlike | None = None
    groups: Groups | None = None
    failed: tuple[int, int] = (0, 0)

    def record(self) -> dict[str, Any]:
        """The JSON object."""
        low, high, how = self.eer_interval or (None, None, None)
        genuine, impostor = self.scores.genuine, self.scores.impostor
        return {
            **self.experiment.record("verification"),
            "pairs": len(genuine) + len(impostor),
            "accuracy": self.accuracy.record(),
            "eer": self.eer.rate,
            "eer_interval": {"low": low, "high": high, "interval": how, "reason": self.eer_reason or None},
            "eer_threshold": self.eer.threshold,
            "auc": self.auc,
            "d_prime": self.d_prime,
            "tar_at_far": {rate_key(row.target): row.record("tar", "far") for row in self.tar_at_far},
            "genuine": _spread(genuine, self.failed[0]),
            "impostor": _spread(impostor, self.failed[1]),
            "false_matches": [pair.record() for pair in self.false_matches],
            "false_non_matches": [pair.record() for pair in self.false_non_matches],
            "too_alike": self.too_alike and self.too_alike.record("fmr"),
            "groups": self.groups and self.groups.record(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class IdentificationResult:
    """What `evaluate identify` found.

    Attributes:
        experiment: what was measured, and how.
        search: what was found for each probe.
        gallery_size, not_enrolled: people who could be searched, distractors included; those without an embedding.
        known, unknown: how many probes there are of each kind.
        dir_at_fpir: by falling FPIR; without rates where there is no unknown probe.
        cmc: closed-set ranks of the known probes; None where there are none.
        curve: DIR against FPIR, thinned for drawing (`fmr` is FPIR, `tar` DIR, `fnmr` FNIR); None in a closed set.
        histogram: mates' scores of known probes ("genuine") and best scores of unknown ones ("impostor"), without
            probes that have no face; None in a closed set.
        false_matches: unknown probes with the highest scores, each with the picture that it matched.
        false_non_matches: known probes with the lowest scores of their mates, each with the mate's best picture.
        too_alike, groups: as in `VerificationResult`, of the enrolled people and of the probes.
        probes: (P,) the template of each probe of `search`.
    """

    experiment: Experiment
    search: Search
    gallery_size: int
    not_enrolled: int
    known: int
    unknown: int
    dir_at_fpir: tuple[RateAt, ...]
    cmc: Cmc | None
    curve: Curve | None
    histogram: ScoreHistogram | None
    false_matches: tuple[PairOfShots, ...] = field(default=())
    false_non_matches: tuple[PairOfShots, ...] = field(default=())
    too_alike: TooAlike | None = None
    groups: Groups | None = None
    probes: np.ndarray[Any, np.dtype[np.intp]] | None = None

    def record(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            **self.experiment.record("identification"),
            "gallery_size": self.gallery_size,
            "not_enrolled": self.not_enrolled,
            "probes": {"known": self.known, "unknown": self.unknown},
            "dir_at_fpir": {rate_key(row.target): row.record("dir", "fpir") for row in self.dir_at_fpir},
            "cmc": [] if self.cmc is None else (self.cmc.hits / self.cmc.probes).tolist(),
            "false_matches": [pair.record() for pair in self.false_matches],
            "false_non_matches": [pair.record() for pair in self.false_non_matches],
            "too_alike": self.too_alike and self.too_alike.record("fpir"),
            "groups": self.groups and self.groups.record(),
        }


def _spread(values: np.ndarray[Any, np.dtype[np.float32]], failed: int) -> dict[str, Any]:
    mean = float(values[failed:].mean(dtype=np.float64)) if len(values) > failed else None
    return {"n": len(values), "failed": failed, "mean": mean}
