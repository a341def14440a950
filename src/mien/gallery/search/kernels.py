"""Inner loops of the compressed index, in the part of Python that numba compiles; `compiled` does so on demand.

Plain functions of arrays: uncompiled they give the same answers, slowly, and so are their own reference.

Layout. A code has S slots of one byte, S a multiple of 8: a coarse half (high nibble) and a fine half (low nibble).
Nibbles are packed in words of four bytes: byte i of word w holds slot 8w + i below and slot 8w + 4 + i above. Coarse
words of 16 rows (a group) lie side by side, so that one 512-bit load brings 16 rows' next eight slots; fine words lie
row by row, for only candidates read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.gallery.records import Ids
    from mien.types import Floats

    Bytes = NDArray[np.uint8]
    Doubles = NDArray[np.float64]

# ruff: noqa: PLR0917 -- compiled functions take arrays, not objects, and no keywords

__all__ = ["GROUP", "encode", "passing", "scan"]

GROUP = 16  # rows whose coarse words are interleaved
_LATER = 8192  # rows a probe that may wait for a second look
_STRIDE = 256  # groups that all probes of a batch visit before the next ones are fetched: about an L2 cache full


def passing(
    coarse: Bytes,
    group: int,
    words: int,
    weights: NDArray[np.int32],
    at: int,
    shifts: NDArray[np.int16],
    scale: np.float32,
    step: np.float32,
    least: np.float32,
    estimates: Floats,
) -> int:
    """Write the 16 rows' estimates; bit i of the answer says whether that of row i is at least `least`."""
    signed = weights.view(np.int8)
    mask = 0
    for lane in range(GROUP):
        total = 0
        for word in range(words):
            for i in range(4):
                byte = int(coarse[(group * words + word) * 64 + lane * 4 + i])
                total += (byte & 15) * int(signed[4 * at + 8 * word + i])
                total += (byte >> 4) * int(signed[4 * at + 8 * word + 4 + i])
        estimates[lane] = np.float32(total) * scale + np.float32(shifts[group * GROUP + lane]) * step
        if estimates[lane] >= least:
            mask |= 1 << lane
    return mask


