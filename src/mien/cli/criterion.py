"""At what score two faces count as one person: from an error rate, or as the user says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.errors import InputError

if TYPE_CHECKING:
    from mien.types import ModelIdentity

__all__ = ["Criterion", "FmrOption", "ThresholdOption", "criterion_for", "one_in"]

FmrOption = Annotated[
    float | None,
    typer.Option("--fmr", help="Decide at this false match rate (0.001: one pair of strangers in a thousand)."),
]
ThresholdOption = Annotated[
    float | None, typer.Option("--threshold", help="Decide at this score, -1 to 1, instead of at an error rate.")
]


@dataclass(frozen=True, slots=True)
class Criterion:
    """What decides.

    Attributes:
        threshold: the score at and above which two faces count as one person.
        fmr: the false match rate it stands for, or None when the user gave the threshold.
        provisional: whether the calibration behind it is provisional.
        extrapolated: whether the rate lies beyond what was measured.
    """

    threshold: float
    fmr: float | None = None
    provisional: bool = False
    extrapolated: bool = False

    def record(self) -> dict[str, Any]:
        """The criterion in JSON."""
        return {
            "threshold": self.threshold,
            "fmr": self.fmr,
            "provisional": self.provisional,
            "extrapolated": self.extrapolated,
        }

    def __str__(self) -> str:
        if self.fmr is None:
            return f"threshold {self.threshold:.4f}, as given"
        notes = [
            note for note, holds in (("extrapolated", self.extrapolated), ("provisional", self.provisional)) if holds
        ]
        remark = f" ({', '.join(notes)} calibration)" if notes else ""
        return f"threshold {self.threshold:.4f}, {one_in(self.fmr)} pairs of strangers passes{remark}"


def one_in(rate: float) -> str:
    """A rate as people say it.

    >>> one_in(1e-3), one_in(0.3)
    ('1 in 1,000', '30 %')
    """
    return f"1 in {round(1 / rate):,}" if rate <= 0.1 else f"{100 * rate:g} %"


def criterion_for(identity: ModelIdentity, fmr: float | None, threshold: float | None) -> Criterion:
    """The criterion that the options describe.

    Raises:
        InputError: both are given, one makes no sense, or the model has no calibration.
    """
    from mien.match import VERIFY_FMR, calibration_for

    if threshold is not None:
        if fmr is not None:
            raise InputError("--fmr and --threshold: expected one of the two, got both")
        if not -1 <= threshold <= 1:
            raise InputError(f"--threshold: expected a score from -1 to 1, got {threshold}")
        return Criterion(threshold)
    fmr = VERIFY_FMR if fmr is None else fmr
    if not (math.isfinite(fmr) and 0 < fmr < 1):
        raise InputError(f"--fmr: expected a rate between 0 and 1 (for example 0.001), got {fmr}")
    calibration = calibration_for(identity)
    return Criterion(
        calibration.threshold(fmr=fmr), fmr, calibration.provisional, extrapolated=not calibration.supports(fmr)
    )
