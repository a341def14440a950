"""One axis of a plot: from values to places, and the ticks that are worth a label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Axis"]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis from `low` to `high`.

    Attributes:
        label: what it measures.
        low, high: its ends; both above 0 on a logarithmic axis.
        log: whether equal distances are equal ratios.
        percent: whether ticks are written in percent.

    Raises:
        ValueError: the ends do not rise, or are not above 0 on a logarithmic axis.
    """

    label: str
    low: float
    high: float
    log: bool = False
    percent: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"axis {self.label}: expected finite ends that rise, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"axis {self.label}: expected ends above 0, got {self.low}")

    def share(self, values: ArrayLike) -> NDArray[np.float64]:
        """Where values lie between the ends, 0 to 1; what is beyond an end lies on it."""
        clipped = np.clip(np.asarray(values, np.float64), self.low, self.high)
        if self.log:
            return np.asarray((np.log(clipped) - math.log(self.low)) / (math.log(self.high) - math.log(self.low)))
        return np.asarray((clipped - self.low) / (self.high - self.low))

    def ticks(self) -> list[tuple[float, str]]:
        """Values and their labels, rising: powers of ten, or multiples of 1, 2 or 5 times one."""
        values = self._decades() if self.log else self._even()
        return [(value, self._label(value)) for value in values]

    def _decades(self) -> list[float]:
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        if last - first >= 1:
            every = max(1, math.ceil((last - first) / 7))
            return [10.0**power for power in range(last, first - 1, -every)][::-1]
        around = range(first - 1, last + 2)
        return [v for power in around for digit in (1, 2, 5) if self.low <= (v := digit * 10.0**power) <= self.high]

    def _even(self) -> list[float]:
        step = self._step()
        return [i * step for i in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]

    def _step(self) -> float:
        rough = (self.high - self.low) / 6
        power = 10.0 ** math.floor(math.log10(rough))
        return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)

    def _label(self, value: float) -> str:
        scale = 100 if self.percent else 1
        if self.log:
            shown = value * scale
            written = f"{shown:g}" if 1e-4 <= shown < 1e4 or not self.percent else f"{shown:.0e}"
            if not self.percent and shown < 1e-3:
                written = f"{shown:.0e}".replace("e-0", "e-")
            elif not self.percent and shown >= 1e3:
                written = f"{shown:,.0f}" if shown < 1e7 else f"{shown:.0e}".replace("e+0", "e")
        else:
            decimals = max(0, -math.floor(math.log10(self._step() * scale) + 1e-9))
            written = f"{value * scale:.{decimals}f}"
            written = written.removeprefix("-") if float(written) == 0 else written.replace("-", "−")
        return f"{written} %" if self.percent else written
