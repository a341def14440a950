"""Angles of pairs, and of pictures to their people's centres, under two models: what training moved."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.evaluate.metrics.pairs import all_pair_scores, subject_numbers
from mien.evaluate.metrics.scores import chunks, score_set
from mien.evaluate.metrics.verification import eer
from mien.experiments.drawing import GREEN, ORANGE, panels, save_figure
from mien.experiments.outcome import Outcome, write_csv, write_json
from mien.experiments.spread import unit_directions

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray

    from mien.types import Floats

    Counts = NDArray[np.int64]

__all__ = ["AngleHistograms", "Angles", "Facts", "angle_histograms", "angles"]

_EDGES: Final = np.arange(0.0, 181.0)  # degrees
_BLOCK: Final = 4096  # pictures whose angles to all centres are held at once


@dataclass(frozen=True, slots=True)
class Facts:
    """Numbers of one pair of histograms; angles in degrees. Immutable.

    Attributes:
        same, other: how many angles there are of what belongs together, and of what does not.
        same_mean, other_mean: their means.
        same_deviation, other_deviation: their standard deviations.
        overlap: shared area of the two histograms, each of area 1, by whole degrees: 0 apart, 1 alike.
        eer: equal error rate of a threshold between the two.
    """

    same: int
    other: int
    same_mean: float
    other_mean: float
    same_deviation: float
    other_deviation: float
    overlap: float
    eer: float


@dataclass(frozen=True, slots=True, eq=False)
class Angles:
    """Histograms of two kinds of angles, counted by whole degrees from 0 to 180. Immutable by agreement."""

    same: Counts
    other: Counts
    facts: Facts


@dataclass(frozen=True, slots=True, eq=False)
class AngleHistograms:
    """What one model makes of N pictures of K people. Immutable by agreement.

    Attributes:
        pairs: between two pictures, of one person and of two.
        centres: between a picture and its own person's centre (of the other pictures: it does not count itself), and
            the nearest other person's.
    """

    pictures: int
    people: int
    pairs: Angles
    centres: Angles


def angle_histograms(embeddings: ArrayLike, labels: ArrayLike) -> AngleHistograms:
    """Count the angles of all pairs of pictures, and of pictures to centres.

    Memory: 4 bytes a pair, and one block.

    Args:
        embeddings: (N, D), of any length but 0.
        labels: (N,) whom each shows: numbers or names. People with one picture count in pairs and as others' centres.

    Raises:
        InputError: shapes do not fit, a row has no direction, or there is no pair of one person or of two.
    """
    rows = unit_directions(embeddings)
    who = subject_numbers(labels, len(rows))
    scores = all_pair_scores(rows.astype(np.float32), who)
    own, nearest = _to_centres(rows, who)
    return AngleHistograms(
        len(rows),
        int(who.max()) + 1,
        _angles(scores.genuine, scores.impostor, eer(scores).rate),
        _angles(own, nearest, eer(score_set(own, nearest)).rate),
    )


def _to_centres(rows: NDArray[np.float64], who: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Cosines (M,) to the centre of the person's other pictures, and (N,) to the nearest other person's centre."""
    counts = np.bincount(who)
    sums = np.zeros((len(counts), rows.shape[1]))
    np.add.at(sums, who, rows)
    centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-300)
    nearest = np.empty(len(rows), np.float32)
    for first in range(0, len(rows), _BLOCK):
        part = slice(first, first + _BLOCK)
        cosines = rows[part] @ centres.T
        cosines[np.arange(len(cosines)), who[part]] = -np.inf
        nearest[part] = cosines.max(1)
    several = counts[who] > 1
    others = sums[who[several]] - rows[several]
    lengths = np.linalg.norm(others, axis=1)
    live = lengths > 1e-9  # two opposite pictures have no centre
    own = (rows[several][live] * others[live]).sum(1) / lengths[live]
    return own.astype(np.float32), nearest


def _angles(same: Floats, other: Floats, rate: float) -> Angles:
    (a, a_mean, a_dev), (b, b_mean, b_dev) = _counted(same), _counted(other)
    overlap = float(np.minimum(a / a.sum(), b / b.sum()).sum())
    return Angles(a, b, Facts(len(same), len(other), a_mean, b_mean, a_dev, b_dev, overlap, float(rate)))


