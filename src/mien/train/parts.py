"""From a config to the parts of a run: network, data, batches, what is measured, where aligned pictures are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.errors import InputError, MienError
from mien.images.augment import Augmentation
from mien.models.session import available_cores
from mien.train.backbones import Backbone, InputSpec, build, load_network, network_facts
from mien.train.batch_size import check_people, check_shared, fitted, shown
from mien.train.config import DataConfig, LossConfig, NetworkConfig, TrainConfig
from mien.train.data import (
    PK,
    Balanced,
    Batches,
    Mixed,
    Sampler,
    Shuffle,
    Source,
    TrainingSet,
    VirtualPeople,
    open_training_set,
    virtual_each,
)
from mien.train.data.telling import set_told
from mien.train.display import Display
from mien.train.measuring import PairMeasure
from mien.train.pair_lists import trained_people_told
from mien.train.processes import Processes
from mien.train.settings import from_plain
from mien.types import Evening

__all__ = [
    "augmentation",
    "cache_folder",
    "check_light",
    "classes",
    "data_digest",
    "fitted_config",
    "in_order",
    "made_batches",
    "made_measures",
    "made_network",
    "old_network",
    "opened_data",
    "start_told",
    "starting_evening",
]

Progress = Callable[[str, int, int], None]
_FEW_STEPS: Final = 300  # small-cpu on 18,000 pictures takes 2,800
_APART: Final = 0.03  # of the side: landmarks of two templates that are the same, at two sizes


def cache_folder(config: DataConfig) -> Path:
    """Where aligned pictures are kept."""
    if config.cache is not None:
        return Path(config.cache)
    import platformdirs

    return platformdirs.user_cache_path("mien", appauthor=False) / "train"


def made_network(config: NetworkConfig, seed: int, evening: Sequence[str] = ()) -> Backbone:
    """The network, with first weights that the seed decides.

    Args:
        config: the network's.
        seed: of new weights.
        evening: as `data.evening`: how light is evened out in its pictures; empty for as its weights are used to.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(
            config.name,
            dim=config.dim,
            size=config.size,
            weights=config.weights,
            checkpoint_activations=config.recompute,
            **config.options,
        )
    network.spec = replace(network.spec, evening=_evening(evening, config.weights))
    return network


def starting_evening(config: TrainConfig) -> tuple[Evening, ...]:
    """What light the weights know that a run starts from: given ones, or those that the run before will make."""
    start = config.stage_before() or config
    asked = () if start is config else start.data.evening
    return _evening(asked, start.network.weights)


def _evening(asked: Sequence[str], weights: str | None) -> tuple[Evening, ...]:
    """As asked; else as the weights are used to, by their own header: released files know of none."""
    if asked or weights is None:
        return tuple(cast("Evening", one) for one in asked if one != "none")
    try:
        return InputSpec.from_dict(network_facts(Path(weights))["spec"]).evening
    except (MienError, OverflowError):  # a name, or a file that another program made
        return ()


def old_network(config: LossConfig, network: Backbone, start: NetworkConfig, seed: int) -> Backbone:
    """The network that stays as it was, for losses that look at it: frozen, in eval mode.

    Raises:
        InputError: it is not comparable.
    """
    same = network.spec.evening if start.weights is None else ()
    old = load_network(Path(config.old)) if config.old else made_network(replace(start, recompute=False), seed, same)
    if old.dim != network.dim:
        raise InputError(f"loss.old: expected embeddings of {network.dim} numbers, as the network's; got {old.dim}")
    if old.spec.channels != network.spec.channels:
        kinds = ["grey" if each.spec.channels == 1 else "colour" for each in (network, old)]
        raise InputError("loss.old: expected a network of {} pictures, as the one that learns; got {}".format(*kinds))
    here, there = (np.array(each.learner.spec.template) / each.learner.spec.size for each in (network, old))
    if np.abs(here - there).max() > _APART:
        raise InputError("loss.old: expected a network that sees the same part of the face as the one that learns")
    check_light(old.spec.evening, network)
    return old.requires_grad_(False).eval()


def check_light(known: Sequence[Evening], network: Backbone) -> None:
    """Refuse an old network that knows pictures in another light (`known`) than the one that learns is shown.

    Raises:
        InputError: it does.
    """
    if tuple(known) != network.spec.evening:
        here, there = (" and ".join(each) or "none" for each in (network.spec.evening, known))
        raise InputError(
            f"data.evening: the old network that loss.keep or loss.old looks at knows pictures evened by {there}, and "
            f"the one that learns would be shown them evened by {here}; leave data.evening out, or loss.keep"
        )


def opened_data(config: DataConfig, spec: InputSpec, progress: Progress) -> TrainingSet:
    """The pictures, aligned, in the light that `spec` says.

    Raises:
        InputError: no sources, or some that cannot be used.
    """
    if not config.sources:
        raise InputError("data.sources: expected a folder or file to learn from (--data DIR)")
    sources = [
        Source(path=s.path, kind=cast("Any", s.kind), aligned=s.aligned, proportion=s.proportion)
        for s in config.sources
    ]
    return open_training_set(
        sources,
        spec=spec,
        cache=cache_folder(config),
        workers=available_cores(),
        progress=lambda done, total: progress("Finding and aligning faces", done, total),
        border=config.border,
        same_names=config.same_names,
        decode_once=config.decode_once,
    )


def data_digest(data: TrainingSet) -> str:
    """Checksum of how many pictures there are and whose they are."""
    return hashlib.blake2b(np.ascontiguousarray(data.labels).tobytes(), digest_size=12).hexdigest()


