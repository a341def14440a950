"""A running mean of a network's weights, which generalises better than the last step's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mien.errors import InputError

__all__ = ["WeightAverage"]


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
