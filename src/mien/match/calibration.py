"""Thresholds at a stated error rate: a table measured on impostor pairs, kept as numbers with their provenance.

A calibration is a small TOML file, one per model and preset:

    model = "dlib-resnet29"          # with preset and sha256: the ModelIdentity it belongs to
    preset = "fast"
    sha256 = "..."
    provisional = true
    made_on = "all pairs of LFW peopleDevTest"
    date = "2026-01-31"
    genuine = { n = 1000, mean = 0.95, sd = 0.02 }
    impostor = { n = 100000, mean = 0.70, sd = 0.06 }
    [[table]]                        # from the loosest to the strictest
    fmr = 1e-3                       # the share of impostor pairs that score >= threshold does not exceed fmr
    threshold = 0.93
    tar = 0.97                       # the share of genuine pairs that score >= threshold
    supported = true                 # enough impostor pairs to believe this row
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import CardError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mien.types import ModelIdentity

__all__ = [
    "IDENTIFY_FPIR",
    "VERIFY_FMR",
    "Calibration",
    "OperatingPoint",
    "ScoreSpread",
    "calibration_for",
    "check_threshold",
    "comparison_fmr",
]

VERIFY_FMR = 1e-3
"""Verification: one pair of strangers in a thousand may be called the same person."""

IDENTIFY_FPIR = 1e-3
"""Identification: one stranger in a thousand may be named, whatever the gallery's size."""


def check_rate(name: str, rate: float) -> float:
    """Return `rate` if it lies between 0 and 1; raises InputError, calling it `name`."""
    if not isinstance(rate, float) or not 0 < rate < 1:  # np.float64 is a float; an int cannot lie between
        raise InputError(f"{name}: expected a rate between 0 and 1 (for example 0.001), got {rate!r}")
    return float(rate)


def check_threshold(threshold: float | None) -> None:
    """Raises InputError unless `threshold` is a cosine, or None."""
    if threshold is not None and not -1 <= threshold <= 1:  # written so that NaN is refused too
        raise InputError(f"threshold: expected a cosine between -1 and 1, got {threshold!r}")


