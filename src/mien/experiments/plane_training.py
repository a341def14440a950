"""A small network with two outputs, trained under one loss: what the figures in the plane are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from mien.experiments.plane_losses import PlaneLoss, class_logits

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = ["Batches", "InPlane", "fit_plane", "in_plane"]

Batches = Callable[[torch.Generator], "tuple[Tensor, Tensor]"]
"""Draws a batch: inputs, and int64 labels (B,)."""

_RATE: Final = 1e-2  # of AdamW, at its height
_DECAY: Final = 1e-3
_CLIP: Final = 5.0  # of the gradient's norm
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True, eq=False)
class InPlane:
    """What a trained network makes of some samples. Immutable by agreement.

    Attributes:
        features: float32 (N, 2).
        decided: int64 (N,): the class that the loss's own classifier chooses.
    """

    features: NDArray[np.float32]
    decided: NDArray[np.int64]


def fit_plane(
    network: nn.Module,
    loss: nn.Module,
    rule: PlaneLoss,
    batches: Batches,
    *,
    steps: int,
    draw: torch.Generator,
    advance: Callable[[int], None] = lambda _n: None,
) -> None:
    """Train a network and a loss in place: AdamW, a rate that rises and falls once, clipped gradients.

    Args:
        network: to (B, 2).
        loss: made by `rule`.
        rule: says how the loss is prepared for a step.
        batches: the data.
        steps: how many.
        draw: chance, given to `batches`.
        advance: is told of steps done.
    """
    parameters = [*network.parameters(), *loss.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=max(steps, 2), pct_start=0.15)
    network.train()
    loss.train()
    for step in range(steps):
        rule.prepare(loss, step, steps)
        inputs, labels = batches(draw)
        optimizer.zero_grad()
        loss(network(inputs), labels).backward()
        torch.nn.utils.clip_grad_norm_(parameters, _CLIP)
        optimizer.step()
        schedule.step()
        advance(1)


@torch.no_grad()
def in_plane(network: nn.Module, loss: nn.Module, inputs: Tensor) -> InPlane:
    """The features of inputs (N, ...), and what the loss's classifier makes of them."""
    network.eval()
    loss.eval()
    features = torch.cat([network(part) for part in torch.split(inputs, _AT_ONCE)])
    return InPlane(features.numpy(), class_logits(loss, features).argmax(1).numpy())
