"""The loss table and the backbone table: one budget, one set of data, one thing that differs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from mien.errors import InputError
from mien.experiments.comparison import Runner, compare, in_own_process
from mien.experiments.outcome import Outcome
from mien.train.config import (
    LossConfig,
    OptimizerConfig,
    PairsConfig,
    SamplerConfig,
    ScheduleConfig,
    SourceConfig,
    TrainConfig,
)
from mien.train.recipes import recipe
from mien.train.settings import nearest

__all__ = ["BACKBONES", "LOSSES", "Budget", "backbones", "losses"]

_MANY_EPOCHS: Final = 1000  # where minutes end the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What every run of a table gets. Immutable.

    Attributes:
        data: folders of people, or packed sets.
        aligned: whether their pictures are aligned already.
        pairs, images: pairs in LFW's format to measure on, and the folder that they speak of.
        threshold_pairs: pairs to choose the threshold on; None: cross-validation on `pairs`.
        minutes: of training and measuring, each run; None for `epochs`.
        epochs: the most; None for as many as the minutes allow, or, without minutes, the recipe's.
        recipe: what everything else is taken from.
        settings: changes to it, such as ``data.batch=64``; the same for all runs.
        seed: of everything random.
    """

    data: Sequence[str | os.PathLike[str]]
    pairs: str | os.PathLike[str]
    images: str | os.PathLike[str]
    aligned: bool = False
    threshold_pairs: str | os.PathLike[str] | None = None
    minutes: float | None = None
    epochs: int | None = None
    recipe: str = "small-cpu"
    settings: Iterable[str] = ()
    seed: int = 0

    def config(self) -> TrainConfig:
        """The config that all runs share.

        Raises:
            InputError: no data, or a setting that makes no sense.
        """
        if not self.data:
            raise InputError("data: expected a folder of people at least")
        base = recipe(self.recipe)
        threshold = None if self.threshold_pairs is None else os.fspath(self.threshold_pairs)
        pairs = PairsConfig(
            pairs=os.fspath(self.pairs),
            images=os.fspath(self.images),
            threshold_pairs=threshold,
            name=Path(self.pairs).stem,
        )
        epochs = self.epochs or (base.schedule.epochs if self.minutes is None else _MANY_EPOCHS)
        base = replace(
            base,
            data=replace(
                base.data, sources=tuple(SourceConfig(path=os.fspath(d), aligned=self.aligned) for d in self.data)
            ),
            measure=replace(base.measure, sets=(pairs,)),
            schedule=replace(base.schedule, minutes=self.minutes, epochs=epochs),
            loop=replace(base.loop, seed=self.seed),
        )
        return base.with_settings(self.settings)

    def facts(self) -> dict[str, Any]:
        """What the record says of the budget; names only, no places of this machine."""
        return {
            "recipe": self.recipe,
            "data": [Path(one).name for one in self.data],
            "pairs": Path(self.pairs).name,
            "threshold": "cross-validation" if self.threshold_pairs is None else Path(self.threshold_pairs).name,
            "minutes": self.minutes,
            "epochs": self.epochs,
            "settings": list(self.settings),
            "seed": self.seed,
        }


@dataclass(frozen=True, slots=True)
class _Loss:
    """How a loss enters the table."""

    options: Mapping[str, Any]
    grows: Literal["no", "scale", "both"] = "no"  # scale first, then the margin, as in the recipe small-cpu
    pairs: bool = False  # batches of people x pictures
    alone: bool = False  # pairs only: no class centres that a high rate of SGD could lean on
    after: str | None = None  # from the weights of a run by this loss, each with half the budget
    name: str | None = None  # of the loss, where that is not the row's


_S: Final = 32.0  # margins and scale for some hundred people, as the recipe small-cpu has them
_GROWTH: Final[Mapping[str, Mapping[str, Any]]] = {
    "no": {},
    "scale": {"scale_warm_up": 0.3},
    "both": {"scale_warm_up": 0.3, "margin_start": 0.3, "margin_warm_up": 0.3},
}

LOSSES: Final[Mapping[str, _Loss]] = MappingProxyType(
    {
        "softmax": _Loss({}),
        "center": _Loss({"weight": 0.003}),
        "normface": _Loss({"scale": _S}, grows="scale"),
        "l-softmax": _Loss({"m": 2}),
        "sphereface": _Loss({"m": 4}),
        "cosface": _Loss({"scale": _S, "margin": 0.25}, grows="both"),
        "arcface": _Loss({"scale": _S, "margin": 0.4}, grows="both"),
        "combined": _Loss({"scale": _S, "m1": 1.0, "m2": 0.2, "m3": 0.15}, grows="both"),
        "sub-center": _Loss({"scale": _S, "margin": 0.3, "sub_centres": 3}, grows="both"),
        "curricularface": _Loss({"scale": _S, "margin": 0.3}, grows="both"),
        "magface": _Loss({"scale": _S, "margin_range": [0.2, 0.5]}, grows="both"),
        "adaface": _Loss({"scale": _S, "margin": 0.3}, grows="both"),
        "arcface-triplet": _Loss({"scale": _S, "margin": 0.3, "weight": 1.0}, grows="both", pairs=True),
        "triplet": _Loss({"margin": 0.2}, pairs=True, alone=True),
        "contrastive": _Loss({"margin": 1.0}, pairs=True, alone=True),
        "triplet-after-softmax": _Loss({"margin": 0.2}, pairs=True, alone=True, after="softmax", name="triplet"),
        "harmonic-triplet": _Loss({"margin": 0.2}, pairs=True, alone=True, after="softmax"),
    }
)
"""The rows of the loss table: settings for some hundred people, not the papers' for a hundred thousand."""

