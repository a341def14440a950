"""Everything that a run is made of at one moment, as tensors and plain values; and a run set back to such a moment.

Class centres and their momentum are gathered in class order, so that another number of processes can go on.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mien.errors import InputError, TrainingError
from mien.train.backbones import Backbone
from mien.train.heads import gather_shards
from mien.train.objective import Objective
from mien.train.processes import Processes
from mien.train.step import Stepper

__all__ = ["collect", "restore", "restore_random", "seed_everything"]

_SHARDED = "head.centres"


def collect(stepper: Stepper) -> dict[str, Any]:
    """The state of a stepper; all processes must call it together. Tensors lie on the CPU.

    Raises:
        TrainingError: a weight is NaN or infinite.
    """
    processes, average = stepper.processes, stepper.average
    network, objective = _on_cpu(stepper.network.state_dict()), _objective_state(stepper.objective)
    weights = [*network.items(), *objective.items()]
    broken = [name for name, value in weights if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise TrainingError(
            f"{broken[0]}: NaN or infinity in the weights: nothing is written, the last checkpoint stays"
        )
    return {
        "network": network,
        "lasting": stepper.network.lasting,
        "average": None if average is None else {"weights": _on_cpu(average.state_dict()), "steps": average.steps},
        "objective": objective,
        "network_optimizer": _optimizer_state(stepper.network_optimizer, None, stepper.objective),
        "head_optimizer": _head_optimizer_state(stepper),
        "scale": stepper.scale.state_dict(),
        "random": processes.all_of(_random_states(processes)),
    }


def restore(stepper: Stepper, state: dict[str, Any]) -> None:
    """Set a stepper to a collected state; the number of processes may be another one.

    Raises:
        TrainingError: the state is not this network's, loss's or optimizer's.
    """
    try:
        older = {**stepper.network.older(state["network"]), **stepper.config.network.options}
        lasting = state.get("lasting", {name: older[name] for name in stepper.network.lasting})
        stepper.network.take_lasting(lasting)
        stepper.network.load_state_dict({**_idle(stepper.network), **state["network"]})
        if stepper.average is not None and state["average"] is not None:
            mean = {**_idle(stepper.network), **state["average"]["weights"]}
            stepper.average.load_state_dict(mean, int(state["average"]["steps"]))
        _restore_objective(stepper.objective, state["objective"])
        _restore_optimizer(stepper.network_optimizer, state["network_optimizer"], None, stepper.objective)
        if stepper.head_optimizer is not None:
            centres = _centres(stepper.objective)
            _restore_optimizer(stepper.head_optimizer, state["head_optimizer"], centres, stepper.objective)
        stepper.scale.load_state_dict(state["scale"])
        stepper.moved = True
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError, AttributeError, InputError) as error:
        raise TrainingError(f"checkpoint: it is of another network, loss or optimizer ({error})") from error


def _idle(network: Backbone) -> dict[str, Tensor]:
    """Layers that a checkpoint may lack, for it was written before there were any."""
    return {name: value for name, value in network.state_dict().items() if name.startswith(network.idle)}


def _on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}


def _centres(objective: Objective) -> Tensor | None:
    return None if objective.head is None else objective.head.centres


def _objective_state(objective: Objective) -> dict[str, Tensor]:
    return {
        name: gather_shards(value.detach(), objective.group).to("cpu", copy=True) if name == _SHARDED else
        value.detach().to("cpu", copy=True)
        for name, value in objective.state_dict().items()
    }  # fmt: skip


def _restore_objective(objective: Objective, state: dict[str, Tensor]) -> None:
    mine = dict(state)
    if objective.head is not None:
        whole = mine[_SHARDED]
        if whole.shape[0] != objective.head.classes:
            raise ValueError(f"{whole.shape[0]} people in it, {objective.head.classes} in the data")
        mine[_SHARDED] = whole[objective.head.first : objective.head.last]
    objective.load_state_dict(mine)


def _weights(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _optimizer_state(
    optimizer: torch.optim.Optimizer, centres: Tensor | None, objective: Objective
) -> list[dict[str, Any]]:
    found = []
    for weight in _weights(optimizer):
        kept = {}
        for name, value in optimizer.state.get(weight, {}).items():
            if weight is centres and isinstance(value, Tensor) and value.shape == weight.shape:
                kept[name] = gather_shards(value, objective.group).to("cpu", copy=True)
            else:
                kept[name] = value.to("cpu", copy=True) if isinstance(value, Tensor) else value
        found.append(kept)
    return found


def _head_optimizer_state(stepper: Stepper) -> list[dict[str, Any]]:
    optimizer, centres = stepper.head_optimizer, _centres(stepper.objective)
    if optimizer is None:
        return []
    if centres is not None:  # all must gather the same tensors, though a process without classes may have none yet
        names = sorted(
            {name for found in stepper.processes.all_of(_tensor_names(optimizer, centres)) for name in found}
        )
        for name in names:
            optimizer.state[centres].setdefault(name, torch.zeros_like(centres))
    return _optimizer_state(optimizer, centres, stepper.objective)


def _tensor_names(optimizer: torch.optim.Optimizer, centres: Tensor) -> list[str]:
    kept = optimizer.state.get(centres, {})
    return [name for name, value in kept.items() if isinstance(value, Tensor) and value.shape == centres.shape]


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, state: list[dict[str, Any]], centres: Tensor | None, objective: Objective
) -> None:
    head = objective.head
    optimizer.state.clear()
    for weight, kept in zip(_weights(optimizer), state, strict=True):
        for name, value in kept.items():
            if isinstance(value, Tensor) and (value.ndim or name != "step"):  # AdamW keeps its count where it is
                mine = value
                if weight is centres and head is not None and value.shape[0] == head.classes:
                    mine = value[head.first : head.last]
                if mine.shape != weight.shape:
                    raise ValueError(f"{name}: expected shape {tuple(weight.shape)}, got {tuple(mine.shape)}")
                optimizer.state[weight][name] = torch.empty_like(weight).copy_(mine)
            else:
                optimizer.state[weight][name] = value.clone() if isinstance(value, Tensor) else value


def seed_everything(seed: int, rank: int, step: int = 0) -> None:
    """Seed Python's, NumPy's and PyTorch's generators of this process."""
    mixed = (seed * 0x9E3779B97F4A7C15 + rank * 0xD1B54A32D192ED03 + step * 0x8CB92BA72F3D8DD7) % 2**63
    random.seed(mixed)
    np.random.seed(mixed % 2**32)  # noqa: NPY002 - for networks and augmentations of others that use it
    torch.manual_seed(mixed)


def _random_states(processes: Processes) -> dict[str, Any]:
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    device = processes.device
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(kind), [int(k) for k in keys], int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device).cpu() if device.type == "cuda" else None,
    }


def restore_random(processes: Processes, states: list[dict[str, Any]], seed: int, step: int) -> None:
    """Set the generators back; where the number of processes is another one, seed them by seed, process and step."""
    if len(states) != processes.world:
        seed_everything(seed, processes.rank, step)
        return
    mine = states[processes.rank]
    version, words, gauss = mine["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = mine["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(mine["torch"])
    if processes.device.type == "cuda" and mine["cuda"] is not None:
        torch.cuda.set_rng_state(mine["cuda"], processes.device)