def comparison_fmr(fpir: float, gallery_size: int) -> float:
    """The false match rate one comparison may have so that a stranger is named at most at rate `fpir`.

    A stranger is compared with every enrolled face; if the comparisons were independent, at least one of N would pass
    with probability 1 - (1 - FMR)^N. Faces of one person are not independent, so the true rate is lower: conservative.

    Args:
        fpir: false-positive identification rate, between 0 and 1.
        gallery_size: number of enrolled faces N; 0 counts as 1.

    Raises:
        InputError: `fpir` is not a rate, or `gallery_size` is negative.

    >>> comparison_fmr(1e-3, 1), round(comparison_fmr(1e-3, 1000), 10)
    (0.001, 1.0005e-06)
    """
    fpir = check_rate("fpir", fpir)
    if gallery_size < 0:
        raise InputError(f"gallery_size: expected 0 or more, got {gallery_size}")
    return fpir if gallery_size <= 1 else -math.expm1(math.log1p(-fpir) / gallery_size)


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
        tar: share of genuine pairs at or above it.
        supported: whether there were enough impostor pairs to believe it.
    """

    fmr: float
    threshold: float
    tar: float
    supported: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a model's scores mean. Immutable, so safe to share between threads.

    Attributes:
        model, preset, sha256: the `ModelIdentity` it belongs to.
        provisional: whether it was made on development data only.
        made_on: the data it was made on, in words.
        date: when, as YYYY-MM-DD.
        genuine: spread of the scores of same-person pairs.
        impostor: spread of the scores of different-person pairs.
        table: operating points from the loosest to the strictest.

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

    def __post_init__(self) -> None:
        def need(fact: bool, message: str) -> None:
            if not fact:
                raise CardError(f"calibration of {self.model!r}/{self.preset!r}: {message}")

        need(bool(self.model and self.preset and self.made_on), "expected model, preset and made_on to be given")
        need(bool(re.fullmatch(r"[0-9a-f]{64}", self.sha256)), f"expected a lower-case sha256, got {self.sha256!r}")
        need(bool(re.fullmatch(r"\d{4}-\d\d-\d\d", self.date)), f"expected date as YYYY-MM-DD, got {self.date!r}")
        for spread in (self.genuine, self.impostor):
            sane = spread.n > 0 and -1 <= spread.mean <= 1 and 0 <= spread.sd <= 1
            need(sane, f"expected a spread with n > 0 and cosines, got {spread}")
        for p in self.table:
            sane = 0 < p.fmr < 1 and -1 <= p.threshold <= 1.000001 and 0 <= p.tar <= 1  # NaN fails every comparison
            need(sane, f"expected fmr in (0, 1), a cosine and tar in [0, 1], got {p}")
        for loose, strict in zip(self.table, self.table[1:], strict=False):
            need(loose.fmr > strict.fmr, f"expected falling fmr, got {loose.fmr:g} before {strict.fmr:g}")
            need(loose.threshold <= strict.threshold, f"thresholds fall between fmr {loose.fmr:g} and {strict.fmr:g}")
            need(loose.tar >= strict.tar, f"tar rises between fmr {loose.fmr:g} and {strict.fmr:g}")
            need(loose.supported or not strict.supported, "a supported row stands below an unsupported one")
        need(bool(self.table) and self.table[0].supported, "expected at least one supported row")

    @property
    def _trusted(self) -> tuple[OperatingPoint, ...]:
        return tuple(p for p in self.table if p.supported)

    def belongs_to(self, identity: ModelIdentity) -> bool:
        """Whether this calibration was made with exactly this model, preset and weights."""
        return (self.model, self.preset, self.sha256) == (identity.name, identity.preset, identity.sha256)

    def supports(self, fmr: float) -> bool:
        """Whether the threshold at `fmr` was measured; below the last supported row it is extrapolated."""
        return check_rate("fmr", fmr) >= self._trusted[-1].fmr

    def threshold(self, *, fmr: float = VERIFY_FMR) -> float:
        """The smallest threshold known not to exceed a false match rate.

        On a row of the table it is the row's. Between two rows the stricter row is the safe answer; a looser one is
        given only where the tail itself vouches for it: log FMR is extended from the two looser rows, which bounds the
        rate from above where the tail bends down (as tails of cosines do), and never falls below the straight line
        between the neighbours, which bounds it where the tail bends up. Below the last supported row the last decade
        is extended in a straight line of log FMR; see `supports`.

        Args:
            fmr: false match rate, between 0 and 1.

        Returns:
            A cosine, never above 1; it never falls as `fmr` falls.

        Raises:
            InputError: `fmr` is not a rate.
        """
        fmr = check_rate("fmr", fmr)
        rows = self._trusted
        at = next((i for i, p in enumerate(rows) if p.fmr <= fmr), None)
        if at is None:
            return self._extrapolated(fmr)
        strict = rows[at]
        if strict.fmr == fmr or at < 2:
            return strict.threshold
        before, loose = rows[at - 2], rows[at - 1]
        safe = max(_on_line(before, loose, fmr), _on_line(loose, strict, fmr))
        return min(safe, strict.threshold)

    def _extrapolated(self, fmr: float) -> float:
        rows = self._trusted
        last = rows[-1]
        start = next((p for p in reversed(rows) if p.fmr >= 9.99 * last.fmr), rows[0])
        if start.fmr == last.fmr:  # a single row says nothing about the tail
            return 1.0
        return min(1.0, max(last.threshold, _on_line(start, last, fmr)))

    def threshold_for(self, *, fpir: float = IDENTIFY_FPIR, gallery_size: int) -> float:
        """The threshold for naming a face in a gallery of `gallery_size` enrolled faces at `fpir`.

        Provisional rule: `threshold` at `comparison_fmr`. It never falls as the gallery grows.

        Raises:
            InputError: `fpir` is not a rate, or `gallery_size` is negative.
        """
        return self.threshold(fmr=comparison_fmr(fpir, gallery_size))

    @classmethod
    def read(cls, path: str | Path) -> Calibration:
        """Read a calibration from a TOML file.

        Raises:
            CardError: the file cannot be read or is not a calibration.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise CardError(f"{path}: cannot be read as a calibration: {error}") from error
        return cls.from_toml(text, source=str(path))

    @classmethod
    def from_toml(cls, text: str, *, source: str = "<calibration>") -> Calibration:
        """Read a calibration from TOML text; `source` names it in messages.

        Raises:
            CardError: the text is not a calibration.
        """
        try:
            data: dict[str, Any] = tomllib.loads(text)
            fields = {key: _text(data, key) for key in ("model", "preset", "sha256", "made_on")}
            date = data["date"] if isinstance(data["date"], str) else data["date"].isoformat()
            if not isinstance(data["provisional"], bool):
                raise CardError("provisional: expected true or false")  # noqa: TRY301
            return cls(
                **fields,
                date=date,
                provisional=data["provisional"],
                genuine=_spread(data["genuine"]),
                impostor=_spread(data["impostor"]),
                table=tuple(
                    OperatingPoint(
                        float(row["fmr"]), float(row["threshold"]), float(row["tar"]), row["supported"] is True
                    )
                    for row in data["table"]
                ),
            )
        except CardError as error:
            raise CardError(f"{source}: {error}") from error
        except KeyError as error:
            raise CardError(f"{source}: not a calibration: {error} is missing") from error
        except (ValueError, TypeError, AttributeError) as error:  # tomllib's error is a ValueError
            raise CardError(f"{source}: not a calibration: {error}") from error

    def to_toml(self) -> str:
        """The calibration as TOML text that `from_toml` reads back unchanged."""
        lines = [f"{key} = {json.dumps(getattr(self, key))}" for key in ("model", "preset", "sha256", "provisional")]
        lines += [f"made_on = {json.dumps(self.made_on)}", f"date = {json.dumps(self.date)}"]
        for key, s in (("genuine", self.genuine), ("impostor", self.impostor)):
            lines.append(f"{key} = {{ n = {s.n}, mean = {s.mean!r}, sd = {s.sd!r} }}")
        for p in self.table:
            lines += ["", "[[table]]", f"fmr = {p.fmr!r}", f"threshold = {p.threshold!r}", f"tar = {p.tar!r}"]
            lines.append(f"supported = {json.dumps(p.supported)}")
        return "\n".join(lines) + "\n"