def fitted_config(config: TrainConfig, data: TrainingSet, processes: Processes, display: Display) -> TrainConfig:
    """The config with a batch that the pictures can fill; it is told where that is a smaller one.

    Raises:
        InputError: fewer people are shown than a group takes.
    """
    people, pictures = shown(config.data, data.labels)
    check_people(config.data, people)
    settings, told = fitted(config.data, people=people, pictures=pictures, processes=processes.world)
    if told:
        display.say(told)
    check_shared(settings.batch, processes.world)
    return replace(config, data=settings)


def made_batches(config: TrainConfig, data: TrainingSet, processes: Processes) -> Batches:
    """Batches in the config's order, changed as it says."""
    chosen, batch = config.data.sampler, config.data.batch
    sampler: Sampler
    if chosen.name == "pk":
        people = chosen.people or max(2, batch // chosen.each)
        sampler = PK(data, people=people, each=chosen.each, least=chosen.least)
    elif chosen.name == "balanced":
        sampler = Balanced(data)
    else:
        sampler = Shuffle(data) if chosen.name == "shuffle" else Mixed(data)
    return Batches(
        data,
        sampler,
        batch=batch,
        augment=augmentation(config.data),
        seed=config.loop.seed,
        workers=config.data.workers,
        rank=processes.rank,
        world=processes.world,
        skip_unreadable=True,
        virtual=_virtual_people(config, data),
        virtual_share=config.data.virtual_share,
    )


def classes(config: DataConfig, data: TrainingSet) -> int:
    """How many people the loss tells apart: the set's, then the virtual ones."""
    return len(data.people) * (1 + virtual_each(config.virtual_people, len(data.people)))


def _virtual_people(config: TrainConfig, data: TrainingSet) -> VirtualPeople | None:
    made = virtual_each(config.data.virtual_people, len(data.people))
    if not made:
        return None
    landmarks = np.array(data.spec.template, np.float32)
    return VirtualPeople(data.labels, data.origins, landmarks, data.spec.size, each=made, seed=config.loop.seed)


def augmentation(config: DataConfig) -> Augmentation:
    """How pictures are changed.

    Raises:
        InputError: there is no such change, or no such probability.
    """
    try:
        return from_plain(Augmentation, config.augment, "data.augment")
    except ValueError as error:
        raise InputError(f"data.augment: {error}") from error


def made_measures(
    config: TrainConfig, spec: InputSpec, display: Display, trained: Sequence[str] = ()
) -> list[PairMeasure]:
    """Everything that is measured, its pictures aligned; pairs that are left out are told.

    Args:
        config: of the run.
        spec: how the network wants pictures.
        display: also told of lists with people who are trained on.
        trained: their names.
    """
    made = [
        PairMeasure(
            pairs,
            spec,
            cache_folder(config.data),
            workers=available_cores(),
            progress=lambda done, total: display.progress("Aligning the pictures of the pairs", done, total),
            say=display.say,
        )
        for pairs in config.measure.sets
    ]
    for measure in made:
        if told := trained_people_told(measure.name, measure.people, trained):
            display.say(told)
    return made


class _InOrder:
    """Every picture once, in order; the first ones again at the end, to fill the last batch."""

    group = 1

    def __init__(self, count: int, batch: int) -> None:
        self._order: NDArray[np.int64] = np.arange(-(-count // batch) * batch, dtype=np.int64) % count

    def __len__(self) -> int:
        return len(self._order)

    def order(self, epoch: int, seed: int) -> NDArray[np.int64]:
        return self._order


def in_order(config: TrainConfig, data: TrainingSet, processes: Processes) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's share of all pictures as they are (uint8), and their labels."""
    batch = config.data.batch
    sampler = _InOrder(len(data), batch)
    with Batches(
        data,
        sampler,
        batch=batch,
        workers=config.data.workers,
        rank=processes.rank,
        world=processes.world,
        skip_unreadable=True,
    ) as batches:
        for found in batches.epoch(0):
            yield found.pictures, found.labels


def start_told(
    config: TrainConfig, network: Backbone, data: TrainingSet, *, steps: int, precision: str, processes: Processes
) -> str:
    """What a run is, in a line, and lines of what should be known of it and its pictures: for its start."""
    count = sum(p.numel() for p in network.parameters())
    light = f", evened by {', '.join(network.spec.evening)}" if network.spec.evening else ""
    virtual = classes(config.data, data) - len(data.people)
    made = f" and {virtual:,} virtual ones" if virtual else ""
    out = len(data.left_out)
    left = f", {out:,} picture{'' if out == 1 else 's'} left out (no face, or unreadable)" if out else ""
    line = (
        f"{network.name}: {count / 1e6:.2f} million parameters; {len(data):,} pictures of {len(data.people):,} "
        f"people{made}{light}{left}; {config.loss.name}; {steps:,} steps of {config.data.batch}; "
        f"{precision} on {processes.device.type}, {processes.world} process{'' if processes.world == 1 else 'es'}"
    )
    lines = [line, *set_told(data)]
    if not config.starts_from_weights and config.schedule.minutes is None and steps < _FEW_STEPS:
        lines.append(
            f"{steps:,} step{'' if steps == 1 else 's'} in all: fewer than some hundred teach new weights little; more "
            "epochs (--set schedule.epochs=N), or weights that know faces already (mien train fine-tune-dlib, mien "
            "distil)"
        )
    return "\n".join(lines)