def _counted(cosines: Floats) -> tuple[Counts, float, float]:
    """Histogram, mean and deviation of angles, a chunk at a time: there may be a billion."""
    counts, total, squares = np.zeros(len(_EDGES) - 1, np.int64), 0.0, 0.0
    for part in chunks(cosines):
        degrees = np.degrees(np.arccos(np.clip(part.astype(np.float64), -1.0, 1.0)))
        counts += np.histogram(degrees, _EDGES)[0]
        total += float(degrees.sum())
        squares += float(np.square(degrees).sum())
    mean = total / len(cosines)
    return counts, mean, max(squares / len(cosines) - mean * mean, 0.0) ** 0.5


def angles(
    before: tuple[ArrayLike, ArrayLike],
    after: tuple[ArrayLike, ArrayLike],
    out: str | os.PathLike[str],
    *,
    names: tuple[str, str] = ("before", "after"),
) -> Outcome:
    """Draw the histograms of angles before and after training, and write their numbers.

    Writes ``angles.png``, ``angles.csv`` (a row a degree) and ``angles.json``. The EER of pairs is that of a threshold
    on the angle; the EER of centres that of "is it this person?", asked of one's own centre and the nearest other.

    Args:
        before: embeddings (N, D) and labels (N,).
        after: the same of another model; the pictures should be the same, their number of dimensions need not.
        out: folder to write into; made when it is not there.
        names: what the two are called.

    Raises:
        InputError: see [angle_histograms][]; or the files cannot be written.
    """
    folder = Path(out)
    found = [angle_histograms(*before), angle_histograms(*after)]
    record = {
        "experiment": "angles",
        "unit": "degrees",
        "models": [
            {
                "name": name,
                "pictures": one.pictures,
                "people": one.people,
                "pairs": asdict(one.pairs.facts),
                "centres": asdict(one.centres.facts),
            }
            for name, one in zip(names, found, strict=True)
        ],
    }
    parts = [
        (f"{kind}_{when}", getattr(one, kind))
        for when, one in zip(("before", "after"), found, strict=True)
        for kind in ("pairs", "centres")
    ]
    header = ["degrees", *(f"{name}_{side}" for name, _ in parts for side in ("same", "other"))]
    columns = np.column_stack(
        [_EDGES[:-1].astype(np.int64), *(c for _, part in parts for c in (part.same, part.other))]
    )
    files = (
        _draw(found, names, folder / "angles.png"),
        write_csv(folder / "angles.csv", header, columns.tolist()),
        write_json(folder / "angles.json", record),
    )
    table = tuple(
        (name, kind, f"{f.same_mean:.1f}", f"{f.other_mean:.1f}", f"{f.overlap:.4f}", f"{f.eer:.4f}")
        for name, one in zip(names, found, strict=True)
        for kind, f in (("pairs", one.pairs.facts), ("to centres", one.centres.facts))
    )
    return Outcome("angles", record, ("model", "angles", "same °", "other °", "overlap", "EER"), table, files)


_TITLES: Final = {
    "pairs": ("pairs of one person", "pairs of two people"),
    "centres": ("to the own centre", "to the nearest other centre"),
}


def _draw(found: list[AngleHistograms], names: tuple[str, str], path: Path) -> Path:
    figure, axes = panels(2, 2, width=6.0, height=3.4)
    for row, one, name in zip(axes, found, names, strict=True):
        for axis, (kind, titles) in zip(row, _TITLES.items(), strict=True):
            part: Angles = getattr(one, kind)
            means = (part.facts.same_mean, part.facts.other_mean)
            for counts, title, colour, mean in zip(
                (part.same, part.other), titles, (GREEN, ORANGE), means, strict=True
            ):
                label = f"{title}: mean {mean:.1f}°"
                axis.stairs(counts / counts.sum(), _EDGES, fill=True, alpha=0.45, color=colour, label=label)
                axis.axvline(mean, color=colour, linewidth=1, linestyle="--")
            facts = f"overlap {part.facts.overlap:.3f}, EER {100 * part.facts.eer:.2f} %"
            axis.set(xticks=range(0, 181, 30), xlabel="angle (degrees)", ylabel="share")
            axis.set_title(f"{name}: {facts}".replace("$", r"\$"), fontsize=10)
            axis.legend(fontsize=8, frameon=False)
    used = np.flatnonzero(sum(p.same + p.other for one in found for p in (one.pairs, one.centres)))
    right = min(180, int(-(-(used[-1] + 1) // 30) * 30))
    for column in axes.T:  # so that before and after are seen on one scale
        top = max(axis.get_ylim()[1] for axis in column)
        for axis in column:
            axis.set(ylim=(0, top), xlim=(0, right))
    return save_figure(figure, path)
