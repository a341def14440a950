"""The look of the figures, without pyplot: nothing of the process changes by drawing one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.experiments.outcome import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

__all__ = ["BLUE", "COLOURS", "GREEN", "ORANGE", "class_points", "panels", "save_figure", "unit_circle"]

GREEN: Final = "#0d7a6b"  # what belongs together, as in the reports of mien.evaluate
ORANGE: Final = "#d2601a"  # what does not
BLUE: Final = "#2457b3"
COLOURS: Final = (BLUE, ORANGE, GREEN, "#b8323f", "#7b4fb0", "#8a5a3b", "#d16aa8", "#6f7782", "#a8a32a", "#2aa9c9")
"""One for each of ten classes or curves."""

_GREY: Final = "#59626c"


def panels(rows: int, columns: int, *, width: float = 4.0, height: float = 4.0) -> tuple[Any, Any]:
    """A figure and its axes (rows, columns); sizes in inches a panel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(colors=_GREY, labelsize=8)
    return figure, axes


def save_figure(figure: Any, path: Path) -> Path:  # noqa: ANN401 - matplotlib has no types
    """Write a figure as PNG, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight", pad_inches=0.12, metadata={"Software": None})
    return write_whole(path, buffer.getvalue())


def class_points(axes: Any, points: ArrayLike, labels: ArrayLike, centres: ArrayLike, names: Sequence[str]) -> None:  # noqa: ANN401
    """Points (N, 2), a colour for each class, with a ray from the origin through each class's centre (C, 2)."""
    rows, numbers, ends = np.asarray(points), np.asarray(labels), np.asarray(centres)
    reach = float(np.percentile(np.linalg.norm(rows, axis=1), 99.5)) if len(rows) else 1.0
    for k, name in enumerate(names):
        colour, own = COLOURS[k % len(COLOURS)], rows[numbers == k]
        axes.scatter(own[:, 0], own[:, 1], s=3, color=colour, alpha=0.5, linewidths=0, label=name, rasterized=True)
        length = float(np.linalg.norm(ends[k]))
        if length > 0:
            tip = ends[k] / length * reach * 1.08
            axes.plot([0, tip[0]], [0, tip[1]], color=colour, linewidth=1.0)
            axes.annotate(name, tip * 1.09, ha="center", va="center", fontsize=8, color=colour, annotation_clip=False)
    limit = reach * 1.28
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")


def unit_circle(axes: Any) -> None:  # noqa: ANN401
    """The circle on which normalised features lie, and nothing else around it."""
    turn = np.linspace(0, 2 * np.pi, 361)
    axes.plot(np.cos(turn), np.sin(turn), color="#dfe2e1", linewidth=0.8, zorder=0)
    axes.set_axis_off()
