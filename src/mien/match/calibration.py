"""What a model's scores mean: thresholds at a stated error rate, kept as numbers with their provenance.

One file per model and preset; `mien.match.calibration_file` has the format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from mien.errors import CardError, InputError
from mien.match.ladder import threshold_on
from mien.match.rates import IDENTIFY_FPIR, VERIFY_FMR, check_rate, check_threshold, comparison_fmr

if TYPE_CHECKING:
    from pathlib import Path

    from mien.match.open_set import FpirTable
    from mien.types import ModelIdentity

__all__ = [
    "IDENTIFY_FPIR",
    "VERIFY_FMR",
    "Calibration",
    "Check",
    "CheckedRate",
    "OperatingPoint",
    "ScoreSpread",
    "calibration_for",
    "check_rate",
    "check_threshold",
    "comparison_fmr",
]


@dataclass(frozen=True, slots=True)
class ScoreSpread:
    """How the scores of one kind of pair are spread: their number, mean and standard deviation."""

    n: int
    mean: float
    sd: float


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One row of a calibration.

    Attributes:
        fmr: false match rate that `threshold` does not exceed.
        threshold: the smallest such cosine on the measured pairs.
        tar: share of genuine pairs at or above it; of several sets, that of the set where it is lowest.
        supported: whether there were enough false matches to believe it.
        low, high: 95 % interval of the threshold over people; None where it was not measured.
    """

    fmr: float
    threshold: float
    tar: float
    supported: bool
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class CheckedRate:
    """What a threshold really gave on some data.

    Attributes:
        asked: the rate it was asked for: FMR, or FPIR where `gallery_size` is given.
        gallery_size: enrolled faces.
        threshold: the one that was asked.
        measured: the rate it gave.
        low, high: 95 % interval of that rate.
        tar: share of genuine pairs at or above it.
    """

    asked: float
    gallery_size: int | None
    threshold: float
    measured: float
    low: float
    high: float
    tar: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Thresholds, checked on data.

    Attributes:
        data: which, in words, and how it stands to the data that the thresholds come from.
        subjects, pictures: how many of it.
        rates: what was found.
    """

    data: str
    subjects: int
    pictures: int
    rates: tuple[CheckedRate, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a model's scores mean. Immutable, so safe to share between threads.

    Attributes:
        model, preset, sha256: the `ModelIdentity` it belongs to.
        provisional: whether its rates were checked on no data beside those it was made on.
        made_on: the data it was made on, in words.
        date: when, as YYYY-MM-DD.
        genuine: spread of the scores of same-person pairs.
        impostor: spread of the scores of different-person pairs.
        table: operating points from the loosest to the strictest.
        fingerprint: SHA-256 over the pictures it was made on; empty where there were none.
        subjects, pictures: how many people and pictures it was made on.
        fpir: thresholds for identification; None to take comparisons for independent.
        checks: what the thresholds gave elsewhere.
        source: where it comes from: "shipped", a path, or empty.

    Raises:
        CardError: at construction, when the numbers contradict each other.
    """

    model: str
    preset: str
    sha256: str
    provisional: bool
    made_on: str
    date: str
    genuine: ScoreSpread
    impostor: ScoreSpread
    table: tuple[OperatingPoint, ...]
    fingerprint: str = ""
    subjects: int = 0
    pictures: int = 0
    fpir: FpirTable | None = None
    checks: tuple[Check, ...] = ()
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        def need(fact: bool, message: str) -> None:
            if not fact:
                raise CardError(f"calibration of {self.model!r}/{self.preset!r}: {message}")

        need(bool(self.model and self.preset and self.made_on), "expected model, preset and made_on to be given")
        need(bool(re.fullmatch(r"[0-9a-f]{64}", self.sha256)), f"expected a lower-case sha256, got {self.sha256!r}")
        need(bool(re.fullmatch(r"\d{4}-\d\d-\d\d", self.date)), f"expected date as YYYY-MM-DD, got {self.date!r}")
        known = bool(re.fullmatch(r"([0-9a-f]{64})?", self.fingerprint))
        need(known, f"expected fingerprint as a lower-case sha256, got {self.fingerprint!r}")
        need(self.subjects >= 0 <= self.pictures, "expected numbers of subjects and pictures of 0 or more")
        for spread in (self.genuine, self.impostor):
            sane = spread.n > 0 and -1 <= spread.mean <= 1 and 0 <= spread.sd <= 1
            need(sane, f"expected a spread with n > 0 and cosines, got {spread}")
        for p in self.table:
            sane = 0 < p.fmr < 1 and -1 <= p.threshold <= 1.000001 and 0 <= p.tar <= 1  # NaN fails every comparison
            sane = sane and all(end is None or -1 <= end <= 1.000001 for end in (p.low, p.high))
            need(sane, f"expected fmr in (0, 1), cosines and tar in [0, 1], got {p}")
        for loose, strict in pairwise(self.table):
            need(loose.fmr > strict.fmr, f"expected falling fmr, got {loose.fmr:g} before {strict.fmr:g}")
            need(loose.threshold <= strict.threshold, f"thresholds fall between fmr {loose.fmr:g} and {strict.fmr:g}")
            need(loose.tar >= strict.tar, f"tar rises between fmr {loose.fmr:g} and {strict.fmr:g}")
            need(loose.supported or not strict.supported, "a supported row stands below an unsupported one")
        need(bool(self.table) and self.table[0].supported, "expected at least one supported row")
        for rate in (rate for check in self.checks for rate in check.rates):
            sane = 0 < rate.asked < 1 and 0 <= rate.low <= rate.measured <= rate.high <= 1
            sane = sane and (rate.tar is None or 0 <= rate.tar <= 1) and -1 <= rate.threshold <= 1.000001
            need(sane and (rate.gallery_size is None or rate.gallery_size > 0), f"expected checked rates, got {rate}")

    @property
    def _trusted(self) -> list[tuple[float, float]]:
        return [(p.fmr, p.threshold) for p in self.table if p.supported]

    def belongs_to(self, identity: ModelIdentity) -> bool:
        """Whether this calibration was made with exactly this model, preset and weights."""
        return (self.model, self.preset, self.sha256) == (identity.name, identity.preset, identity.sha256)

    def need_for(self, identity: ModelIdentity) -> None:
        """Raises InputError unless this calibration was made with exactly this model, preset and weights."""
        if not self.belongs_to(identity):
            raise InputError(
                f"{self.source or 'calibration'}: made for {self.model}/{self.preset} ({self.sha256[:12]}), but the "
                f"scores are of {identity.name}/{identity.preset} ({identity.sha256[:12]}); thresholds of one model "
                "mean nothing for another"
            )

    def supports(self, fmr: float) -> bool:
        """Whether the threshold at `fmr` was measured; below the last supported row it is extrapolated."""
        return check_rate("fmr", fmr) >= self._trusted[-1][0]

    def threshold(self, *, fmr: float = VERIFY_FMR) -> float:
        """The smallest threshold known not to exceed a false match rate.

        On a row of the table it is the row's; between rows it is read conservatively; below the last supported row the
        last decade is extended in a straight line of log FMR (see `supports`).

        Args:
            fmr: false match rate, between 0 and 1.

        Returns:
            A cosine, never above 1; it never falls as `fmr` falls.

        Raises:
            InputError: `fmr` is not a rate.
        """
        return threshold_on(self._trusted, check_rate("fmr", fmr))

    def supports_fpir(self, *, fpir: float, gallery_size: int) -> bool:
        """Whether `threshold_for` was measured at this rate and size; elsewhere it is extrapolated."""
        if self.fpir is None:
            return self.supports(comparison_fmr(fpir, gallery_size))
        return self.fpir.supports(fpir=fpir, gallery_size=gallery_size)

    def threshold_for(self, *, fpir: float = IDENTIFY_FPIR, gallery_size: int) -> float:
        """The threshold for naming a face in a gallery of `gallery_size` enrolled faces at `fpir`.

        From the distribution of a stranger's highest score, as measured on sampled galleries. A calibration without
        that measurement takes the comparisons for independent: `threshold` at `comparison_fmr`. It never falls as the
        gallery grows.

        Args:
            fpir: false-positive identification rate, between 0 and 1.
            gallery_size: how many faces (not people) are enrolled.

        Raises:
            InputError: `fpir` is not a rate, or `gallery_size` is negative.
        """
        if self.fpir is None:
            return self.threshold(fmr=comparison_fmr(fpir, gallery_size))
        return self.fpir.threshold(fpir=fpir, gallery_size=gallery_size)

    def record(self) -> dict[str, Any]:
        """Which calibration this is, as JSON tells it."""
        return {
            "made_on": self.made_on,
            "date": self.date,
            "fingerprint": self.fingerprint or None,
            "source": self.source or None,
            "provisional": self.provisional,
        }

    @classmethod
    def read(cls, path: str | Path) -> Calibration:
        """Read a calibration from a TOML file.

        Raises:
            CardError: the file cannot be read or is not a calibration.
        """
        from mien.match.calibration_file import read

        return read(path)

    @classmethod
    def from_toml(cls, text: str, *, source: str = "<calibration>") -> Calibration:
        """Read a calibration from TOML text; `source` names it in messages.

        Raises:
            CardError: the text is not a calibration.
        """
        from mien.match.calibration_file import from_toml

        return from_toml(text, source=source)

    def to_toml(self) -> str:
        """The calibration as TOML text that `from_toml` reads back unchanged."""
        from mien.match.calibration_file import to_toml

        return to_toml(self)


def calibration_for(identity: ModelIdentity) -> Calibration:
    """The calibration of a model, preset and weights: the one that mien ships, or that lies beside the opened card.

    Raises:
        InputError: there is none; the message asks for an explicit threshold.
    """
    from mien.match.calibration_beside import found_beside
    from mien.match.calibration_file import shipped

    for calibration in shipped():
        if calibration.belongs_to(identity):
            return calibration
    if (beside := found_beside(identity)) is not None:
        return beside
    known = ", ".join(f"{c.model}/{c.preset}" for c in shipped()) or "none"
    raise InputError(
        f"no calibration for {identity}, so no threshold follows from an error rate (calibrated: {known}); "
        "give an explicit threshold (--threshold, in Python threshold=...), or a calibration made for this model "
        "(mien calibrate)"
    )
