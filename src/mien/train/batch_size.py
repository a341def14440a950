"""What of a batch is left where there are fewer pictures, or people, than it asks for."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from mien.errors import InputError
from mien.train.config import DataConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["check_parts", "check_people", "check_shared", "fitted", "shown", "whole_groups"]


def shown(data: DataConfig, labels: NDArray[np.int64]) -> tuple[int, int]:
    """How many people and pictures the sampler shows: all, or those that have `least`."""
    counts = np.unique(labels, return_counts=True)[1]
    counts = counts[counts >= data.sampler.least]
    return len(counts), int(counts.sum())


def check_people(data: DataConfig, people: int) -> None:
    """Refuse a group of more people than the sampler shows.

    Raises:
        InputError: no group of pk can be filled.
    """
    chosen = data.sampler
    needed = chosen.people or 2  # as many as there are, where no number is asked for
    if chosen.name == "pk" and people < needed:
        setting = "data.sampler.least" if chosen.least > 1 else "data.sampler.people"
        raise InputError(
            f"{setting}: a group takes {needed:,} people or more, and {people:,} have pictures enough (each "
            f"{chosen.least:,} or more); take fewer, or give more pictures"
        )


def check_shared(batch: int, processes: int) -> None:
    """Raise InputError where a batch, as fitted, cannot be shared out evenly."""
    if batch % processes:
        raise InputError(f"data.batch: expected a multiple of {processes} processes, got {batch}")


def fitted(data: DataConfig, *, people: int, pictures: int, processes: int = 1) -> tuple[DataConfig, str]:
    """The settings with a batch that an epoch can fill, and what to tell the user; "" where nothing was changed.

    The result is a multiple of the processes and, for pk, of P x K. An epoch then has two or three steps, for pk as
    many as groups. It depends on the counts alone, so that a run that goes on has the same one.

    Args:
        data: as configured.
        people: in the set, those alone that the sampler shows.
        pictures: theirs.
        processes: that share a batch.
    """
    chosen, batch, told = data.sampler, data.batch, ""
    group, length = 1, pictures
    if chosen.name == "pk":
        batch = whole_groups(data)
        asked = chosen.people or batch // chosen.each
        if batch != data.batch:
            shape = f"{batch // (asked * chosen.each)} x {asked:,}" if chosen.people else f"{asked:,}"
            told = f"{data.batch:,} pictures are no whole groups: it takes {batch:,}, {shape} people x {chosen.each}"
        if not chosen.people and 2 <= people < asked:
            chosen = replace(chosen, people=people)
            batch = math.lcm(people * chosen.each, processes)
            told = f"{people:,} people are fewer than the {asked:,} of a batch: it takes {people} x {chosen.each}"
        group = (chosen.people or asked) * chosen.each
        length = max(1, pictures // group) * group
    if batch > length:
        unit = math.lcm(group, processes)
        few = max(2, 1 << max(length.bit_length() - 2, 0))
        batch = max(unit, few // unit * unit)
        told = f"an epoch has {length:,} pictures, fewer than a batch of {data.batch:,}: it takes {batch:,}"
    return replace(data, batch=batch, sampler=chosen), told and f"data.batch: {told}"


def check_parts(share: int, parts: int, network: nn.Module | None = None, held: Sequence[nn.Module] = ()) -> None:
    """Raise InputError where a process's share of the batch cannot be taken in so many parts.

    Args:
        share: pictures.
        parts: that they are taken in.
        network: what learns; batch norm over a vector of each picture cannot learn from a single one.
        held: its stages that stay as they are.
    """
    if share < parts:
        raise InputError(f"optimizer.accumulate: expected at most {share}, a process's share of the batch, got {parts}")
    if share // parts > 1 or network is None:
        return
    still = {layer for stage in held for layer in stage.modules()}
    if any(isinstance(layer, nn.BatchNorm1d) and layer not in still for layer in network.modules()):
        raise InputError(
            f"data.batch: batch norm learns from two pictures at a time or more, and a process's {share} in "
            f"{parts} part{'' if parts == 1 else 's'} (optimizer.accumulate) come singly; take a larger batch, or "
            "fewer parts"
        )


def whole_groups(data: DataConfig) -> int:
    """The batch; of pk one that holds whole groups of P x K (where P is not asked for, as many people as it can).

    It is the same on any number of processes, so that a run that goes on has the same one.
    """
    chosen = data.sampler
    if chosen.name != "pk":
        return data.batch
    unit = (chosen.people or 1) * chosen.each
    return max(data.batch // unit * unit, (chosen.people or 2) * chosen.each)
