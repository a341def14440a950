"""Optimizers for a network and for a loss's own weights, with the rates and weight decays that each part gets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from mien.errors import InputError
from mien.train.backbones import Backbone
from mien.train.config import OptimizerConfig
from mien.train.heads import RowSGD
from mien.train.muon import Muon
from mien.train.settings import nearest

__all__ = ["freeze", "frozen_stages", "head_optimizer", "network_optimizer", "set_rate"]


def frozen_stages(network: Backbone, frozen: Iterable[str]) -> list[nn.Module]:
    """Stages by their names.

    Raises:
        InputError: there is no such stage, or none is left to train.
    """
    stages = dict(network.stages())
    names = tuple(frozen)
    for name in names:
        if name not in stages:
            raise InputError(f"network.frozen: {network.name} has no stage {name!r}{nearest(name, stages)}")
    held = [stages[name] for name in names]
    still = {id(p) for stage in held for p in stage.parameters()}
    if all(id(p) in still for p in network.parameters() if p.requires_grad):
        raise InputError("network.frozen: expected a stage to be left to train, got all of them")
    return held


def freeze(network: Backbone, frozen: Iterable[str]) -> list[nn.Module]:
    """Keep stages as they are: no gradients. Call ``eval()`` on what is returned whenever the network is set to train.

    Raises:
        InputError: there is no such stage, or none is left to train.
    """
    held = frozen_stages(network, frozen)
    for stage in held:
        stage.requires_grad_(False)
    return held


def network_optimizer(
    network: Backbone, config: OptimizerConfig, layer_decay: float = 1.0, *, precision: torch.dtype = torch.float32
) -> torch.optim.Optimizer:
    """The optimizer of a network: no weight decay on vectors (norms, biases, PReLU's slopes), rates by stage.

    The last stage learns at the full rate, each one before it at ``layer_decay`` times the next one's. ``precision`` is
    that of [Muon][]'s own products; it turns the weights of linear layers and convolutions, and nothing else.
    """
    muon = config.name == "muon"
    tables = _turned(network) if muon else {id(p) for p in network.parameters() if p.ndim > 1}
    groups: list[dict[str, Any]] = []
    stages = [(name, stage) for name, stage in network.stages() if any(p.requires_grad for p in stage.parameters())]
    for depth, (name, stage) in enumerate(reversed(stages)):
        taken = [p for p in stage.parameters() if p.requires_grad]
        for table in (True, False):
            chosen = [p for p in taken if (id(p) in tables) == table]
            if chosen:
                own = {"turned": table} if muon else {"weight_decay": config.weight_decay if table else 0.0}
                groups.append({"params": chosen, "factor": layer_decay**depth, "name": name, **own})
    if muon:
        return Muon(groups, config.lr, momentum=config.momentum, nesterov=config.nesterov, precision=precision)
    return _made(groups, config)


def _turned(network: nn.Module) -> set[int]:
    """Ids of the weights of linear layers and convolutions, those that are all 0 left out.

    Other tables (class tokens, positions, biases of attention, gains) map no space to another, and most start near 0,
    where a norm that stays would hold them. It would hold a branch's last layer that starts at 0, too.
    """
    layers = [m for m in network.modules() if isinstance(m, nn.Linear | _ConvNd | nn.MultiheadAttention)]
    own = [p for m in layers for name, p in m.named_parameters(recurse=False) if name.endswith("weight")]
    return {id(p) for p in own if bool(p.any())}


def head_optimizer(loss: nn.Module, config: OptimizerConfig, *, sparse: bool) -> torch.optim.Optimizer | None:
    """The optimizer of a loss's own weights, or None where it has none; [RowSGD][] where gradients are sparse.

    Beside a network that [Muon][] moves it is SGD: class centres are points, not tables that map one space to another.
    """
    weights = [p for p in loss.parameters() if p.requires_grad]
    if not weights:
        return None
    decay = config.weight_decay if config.head_weight_decay is None else config.head_weight_decay
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": decay, "factor": config.head_lr, "name": "head"}
    ]
    if not sparse:
        return _made(groups, config)
    if config.name == "adamw":
        raise InputError("loss.sample_rate: sampled classes need optimizer.name=sgd or muon")
    return RowSGD(groups, config.lr, momentum=config.momentum, nesterov=config.nesterov)


def _made(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)
    nesterov = config.nesterov and config.momentum > 0
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov)


def set_rate(optimizer: torch.optim.Optimizer | None, rate: float) -> None:
    """Set the rate of every group: ``rate`` times the group's own factor."""
    for group in () if optimizer is None else optimizer.param_groups:
        group["lr"] = rate * group["factor"]
