"""At what score two faces count as one person: from an error rate, or as the user says."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.errors import InputError

if TYPE_CHECKING:
    from mien.match import Calibration
    from mien.types import ModelIdentity

__all__ = [
    "CalibrationFile",
    "Criterion",
    "FmrOption",
    "ThresholdOption",
    "calibration_in",
    "criterion_for",
    "described",
    "one_in",
]

FmrOption = Annotated[
    float | None,
    typer.Option("--fmr", help="Decide at this false match rate (0.001: one pair of strangers in a thousand)."),
]
ThresholdOption = Annotated[
    float | None, typer.Option("--threshold", help="Decide at this score, -1 to 1, instead of at an error rate.")
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        envvar="MIEN_CALIBRATION",
        readable=False,
        help="Thresholds from this file of `mien calibrate`, instead of the shipped ones.",
    ),
]


@dataclass(frozen=True, slots=True)
class Criterion:
    """What decides.

    Attributes:
        threshold: the score at and above which two faces count as one person.
        fmr: the false match rate it stands for, or None when the user gave the threshold.
        provisional: whether the calibration behind it is provisional.
        extrapolated: whether the rate lies beyond what was measured.
        calibration: where the threshold comes from; None when the user gave it.
    """

    threshold: float
    fmr: float | None = None
    provisional: bool = False
    extrapolated: bool = False
    calibration: Calibration | None = None

    def record(self) -> dict[str, Any]:
        """The criterion in JSON."""
        return {
            "threshold": self.threshold,
            "fmr": self.fmr,
            "provisional": self.provisional,
            "extrapolated": self.extrapolated,
            "calibration": None if self.calibration is None else self.calibration.record(),
        }

    @property
    def origin(self) -> str:
        """One line that says where the threshold comes from; empty when the user gave it."""
        return "" if self.calibration is None else f"calibration: {described(self.calibration)}"

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


def described(calibration: Calibration) -> str:
    """Which calibration it is, in one line."""
    source = calibration.source if calibration.source != "shipped" else "shipped with mien"
    return f"{source or 'given'}; made on {calibration.made_on}, {calibration.date}"


def calibration_in(path: Path | None) -> Calibration | None:
    """The calibration in a file, or None for the shipped one.

    Raises:
        InputError: the file cannot be read, or is no calibration.
    """
    from mien.match import Calibration

    return None if path is None else Calibration.read(path)


def criterion_for(
    identity: ModelIdentity,
    fmr: float | None,
    threshold: float | None,
    calibration: Path | None = None,
    *,
    fpir: float | None = None,
    faces: int = 0,
) -> Criterion:
    """The criterion that the options describe.

    The calibration is that of the file, of the one that MIEN_CALIBRATION names, or the shipped one. With `fpir` the
    threshold is the one that any of so many `faces` of other people passes at that rate.

    Raises:
        InputError: both are given, one makes no sense, the calibration is of another model, or there is none.
    """
    from mien.match import VERIFY_FMR, calibration_for, comparison_fmr

    if threshold is not None:
        if fmr is not None:
            raise InputError("--fmr and --threshold: expected one of the two, got both")
        if not -1 <= threshold <= 1:
            raise InputError(f"--threshold: expected a score from -1 to 1, got {threshold}")
        return Criterion(threshold)
    fmr = VERIFY_FMR if fmr is None else fmr
    if not (math.isfinite(fmr) and 0 < fmr < 1):
        raise InputError(f"--fmr: expected a rate between 0 and 1 (for example 0.001), got {fmr}")
    if calibration is None and (named := os.environ.get("MIEN_CALIBRATION")):
        calibration = Path(named)
    chosen = calibration_in(calibration) or calibration_for(identity)
    chosen.need_for(identity)
    if fpir is not None:
        needed = chosen.threshold_for(fpir=fpir, gallery_size=faces)
        beyond = not chosen.supports_fpir(fpir=fpir, gallery_size=faces)
        return Criterion(
            needed, comparison_fmr(fpir, faces), chosen.provisional, extrapolated=beyond, calibration=chosen
        )
    return Criterion(
        chosen.threshold(fmr=fmr), fmr, chosen.provisional, extrapolated=not chosen.supports(fmr), calibration=chosen
    )
