"""What can be told of a run's settings before its pictures are aligned, which takes long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from mien.errors import InputError
from mien.train.backbones import Backbone
from mien.train.batch_size import check_parts, whole_groups
from mien.train.config import TrainConfig
from mien.train.objective import Objective
from mien.train.optimizers import frozen_stages, head_optimizer
from mien.train.pair_lists import read_pairs
from mien.train.parts import augmentation, check_light, made_network, old_network, starting_evening
from mien.train.processes import Processes
from mien.train.run_folder import RunFolder
from mien.train.step import check_start, network_input

__all__ = ["check_pairs", "check_second", "check_settings", "check_sizes", "check_weights_of_second"]


@torch.no_grad()
def check_settings(config: TrainConfig, network: Backbone, processes: int = 1) -> None:
    """Try everything that needs no pictures, for nothing: the loss on two people, sizes on a blank, lists of pairs.

    Args:
        config: the run's.
        network: as the config asks for; stays as it is.
        processes: that share a batch.

    Raises:
        InputError: a setting makes no sense, alone or beside the others; names it.
    """
    with torch.random.fork_rng(devices=[]):
        augmentation(config.data)
        held = frozen_stages(network, config.network.frozen)
        check_start(config)
        _check_batch(config, network, held, processes)
        objective = Objective(config.loss, network.dim, 2, seed=config.loop.seed)
        head_optimizer(objective, config.optimizer, sparse=objective.sparse)
        _check_old(config, objective, network)
        _check_sampler(config, objective)
        check_sizes(network.learner, config)
    check_pairs(config)


def check_second(
    config: TrainConfig, first: TrainConfig, run: RunFolder, processes: Processes, *, resume: bool
) -> None:
    """As `check_settings`, of a run that starts from the weights of another, before there are any.

    Also that neither clears what the other starts from. All processes call it together, before anything is cleared.

    Args:
        config: of the second run.
        first: of the first one, whose folder is ``before`` in this one's.
        run: the second one's folder.
        processes: that share a batch.
        resume: whether what is there goes on.

    Raises:
        InputError: as `check_settings`.
    """
    check_weights_of_second(config)
    run.check_two(first, config, resume=resume)
    config = run.going_on(config, resume=resume)
    old = config.loss.old
    if old is not None and Path(old).resolve().is_relative_to((run.path / "before").resolve()):
        config = replace(config, loss=replace(config.loss, old=None))  # it is none yet, and is looked at later
    network = made_network(config.network, config.loop.seed, config.data.evening or starting_evening(config))
    check_settings(config, network, processes.world)
    processes.wait()


def check_weights_of_second(config: TrainConfig) -> None:
    """A run that starts from the weights of another takes no others.

    Raises:
        InputError: it names some; those of a run that was made so (its config.json) pass, and the first one's own.
    """
    given, first = config.network.weights, config.before
    if first is None or given in (None, first.network.weights):
        return
    if Path(given).parts[-2:] != ("before", "best"):
        raise InputError(
            f"network.weights: {given} would not be used: this run starts from what the one before it learns; to start "
            "that one from weights set before.network.weights"
        )


def _check_batch(config: TrainConfig, network: Backbone, held: Sequence[nn.Module], processes: int) -> None:
    batch = whole_groups(config.data)  # fewer where there are few pictures
    check_parts(max(batch // processes, 1), config.optimizer.accumulate, network.learner, held)


def _check_sampler(config: TrainConfig, objective: Objective) -> None:
    chosen, given = config.data.sampler, [source.proportion for source in config.data.sources]
    if chosen.name == "pk" and chosen.each < 2 and objective.pairs is not None:
        raise InputError(
            f"data.sampler.each: {config.loss.name} learns from pictures of the same person: expected 2 or more of "
            f"each, got {chosen.each}"
        )
    if chosen.name == "mixed" and None in given and set(given) != {None}:
        raise InputError(f"data.sources: expected a proportion for each or for none, got {given}")


def _check_old(config: TrainConfig, objective: Objective, network: Backbone) -> None:
    if not objective.needs_old:
        return
    if config.loss.old is not None:
        old_network(config.loss, network, config.network, config.loop.seed)
    elif config.starts_from_weights:
        check_light(starting_evening(config), network)
    else:
        beside = f"loss.name: {config.loss.name} learns beside"
        what = beside if objective.parts.needs_old else "loss.keep: holds the network to"
        raise InputError(
            f"{what} an old model, and there is none: set loss.old to a network's folder (runs/x/best), or "
            "network.weights to start from it"
        )


def check_pairs(config: TrainConfig) -> None:
    """Read the lists of pairs.

    Raises:
        InputError: one is malformed, or names pictures that are not there.
    """
    for one in config.measure.sets:
        for pairs in filter(None, (one.pairs, one.threshold_pairs)):
            read_pairs(pairs, one.images, skip_missing=one.skip_missing)


@torch.no_grad()
def check_sizes(network: Backbone, config: TrainConfig) -> None:
    """Try every size that pictures will have.

    Raises:
        InputError: the network takes its own size only.
    """
    spec, was = network.spec, network.training
    device = next(network.parameters()).device
    network.eval()
    try:
        for side in sorted({side for _, side in config.schedule.sizes}):
            blank = torch.zeros(1, spec.size, spec.size, spec.channels, dtype=torch.uint8, device=device)
            try:
                network(network_input(blank, spec, side))
            except (RuntimeError, InputError, ValueError) as error:
                raise InputError(
                    f"schedule.sizes: {network.name} does not take pictures of {side} pixels, only of {spec.size}; "
                    "take a network that ends in global pooling, or leave out the sizes "
                    f"({str(error).splitlines()[0][:120]})"
                ) from error
    finally:
        network.train(was)
