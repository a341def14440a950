"""How rows become short codes, and how wrong a score that is read off a code can be.

A row x is centred at the mean m and turned onto its principal axes: y = V (x - m). For any probe q,

    q.x = q.m + m.(x - m) + (V (q - m)).y

The first term is the probe's, the second one number a row, and only the last is read off the code. Axes get code slots
where the variance is, one slot (8 bits, of which the first pass reads 4) or two; axes without variance get none. What
a code leaves out of y, r, is measured when it is made, so |(V (q - m)).r| <= |q - m| |r| is a proven bound: the search
may trust it, however unlike the training rows a row is. The bound only gets looser.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.gallery.search import kernels
from mien.gallery.search.compiled import compiled_encode
from mien.gallery.search.threads import default_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.gallery.records import Ids
    from mien.types import Floats

    Bytes = NDArray[np.uint8]
    Doubles = NDArray[np.float64]

__all__ = ["Codebook", "Codes", "ProbeCode"]

_SAMPLE = 65_536  # rows that a codebook is trained on
_ONE_SLOT, _TWO_SLOTS = 3.4, 4.0  # standard deviations that the cells reach to
_ONE_LEFT = 0.016  # share of an axis' variance that the coarse code of one slot leaves
_ENOUGH = 0.1  # slots are handed out until this share of the standard deviation is left
_TINY = 1e-7  # cells are at least this wide: float32 knows unit vectors no better
_CHUNK = 16_384  # rows encoded at once


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Codes of the first rows of a buffer; see `kernels` for their layout.

    Attributes:
        coarse: uint8 (rows * S / 2,).
        fine: uint8 (rows * S / 2,).
        shifts: int16 (rows,).
        bounds: float32 (rows / 16, 4).
    """

    coarse: Bytes
    fine: Bytes
    shifts: NDArray[np.int16]
    bounds: Floats

    @classmethod
    def room_for(cls, rows: int, slots: int) -> Codes:
        """Buffers for `rows` rows, a multiple of 16."""
        return cls(
            np.empty(rows * slots // 2, np.uint8),
            np.empty(rows * slots // 2, np.uint8),
            np.empty(rows, np.int16),
            np.empty((rows // kernels.GROUP, 4), np.float32),
        )

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All of them; each is as long as the number of rows asks."""
        return self.coarse, self.fine, self.shifts, self.bounds

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return sum(array.nbytes for array in self.arrays)


@dataclass(frozen=True, slots=True, eq=False)
class ProbeCode:
    """Probes as `kernels.scan` takes them; see there."""

    probes: Doubles
    weights: NDArray[np.int32]
    fine_weights: NDArray[np.int16]
    terms: Doubles


@dataclass(frozen=True, slots=True, eq=False)
class Codebook:
    """The code of a set of rows. Immutable, so thread-safe.

    Attributes:
        mean: float64 (D,).
        axes: float64 (D, D), one principal axis a row.
        slot_axis: int64 (S,), which axis a slot belongs to; a second slot of an axis follows its first.
        slot_step: float64 (S,), width of its coarse cells; 0 for an empty slot.
        slot_last: uint8 (S,), 1 where the axis has no further slot.
        shift_step: unit of the rows' shifts.
    """

    mean: Doubles
    axes: Doubles
    slot_axis: Ids
    slot_step: Doubles
    slot_last: Bytes
    shift_step: float

    @property
    def slots(self) -> int:
        """Bytes of a code, of which a first pass reads half."""
        return len(self.slot_axis)

    @classmethod
    def trained(cls, rows: Floats) -> Codebook:
        """A codebook for rows like these, float32 (N, D), N at least 1; an even sample of them is used."""
        sample = np.asarray(rows[:: max(1, len(rows) // _SAMPLE)], np.float64)
        mean = sample.mean(0)
        centred = sample - mean
        values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
        variance, axes = np.maximum(values[::-1], 0), np.ascontiguousarray(vectors.T[::-1])
        taken = _slots(variance)
        slot_axis, slot_step, slot_last = [], [], []
        for axis in np.flatnonzero(taken).tolist():
            reach = (_ONE_SLOT if taken[axis] == 1 else _TWO_SLOTS) * float(np.sqrt(variance[axis]))
            step = max(reach / 8, _TINY)
            for slot in range(taken[axis]):
                slot_axis.append(axis)
                slot_step.append(step / 16**slot)
                slot_last.append(slot == taken[axis] - 1)
        for _ in range(-len(slot_axis) % 8 or 8 * (not slot_axis)):  # empty slots fill the last word
            slot_axis.append(0)
            slot_step.append(0.0)
            slot_last.append(False)
        shift = centred @ mean
        return cls(
            mean,
            axes,
            np.array(slot_axis, np.int64),
            np.array(slot_step, np.float64),
            np.array(slot_last, np.uint8),
            max(float(np.abs(shift).max()) * 1.5 / 32767, _TINY),
        )

    def encode(self, rows: Floats, first: int, codes: Codes) -> None:
        """Write the codes of whole groups of rows, float32 (n, D), at row `first`; n and `first` multiples of 16."""

        def part(start: int) -> None:
            centred = rows[start : start + _CHUNK].astype(np.float64) - self.mean
            compiled_encode()(
                centred @ self.axes.T,
                centred @ self.mean,
                self.slot_axis,
                self.slot_step,
                self.slot_last,
                self.shift_step,
                first + start,
                codes.coarse,
                codes.fine,
                codes.shifts,
                codes.bounds,
            )

        starts = range(0, len(rows), _CHUNK)
        if len(starts) < 3:
            for start in starts:
                part(start)
        else:
            with ThreadPoolExecutor(default_threads(), thread_name_prefix="mien-encode") as pool:
                list(pool.map(part, starts))

    def prepare(self, probes: Floats) -> ProbeCode:
        """What a scan needs to know of probes, float32 (Q, D)."""
        exact = probes.astype(np.float64)
        centred = exact - self.mean
        high = np.ascontiguousarray((centred @ self.axes.T)[:, self.slot_axis]) * self.slot_step
        scale = np.maximum(np.abs(high).max(1, keepdims=True), 1e-30) / 127
        whole = np.rint(high / scale).astype(np.int8)
        low = high / 16 * self.slot_last
        fine_scale = np.maximum(np.abs(low).max(1, keepdims=True), 1e-30) / 32767
        fine = np.rint(low / fine_scale).astype(np.int16)
        halves = fine.reshape(len(probes), -1, 2, 4).transpose(0, 2, 1, 3).reshape(len(probes), 2, -1)
        base = exact @ self.mean
        total = np.abs(whole).sum(1, dtype=np.int64) * 15.0 * scale[:, 0]  # no partial sum is larger
        terms = np.empty((len(probes), 9))
        terms[:, 0] = scale[:, 0]
        terms[:, 1] = base - 7.5 * scale[:, 0] * whole.sum(1, dtype=np.int64)
        terms[:, 2] = -7.5 * fine_scale[:, 0] * fine.sum(1, dtype=np.int64)
        terms[:, 3] = np.linalg.norm(centred, axis=1)
        terms[:, 4] = np.linalg.norm(high - scale * whole, axis=1)
        # A few float32 roundings of each number that meets, and what the fine weights lose.
        terms[:, 5] = 2.0**-21 * (2 + total + np.abs(terms[:, 1]) + 32767 * self.shift_step)
        terms[:, 5] += 7.5 * np.abs(low - fine_scale * fine).sum(1)
        terms[:, 6] = self.shift_step
        terms[:, 7] = -np.inf
        terms[:, 8] = fine_scale[:, 0]
        return ProbeCode(exact, whole.reshape(-1).view(np.int32), np.ascontiguousarray(halves), terms)


def _slots(variance: Doubles) -> NDArray[np.int64]:
    """Slots an axis, handed out one by one to the axis that has most variance left."""
    left = variance.copy()
    taken = np.zeros(len(variance), np.int64)
    enough = _ENOUGH**2 * float(variance.sum())
    while taken.sum() < len(variance) and left.sum() > enough:
        axis = int(left.argmax())
        taken[axis] += 1
        left[axis] = variance[axis] * _ONE_LEFT if taken[axis] == 1 else 0
    return taken
