"""The processes of a run: one alone, or several under ``torchrun``; and the few things they agree on."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

from mien.errors import InputError, TrainingError
from mien.train.heads.sharding import Group

__all__ = ["Processes", "joined", "local_device"]

_WAIT: Final = timedelta(hours=2)
"""How long a process waits for another: the first one may be aligning pictures."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among the others.

    Attributes:
        rank: its number.
        world: how many there are.
        device: where it calculates.
        group: the process group; None for one process.
    """

    rank: int
    world: int
    device: torch.device
    group: Group = None

    @property
    def first(self) -> bool:
        """Whether this one writes files and talks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come here."""
        if self.group is not None:
            dist.barrier(self.group)

    def total(self, values: list[float]) -> list[float]:
        """The sum of each number over all processes."""
        if self.group is None:
            return values
        table = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(table, dist.ReduceOp.SUM, self.group)
        return [float(value) for value in table.tolist()]

    def shared(self, value: Any) -> Any:  # noqa: ANN401
        """The first process's plain value, on all."""
        if self.group is None:
            return value
        held = [value]
        dist.broadcast_object_list(held, 0, self.group, device=self.device)
        return held[0]

    def by_first(self, work: Callable[[], object]) -> None:
        """The first process does some work; all wait for its end, and all know how that was.

        Raises:
            Exception: what it raised, on the first process.
            TrainingError: in its words, on the others.
        """
        if self.first:
            try:
                work()
            except Exception as error:
                self.shared(str(error) or type(error).__name__)
                raise
        if failed := self.shared(""):
            raise TrainingError(failed)

    def all_of(self, value: Any) -> list[Any]:  # noqa: ANN401
        """Every process's plain value, on all."""
        if self.group is None:
            return [value]
        held: list[Any] = [None] * self.world
        dist.all_gather_object(held, value, self.group)
        return held

    def copied(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by the first process's."""
        for tensor in tensors if self.group is not None else ():
            dist.broadcast(tensor, 0, self.group)

    def average(self, tensors: list[Tensor]) -> None:
        """Replace tensors by their means over the processes, so that what is equal stays equal to the bit."""
        for tensor in tensors if self.group is not None else ():
            dist.all_reduce(tensor, dist.ReduceOp.SUM, self.group)
            tensor.div_(self.world)


def local_device(device: str) -> torch.device:
    """The device that this process calculates on: with CUDA, the one of its LOCAL_RANK.

    Raises:
        InputError: CUDA is asked for and not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("loop.device: cuda was asked for, but PyTorch finds none here")
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started (it sets WORLD_SIZE, RANK and LOCAL_RANK), or go alone.

    Over NCCL on CUDA, gloo on the CPU. A group that the caller has made already is used, and left as it is.

    Raises:
        InputError: CUDA is asked for and not there.
    """
    where = local_device(device)
    if where.type == "cuda":
        torch.cuda.set_device(where)
    ours = not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if ours:
        dist.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=_WAIT)
    try:
        if dist.is_initialized() and dist.get_world_size() > 1:
            yield Processes(dist.get_rank(), dist.get_world_size(), where, dist.group.WORLD)
            if ours:
                dist.barrier()  # nobody leaves while another still listens
        else:
            yield Processes(0, 1, where)
    finally:
        if ours:
            gc.collect()  # what still holds the group, in cycles, would end it as the process ends, and abort that
            dist.destroy_process_group()
