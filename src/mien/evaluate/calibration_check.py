"""What a calibration's thresholds really give: on a half of the people that it has not seen, or on other data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.calibration_fit import Faces
from mien.evaluate.metrics.bootstrap import SubjectPairs, all_subject_pairs
from mien.evaluate.metrics.intervals import wilson
from mien.evaluate.metrics.thresholds import float32_at_least
from mien.match import CheckedRate
from mien.match.maxima import LARGEST_SHARE, largest_gallery, sample_maxima
from mien.match.scores import similarity_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from mien.match import Calibration

__all__ = ["Trial", "check_fmr", "check_fpir", "enrolment_trial", "halves_of", "mean_fpir"]

_TAIL: Final = 2_000_000
_HALVES: Final = 100
_REPLICATES: Final = 500


@dataclass(frozen=True, slots=True)
class Trial:
    """One enrolment, and every stranger asked once.

    Attributes:
        named: strangers who were named.
        strangers: how many were asked.
        gallery_size: enrolled faces.
    """

    named: int
    strangers: int
    gallery_size: int

    @property
    def rate(self) -> float:
        """The share of strangers who were named."""
        return self.named / self.strangers

    def interval(self, *, confidence: float = 0.95) -> tuple[float, float]:
        """Wilson's interval over the strangers, for this enrolment."""
        return wilson(self.named, self.strangers, confidence=confidence)


def halves_of(faces: Faces, seed: int) -> tuple[Faces, Faces]:
    """The people in two random halves.

    Raises:
        InputError: there are fewer than four people.
    """
    if faces.people < 4:
        raise InputError(f"halves: expected at least 4 people, got {faces.people}")
    order = np.random.default_rng(seed).permutation(faces.people)
    middle = faces.people // 2
    return faces.of(order[:middle]), faces.of(order[middle:])


def check_fmr(calibration: Calibration, faces: Faces, rates: Iterable[float], *, seed: int = 0) -> list[CheckedRate]:
    """The false match rates of all pairs of other people at a calibration's thresholds, bootstrapped over people.

    Rates whose thresholds lie below the two million highest impostor scores are left out.

    Raises:
        InputError: one-class data.
    """
    pairs = all_subject_pairs(faces.vectors, faces.subject, tail=_TAIL)
    pictures = np.bincount(faces.subject)
    rng = np.random.default_rng(seed)
    draws = [np.ones(faces.people, np.int64)]
    draws += [
        np.bincount(rng.integers(0, faces.people, faces.people), minlength=faces.people) for _ in range(_REPLICATES)
    ]
    found = []
    for rate in rates:
        threshold = calibration.threshold(fmr=rate)
        first, second, times = _passing(pairs, threshold)
        if times is None:
            continue
        shares = [
            share for share in (_share(draw, pictures, first, second, times) for draw in draws) if share is not None
        ]
        low, high = _around(shares[0], shares[1:])
        if not shares[0]:  # nothing to resample: as if only pairs that share nobody had been looked at
            high = wilson(0, faces.people // 2)[1]
        tar = 1 - int(np.searchsorted(pairs.genuine, float32_at_least(threshold))) / len(pairs.genuine)
        found.append(CheckedRate(rate, None, threshold, shares[0], low, high, tar))
    return found


def check_fpir(
    calibration: Calibration, faces: Faces, fpir: float, gallery_size: int, *, draws: int = 50, seed: int = 0
) -> CheckedRate:
    """The FPIR of a calibration's threshold on other people, over sampled galleries of the same size.

    The interval is over random halves of the people where they fill such a gallery, and Wilson's over the strangers of
    one enrolment elsewhere.

    Raises:
        InputError: there are too few people for a gallery of this size.
    """
    threshold = calibration.threshold_for(fpir=fpir, gallery_size=gallery_size)
    rate, low, high = mean_fpir(faces, threshold, gallery_size, draws=draws, seed=seed)
    return CheckedRate(fpir, gallery_size, threshold, rate, low, high)


def mean_fpir(
    faces: Faces, threshold: float, gallery_size: int, *, draws: int = 50, halves: int = _HALVES, seed: int = 0
) -> tuple[float, float, float]:
    """FPIR averaged over sampled galleries, and its 95 % interval; see `check_fpir`."""
    rng = np.random.default_rng(seed)
    found = sample_maxima(faces.vectors, faces.subject, [gallery_size], draws=draws, seed=seed)
    rate = found.fpir(threshold=threshold, gallery_size=gallery_size)
    if gallery_size > LARGEST_SHARE * (faces.people // 2):
        low, high = enrolment_trial(faces, threshold, gallery_size, seed=seed).interval()
        return rate, min(low, rate), max(high, rate)
    spread = []
    for i in range(halves):
        half = faces.of(rng.permutation(faces.people)[: faces.people // 2])
        sampled = sample_maxima(half.vectors, half.subject, [gallery_size], draws=max(5, draws // 5), seed=seed + i)
        spread.append(sampled.fpir(threshold=threshold, gallery_size=gallery_size))
    return rate, *_around(rate, spread)


def enrolment_trial(faces: Faces, threshold: float, gallery_size: int, *, seed: int = 0) -> Trial:
    """Enrol so many people with one picture each, and ask for everybody else, with one picture each.

    Raises:
        InputError: there are too few people.
    """
    largest = largest_gallery(np.bincount(faces.subject))
    if not 1 <= gallery_size <= largest:
        raise InputError(f"trial: {faces.people} people fill a gallery of 1 to {largest} faces, got {gallery_size}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(faces.subject))  # a random picture of each person: the first in a random order
    picture = order[np.unique(faces.subject[order], return_index=True)[1]]
    people = rng.permutation(faces.people)
    gallery, probes = (faces.vectors[picture[some]] for some in np.split(people, [gallery_size]))
    limit = float32_at_least(threshold)
    named = sum(int((block.max(axis=1) >= limit).sum()) for _, block in similarity_blocks(probes, gallery))
    return Trial(named, len(probes), gallery_size)


def _passing(
    pairs: SubjectPairs, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64] | None]:
    """Pairs of people who pass, and how many pairs of their pictures; None where not all are known."""
    at = int(np.searchsorted(pairs.impostor, float32_at_least(threshold), side="left"))
    if at == 0 and pairs.pictures is not None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), None
    codes = pairs.impostor_first[at:].astype(np.int64) * pairs.subjects + pairs.impostor_second[at:]
    distinct, times = np.unique(codes, return_counts=True)
    first, second = np.divmod(distinct, pairs.subjects)
    return first, second, times


def _share(
    drawn: NDArray[np.int64],
    pictures: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    times: NDArray[np.int64],
) -> float | None:
    """The false match rate where each person counts as often as drawn; None where only one person was."""
    held = drawn * pictures
    total = (int(held.sum()) ** 2 - int((held**2).sum())) // 2
    return float((drawn[first] * drawn[second] * times).sum()) / total if total else None


def _around(value: float, spread: list[float]) -> tuple[float, float]:
    """95 % of the spread, widened to hold the value."""
    if not spread:
        return 0.0, 1.0
    low, high = np.quantile(spread, [0.025, 0.975])
    return min(float(low), value), max(float(high), value)
