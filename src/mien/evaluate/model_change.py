"""What a change of the model means for a gallery: how well each model tells its own people apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.bootstrap import all_subject_pairs, bootstrap_tar, bootstrap_tar_difference
from mien.evaluate.metrics.pairs import all_pair_scores
from mien.evaluate.metrics.verification import d_prime, fmr_at, fnmr_at
from mien.match import VERIFY_FMR

if TYPE_CHECKING:
    from mien.evaluate.metrics.bootstrap import Interval
    from mien.evaluate.metrics.scores import ScoreSet
    from mien.gallery.migration import BothModels
    from mien.match import Calibration

__all__ = ["AtThreshold", "ModelChange", "ModelOnFaces", "compare_models"]

_FALSE_MATCHES: Final = 10  # that a rate needs to be told; see docs/calibration.md
_TAIL: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """What a calibration's threshold does on the gallery's own faces.

    Attributes:
        threshold: the calibration's at the rate that is asked for.
        fmr: share of pairs of two people that reach it.
        tar: share of pairs of one person that reach it.
    """

    threshold: float
    fmr: float
    tar: float


@dataclass(frozen=True, slots=True)
class ModelOnFaces:
    """One model on the gallery's own faces.

    Attributes:
        d_prime: distance of the mean scores of one person's and of two people's pairs, in standard deviations.
        tar: true accept rate at the smallest threshold that keeps the rate on these faces, with its interval; None
            where they are too few to tell.
        calibrated: at the calibration's threshold; None without a calibration.
    """

    d_prime: float
    tar: Interval | None
    calibrated: AtThreshold | None


@dataclass(frozen=True, slots=True)
class ModelChange:
    """Two models on the same faces.

    Attributes:
        fmr: the false match rate that was asked for.
        people, faces, genuine, impostor: how many of each.
        live: the model in use.
        staged: the other one.
        gain: how much higher the other one's TAR is, paired by people; None where there are too few pairs.
    """

    fmr: float
    people: int
    faces: int
    genuine: int
    impostor: int
    live: ModelOnFaces
    staged: ModelOnFaces
    gain: Interval | None


def compare_models(
    both: BothModels,
    *,
    live: Calibration | None = None,
    staged: Calibration | None = None,
    fmr: float = VERIFY_FMR,
    replicates: int = 1000,
) -> ModelChange:
    """Compare two models on a gallery's own faces; intervals resample people.

    A gallery's faces were let in by the model in use (its gate refused what did not look alike), which favours that
    model a little.

    Args:
        both: see `mien.gallery.migration.both_models`.
        live: calibration of the model in use.
        staged: calibration of the other one.
        fmr: false match rate at which TAR is told.
        replicates: of the bootstrap.

    Raises:
        InputError: nobody has two faces, or there is one person only.
    """
    people, counts = np.unique(both.subjects, return_counts=True)
    if len(people) < 2 or counts.max() < 2:
        raise InputError("comparing models: expected at least two people, one of them with two faces")
    genuine = int((counts * (counts - 1) // 2).sum())
    impostor = len(both.subjects) * (len(both.subjects) - 1) // 2 - genuine
    pairs = None
    if impostor * fmr >= _FALSE_MATCHES:
        pairs = tuple(all_subject_pairs(rows, both.subjects, tail=_TAIL) for rows in (both.live, both.staged))
    gain = None if pairs is None else bootstrap_tar_difference(pairs[0], pairs[1], fmr, replicates=replicates)
    found = [
        ModelOnFaces(
            d_prime(scores := all_pair_scores(rows, both.subjects)),
            None if pairs is None else bootstrap_tar(pairs[i], fmr, replicates=replicates),
            None if calibration is None else _at(calibration.threshold(fmr=fmr), scores),
        )
        for i, (rows, calibration) in enumerate(((both.live, live), (both.staged, staged)))
    ]
    return ModelChange(fmr, len(people), len(both.subjects), genuine, impostor, found[0], found[1], gain)


def _at(threshold: float, scores: ScoreSet) -> AtThreshold:
    false, missed = fmr_at(scores, threshold), fnmr_at(scores, threshold)
    return AtThreshold(threshold, false.count / false.trials, 1 - missed.count / missed.trials)