def encode(
    points: Doubles,
    shift: Doubles,
    slot_axis: Ids,
    slot_step: Doubles,
    slot_last: Bytes,
    shift_step: float,
    first: int,
    coarse: Bytes,
    fine: Bytes,
    shifts: NDArray[np.int16],
    bounds: Floats,
) -> None:
    """Write the codes of whole groups and how far they may be off.

    Args:
        points: float64 (n, D), centred and rotated; n is a multiple of 16.
        shift: float64 (n,), the mean's product with each centred row.
        slot_axis: int64 (S,), which axis a slot belongs to.
        slot_step: float64 (S,), width of its coarse cells, 0 for an empty slot.
        slot_last: uint8 (S,), 1 where the axis has no further slot.
        shift_step: unit of `shifts`.
        first: row of the first point, a multiple of 16.
        coarse: uint8 (rows * S / 2,).
        fine: uint8 (rows * S / 2,).
        shifts: int16 (rows,).
        bounds: float32 (groups, 4): the group's largest coarse residual, fine residual, norm of its coarse code (about
            its centre), and error of the shift.
    """
    slots = len(slot_axis)
    words = slots // 8
    up = 1.0 + 1e-6  # the bounds are stored in float32 and must not shrink
    per_step = np.zeros(slots)
    for j in range(slots):
        if slot_step[j] > 0.0:
            per_step[j] = 1.0 / slot_step[j]
    left, high, low = np.empty(slots), np.empty(slots), np.empty(slots)
    for n in range(len(points)):
        row = first + n
        group = row // GROUP
        if row % GROUP == 0:
            for b in range(4):
                bounds[group, b] = 0.0
        for j in range(slots):
            left[j] = points[n, slot_axis[j]]
        coarsely = 0.0
        for axis in range(points.shape[1]):
            coarsely += points[n, axis] * points[n, axis]
        for j in range(slots):
            high[j] = min(max(np.floor(left[j] * per_step[j]), -8.0), 7.0) + 0.5
        for j in range(slots - 1):
            if slot_last[j] == 0 and per_step[j] > 0.0:  # the next slot refines this one
                left[j + 1] = left[j] - high[j] * slot_step[j]
                high[j + 1] = min(max(np.floor(left[j + 1] * per_step[j + 1]), -8.0), 7.0) + 0.5
                coarsely -= left[j] * left[j] - left[j + 1] * left[j + 1]
        finely = squares = 0.0
        for j in range(slots):
            rest = left[j] - high[j] * slot_step[j]
            low[j] = min(max(np.floor(rest * 16.0 * per_step[j]), -8.0), 7.0) + 0.5
            least = rest - low[j] * slot_step[j] / 16.0
            coarsely += slot_last[j] * (rest * rest - left[j] * left[j])
            finely += slot_last[j] * (least * least - rest * rest)
            squares += high[j] * high[j]
        finely += coarsely
        for j in range(slots):
            at = (group * words + j // 8) * 64 + (row % GROUP) * 4 + j % 4
            to = (row * words + j // 8) * 4 + j % 4
            above, below = int(high[j] + 7.5), int(low[j] + 7.5)
            if j % 8 < 4:
                coarse[at] = above
                fine[to] = below
            else:
                coarse[at] |= above << 4
                fine[to] |= below << 4
        stored = min(max(int(np.rint(shift[n] / shift_step)), -32767), 32767)
        shifts[row] = stored
        bounds[group, 0] = max(bounds[group, 0], np.float32(np.sqrt(max(coarsely, 0.0) + 1e-14) * up))
        bounds[group, 1] = max(bounds[group, 1], np.float32(np.sqrt(max(finely, 0.0) + 1e-14) * up))
        bounds[group, 2] = max(bounds[group, 2], np.float32(np.sqrt(squares) * up))
        bounds[group, 3] = max(bounds[group, 3], np.float32(abs(shift[n] - stored * shift_step) * up))


def _dot(rows: Floats, row: int, probe: Doubles) -> float:
    """Four sums keep the processor's adders busy; the order is the same for every row, so equal rows score equally."""
    a = b = c = d = 0.0
    dimension = len(probe)
    whole = dimension - dimension % 4
    for i in range(0, whole, 4):
        a += rows[row, i] * probe[i]
        b += rows[row, i + 1] * probe[i + 1]
        c += rows[row, i + 2] * probe[i + 2]
        d += rows[row, i + 3] * probe[i + 3]
    for i in range(whole, dimension):
        a += rows[row, i] * probe[i]
    return (a + b) + (c + d)


def _fine_part(fine: Bytes, row: int, weights: NDArray[np.int16], q: int) -> int:
    """What the fine half of a row's code adds to its estimate, in units of the fine weights."""
    half = weights.shape[2]
    start = row * half
    total = np.int32(0)
    for i in range(half):
        code = fine[start + i]
        total += np.int32(code & 15) * np.int32(weights[q, 0, i]) + np.int32(code >> 4) * np.int32(weights[q, 1, i])
    return int(total)


def _offer(scores: Doubles, rows: Ids, owners: Ids, filled: int, score: float, row: int, owner: int) -> int:
    """Keep (score, row) if it belongs to the best, one an owner; returns how many are kept."""
    for i in range(filled):
        if owners[i] == owner:
            if score > scores[i] or (score == scores[i] and row < rows[i]):
                scores[i] = score
                rows[i] = row
            return filled
    at = filled
    if np.isnan(score):  # a damaged file; no row of ours
        return filled
    if filled == len(scores):
        at = 0
        for i in range(1, filled):
            if scores[i] < scores[at] or (scores[i] == scores[at] and rows[i] > rows[at]):
                at = i
        if not (score > scores[at] or (score == scores[at] and row < rows[at])):
            return filled
        filled -= 1
    scores[at] = score
    rows[at] = row
    owners[at] = owner
    return filled + 1


def scan(
    coarse: Bytes,
    fine: Bytes,
    shifts: NDArray[np.int16],
    bounds: Floats,
    rows: Floats,
    owners: Ids,
    allowed: Bytes,
    by_owner: bool,
    begin: int,
    coded: int,
    end: int,
    probes: Doubles,
    weights: NDArray[np.int32],
    fine_weights: NDArray[np.int16],
    terms: Doubles,
    task: int,
    bars: Doubles,
    best_scores: Doubles,
    best_rows: Ids,
    best_owners: Ids,
    filled: Ids,
) -> None:
    """The exactly best rows of [begin, end) for each probe, reading few of them in full.

    A row is read further only while its estimate plus the proven error reaches the k-th best score known so far.

    Args:
        coarse: codes, see the module; so are `fine`, `shifts`, `bounds`.
        fine: the codes' fine halves.
        shifts: int16 (rows,).
        bounds: float32 (groups, 4).
        rows: float32 (rows, D), the truth.
        owners: int64 (rows,).
        allowed: uint8, 0 for rows to pass over; rows behind its end are allowed.
        by_owner: keep one row an owner.
        begin: first row, a multiple of 16.
        coded: rows from here on have no code; begin plus a multiple of 16, at most `end`.
        end: one past the last row.
        probes: float64 (Q, D).
        weights: int32 (Q * S / 4,), four int8 each.
        fine_weights: int16 (Q, 2, S / 2), of the lower and the upper nibbles of `fine`.
        terms: float64 (Q, 9): scale of the coarse sums, constant of the coarse estimate, constant of the fine part,
            norm of the centred probe, norm of the coarse weights' rounding, error of all other roundings, unit of
            `shifts`, a score that is known to be reached k times, scale of the fine sums.
        task: which column of `bars` is this caller's.
        bars: float64 (Q, tasks), k-th best scores, shared by the callers that scan other parts.
        best_scores: float64 (Q, k), out.
        best_rows: int64 (Q, k), out.
        best_owners: int64 (Q, k), out.
        filled: int64 (Q,), out: how many of the k were found.
    """
    words = fine_weights.shape[2] // 4
    k = best_scores.shape[1]
    estimates = np.empty(GROUP, np.float32)
    later, most = np.empty((len(probes), _LATER), np.int64), np.empty((len(probes), _LATER))
    waiting = np.zeros(len(probes), np.int64)
    first_group, last_group = begin // GROUP, coded // GROUP
    while True:
        stop = min(first_group + _STRIDE, last_group)
        for q in range(len(probes)):
            scale, step = np.float32(terms[q, 0]), np.float32(terms[q, 6])
            bar = max(terms[q, 7], bars[q].max())
            for group in range(first_group, stop):
                margin = terms[q, 3] * bounds[group, 0] + terms[q, 4] * bounds[group, 2] + bounds[group, 3]
                margin += terms[q, 5]
                least = np.float32(bar - terms[q, 1] - margin)
                mask = passing(coarse, group, words, weights, 2 * q * words, shifts, scale, step, least, estimates)
                lane = 0
                while mask != 0:
                    row = group * GROUP + lane
                    if mask & 1 and (row >= len(allowed) or allowed[row] != 0):
                        likely = estimates[lane] + terms[q, 1]
                        if likely >= bar or waiting[q] == _LATER:  # raise the bar at once; the doubtful may wait for it
                            owner = owners[row] if by_owner else row
                            score = _dot(rows, row, probes[q])
                            filled[q] = _offer(
                                best_scores[q], best_rows[q], best_owners[q], filled[q], score, row, owner
                            )
                            if filled[q] == k:
                                bars[q, task] = best_scores[q].min()
                                bar = max(bar, bars[q, task])
                        else:
                            later[q, waiting[q]] = row
                            most[q, waiting[q]] = likely + margin
                            waiting[q] += 1
                    mask >>= 1
                    lane += 1
            if waiting[q] > _LATER // 2 or stop == last_group:
                for i in range(waiting[q]):
                    if most[q, i] >= bar:
                        row = later[q, i]
                        group = row // GROUP
                        most_now = most[q, i] + terms[q, 3] * (bounds[group, 1] - bounds[group, 0]) + terms[q, 2]
                        if most_now + _fine_part(fine, row, fine_weights, q) * terms[q, 8] >= bar:
                            owner = owners[row] if by_owner else row
                            score = _dot(rows, row, probes[q])
                            filled[q] = _offer(
                                best_scores[q], best_rows[q], best_owners[q], filled[q], score, row, owner
                            )
                            if filled[q] == k:
                                bars[q, task] = best_scores[q].min()
                                bar = max(bar, bars[q, task])
                waiting[q] = 0
            if stop == last_group:
                for row in range(coded, end):
                    if row >= len(allowed) or allowed[row] != 0:
                        owner = owners[row] if by_owner else row
                        score = _dot(rows, row, probes[q])
                        filled[q] = _offer(best_scores[q], best_rows[q], best_owners[q], filled[q], score, row, owner)
        first_group = stop
        if stop == last_group:
            return
