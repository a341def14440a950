"""The first half of a run's config: network, data, loss and optimizer; see [mien.train.config][]."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from mien.errors import InputError
from mien.types import EVENINGS

__all__ = [
    "DataConfig",
    "LossConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "SamplerConfig",
    "SourceConfig",
    "need",
]


_MOST: Final = 1e6
"""Of numbers that weights are multiplied by: far beyond what makes sense, and far below what float32 can hold."""


def need(holds: bool, what: str, value: object) -> None:
    """Raise InputError unless something holds."""
    if not holds:
        raise InputError(f"{what}; got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """The network.

    Attributes:
        name: one of [mien.train.backbones][].
        dim: numbers an embedding; None for the network's own.
        size: side of its pictures in pixels; None for the network's own.
        weights: a file of released weights, or a folder as a run leaves it; None starts afresh.
        options: what else the network's maker takes.
        frozen: names of stages that stay as they are, their batch statistics too.
        layer_decay: each stage's rate is this times that of the stage after it; 1 for one rate.
        recompute: keep no activations inside stages, but compute them again on the way back: less memory, a third
            more time.
    """

    name: str = "iresnet-small"
    dim: int | None = None
    size: int | None = None
    weights: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    layer_decay: float = 1.0
    recompute: bool = False

    def __post_init__(self) -> None:
        need(0 < self.layer_decay <= 1, "network.layer_decay: expected above 0 and up to 1", self.layer_decay)
        need(self.dim is None or self.dim > 0, "network.dim: expected 1 or more", self.dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """Where pictures come from; see [mien.train.data][].

    Attributes:
        path: a folder or file.
        kind: folder, list, rec, tfrecord, webdataset, parquet, or auto.
        aligned: whether its pictures are aligned already.
        proportion: its share of each epoch, for the sampler ``mixed``.
    """

    path: str
    kind: str = "auto"
    aligned: bool = False
    proportion: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """Which pictures an epoch takes, in which order.

    Attributes:
        name: shuffle (each picture once), balanced (people evenly), pk (batches of ``people`` x ``each``), mixed.
        people: P of pk: people in a batch. 0 takes the batch over ``each``.
        each: K of pk: pictures of each.
        least: of pk: people with fewer pictures are left out.
    """

    name: Literal["shuffle", "balanced", "pk", "mixed"] = "shuffle"
    people: int = 0
    each: int = 4
    least: int = 1

    def __post_init__(self) -> None:
        fine = self.people == 0 or self.people >= 2
        need(fine, "data.sampler.people: expected 2 or more, or 0 for what the batch holds", self.people)
        need(self.each >= 1, "data.sampler.each: expected 1 or more", self.each)
        need(self.least > 0, "data.sampler.least: expected 1 or more", self.least)
        need(self.least == 1 or self.name == "pk", "data.sampler.least: is for the sampler pk", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """The pictures.

    Attributes:
        sources: where they come from.
        sampler: which, in which order.
        batch: pictures in an optimizer step, over all processes and accumulated parts.
        workers: processes that read and augment; 0 does it in between.
        augment: fields of [mien.images.augment.Augmentation][]; empty for its defaults (mirrored half of the time).
        virtual_people: people to each real one who do not exist, made of pictures of those who do, and are classes of
            their own: where there are few people; at most 10,000 in all. See
            [VirtualPeople][mien.train.data.VirtualPeople].
        virtual_share: of a batch's people that a virtual one stands in for.
        border: what aligned pictures show where the photo ends: constant (black), replicate or reflect.
        evening: how the light of every aligned picture is evened out ("many to one"), in training, in measuring, and
            for ever after wherever the network is used: gamma, clahe, self-quotient, or several in a row. Empty: as
            the starting weights are used to, which for new ones is not at all; none: not at all.
        same_names: whether the same name in two sources is the same person.
        decode_once: keep pictures that are aligned already in the cache as plain pixels, too.
        cache: folder of aligned pictures; None for the user's cache folder.
    """

    sources: tuple[SourceConfig, ...] = ()
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    batch: int = 128
    workers: int = 2
    augment: dict[str, float] = field(default_factory=dict)
    virtual_people: int = 0
    virtual_share: float = 0.5
    border: Literal["constant", "replicate", "reflect"] = "constant"
    evening: tuple[Literal["none", "gamma", "clahe", "self-quotient"], ...] = ()
    same_names: bool = False
    decode_once: bool = False
    cache: str | None = None

    def __post_init__(self) -> None:
        need(self.virtual_people >= 0, "data.virtual_people: expected 0 or more", self.virtual_people)
        need(0 <= self.virtual_share <= 1, "data.virtual_share: expected a share, 0 to 1", self.virtual_share)
        need(self.batch > 0, "data.batch: expected 1 or more", self.batch)
        need(self.workers >= 0, "data.workers: expected 0 or more", self.workers)
        known = isinstance(self.evening, tuple) and all(one in ("none", *EVENINGS) for one in self.evening)
        need(known, f"data.evening: expected some of none, {', '.join(EVENINGS)}", self.evening)
        alone = len(set(self.evening)) == len(self.evening) and ("none" not in self.evening or len(self.evening) == 1)
        need(alone, "data.evening: expected each once, and none by itself", self.evening)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """The loss; names and options in [mien.train.objective][].

    Attributes:
        name: arcface, cosface, softmax, triplet, ...
        options: what that loss takes, such as ``scale`` and ``margin``.
        margin_start: share of the training until which there is no margin.
        margin_warm_up: share of the training over which the margin then rises from 0.
        scale_warm_up: share of the training over which the scale rises from `first_scale`: a large one from the start
            makes a new network learn slowly.
        first_scale: see `scale_warm_up`; None for AdaCos's fixed one, sqrt(2) ln(classes - 1).
        sample_rate: share of the classes in a step (Partial FC), for margin losses.
        products: fp32, or bf16: type of the matrix products with the class centres, of margin losses; bf16 is faster
            where the processor has it, and rounds.
        centres: where the class centres start: random, or class-means (one pass over the data).
        keep: weight of ``1 - cos(new, old)`` to the embedding of the network it started from: against forgetting.
        old: a network's folder that plays the old one for ``keep`` and harmonic-triplet; None: the starting weights.
    """

    name: str = "arcface"
    options: dict[str, Any] = field(default_factory=dict)
    margin_start: float = 0.0
    margin_warm_up: float = 0.0
    scale_warm_up: float = 0.0
    first_scale: float | None = None
    sample_rate: float = 1.0
    products: Literal["fp32", "bf16"] = "fp32"
    centres: Literal["random", "class-means"] = "random"
    keep: float = 0.0
    old: str | None = None

    def __post_init__(self) -> None:
        for name in ("margin_start", "margin_warm_up", "scale_warm_up"):
            share = getattr(self, name)
            need(0 <= share <= 1, f"loss.{name}: expected a share, 0 to 1", share)
        if self.first_scale is not None:
            need(0 < self.first_scale <= _MOST, "loss.first_scale: expected above 0, up to 1e6", self.first_scale)
        need(0 < self.sample_rate <= 1, "loss.sample_rate: expected above 0 and up to 1", self.sample_rate)
        need(0 <= self.keep <= _MOST, "loss.keep: expected 0 or more, up to 1e6", self.keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """How weights move.

    Attributes:
        name: sgd, adamw or muon ([mien.train.muon][]).
        lr: the highest rate; of muon the angle that a step turns a table of weights by, about 0.02.
        momentum: of sgd; of what muon moves as sgd does.
        nesterov: Nesterov's momentum, of sgd.
        betas: of adamw.
        weight_decay: not on norms, biases and slopes of PReLU; with muon on class centres alone.
        head_lr: the loss's own weights (class centres) learn this many times as fast.
        head_weight_decay: of the class centres; None for the same.
        clip: the largest norm of the whole gradient; None for any.
        accumulate: parts that a batch is taken in, one after another, to save memory; the result is the whole batch's.
        ema: decay of the running mean of the weights, which is measured and kept; None for none.
        start_share: share of the weights it started from in the network that is measured and kept: against forgetting,
            for fine-tuning.
    """

    name: Literal["sgd", "adamw", "muon"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 5e-4
    head_lr: float = 1.0
    head_weight_decay: float | None = None
    clip: float | None = 5.0
    accumulate: int = 1
    ema: float | None = None
    start_share: float = 0.0

    def __post_init__(self) -> None:
        need(0 <= self.lr <= 1e30, "optimizer.lr: expected 0 or more, up to 1e30", self.lr)
        need(self.name != "muon" or self.lr <= 1, "optimizer.lr: expected 1 (an angle) or less with muon", self.lr)
        need(0 <= self.momentum < 1, "optimizer.momentum: expected 0 to below 1", self.momentum)
        fine = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        need(fine, "optimizer.betas: expected two numbers of 0 to below 1", self.betas)
        for name in ("head_lr", "weight_decay", "head_weight_decay"):
            value = getattr(self, name)
            need(value is None or 0 <= value <= _MOST, f"optimizer.{name}: expected 0 or more, up to 1e6", value)
        need(self.clip is None or self.clip > 0, "optimizer.clip: expected above 0", self.clip)
        need(self.accumulate > 0, "optimizer.accumulate: expected 1 or more", self.accumulate)
        need(0 <= self.start_share < 1, "optimizer.start_share: expected 0 to below 1", self.start_share)
        need(self.ema is None or 0 < self.ema < 1, "optimizer.ema: expected between 0 and 1", self.ema)
