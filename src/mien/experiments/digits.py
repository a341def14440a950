"""Handwritten digits in the plane: the picture that shows what each loss does to features."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.errors import InputError, NotFoundError
from mien.experiments.drawing import class_points, panels, save_figure, unit_circle
from mien.experiments.idx import read_idx
from mien.experiments.outcome import Outcome, Watch, quiet, write_csv, write_json
from mien.experiments.plane_losses import PlaneLoss, chosen_losses
from mien.experiments.plane_training import InPlane, fit_plane, in_plane
from mien.experiments.repeatable import repeatable
from mien.experiments.spread import Spread, class_directions, spread_of, unit_directions
from mien.train.losses.inputs import check_number

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["DIGIT_LOSSES", "Digits", "mnist", "read_digits"]

DIGIT_LOSSES: Final = ("softmax", "center", "l-softmax", "sphereface", "cosface", "arcface")
_BATCH: Final = 64
_SIDE: Final = 28
_TRAINED: Final = 0.8  # share of the test file that is trained on where the training file is not there
_MEAN, _DEVIATION = 33.3, 78.6  # of MNIST's pixels
_NAMES: Final = tuple("0123456789")


@dataclass(frozen=True, slots=True, eq=False)
class Digits:
    """Pictures uint8 (N, 28, 28) and labels int64 (N,), to train on and to measure on. Immutable by agreement."""

    train: tuple[NDArray[np.uint8], NDArray[np.int64]]
    test: tuple[NDArray[np.uint8], NDArray[np.int64]]
    split: str


def read_digits(folder: str | os.PathLike[str], *, seed: int = 0) -> Digits:
    """Read MNIST from its idx files, plain or ``.gz``.

    With ``train-images-idx3-ubyte`` and its labels there, that is trained on and ``t10k-...`` measured. With t10k
    alone a random 80 % of it is trained on and the rest measured.

    Args:
        folder: where the files are.
        seed: of that split.

    Raises:
        NotFoundError: the t10k files are not there.
        InputError: a file is broken, or pictures and labels do not fit.
    """
    test = _pair(Path(folder), "t10k")
    if test is None:
        raise NotFoundError(f"{folder}: expected t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz in it")
    train = _pair(Path(folder), "train")
    if train is not None:
        return Digits(train, test, "the published one")
    order = np.random.default_rng(seed).permutation(len(test[1]))
    cut = round(_TRAINED * len(order))
    first, rest = np.sort(order[:cut]), np.sort(order[cut:])
    told = f"t10k only: {cut} of its {len(order)} digits trained on, {len(rest)} measured, drawn with seed {seed}"
    return Digits((test[0][first], test[1][first]), (test[0][rest], test[1][rest]), told)


def _pair(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | None:
    places = [_place(folder, f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
    if None in places:
        return None
    pictures, labels = (read_idx(place) for place in places if place is not None)
    if pictures.ndim != 3 or pictures.shape[1:] != (_SIDE, _SIDE) or labels.shape != pictures.shape[:1]:
        raise InputError(
            f"{folder}: expected {part} pictures (N, {_SIDE}, {_SIDE}) and labels (N,), got {pictures.shape} "
            f"and {labels.shape}"
        )
    if len(np.unique(labels)) != len(_NAMES) or labels.max() >= len(_NAMES):
        raise InputError(f"{folder}: expected {part} labels 0 to 9, all of them, got {np.unique(labels).tolist()}")
    return pictures, labels.astype(np.int64)


def _place(folder: Path, name: str) -> Path | None:
    return next((folder / f"{name}{end}" for end in (".gz", "") if (folder / f"{name}{end}").is_file()), None)


def _network() -> nn.Sequential:
    def block(inside: int, outside: int, kernel: int, stride: int = 1) -> list[nn.Module]:
        convolution = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)
        return [convolution, nn.BatchNorm2d(outside), nn.ReLU()]

    return nn.Sequential(
        *block(1, 16, 5, 2),
        *block(16, 32, 3),
        nn.MaxPool2d(2),
        *block(32, 64, 3),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 9, 2),
    ).to(memory_format=torch.channels_last)


def _prepared(pictures: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pictures).unsqueeze(1).float().sub_(_MEAN).div_(_DEVIATION)


def _warped(pictures: Tensor, draw: torch.Generator) -> Tensor:
    """Each picture turned, scaled, slanted and moved a little: 8,000 digits alone are learnt by heart."""
    chance = torch.rand(len(pictures), 5, generator=draw) * 2 - 1
    angle, size, slant = chance[:, 0] * math.radians(12), 1 + 0.12 * chance[:, 1], 0.15 * chance[:, 2]
    cos, sin = torch.cos(angle) * size, torch.sin(angle) * size
    move = 0.12 * chance[:, 3:]
    maps = torch.stack([cos, slant - sin, move[:, 0], sin, cos, move[:, 1]], 1).view(-1, 2, 3)
    grid = F.affine_grid(maps, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Panel:
    rule: PlaneLoss
    found: InPlane
    accuracy: float
    spread: Spread
    seconds: float


def mnist(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    losses: Sequence[str] = DIGIT_LOSSES,
    steps: int = 4000,
    seed: int = 0,
    threads: int = 1,
    watch: Watch = quiet,
) -> Outcome:
    """Train a small network with two outputs on handwritten digits under each loss, and draw its features.

    Writes ``mnist.png`` (above the features, below the same at unit length), ``mnist.json`` and ``mnist.csv`` (the
    features that are drawn). Numbers are of digits that were not trained on: accuracy of the loss's own classifier,
    mean angle to the class's direction, smallest angle between two directions, and the former over the latter.

    The same seed, steps and threads give the same numbers on one machine. Half a minute a loss on a free core.

    Args:
        folder: MNIST's idx files; see [read_digits][].
        out: folder to write into; made when it is not there.
        losses: names of [mien.experiments.plane_losses.PLANE_LOSSES][].
        steps: batches of 64 a loss.
        seed: of everything random.
        threads: of PyTorch.
        watch: shows progress.

    Raises:
        InputError: the files are broken, or an argument makes no sense.

    Source:
        Wen et al. 2016 (center), Liu et al. 2016, 2017 (L-Softmax, SphereFace), Wang et al. 2018 (CosFace), for the
        figure.
    """
    check_number(steps, "steps", 2)
    rules = chosen_losses(losses)
    digits = read_digits(folder, seed=seed)
    with watch(steps * len(rules), "Training on digits") as advance:
        done = {
            name: _panel(rule, digits, steps=steps, seed=seed, threads=threads, advance=advance)
            for name, rule in rules.items()
        }
    return _written(Path(out), digits, done, {"steps": steps, "batch": _BATCH, "seed": seed, "threads": threads})


def _panel(
    rule: PlaneLoss, digits: Digits, *, steps: int, seed: int, threads: int, advance: Callable[[int], None]
) -> _Panel:
    started = time.monotonic()
    pictures, labels = _prepared(digits.train[0]), torch.from_numpy(digits.train[1])

    def batch(draw: torch.Generator) -> tuple[Tensor, Tensor]:
        which = torch.randint(len(labels), (_BATCH,), generator=draw)
        return _warped(pictures[which], draw).contiguous(memory_format=torch.channels_last), labels[which]

    with repeatable(seed, threads=threads) as draw:
        network, loss = _network(), rule.make(len(_NAMES))
        fit_plane(network, loss, rule, batch, steps=steps, draw=draw, advance=advance)
        found = in_plane(network, loss, _prepared(digits.test[0]))
    accuracy = float((found.decided == digits.test[1]).mean())
    spread = spread_of(found.features, digits.test[1])
    return _Panel(rule, found, accuracy, spread, time.monotonic() - started)


def _written(folder: Path, digits: Digits, done: dict[str, _Panel], settings: dict[str, Any]) -> Outcome:
    labels = digits.test[1]
    record = {
        "experiment": "mnist",
        "unit": "angles in degrees; all numbers are of the digits that were not trained on",
        "split": digits.split,
        "trained": len(digits.train[1]),
        "measured": len(labels),
        **settings,
        "losses": {
            name: {
                "title": one.rule.title,
                "settings": one.rule.settings,
                "test_accuracy": one.accuracy,
                **asdict(one.spread),
                "seconds": round(one.seconds, 1),
            }
            for name, one in done.items()
        },
    }
    rows = (
        (name, int(label), f"{x:.6g}", f"{y:.6g}")
        for name, one in done.items()
        for label, (x, y) in zip(labels, one.found.features.tolist(), strict=True)
    )
    files = (
        _draw(labels, list(done.values()), folder / "mnist.png"),
        write_csv(folder / "mnist.csv", ("loss", "digit", "x", "y"), rows),
        write_json(folder / "mnist.json", record),
    )
    table = tuple(
        (
            one.rule.title,
            f"{one.accuracy:.4f}",
            f"{one.spread.mean_intra:.2f}",
            f"{one.spread.smallest_inter:.2f}",
            _ratio(one.spread),
            f"{one.seconds:.0f}",
        )
        for one in done.values()
    )
    header = ("loss", "test accuracy", "mean intra °", "smallest inter °", "intra / inter", "seconds")
    return Outcome("mnist", record, header, table, files)


def _ratio(spread: Spread) -> str:
    return "-" if spread.ratio is None else f"{spread.ratio:.3f}"


def _draw(labels: NDArray[np.int64], shown: list[_Panel], path: Path) -> Path:
    figure, axes = panels(2, len(shown), width=3.3, height=3.4)
    for (above, below), one in zip(axes.T, shown, strict=True):
        features = one.found.features.astype(np.float64)
        centres = class_directions(features, labels)
        class_points(above, features, labels, centres, _NAMES)
        above.set_title(f"{one.rule.title}\naccuracy {100 * one.accuracy:.1f} %", fontsize=10)
        class_points(below, unit_directions(features), labels, centres, _NAMES)
        unit_circle(below)
        told = f"intra {one.spread.mean_intra:.1f}°, inter ≥ {one.spread.smallest_inter:.1f}°"
        below.set_title(f"{told}, ratio {_ratio(one.spread)}", fontsize=8)
    return save_figure(figure, path)
