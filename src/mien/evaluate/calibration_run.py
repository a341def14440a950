"""One calibration from beginning to end: fitted on everybody, with what a held-out half of the people says of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.calibration_check import check_fmr, check_fpir, halves_of
from mien.evaluate.calibration_fit import GALLERY_SIZES, fit_calibration
from mien.evaluate.metrics.bootstrap import all_subject_pairs
from mien.evaluate.metrics.thresholds import float32_at_least
from mien.match import VERIFY_FMR, Check
from mien.match.maxima import largest_gallery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mien.evaluate.calibration_fit import Faces
    from mien.match import Calibration, CheckedRate
    from mien.types import ModelIdentity

__all__ = ["Asked", "Calibrated", "Threshold", "calibrate_and_confirm"]

HELD_OUT: Final = "people held out: the thresholds of one random half of the people, measured on the other half"
_HALVES: Final = 40
_FPIRS: Final = (1e-2, 2e-2, 5e-2, 1e-1)  # what is shown where nothing was asked for: the first that the data carry


@dataclass(frozen=True, slots=True)
class Asked:
    """A rate to calibrate for: FMR, or FPIR where there is a gallery's size."""

    rate: float
    gallery_size: int | None = None

    def __str__(self) -> str:
        if self.gallery_size is None:
            return f"FMR {self.rate:g}"
        return f"FPIR {self.rate:g} in a gallery of {self.gallery_size}"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold, and what a held-out half says of its making.

    Attributes:
        asked: the rate.
        threshold: the score.
        low, high: its 95 % interval; None where it was not measured.
        tar: share of genuine pairs at or above it.
        held_out: the half's threshold for the rate and what it gave on the other half; None where the halves are too
            small. Its gallery is smaller than the asked one where the halves do not fill that.
        extrapolated: whether the half's data did not support its threshold.
    """

    asked: Asked
    threshold: float
    low: float | None
    high: float | None
    tar: float
    held_out: CheckedRate | None
    extrapolated: bool = False

    @property
    def kept(self) -> bool | None:
        """Whether what the held-out half gave can be the rate that was asked for, or less; None where it cannot tell.

        It cannot where the interval reaches up to ten times the rate: few people agree with any rate.
        """
        if self.held_out is None:
            return None
        if self.held_out.low > self.asked.rate:
            return False
        return True if self.held_out.high <= 10 * self.asked.rate else None


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration, the thresholds that were asked for, and why nothing was held out where that is so."""

    calibration: Calibration
    thresholds: tuple[Threshold, ...]
    unconfirmed: str | None


def calibrate_and_confirm(
    faces: Faces,
    identity: ModelIdentity,
    *,
    made_on: str,
    date: str,
    data: str = "",
    asked: Sequence[Asked] = (),
    seed: int = 0,
    draws: int = 100,
    advance: Callable[[int], None] = lambda _n: None,
) -> Calibrated:
    """Fit a calibration on everybody, and say what the same procedure on one half gives on the other half.

    Args:
        faces: the data.
        identity: the model that made the embeddings.
        made_on: the data, in words.
        date: YYYY-MM-DD.
        data: its fingerprint.
        asked: rates that have to be supported; without any, the usual ones that are.
        seed: of every draw.
        draws: how many times galleries are drawn.
        advance: is told how many of `steps` steps are done.

    Raises:
        InputError: insufficient data, altogether or for what was asked; the message says what they support.
    """
    sizes = [one.gallery_size for one in asked if one.gallery_size is not None]
    made = fit_calibration(
        faces,
        identity,
        made_on=made_on,
        date=date,
        data=data,
        seed=seed,
        draws=draws,
        halves=_HALVES,
        gallery_sizes=sizes,
        advance=advance,
    )
    for one in asked:
        _need(made, one, faces)
    wanted = tuple(asked) or _usual(made, faces)
    found, why = _held_out(faces, identity, wanted, seed, draws)
    advance(1)
    genuine = all_subject_pairs(faces.vectors, faces.subject, tail=1).genuine
    thresholds = []
    for one in wanted:
        score, low, high = _read(made, one)
        tar = float((genuine >= float32_at_least(score)).mean())
        thresholds.append(Threshold(one, score, low, high, tar, *found.get(one, (None, False))))
    checks: tuple[Check, ...] = ()
    if found:
        first, second = (_sizes(half) for half in halves_of(faces, seed))
        checks = (
            Check(
                f"{HELD_OUT} ({first[0]} and {second[0]} people)", *second, tuple(rate for rate, _ in found.values())
            ),
        )
    made = replace(made, checks=checks, provisional=not found)
    return Calibrated(made, tuple(thresholds), why)


