"""Two histograms of scores side by side: as text for a terminal, or as a picture."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from mien.evaluate.people_table import BIN_EDGES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from mien.evaluate.people_table import PeopleTable

__all__ = ["save_histogram", "text_histogram"]

_ROWS = 20  # lines of a text histogram, at most
_WIDTH = 28  # characters of its longest bar


def text_histogram(table: PeopleTable) -> Iterator[str]:
    """Lines of text: a score, a bar for different people and one for the same person, each against its own peak."""
    different, same, edges = _coarse(table)
    if not len(edges):
        return
    block = "█" if _can_print("█") else "#"
    yield f"{'score':>6}  {'different people':<{_WIDTH}}  same person"
    for i, (d, s) in enumerate(zip(different.tolist(), same.tolist(), strict=True)):
        left, right = (_bar(count, peak, block) for count, peak in ((d, different.max()), (s, same.max())))
        mark = "  < threshold" if edges[i] <= table.threshold < edges[i + 1] else ""
        yield f"{edges[i]:>6.2f}  {left:<{_WIDTH}}  {right}{mark}".rstrip()


def save_histogram(table: PeopleTable, path: Path, *, title: str) -> None:
    """Write both histograms and the threshold as a picture, in the format of the suffix (png, svg, pdf).

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Neither pyplot nor its state: a figure and its canvas, so that nothing of the process changes.
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = np.flatnonzero(table.same_histogram + table.different_histogram)
    for counts, label, colour in (
        (table.different_histogram, "different people", "#d1495b"),
        (table.same_histogram, "same person", "#2e8b57"),
    ):
        total = int(counts.sum())
        if total:
            axes.stairs(
                counts / total, BIN_EDGES, fill=True, alpha=0.6, color=colour, label=f"{label} ({total:,} pairs)"
            )
    axes.axvline(table.threshold, color="black", linestyle="--", label=f"threshold {table.threshold:.3f}")
    if len(shown):
        axes.set_xlim(BIN_EDGES[shown[0]] - 0.02, BIN_EDGES[shown[-1] + 1] + 0.02)
    axes.set(xlabel="cosine similarity", ylabel="share of pairs", title=title)
    axes.legend()
    figure.savefig(path, dpi=150)


def _coarse(table: PeopleTable) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Both histograms over the range where they are not empty, in at most `_ROWS` bins."""
    used = np.flatnonzero(table.same_histogram + table.different_histogram)
    if not len(used):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    first, last = int(used[0]), int(used[-1]) + 1
    step = next(s for s in (1, 2, 5, 10, 20) if -(-last // s) - first // s <= _ROWS)
    starts = np.arange(first // step * step, last, step)
    different, same = (np.add.reduceat(h, starts) for h in (table.different_histogram, table.same_histogram))
    return different, same, np.append(BIN_EDGES[starts], BIN_EDGES[min(starts[-1] + step, len(BIN_EDGES) - 1)])


def _bar(count: int, peak: int, block: str) -> str:
    return block * max(1, round(_WIDTH * count / peak)) if count else ""


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
