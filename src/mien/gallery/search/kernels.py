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

__all__ = ["GROUP", "encode", "passing", "scan"]

GROUP = 16  # rows whose coarse words are interleaved
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
) -> int:
    """Bit i says whether row i of the group has an estimate of at least `least`."""
    signed = weights.view(np.int8)
    mask = 0
    for lane in range(GROUP):
        total = 0
        for word in range(words):
            for i in range(4):
                byte = int(coarse[(group * words + word) * 64 + lane * 4 + i])
                total += (byte & 15) * int(signed[4 * at + 8 * word + i])
                total += (byte >> 4) * int(signed[4 * at + 8 * word + 4 + i])
        estimate = np.float32(total) * scale + np.float32(shifts[group * GROUP + lane]) * step
        if estimate >= least:
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
        points: float64 (n, D), centred and rotated; n is a multiple of 16. Used up.
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
    for n in range(len(points)):
        row = first + n
        group = row // GROUP
        if row % GROUP == 0:
            for b in range(4):
                bounds[group, b] = 0.0
        squares = 0.0
        finer = 0.0
        for j in range(slots):
            axis, step = slot_axis[j], slot_step[j]
            left = points[n, axis]
            high = min(max(int(np.floor(left / step)) + 8, 0), 15) if step > 0.0 else 8
            left -= (high - 7.5) * step
            points[n, axis] = left
            squares += (high - 7.5) ** 2
            low = 0
            if slot_last[j]:
                low = min(max(int(np.floor(left * 16.0 / step)) + 8, 0), 15)
                rest = left - (low - 7.5) * step / 16.0
                finer += rest * rest - left * left
            i, above = j % 4, 4 * ((j % 8) // 4)
            at = (group * words + j // 8) * 64 + (row % GROUP) * 4 + i
            to = (row * words + j // 8) * 4 + i
            if above == 0:
                coarse[at] = high
                fine[to] = low
            else:
                coarse[at] |= high << 4
                fine[to] |= low << 4
        residual = 0.0
        for axis in range(points.shape[1]):
            residual += points[n, axis] * points[n, axis]
        stored = min(max(int(np.rint(shift[n] / shift_step)), -32767), 32767)
        shifts[row] = stored
        bounds[group, 0] = max(bounds[group, 0], np.float32(np.sqrt(residual) * up))
        bounds[group, 1] = max(bounds[group, 1], np.float32(np.sqrt(max(residual + finer, 0.0) + 1e-15 * residual) * up))
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


def _refined(
    coarse: Bytes, fine: Bytes, group: int, lane: int, words: int, high_weights: Doubles, low_weights: Doubles
) -> float:
    total = 0.0
    row = group * GROUP + lane
    for word in range(words):
        at = (group * words + word) * 64 + lane * 4
        to = (row * words + word) * 4
        for i in range(4):
            slot = 8 * word + i
            high, low = coarse[at + i], fine[to + i]
            total += high_weights[slot] * (high & 15) + low_weights[slot] * (low & 15)
            total += high_weights[slot + 4] * (high >> 4) + low_weights[slot + 4] * (low >> 4)
    return total


def _offer(scores: Doubles, rows: Ids, owners: Ids, filled: int, score: float, row: int, owner: int) -> int:
    """Keep (score, row) if it belongs to the best, one an owner; returns how many are kept. Rows come in order."""
    for i in range(filled):
        if owners[i] == owner:
            if score > scores[i]:
                scores[i] = score
                rows[i] = row
            return filled
    at = filled
    if filled == len(scores):
        at = 0
        for i in range(1, filled):
            if scores[i] < scores[at] or (scores[i] == scores[at] and rows[i] > rows[at]):
                at = i
        if score <= scores[at]:
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
    high_weights: Doubles,
    low_weights: Doubles,
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
        high_weights: float64 (Q, S), exact weights of the coarse halves.
        low_weights: float64 (Q, S), exact weights of the fine halves.
        terms: float64 (Q, 8): scale of the integer sums, constant of the integer estimate, constant of the fine
            estimate, norm of the centred probe, norm of the weights' rounding, error of float arithmetic, unit of
            `shifts`, a score that is known to be reached k times.
        task: which column of `bars` is this caller's.
        bars: float64 (Q, tasks), k-th best scores, shared by the callers that scan other parts.
        best_scores: float64 (Q, k), out.
        best_rows: int64 (Q, k), out.
        best_owners: int64 (Q, k), out.
        filled: int64 (Q,), out: how many of the k were found.
    """
    words = high_weights.shape[1] // 8
    k = best_scores.shape[1]
    last_group = coded // GROUP
    first_group = begin // GROUP
    while True:
        stop = min(first_group + _STRIDE, last_group)
        for q in range(len(probes)):
            scale = np.float32(terms[q, 0])
            step = np.float32(terms[q, 6])
            bar = terms[q, 7]
            for t in range(bars.shape[1]):
                bar = max(bar, bars[q, t])
            for group in range(first_group, stop):
                margin = terms[q, 3] * bounds[group, 0] + terms[q, 4] * bounds[group, 2] + bounds[group, 3]
                least = np.float32(bar - terms[q, 1] - margin - terms[q, 5])
                mask = passing(coarse, group, words, weights, q * 2 * words, shifts, scale, step, least)
                lane = 0
                while mask != 0:
                    if mask & 1:
                        row = group * GROUP + lane
                        if row >= len(allowed) or allowed[row] != 0:
                            fair = _refined(coarse, fine, group, lane, words, high_weights[q], low_weights[q])
                            fair += terms[q, 2] + shifts[row] * terms[q, 6]
                            margin = terms[q, 3] * bounds[group, 1] + bounds[group, 3] + terms[q, 5]
                            if fair + margin >= bar:
                                score = _dot(rows, row, probes[q])
                                owner = owners[row] if by_owner else row
                                filled[q] = _offer(
                                    best_scores[q], best_rows[q], best_owners[q], filled[q], score, row, owner
                                )
                                if filled[q] == k:
                                    bars[q, task] = best_scores[q].min()
                                    bar = max(bar, bars[q, task])
                    mask >>= 1
                    lane += 1
            if stop == last_group:
                for row in range(coded, end):
                    if row >= len(allowed) or allowed[row] != 0:
                        owner = owners[row] if by_owner else row
                        score = _dot(rows, row, probes[q])
                        filled[q] = _offer(
                            best_scores[q], best_rows[q], best_owners[q], filled[q], score, row, owner
                        )
        first_group = stop
        if stop == last_group:
            return