def steps() -> int:
    """How many steps `calibrate_and_confirm` tells of."""
    return 2 + _HALVES


def _sizes(faces: Faces) -> tuple[int, int]:
    return faces.people, len(faces.vectors)


def _usual(made: Calibration, faces: Faces) -> tuple[Asked, ...]:
    """The usual rates, or those nearest to them that the data support."""
    strictest = min(p.fmr for p in made.table if p.supported)
    wanted = [Asked(max(VERIFY_FMR, strictest))]
    if made.fpir is not None:
        fits = int(0.75 * (faces.people // 2))  # so that the halves can confirm it
        for rate in _FPIRS:
            sizes = [n for n in GALLERY_SIZES if n <= fits and made.fpir.supports(fpir=rate, gallery_size=n)]
            if sizes:
                wanted.append(Asked(rate, max(sizes)))
                break
    return tuple(wanted)


def _need(made: Calibration, one: Asked, faces: Faces) -> None:
    """Raises InputError unless the data support what was asked for."""
    have = f"{faces.people} people with {len(faces.vectors)} pictures"
    if one.gallery_size is None:
        if not made.supports(one.rate):
            strictest = min(p.fmr for p in made.table if p.supported)
            raise InputError(
                f"insufficient data: {one} was asked for; the {made.impostor.n} impostor pairs of {have} support FMR "
                f"{strictest:g} at the strictest"
            )
    elif not made.supports_fpir(fpir=one.rate, gallery_size=one.gallery_size):
        rows = made.fpir.rows if made.fpir is not None else ()
        fits = [row for row in rows if row.gallery_size >= one.gallery_size]
        sizes = [row.gallery_size for row in rows if row.table[-1].fpir <= one.rate]
        parts = []
        if fits:
            parts.append(f"in a gallery of {one.gallery_size} FPIR {fits[0].table[-1].fpir:g} at the strictest")
        if sizes:
            parts.append(f"FPIR {one.rate:g} in galleries of up to {max(sizes)}")
        raise InputError(
            f"insufficient data: {one} was asked for; as strangers and enrolled ones, {have} support "
            f"{', and '.join(parts) or 'no such rate in a gallery of any size'}"
        )


def _held_out(
    faces: Faces, identity: ModelIdentity, wanted: Sequence[Asked], seed: int, draws: int
) -> tuple[dict[Asked, tuple[CheckedRate, bool]], str | None]:
    """What one half's thresholds gave on the other one, and whether they were extrapolated; or why there is nothing."""
    try:
        first, second = halves_of(faces, seed)
        half = fit_calibration(
            first,
            identity,
            made_on="half",
            date="2000-01-01",
            seed=seed,
            draws=draws,
            halves=0,
            gallery_sizes=[min(one.gallery_size, _fills(first)) for one in wanted if one.gallery_size is not None],
        )
        found: dict[Asked, tuple[CheckedRate, bool]] = {}
        for one in wanted:
            if one.gallery_size is None:
                for rate in check_fmr(half, second, [one.rate], seed=seed):
                    found[one] = rate, not half.supports(one.rate)
            else:
                size = min(one.gallery_size, _fills(first), _fills(second))
                rate = check_fpir(half, second, one.rate, size, draws=draws, seed=seed)
                found[one] = rate, not half.supports_fpir(fpir=one.rate, gallery_size=size)
    except InputError as error:
        return {}, f"too little data to hold a half of the people out ({error})"
    return found, None


def _fills(faces: Faces) -> int:
    return largest_gallery(np.bincount(faces.subject))


def _read(made: Calibration, one: Asked) -> tuple[float, float | None, float | None]:
    """The threshold, and its interval where it lies on a row."""
    if one.gallery_size is None:
        point = next((p for p in made.table if p.fmr == one.rate), None)
        ends = (None, None) if point is None else (point.low, point.high)
        return made.threshold(fmr=one.rate), *ends
    rows = () if made.fpir is None else made.fpir.rows
    at = next(
        (p for row in rows if row.gallery_size == one.gallery_size for p in row.table if p.fpir == one.rate), None
    )
    ends = (None, None) if at is None else (at.low, at.high)
    return made.threshold_for(fpir=one.rate, gallery_size=one.gallery_size), *ends
