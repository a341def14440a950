"""Target logit curves: what each loss makes of the angle between a sample and its own class's centre."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from mien.experiments.drawing import COLOURS, panels, save_figure
from mien.experiments.outcome import Outcome, write_csv, write_json
from mien.train.losses import (
    AdaptiveMargin,
    CombinedMargin,
    CurricularMargin,
    IntegerMargin,
    MagnitudeMargin,
    Margin,
    margin_logits,
)

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    Angles = NDArray[np.float64]

__all__ = ["Curve", "logits", "negative_curves", "target_curves"]

_ARC: Final = 0.5  # radians, as published
_COS: Final = 0.35
_POINTS: Final = 721  # quarters of a degree from 0 to 180


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One curve over the angles it was asked for. Immutable by agreement.

    Attributes:
        key: its column in the CSV.
        title: what it is called in the figure.
        group: which panel shows it.
        values: the logit over the scale, (N,) for N angles.
        monotone: whether it never rises with the angle.
    """

    key: str
    title: str
    group: str
    values: Angles
    monotone: bool


def target_curves(degrees: Angles) -> tuple[Curve, ...]:
    """The target logit, over the scale, that each loss puts in the place of ``cos theta``; settings as published.

    All come from the margins of [mien.train.losses.margins][], so they show what training does, but for one:
    ``arcface_plain`` is ``cos(theta + m)`` with nothing done past pi, as a famous implementation has it.

    Args:
        degrees: angles (N,) from 0 to 180, rising.
    """
    theta = np.radians(degrees)
    cosine = torch.from_numpy(np.cos(theta))
    good, poor = 110.0, 10.0  # lengths of embeddings: the ends of MagFace's range

    def curve(key: str, title: str, group: str, margin: Margin, norm: float = 1.0) -> Curve:
        values = margin.eval().target(cosine, torch.full_like(cosine, norm)).numpy()
        return _curve(key, title, group, values)

    quality = {"-1": 0.0, "0": 20.0, "+1": 100.0}  # lengths that give it, about a mean of 20 and a deviation of 1
    curves = [
        curve("softmax", "softmax: cos θ", "margins", Margin()),
        curve("sphereface_m4", "SphereFace m = 4", "margins", IntegerMargin(4)),
        curve("sphereface_m4_lambda5", "SphereFace m = 4, λ = 5", "margins", IntegerMargin(4, 5.0)),
        curve("l_softmax_m2", "L-Softmax m = 2 (at lengths 1)", "margins", IntegerMargin(2)),
        curve("cosface", f"CosFace m = {_COS}", "margins", CombinedMargin(m3=_COS)),
        curve("arcface_published", f"ArcFace m = {_ARC}", "margins", CombinedMargin(m2=_ARC)),
        curve("combined", "combined (1, 0.3, 0.2)", "margins", CombinedMargin(1.0, 0.3, 0.2)),
        curve("curricularface", "CurricularFace m = 0.5 (its target is ArcFace's)", "adaptive", CurricularMargin(_ARC)),
        *(
            curve(f"adaface_quality_{z}", f"AdaFace m = 0.4, quality {z}", "adaptive", AdaptiveMargin(norm_std=1.0), a)
            for z, a in quality.items()
        ),
        curve("magface_length_10", "MagFace, length 10 (m = 0.45)", "adaptive", MagnitudeMargin(), poor),
        curve("magface_length_110", "MagFace, length 110 (m = 0.8)", "adaptive", MagnitudeMargin(), good),
        curve("arcface_published_", "as published: cos θ − m sin m", "past pi", CombinedMargin(m2=_ARC)),
        curve(
            "arcface_continuous",
            "continuous: cos θ − (1 − cos m)",
            "past pi",
            CombinedMargin(m2=_ARC, past_pi="continuous"),
        ),
        _curve("arcface_plain", "plain cos(θ + m): RISES again, not monotone", "past pi", np.cos(theta + _ARC)),
    ]
    return tuple(curves)


