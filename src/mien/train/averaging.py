"""Weights that generalise better than the last step's: their running mean, and what lies between old and new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mien.errors import InputError

__all__ = ["WeightAverage", "mixed"]


class WeightAverage:
    """``mean = d mean + (1 - d) weights`` after each step, running statistics included; counters are copied.

    d is ``min(decay, (1 + n) / (10 + n))`` at step n, so that the random start is soon forgotten. Not thread-safe.

    Args:
        network: whose weights; the mean starts at them.
        decay: the largest d, between 0 and 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self._mean = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take the weights after a step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        means, values = [], []
        for name, value in network.state_dict().items():
            mean = self._mean[name]
            if mean.is_floating_point():
                means.append(mean)
                values.append(value.detach())
            else:
                mean.copy_(value)
        torch._foreach_lerp_(means, values, 1.0 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """The mean weights, as a network's state."""
        return dict(self._mean)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Go on from mean weights and the number of steps in them.

        Raises:
            InputError: they are another network's.
        """
        if state.keys() != self._mean.keys():
            raise InputError("mean weights: expected those of this network")
        for name, mean in self._mean.items():
            mean.copy_(state[name])
        self.steps = steps

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """The network with the mean weights inside, with its own again outside."""
        own = {name: value.detach().clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self._mean)
        try:
            yield
        finally:
            network.load_state_dict(own)


@contextmanager
def mixed(network: nn.Module, start: Mapping[str, Tensor], share: float) -> Iterator[None]:
    """``share start + (1 - share) weights`` inside, the network's own weights again outside; counters stay.

    Between old weights and those fine-tuned from them the loss is as good as flat, and a network there keeps what the
    old one knew beside what the new one has learned.

    Source:
        Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
    """
    own = {name: value.detach().clone() for name, value in network.state_dict().items()}
    between = {
        name: torch.lerp(value, start[name], share) if value.is_floating_point() else value
        for name, value in own.items()
    }
    network.load_state_dict(between)
    try:
        yield
    finally:
        network.load_state_dict(own)
