"""Eight people on the unit circle: what the angular margin of ArcFace opens between them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import InputError
from mien.evaluate.metrics.pairs import subject_numbers
from mien.experiments.drawing import class_points, panels, save_figure, unit_circle
from mien.experiments.outcome import Outcome, Watch, quiet, write_json
from mien.experiments.plane_losses import PLANE_LOSSES, PlaneLoss, arcface_in_plane
from mien.experiments.plane_training import InPlane, fit_plane, in_plane
from mien.experiments.repeatable import repeatable
from mien.experiments.spread import Spread, class_directions, spread_of, unit_directions
from mien.train.losses.inputs import check_number

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Arcs", "arcs_of", "toy"]

_BATCH: Final = 64
_MEASURED: Final = 0.2  # share of each person's pictures that is not trained on
_WITHIN: Final = 95.0  # percent of a person's pictures that the arc holds


@dataclass(frozen=True, slots=True)
class Arcs:
    """Where people lie on the circle, in degrees. Immutable.

    Attributes:
        widths: of the arc that holds the middle 95 % of each person's pictures, in the order of labels.
        gaps: between each two neighbouring arcs, in the order round the circle; below 0 where they overlap.
    """

    widths: tuple[float, ...]
    gaps: tuple[float, ...]


def arcs_of(features: ArrayLike, labels: ArrayLike) -> Arcs:
    """The arcs of features (N, 2) with labels 0 to C - 1, C at least 2.

    Raises:
        InputError: features or labels that do not fit; see [mien.experiments.spread.class_directions][].
    """
    rows, who = unit_directions(features), np.asarray(labels)
    centres = class_directions(features, labels)
    if rows.shape[1] != 2 or len(centres) < 2:
        raise InputError(f"features: expected (N, 2) of two classes at least, got {rows.shape} of {len(centres)}")
    middle = np.degrees(np.arctan2(centres[:, 1], centres[:, 0]))
    # Angles from the own direction, in (-180, 180], so that no arc is cut where degrees begin.
    cross = centres[who, 0] * rows[:, 1] - centres[who, 1] * rows[:, 0]
    away = np.degrees(np.arctan2(cross, (centres[who] * rows).sum(1)))
    tail = (100.0 - _WITHIN) / 2
    ends = np.array([np.percentile(away[who == k], [tail, 100.0 - tail]) for k in range(len(centres))])
    order = np.argsort(middle)
    after = np.roll(order, -1)
    steps = np.mod(middle[after] - middle[order], 360.0)
    gaps = steps - ends[order, 1] + ends[after, 0]
    return Arcs(tuple((ends[:, 1] - ends[:, 0]).tolist()), tuple(gaps.tolist()))


@dataclass(frozen=True, slots=True, eq=False)
class _Circle:
    rule: PlaneLoss
    train: InPlane
    test: InPlane
    accuracy: tuple[float, float]
    arcs: Arcs
    spread: Spread


def toy(
    embeddings: ArrayLike,
    labels: ArrayLike,
    out: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    margin: float = 0.5,
    steps: int = 3000,
    seed: int = 0,
    threads: int = 1,
    watch: Watch = quiet,
) -> Outcome:
    """Bring some people's faces to the unit circle, under the normalised softmax and under ArcFace.

    A small network (D to 64 to 2) is trained on embeddings, not on pictures: they come from a model that knows faces,
    and the figure shows what the loss makes of them. Four fifths of each person's pictures are trained on and drawn,
    as in the paper; accuracy is also measured on the rest.

    Writes ``toy.png`` and ``toy.json``. The same seed, steps and threads give the same numbers on one machine.

    Args:
        embeddings: (N, D).
        labels: (N,) whom each shows: numbers or names; of each at least 5 pictures. The paper takes 8 people.
        out: folder to write into; made when it is not there.
        names: what the people are called in the figure; by default the labels.
        margin: of ArcFace, radians.
        steps: batches of 64.
        seed: of everything random.
        threads: of PyTorch.
        watch: shows progress.

    Raises:
        InputError: an argument makes no sense, or the files cannot be written.

    Source:
        Deng, Guo, Xue, Zafeiriou: ArcFace, CVPR 2019, figure 3.
    """
    check_number(steps, "steps", 2)
    rows = torch.from_numpy(unit_directions(embeddings).astype(np.float32))
    who = subject_numbers(labels, len(rows))
    counts = np.bincount(who)
    if len(counts) < 2 or counts.min() < 5:
        raise InputError(f"labels: expected two people or more with 5 pictures each, got {counts.tolist()}")
    called = [str(name) for name in (np.unique(np.asarray(labels)) if names is None else names)]
    if len(called) != len(counts):
        raise InputError(f"names: expected {len(counts)}, got {len(called)}")
    train, test = _split(who, seed)
    rules = {"normalised-softmax": PLANE_LOSSES["normalised-softmax"], "arcface": arcface_in_plane(margin)}
    done = {}
    with watch(steps * len(rules), "Training on faces") as advance:
        for key, rule in rules.items():
            done[key] = _circle(rule, rows, who, train, test, steps, seed, threads, advance)
    settings = {"steps": steps, "batch": _BATCH, "seed": seed, "threads": threads}
    return _written(Path(out), done, who[train], called, settings, (len(train), len(test)))


def _split(who: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    draw = np.random.default_rng(seed)
    train, test = [], []
    for k in range(int(who.max()) + 1):
        own = draw.permutation(np.flatnonzero(who == k))
        cut = max(1, round(_MEASURED * len(own)))
        test.append(own[:cut])
        train.append(own[cut:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def _circle(  # noqa: PLR0917
    rule: PlaneLoss,
    rows: Tensor,
    who: NDArray[np.int64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    steps: int,
    seed: int,
    threads: int,
    advance: Callable[[int], None],
) -> _Circle:
    chosen, labels = torch.from_numpy(train), torch.from_numpy(who)

    def batch(draw: torch.Generator) -> tuple[Tensor, Tensor]:
        which = chosen[torch.randint(len(chosen), (_BATCH,), generator=draw)]
        return rows[which], labels[which]

    with repeatable(seed, threads=threads) as draw:
        network = nn.Sequential(
            nn.Linear(rows.shape[1], 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 2)
        )
        loss = rule.make(int(who.max()) + 1)
        fit_plane(network, loss, rule, batch, steps=steps, draw=draw, advance=advance)
        seen, unseen = (in_plane(network, loss, rows[part]) for part in (train, test))
    accuracy = (float((seen.decided == who[train]).mean()), float((unseen.decided == who[test]).mean()))
    arcs = arcs_of(seen.features, who[train])
    return _Circle(rule, seen, unseen, accuracy, arcs, spread_of(seen.features, who[train]))


def _written(  # noqa: PLR0917
    folder: Path,
    done: dict[str, _Circle],
    labels: NDArray[np.int64],
    names: list[str],
    settings: dict[str, Any],
    pictures: tuple[int, int],
) -> Outcome:
    record = {
        "experiment": "toy",
        "unit": "angles in degrees, of the pictures that were trained on",
        "features": "embeddings of a face model, brought to the plane by a small network",
        "people": names,
        "trained": pictures[0],
        "measured": pictures[1],
        **settings,
        "losses": {
            key: {
                "title": one.rule.title,
                "settings": one.rule.settings,
                "train_accuracy": one.accuracy[0],
                "test_accuracy": one.accuracy[1],
                **asdict(one.spread),
                "mean_arc": float(np.mean(one.arcs.widths)),
                "smallest_gap": min(one.arcs.gaps),
                "mean_gap": float(np.mean(one.arcs.gaps)),
                "arcs": one.arcs.widths,
                "gaps": one.arcs.gaps,
            }
            for key, one in done.items()
        },
    }
    figure, axes = panels(1, len(done), width=5.0, height=5.2)
    short = [str(k + 1) for k in range(len(names))]  # names may be long, and in letters that the font has not
    for axis, one in zip(axes.flat, done.values(), strict=True):
        features = unit_directions(one.train.features)
        class_points(axis, features, labels, class_directions(features, labels), short)
        unit_circle(axis)
        gaps = f"gaps: smallest {min(one.arcs.gaps):.1f}°, mean {np.mean(one.arcs.gaps):.1f}°"
        axis.set_title(f"{one.rule.title} ({one.rule.settings})\n{gaps}", fontsize=9)
    files = (save_figure(figure, folder / "toy.png"), write_json(folder / "toy.json", record))
    table = tuple(
        (
            one.rule.title,
            f"{one.accuracy[0]:.4f}",
            f"{one.accuracy[1]:.4f}",
            f"{one.spread.mean_intra:.2f}",
            f"{one.spread.smallest_inter:.2f}",
            f"{min(one.arcs.gaps):.2f}",
            f"{np.mean(one.arcs.gaps):.2f}",
        )
        for one in done.values()
    )
    header = ("loss", "train accuracy", "test accuracy", "mean intra °", "smallest inter °", "smallest gap °")
    return Outcome("toy", record, (*header, "mean gap °"), table, files)
