"""Classes shared out over processes, and the few collectives that asks for; with no process group all are no-ops."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor

from mien.errors import InputError

__all__ = [
    "Group",
    "all_sum",
    "gather_labels",
    "gather_rows",
    "gather_shards",
    "merged_lse",
    "shard_bounds",
    "world_of",
]

Group: TypeAlias = "dist.ProcessGroup | None"


def world_of(group: Group) -> tuple[int, int]:
    """(number of processes, this one's rank); (1, 0) without a group."""
    return (1, 0) if group is None else (dist.get_world_size(group), dist.get_rank(group))


def shard_bounds(classes: int, world: int, rank: int) -> tuple[int, int]:
    """First class of a process's shard and one past its last; shards differ by one class at most and may be empty.

    >>> [shard_bounds(7, 3, rank) for rank in range(3)]
    [(0, 3), (3, 5), (5, 7)]
    >>> [shard_bounds(1, 2, rank) for rank in range(2)]
    [(0, 1), (1, 1)]
    """
    if not 0 <= rank < world:
        raise InputError(f"rank: expected 0 to {world - 1}, got {rank}")
    least, more = divmod(classes, world)
    first = rank * least + min(rank, more)
    return first, first + least + (rank < more)


def all_sum(values: Tensor, group: Group) -> Tensor:
    """Values summed over processes, in place."""
    if group is not None:
        dist.all_reduce(values, op=dist.ReduceOp.SUM, group=group)
    return values


def merged_lse(local: Tensor, group: Group) -> Tensor:
    """Log-sum-exp over processes of each one's own; -inf stands for a process that has nothing."""
    if group is None:
        return local
    top = local.clone()
    dist.all_reduce(top, op=dist.ReduceOp.MAX, group=group)
    safe = torch.where(top.isfinite(), top, 0.0)
    return all_sum(torch.exp(local - safe), group).log() + safe


def _counts(rows: int, device: torch.device, group: dist.ProcessGroup) -> list[int]:
    world, _ = world_of(group)
    counts = torch.zeros(world, dtype=torch.int64, device=device)
    dist.all_gather_single(counts, torch.tensor([rows], device=device), group=group)
    return [int(count) for count in counts.tolist()]


def _gathered(values: Tensor, counts: list[int], group: dist.ProcessGroup) -> Tensor:
    most = max(counts)
    padded = values.new_zeros((most, *values.shape[1:]))
    padded[: values.shape[0]] = values
    parts = values.new_empty((len(counts) * most, *values.shape[1:]))
    dist.all_gather_single(parts, padded, group=group)
    return torch.cat([parts[i * most : i * most + count] for i, count in enumerate(counts)])


def gather_labels(labels: Tensor, group: Group) -> Tensor:
    """Labels of all processes, in rank order; their numbers may differ."""
    return labels if group is None else _gathered(labels, _counts(labels.shape[0], labels.device, group), group)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: dist.ProcessGroup, averaged: bool) -> Tensor:  # noqa: ANN401
        counts = _counts(rows.shape[0], rows.device, group)
        world, rank = world_of(group)
        ctx.span = (sum(counts[:rank]), sum(counts[: rank + 1]))
        ctx.factor = world if averaged else 1
        return _gathered(rows, counts, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        return grad[ctx.span[0] : ctx.span[1]] * ctx.factor, None, None


def gather_rows(rows: Tensor, group: Group, *, averaged: bool) -> Tensor:
    """Rows of all processes (sum of B, D), in rank order; their numbers may differ.

    What follows must be the same on all processes: backward takes this one's rows of the gradient, and no sum.

    Args:
        rows: (B, D) of this process.
        group: the processes.
        averaged: the network's gradients will be averaged over processes (as DDP does): multiply them by their number.
    """
    if group is None:
        return rows
    gathered: Tensor = _GatherRows.apply(rows, group, averaged)
    return gathered


def gather_shards(shard: Tensor, group: Group) -> Tensor:
    """Rows of every process's shard, in class order: a whole table, on each process. For checkpoints."""
    return shard if group is None else _gathered(shard, _counts(shard.shape[0], shard.device, group), group)