def negative_curves(degrees: Angles, *, target_degrees: float = 30.0) -> tuple[Curve, ...]:
    """What CurricularFace makes of a negative's cosine, by its hardness t, beside a target at a fixed angle.

    Args:
        degrees: angles (N,) between the sample and another class's centre.
        target_degrees: the angle to its own centre: negatives above the margined target are hard.
    """
    negative = torch.from_numpy(np.radians(degrees))
    # In the plane: the sample along the first axis, its own centre and one negative at their angles.
    own = torch.tensor([math.cos(math.radians(target_degrees)), math.sin(math.radians(target_degrees))])
    sample, label = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    others = torch.stack([negative.cos(), negative.sin()], 1)
    centres = torch.cat([own.double().unsqueeze(0), others])
    found = []
    for hardness in (0.0, 0.3, 0.7):
        rule = CurricularMargin(_ARC, hardness=hardness).eval()
        values = margin_logits(sample, centres, label, rule, 1.0)[0, 1:].numpy()
        title = f"CurricularFace's negatives, t = {hardness:g}"
        found.append(_curve(f"curricularface_negative_t{hardness:g}", title, "negatives", values))
    return tuple(found)


def _curve(key: str, title: str, group: str, values: Angles) -> Curve:
    return Curve(key.rstrip("_"), title, group, values, bool((np.diff(values) <= 1e-12).all()))


def logits(out: str | os.PathLike[str]) -> Outcome:
    """Draw the target logit curves over 0 to 180 degrees, and write their numbers.

    Writes ``logits.png``, ``logits.csv`` (a row each quarter of a degree, a column a curve) and ``logits.json`` (what
    each column is, its ends, whether it never rises).

    Args:
        out: folder to write into; made when it is not there.

    Raises:
        InputError: it cannot be written.

    Source:
        Deng, Guo, Xue, Zafeiriou: ArcFace, CVPR 2019, figure 4b.
    """
    folder = Path(out)
    degrees = np.linspace(0.0, 180.0, _POINTS)
    shown = (*target_curves(degrees), *negative_curves(degrees))
    columns = {curve.key: curve for curve in shown}
    rows = np.column_stack([degrees, *(curve.values for curve in columns.values())])
    record = {
        "experiment": "logits",
        "unit": "logit over the scale s; angles in degrees",
        "curves": [
            {
                "column": curve.key,
                "title": curve.title,
                "at_0": float(curve.values[0]),
                "at_90": float(curve.values[_POINTS // 2]),
                "at_180": float(curve.values[-1]),
                "monotone": curve.monotone,
            }
            for curve in columns.values()
        ],
    }
    files = (
        _draw(degrees, shown, folder / "logits.png"),
        write_csv(folder / "logits.csv", ["degrees", *columns], ([f"{v:.9g}" for v in row] for row in rows.tolist())),
        write_json(folder / "logits.json", record),
    )
    table = tuple(
        (curve.title, *(f"{float(curve.values[i]):.3f}" for i in (0, _POINTS // 2, -1)), _yes(curve.monotone))
        for curve in columns.values()
    )
    return Outcome("logits", record, ("curve", "at 0°", "at 90°", "at 180°", "never rises"), table, files)


def _yes(monotone: bool) -> str:
    return "yes" if monotone else "NO"


_PANELS: Final = {
    "margins": "Margins that are the same for all",
    "adaptive": "Margins that look at the sample",
    "past pi": "ArcFace where θ + m passes π (m = 0.5)",
    "negatives": "Negatives under CurricularFace (own angle 30°)",
}


def _draw(degrees: Angles, shown: tuple[Curve, ...], path: Path) -> Path:
    figure, axes = panels(2, 2, width=6.4, height=4.6)
    for axis, (group, title) in zip(axes.flat, _PANELS.items(), strict=True):
        axis.plot(degrees, np.cos(np.radians(degrees)), color="#59626c", linewidth=1, linestyle=":", label="cos θ")
        for i, curve in enumerate(one for one in shown if one.group == group and one.key != "softmax"):
            style = "-" if curve.monotone or group == "negatives" else "--"
            axis.plot(degrees, curve.values, style, color=COLOURS[i], linewidth=1.8, label=curve.title)
        axis.set(xlim=(0, 180), xticks=range(0, 181, 30), title=title, xlabel="angle θ (degrees)", ylabel="logit / s")
        axis.grid(color="#dfe2e1", linewidth=0.6)
        axis.legend(fontsize=7.5, frameon=False, loc="lower left" if group != "past pi" else "upper right")
    axes.flat[0].set_ylim(-3.2, 1.1)  # SphereFace's -7 would press the others together
    seam = axes.flat[2]
    seam.set(xlim=(90, 180), xticks=range(90, 181, 15), ylim=(-1.3, 0.05))
    seam.axvline(180 - math.degrees(_ARC), ymax=0.85, color="#59626c", linewidth=1, linestyle=":")
    seam.annotate("π − m", (179 - math.degrees(_ARC), -0.6), rotation=90, ha="right", fontsize=8)
    return save_figure(figure, path)
