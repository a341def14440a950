"""Does calibrating on some people keep its promise on others? Asked of many random halves of a set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.evaluate.calibration_check import Trial, enrolment_trial, halves_of, mean_fpir
from mien.evaluate.calibration_fit import fit_calibration
from mien.match.maxima import sample_maxima

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mien.evaluate.calibration_fit import Faces
    from mien.types import ModelIdentity

__all__ = ["Split", "split_trials"]


@dataclass(frozen=True, slots=True)
class Split:
    """One half calibrated, the other half measured, in galleries of the same size.

    Attributes:
        asked: the FPIR.
        threshold: of the first half.
        measured: FPIR on the second half, averaged over sampled galleries.
        test: its 95 % interval over the people of the second half, the threshold taken as given.
        both: its 95 % interval over the people of both halves: the threshold varies as well.
        trial: a single enrolment of the second half, every stranger asked once.
    """

    asked: float
    threshold: float
    measured: float
    test: tuple[float, float]
    both: tuple[float, float]
    trial: Trial

    @property
    def not_exceeded(self) -> bool:
        """Whether the second half gives no evidence of a higher rate than asked: one-sided."""
        return self.test[0] <= self.asked

    @property
    def covered(self) -> bool:
        """Whether the interval over the second half's people holds the rate: two-sided.

        Where threshold and measurement vary alike, an interval that knows of one of them holds the rate in
        2 Phi(1.96 / sqrt 2) - 1 = 83 % of splits, not in 95 %.
        """
        return self.test[0] <= self.asked <= self.test[1]

    @property
    def covered_by_both(self) -> bool:
        """Whether the interval over the people of both halves holds the rate: two-sided."""
        return self.both[0] <= self.asked <= self.both[1]


def split_trials(
    faces: Faces,
    identity: ModelIdentity,
    *,
    fpir: float,
    gallery_size: int,
    splits: int = 20,
    seed: int = 0,
    draws: int = 100,
    halves: int = 100,
) -> Iterator[Split]:
    """Split the people at random, again and again.

    Args:
        faces: the data.
        identity: the model.
        fpir: the rate to calibrate for.
        gallery_size: faces enrolled in both halves, of different people; at most 3/8 of a half's people, for intervals.
        splits: how many times.
        seed: of everything.
        draws: how many galleries are drawn for a rate or threshold.
        halves: how many halves of the halves the intervals come from.

    Raises:
        InputError: there are too few people.
    """
    for one in np.random.default_rng(seed).integers(1 << 31, size=splits).tolist():
        first, second = halves_of(faces, one)
        made = fit_calibration(
            first,
            identity,
            made_on="half",
            date="2000-01-01",
            seed=one,
            draws=draws,
            halves=0,
            gallery_sizes=[gallery_size],
        )
        threshold = made.threshold_for(fpir=fpir, gallery_size=gallery_size)
        rate, *test = mean_fpir(second, threshold, gallery_size, draws=draws, halves=halves, seed=one)
        both = _both(first, second, fpir, gallery_size, draws=max(5, draws // 5), halves=halves, seed=one)
        low, high = min(both[0], rate), max(both[1], rate)
        trial = enrolment_trial(second, threshold, gallery_size, seed=one)
        yield Split(fpir, threshold, rate, (test[0], test[1]), (low, high), trial)


def _both(
    first: Faces, second: Faces, fpir: float, size: int, *, draws: int, halves: int, seed: int
) -> tuple[float, float]:
    """95 % of what halves of the second half give at thresholds of halves of the first."""
    rng = np.random.default_rng((seed, 1))
    rates = []
    for i in range(halves):
        parts = [some.of(rng.permutation(some.people)[: some.people // 2]) for some in (first, second)]
        fit, test = (
            sample_maxima(part.vectors, part.subject, [size], draws=draws, seed=(seed + i) % (1 << 31))
            for part in parts
        )
        threshold = fit.threshold(fpir=fpir, gallery_size=size)
        rates.append(test.fpir(threshold=threshold, gallery_size=size))
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)
