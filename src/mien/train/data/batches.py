"""Batches in an order that (seed, epoch) decides, whatever the number of workers and processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from mien.errors import InputError
from mien.train.data.fetching import Fetcher, Work
from mien.train.data.samplers import occurrences
from mien.train.data.telling import Unreadable
from mien.train.data.virtual_people import REAL
from mien.train.data.workers import Loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from mien.images.augment import Augmentation
    from mien.train.data.samplers import Sampler
    from mien.train.data.training_set import TrainingSet
    from mien.train.data.virtual_people import VirtualPeople

__all__ = ["Batch", "Batches"]


class Batch(NamedTuple):
    """This process's share of a global batch; in pinned memory where CUDA is there.

    Attributes:
        pictures: uint8 (b, size, size, C), or (b, V, size, size, C) with several views.
        labels: int64 (b,): the person; those of virtual people follow after the set's.
        indices: int64 (b,): the pictures' numbers in the set.
    """

    pictures: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor


class Batches:
    """Batches of a set, one epoch at a time.

    The order of an epoch is the same for all processes: global batch k holds the indices k * batch to
    (k + 1) * batch, and process r of w takes the r-th of w equal stretches of it, so that what the processes gather
    in the order of their ranks is the batch of one process. The last, incomplete batch is dropped. How a picture is
    changed is decided by (seed, epoch, index), and by how often it came before in the epoch; never by the number of
    workers or processes, or by where a run was resumed.

    Belongs to one thread. Close it, or use it in a ``with`` block, to end its workers.

    Args:
        data: the set.
        sampler: the order.
        batch: pictures of a global batch.
        augment: how pictures are changed; None for not at all.
        seed: 0 or more.
        workers: processes that fetch ahead; 0 to fetch in this one.
        rank: this process.
        world: processes that train together.
        views: versions of each picture, each changed by itself, for training that compares them.
        skip_unreadable: take the next picture of the set that can be read in place of one that cannot, and remember it
            in `skipped`; otherwise such a picture ends the epoch with an error that names it.
        virtual: people who do not exist, of which some are shown; None for the set's people alone.
        virtual_share: of a batch's people whose pictures are turned into those of a virtual one.

    Attributes:
        skipped: names of unreadable pictures that were met in this process, and why.

    Raises:
        InputError: the batch does not fit the processes, the sampler or the set.
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
        views: int = 1,
        skip_unreadable: bool = False,
        virtual: VirtualPeople | None = None,
        virtual_share: float = 0.5,
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank: expected 0 to {world - 1}, got {rank}")
        for name, value, least in (
            ("batch", batch, 1),
            ("seed", seed, 0),
            ("workers", workers, 0),
            ("views", views, 1),
        ):
            if value < least:
                raise InputError(f"{name}: expected {least} or more, got {value}")
        if batch % world or batch % sampler.group:
            raise InputError(
                f"batch: expected a multiple of {np.lcm(world, sampler.group)} "
                f"({world} processes, groups of {sampler.group}), got {batch}"
            )
        if len(sampler) < batch:
            raise InputError(
                f"data.batch: expected at most the {len(sampler)} pictures of an epoch, got {batch}; take fewer: "
                f"--set data.batch={1 << max(len(sampler).bit_length() - 2, 0)}"
            )
        self.skipped: dict[str, None] = {}
        self._unreadable = Unreadable()
        self._data, self._sampler, self._batch, self._seed = data, sampler, batch, seed
        self._share = slice(rank * batch // world, (rank + 1) * batch // world)
        landmarks = np.array(data.spec.template, np.float32)
        self._virtual, self._virtual_share = virtual, virtual_share
        self._real_people = len(data.people)
        fetcher = Fetcher(
            data.pictures,
            augment,
            seed=seed,
            views=views,
            skip=skip_unreadable,
            landmarks=landmarks,
            virtual=virtual,
        )
        self._loader = Loader(fetcher, workers)
        self._turn = 0

    def steps(self) -> int:
        """Batches of an epoch."""
        return len(self._sampler) // self._batch

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from step `start` on. An earlier epoch that is still under way ends.

        Raises:
            InputError: a picture cannot be read.
            MienError: a worker died.
        """
        if epoch < 0 or not 0 <= start <= self.steps():
            raise ValueError(f"expected an epoch of 0 or more and a step of 0 to {self.steps()}, got {epoch}, {start}")
        self._turn += 1
        return self._epoch(epoch, start, self._turn)

    def _epoch(self, epoch: int, start: int, turn: int) -> Iterator[Batch]:
        if turn == self._turn:
            self._loader.begin(self._works(epoch, start))
        for _ in range(start, self.steps()):
            if turn != self._turn:
                raise ValueError("another epoch was begun, or the batches are closed")
            found = self._loader.next()
            if found is None:
                return
            pictures, indices, skipped, virtual = found
            self.skipped.update(dict.fromkeys(skipped))
            labels = torch.from_numpy(self._data.labels[indices.numpy()])
            yield Batch(pictures, torch.where(virtual == REAL, labels, self._real_people + virtual), indices)

    def _works(self, epoch: int, start: int) -> Iterator[Work]:
        order = self._sampler.order(epoch, self._seed)
        repeats = _repeats(order, len(self._data))
        for step in range(start, self.steps()):
            mine = slice(step * self._batch + self._share.start, step * self._batch + self._share.stop)
            yield Work(epoch, order[mine], repeats[mine], self._imagined(epoch, step, order))

    def _imagined(self, epoch: int, step: int, order: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """This process's share of the virtual people of a global batch."""
        if self._virtual is None:
            return None
        whole = self._data.labels[order[step * self._batch : (step + 1) * self._batch]]
        rng = np.random.Generator(np.random.SFC64([self._seed, epoch, step, self._virtual.each]))
        return self._virtual.draw(whole, self._virtual_share, rng)[self._share]

    def tell_skipped(self, all_of: Callable[[list[str]], Sequence[list[str]]], say: Callable[[str], None]) -> None:
        """Say how many pictures were skipped in all processes, and the first, where they have become more.

        Args:
            all_of: as `Processes.all_of`; all processes call this.
            say: takes the message.
        """
        self._unreadable.tell(self.skipped, all_of, say)

    def close(self) -> None:
        """End the workers."""
        self._turn += 1
        self._loader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _repeats(order: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """How often each picture came before."""
    if np.bincount(order, minlength=count).max() <= 1:
        return np.broadcast_to(np.int64(0), order.shape)
    return occurrences(order)
