"""SGD that touches only the rows of which it has gradients: momentum and weight decay as sparse as the sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from mien.train.losses.inputs import check_number

__all__ = ["RowSGD"]


class RowSGD(torch.optim.Optimizer):
    """SGD with momentum and weight decay, sparse where the gradient is sparse, else equal to ``torch.optim.SGD``.

    For a sparse gradient (as a sampled [mien.train.heads.MarginHead][] gives) rows without a gradient are not read and
    not written: neither their values nor their momentum change, and no weight decay reaches them. A row's momentum
    waits until the row is sampled again. Temporary memory is the sampled rows', not the table's. Not thread-safe.

    Args:
        params: parameters or groups of them.
        lr: the rate.
        momentum: 0 to 1.
        weight_decay: times the value, added to the gradient.
        nesterov: Nesterov's momentum.

    Source:
        An et al.: Partial FC, CVPR 2022, whose optimizer this takes at its word.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.1,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        check_number(lr, "lr", 0.0)
        check_number(momentum, "momentum", 0.0, 1.0)
        check_number(weight_decay, "weight_decay", 0.0)
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if group["momentum"] and "momentum_buffer" not in self.state[parameter]:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
                (self._sparse if parameter.grad.is_sparse else self._dense)(parameter, group)
        return loss

    def _sparse(self, parameter: Tensor, group: dict[str, Any]) -> None:
        grad = parameter.grad
        assert grad is not None
        grad = grad.coalesce()
        rows, change = grad.indices()[0], grad.values()
        if group["weight_decay"]:
            change = torch.add(change, parameter[rows], alpha=group["weight_decay"])
        if group["momentum"]:
            kept = self.state[parameter]["momentum_buffer"]
            moved = kept[rows].mul_(group["momentum"]).add_(change)
            kept[rows] = moved
            change = torch.add(change, moved, alpha=group["momentum"]) if group["nesterov"] else moved
        parameter.index_add_(0, rows, change, alpha=-group["lr"])

    def _dense(self, parameter: Tensor, group: dict[str, Any]) -> None:
        grad, lr, decay, momentum = parameter.grad, group["lr"], group["weight_decay"], group["momentum"]
        assert grad is not None
        if not momentum:
            parameter.mul_(1.0 - lr * decay).add_(grad, alpha=-lr)
            return
        kept = self.state[parameter]["momentum_buffer"]
        kept.mul_(momentum).add_(grad).add_(parameter, alpha=decay)
        if group["nesterov"]:
            parameter.mul_(1.0 - lr * decay).add_(grad, alpha=-lr).add_(kept, alpha=-lr * momentum)
        else:
            parameter.add_(kept, alpha=-lr)