BACKBONES: Final = (
    "iresnet-quick",
    "iresnet-small",
    "mobilefacenet",
    "sphereface20",
    "inception-resnet-v1",
    "dlib-resnet29",
)
"""Rows of the backbone table where none are named."""


def losses(
    budget: Budget,
    out: str | os.PathLike[str],
    *,
    names: Iterable[str] = tuple(LOSSES),
    runner: Runner = in_own_process,
    say: Callable[[str], None] = lambda _text: None,
) -> Outcome:
    """Train one network under each loss with one budget, and write ``losses.md``, ``losses.json`` and ``losses.png``.

    Stopped anywhere, the same call goes on; see [mien.experiments.comparison.compare][]. Losses over pairs take batches
    of people x pictures; those over pairs only also AdamW at 0.001, for SGD at the recipe's rate collapses them. Two
    rows are of two runs with half the budget each: triplets after softmax, and harmonic triplets, which go on from a
    network by softmax and stay comparable with it. A network beside fixed filters is trained and measured without them,
    unless the budget's settings name a network.

    Args:
        budget: what each gets.
        out: folder for the table and the runs.
        names: of [LOSSES][].
        runner: trains; by default each run in a process of its own.
        say: is told what happens.

    Raises:
        InputError: an unknown loss, or a budget that makes no sense.
    """
    _refuse(budget, "loss.", "each row has a loss of its own, with its own settings")
    base = budget.config()
    if not any(setting.startswith("network.name") for setting in budget.settings):
        # Filters are the same whatever the loss, and would hide what it does.
        base = replace(base, network=replace(base.network, name=base.network.name.removeprefix("filters:")))
    configs = {}
    for name in names:
        rule = LOSSES.get(name)
        if rule is None:
            raise InputError(f"losses: there is no {name!r}{nearest(name, LOSSES)}")
        loss = LossConfig(name=rule.name or name, options=dict(rule.options), **_GROWTH[rule.grows])
        config = replace(base, recipe="losses", loss=loss)
        if rule.pairs:
            config = replace(config, data=replace(base.data, sampler=SamplerConfig(name="pk", each=4)))
        if rule.alone:
            config = replace(config, optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.01))
        if rule.after is not None:
            first, second = _halves(name, base.schedule)
            before = replace(base, recipe=rule.after, loss=LossConfig(name=rule.after), schedule=first)
            config = replace(config, optimizer=replace(config.optimizer, lr=1e-4), schedule=second, before=before)
        configs[name] = config
    return compare("losses", configs, Path(out), facts=budget.facts(), runner=runner, say=say)


def _refuse(budget: Budget, start: str, why: str) -> None:
    """No setting that the table would pass over."""
    for setting in budget.settings:
        if setting.startswith(start):
            raise InputError(f"{setting.partition('=')[0]}: has no place in this table: {why}")


def _halves(name: str, schedule: ScheduleConfig) -> tuple[ScheduleConfig, ScheduleConfig]:
    """A budget's two halves; of an odd number of epochs the second has one more."""
    if schedule.minutes is not None:
        half = replace(schedule, minutes=schedule.minutes / 2)
        return half, half
    if schedule.epochs < 2:
        raise InputError(f"epochs: {name} is two runs, and needs 2 at least; got 1; name the losses without it")
    first = schedule.epochs // 2
    return replace(schedule, epochs=first), replace(schedule, epochs=schedule.epochs - first)


def backbones(
    budget: Budget,
    out: str | os.PathLike[str],
    *,
    names: Iterable[str] = BACKBONES,
    runner: Runner = in_own_process,
    say: Callable[[str], None] = lambda _text: None,
) -> Outcome:
    """Train each network with one budget, and write ``backbones.md``, ``backbones.json`` and ``backbones.png``.

    All start from new weights, with their own size of picture. Stopped anywhere, the same call goes on.

    Args:
        budget: what each gets; the loss is the recipe's.
        out: folder for the table and the runs.
        names: of [mien.train.backbones][].
        runner: trains; by default each run in a process of its own.
        say: is told what happens.

    Raises:
        InputError: a budget that makes no sense.
    """
    _refuse(budget, "network.name", "each row has a network of its own; name them by --backbones")
    _refuse(budget, "network.weights", "all rows start from new weights")
    base = budget.config()
    configs = {
        name: replace(base, recipe="backbones", network=replace(base.network, name=name, weights=None))
        for name in names
    }
    return compare("backbones", configs, Path(out), facts=budget.facts(), runner=runner, say=say)
