"""Which classes of a shard take part in a step: all that the batch names, and random others."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["sample_classes"]


def sample_classes(named: Tensor, classes: int, rate: float, seed: tuple[int, int, int]) -> Tensor:
    """Sorted distinct classes: every named one and random others, ``ceil(rate * classes)`` in all, or more if named.

    Each set of others is equally likely. The same arguments give the same classes, on the same kind of device.

    Args:
        named: int64 (N,), classes the batch holds, 0 to ``classes`` - 1, repeats allowed.
        classes: how many there are.
        rate: share to take, above 0 and up to 1.
        seed: (seed, process, step).

    Source:
        An et al.: Killing Two Birds with One Stone (Partial FC), CVPR 2022.
    """
    draw = torch.Generator(device=named.device)
    mixed = 0
    for part in seed:  # splitmix-like: neighbouring seeds, processes and steps share nothing
        mixed = ((mixed ^ part) * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) & (2**64 - 1)
        mixed ^= mixed >> 29
    draw.manual_seed(mixed >> 1)
    lots = torch.rand(classes, generator=draw, device=named.device, dtype=torch.float32)
    lots[named] = 2.0
    count = max(math.ceil(rate * classes), int((lots > 1.0).sum()))
    return torch.topk(lots, count, sorted=False).indices.sort().values
