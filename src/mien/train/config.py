"""What a run is: every choice of it in frozen dataclasses, which a JSON or TOML file holds as they are.

Paths are text as the user gave them. Names of losses, networks and stages are checked where they are used, numbers
here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from mien.train.config_parts import (
    DataConfig,
    LossConfig,
    NetworkConfig,
    OptimizerConfig,
    SamplerConfig,
    SourceConfig,
    need,
)
from mien.train.settings import from_plain, to_plain, with_setting

__all__ = [
    "DataConfig",
    "LoopConfig",
    "LossConfig",
    "MeasureConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "PairsConfig",
    "SamplerConfig",
    "ScheduleConfig",
    "SourceConfig",
    "TrainConfig",
]

_MOST_SIDE: Final = 1024  # as networks' own
_MOST_THREADS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """How long, and how the rate goes.

    Attributes:
        epochs: passes over the data.
        minutes: a budget of training time: where it runs out before the epochs do, the rate follows the clock
            instead, so that training ends well within it. Such runs cannot be repeated to the bit.
        name: cosine, poly, step or constant.
        warm_up: epochs over which the rate rises from 0.
        least: share of the rate that is left at the end (cosine, poly).
        power: of poly.
        milestones: shares of the training after which step multiplies by ``gamma``.
        gamma: see milestones.
        sizes: (share of the training, side in pixels): from then on pictures are made so small; empty for the network's
            size throughout. For networks that take any size; with filters beside it, of what learns.
    """

    epochs: int = 20
    minutes: float | None = None
    name: Literal["cosine", "poly", "step", "constant"] = "cosine"
    warm_up: float = 1.0
    least: float = 0.0
    power: float = 2.0
    milestones: tuple[float, ...] = (0.5, 0.75, 0.9)
    gamma: float = 0.1
    sizes: tuple[tuple[float, int], ...] = ()

    def __post_init__(self) -> None:
        need(self.epochs > 0, "schedule.epochs: expected 1 or more", self.epochs)
        need(self.minutes is None or self.minutes > 0, "schedule.minutes: expected above 0", self.minutes)
        need(0 <= self.warm_up < math.inf, "schedule.warm_up: expected 0 or more epochs", self.warm_up)
        need(0 <= self.least <= 1, "schedule.least: expected a share, 0 to 1", self.least)
        need(0 < self.power < math.inf, "schedule.power: expected above 0", self.power)
        need(0 <= self.gamma <= 1, "schedule.gamma: expected 0 to 1", self.gamma)
        shares = [share for share, _ in self.sizes]
        rising = shares == sorted(shares) and all(0 <= s < 1 for s in shares) and shares[:1] in ([], [0])
        need(rising, "schedule.sizes: expected rising shares of the training, from 0", self.sizes)
        fine = all(16 <= side <= _MOST_SIDE for _, side in self.sizes)
        need(fine, f"schedule.sizes: expected sides of 16 to {_MOST_SIDE} pixels", self.sizes)
        fine = list(self.milestones) == sorted(self.milestones) and all(0 < s < 1 for s in self.milestones)
        need(fine, "schedule.milestones: expected rising shares between 0 and 1", self.milestones)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How the machine runs it.

    Attributes:
        precision: fp32, bf16, fp16 (loss scaled), or auto: bf16 where the processor multiplies in it, else fp32.
        channels_last: memory layout of pictures and activations.
        compile: whether ``torch.compile`` makes the network faster (and the start slower).
        device: cpu, cuda, or auto.
        threads: of one process; None leaves PyTorch's choice.
        seed: of every random draw.
        checkpoint_minutes: between two checkpoints; one is written at each measuring, too.
        checkpoint_steps: likewise in steps; None for none.
        keep: how many checkpoints stay.
        log_steps: between two lines of metrics.jsonl.
        tensorboard: whether event files are written, where tensorboard is installed.
    """

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: bool = True
    compile: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None
    seed: int = 0
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    keep: int = 2
    log_steps: int = 10
    tensorboard: bool = True

    def __post_init__(self) -> None:
        need(0 <= self.seed < 2**32, "loop.seed: expected 0 to 2**32 - 1", self.seed)
        fine = self.threads is None or 0 < self.threads <= _MOST_THREADS
        need(fine, f"loop.threads: expected 1 to {_MOST_THREADS}", self.threads)
        need(self.checkpoint_minutes > 0, "loop.checkpoint_minutes: expected above 0", self.checkpoint_minutes)
        steps = self.checkpoint_steps
        need(steps is None or steps > 0, "loop.checkpoint_steps: expected 1 or more", steps)
        need(self.keep > 0, "loop.keep: expected 1 or more", self.keep)
        need(self.log_steps > 0, "loop.log_steps: expected 1 or more", self.log_steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsConfig:
    """Pairs to be verified, in LFW's format.

    Attributes:
        pairs: the list (``pairsDevTest.txt``).
        images: the folder of people.
        threshold_pairs: a list to choose the threshold on (``pairsDevTrain.txt``); None: in ten parts of the pairs
            themselves, each measured with the threshold of the other nine.
        name: for the record.
        skip_missing: leave out pairs of which a picture is not there, instead of stopping.
    """

    pairs: str
    images: str
    threshold_pairs: str | None = None
    name: str = "pairs"
    skip_missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureConfig:
    """What is measured during training; the first set decides which weights are best.

    Attributes:
        sets: lists of pairs. Choose on View 1, never on what you report.
        epochs: between two measurings; the last epoch is always measured.
        first: whether to measure before the first step (fine-tuning).
        flip: embeddings are those of picture and mirror image, summed.
        batch: pictures at a time.
        patience: measurings without a better one after which training stops; None for never.
    """

    sets: tuple[PairsConfig, ...] = ()
    epochs: int = 1
    first: bool = False
    flip: bool = True
    batch: int = 64
    patience: int | None = None

    def __post_init__(self) -> None:
        names = [one.name for one in self.sets]
        need(len(set(names)) == len(names), "measure.sets: expected names that differ", names)
        need(self.epochs > 0, "measure.epochs: expected 1 or more", self.epochs)
        need(self.batch > 0, "measure.batch: expected 1 or more", self.batch)
        need(self.patience is None or self.patience > 0, "measure.patience: expected 1 or more", self.patience)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A whole run.

    Attributes:
        recipe: the name it started from, for the record.
        before: a run that makes this one's starting weights; where it names no sources or pairs, it has this one's.
    """

    recipe: str = "custom"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    before: TrainConfig | None = None

    def __post_init__(self) -> None:
        deeper = self.before is not None and self.before.before is not None
        need(not deeper, "before.before: expected two runs at most, and none before the first", "another")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them; [from_dict][] makes an equal config of them."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TrainConfig:
        """A config of plain values; what is left out keeps its default.

        Raises:
            InputError: an unknown key (with the nearest known one), or a value of the wrong type, by its path.
        """
        return from_plain(cls, plain)

    def with_settings(self, settings: Iterable[str]) -> TrainConfig:
        """The config after settings such as ``optimizer.lr=0.02``.

        Raises:
            InputError: as [from_dict][].

        >>> TrainConfig().with_settings(["optimizer.lr=0.02", "schedule.sizes=[[0, 80], [0.6, 112]]"]).optimizer.lr
        0.02
        """
        plain = self.to_dict()
        for setting in settings:
            with_setting(type(self), plain, setting)
        return self.from_dict(plain)

    def digest(self) -> str:
        """Checksum of everything that decides what is learned: lower-case hex sha256."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    @property
    def starts_from_weights(self) -> bool:
        """Whether the network starts from weights: from given ones, or from those of the run before."""
        return self.network.weights is not None or self.before is not None

    def stage_before(self) -> TrainConfig | None:
        """The run to be made first, with this one's data and measuring where it names none."""
        first = self.before
        if first is None:
            return None
        if not first.data.sources:
            own = self.data
            data = replace(first.data, sources=own.sources, cache=own.cache, same_names=own.same_names)
            first = replace(first, data=data)
        if not first.data.evening:
            first = replace(first, data=replace(first.data, evening=self.data.evening))
        if not first.measure.sets:
            first = replace(first, measure=replace(first.measure, sets=self.measure.sets))
        return first
