"""Batches in an order that (seed, epoch) decides, whatever the number of workers and processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from mien.errors import InputError
from mien.train.data.fetching import Fetcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mien.images.augment import Augmentation
    from mien.train.data.samplers import Sampler
    from mien.train.data.training_set import TrainingSet

__all__ = ["Batch", "Batches"]


class Batch(NamedTuple):
    """This process's share of a global batch.

    Attributes:
        pictures: uint8 (b, size, size, C), or (b, V, size, size, C) with several views.
        labels: int64 (b,).
        indices: int64 (b,): the pictures' numbers in the set.
    """

    pictures: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor


class Batches:
    """Batches of a set, one epoch at a time.

    The order of an epoch is the same for all processes: global batch k holds the indices k * batch to
    (k + 1) * batch, and process r of w takes the r-th of w equal stretches of it. The last, incomplete batch is
    dropped. A picture's changes are decided by (seed, epoch, index), and by how often it came before in the epoch.
    """

    def __init__(
        self,
        data: TrainingSet,
        sampler: Sampler,
        *,
        batch: int,
        augment: Augmentation | None = None,
        seed: int = 0,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if batch < 1 or batch % world or batch % sampler.group:
            raise InputError(
                f"batch: expected a multiple of {np.lcm(world, sampler.group)} "
                f"({world} processes, groups of {sampler.group}), got {batch}"
            )
        if not 0 <= rank < world:
            raise ValueError(f"rank: expected 0 to {world - 1}, got {rank}")
        if len(sampler) < batch:
            raise InputError(f"batch: {batch} pictures, but an epoch has {len(sampler)}")
        self._data, self._sampler, self._batch, self._seed = data, sampler, batch, seed
        self._share = slice(rank * batch // world, (rank + 1) * batch // world)
        self._fetcher = Fetcher(data.pictures, augment, seed)

    def steps(self) -> int:
        """Batches of an epoch."""
        return len(self._sampler) // self._batch

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on."""
        order = self._sampler.order(epoch, self._seed)
        for step in range(start, self.steps()):
            mine = order[step * self._batch : (step + 1) * self._batch][self._share]
            pictures = self._fetcher.fetch(epoch, mine)
            labels = torch.from_numpy(self._data.labels[mine])
            yield Batch(torch.from_numpy(pictures), labels, torch.from_numpy(mine.copy()))

    def close(self) -> None:
        """End the workers."""