def calibration_for(identity: ModelIdentity) -> Calibration:
    """The calibration that mien ships for a model, preset and weights.

    Raises:
        InputError: there is none; the message asks for an explicit threshold.
    """
    for calibration in _shipped():
        if calibration.belongs_to(identity):
            return calibration
    known = ", ".join(f"{c.model}/{c.preset}" for c in _shipped()) or "none"
    raise InputError(
        f"no calibration for {identity}, so no threshold follows from an error rate (calibrated: {known}); "
        "give an explicit threshold=... or a calibration made for this model"
    )


def _on_line(a: OperatingPoint, b: OperatingPoint, fmr: float) -> float:
    """The threshold at `fmr` on the line through two points of log FMR against threshold."""
    share = math.log(fmr / a.fmr) / math.log(b.fmr / a.fmr)
    return a.threshold + share * (b.threshold - a.threshold)


def _text(data: Mapping[str, Any], key: str) -> str:
    if not isinstance(data[key], str):
        raise CardError(f"{key}: expected text, got {data[key]!r}")
    return str(data[key])


def _spread(data: Mapping[str, Any]) -> ScoreSpread:
    return ScoreSpread(int(data["n"]), float(data["mean"]), float(data["sd"]))


@lru_cache(maxsize=1)
def _shipped() -> tuple[Calibration, ...]:
    folder = resources.files("mien.match") / "calibrations"
    if not folder.is_dir():
        return ()
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return tuple(Calibration.from_toml(f.read_text(encoding="utf-8"), source=f.name) for f in files)
