"""What every network of the trainer is and can do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mien.errors import InputError
from mien.train.backbones.spec import InputSpec
from mien.train.backbones.weights import State, fit_state, read_state

__all__ = ["WEIGHTS_FILE", "Backbone", "full_precision", "statistics_still"]

WEIGHTS_FILE: Final = "network.safetensors"
"""What a saved network's weights are called in its folder."""


class Backbone(nn.Module):
    """A network from aligned pictures to embeddings.

    Not thread-safe while training; in eval mode it may be called from several threads.

    Attributes:
        name: what [mien.train.backbones.build][] knows it by.
        spec: what pictures it wants.
        dim: numbers an embedding.
        options: JSON-ready: what `build` was given besides, and `lasting`.
        checkpoint_activations: whether training keeps only each stage's input and computes the rest anew on the way
            back: less memory for about a third more time. Losses, gradients and running statistics stay the same.
        test_dim: numbers of what `test_features` gives.
        fresh: beginnings of the names of layers that released checkpoints do not have.
        idle: beginnings of the names of layers that do nothing until they are fitted: a file may lack them.
    """

    fresh: ClassVar[tuple[str, ...]] = ()
    idle: ClassVar[tuple[str, ...]] = ()

    def __init__(self, spec: InputSpec, dim: int) -> None:
        super().__init__()
        if not isinstance(dim, int) or isinstance(dim, bool) or not 1 <= dim <= 8192:
            raise InputError(f"dim: expected a whole number from 1 to 8192, got {dim!r}")
        self.name = type(self).__name__.lower()
        self.spec = spec
        self.dim = dim
        self.options: dict[str, Any] = {}
        self.checkpoint_activations = False

    @property
    def lasting(self) -> dict[str, Any]:
        """Options that a file states though nobody gave them, for what is taken where none are given may change."""
        return {}

    def older(self, names: Iterable[str]) -> dict[str, Any]:
        """What the `lasting` options were when a file was written that does not state them, by its tensors' names."""
        return {}

    def take_lasting(self, options: Mapping[str, Any]) -> None:
        """Be as a checkpoint says: its `lasting` options, in place of those that this network was built with.

        Raises:
            InputError: they are others, or make no sense.
        """
        if set(options) != set(self.lasting):
            raise InputError(f"{self.name}: expected the options {sorted(self.lasting)}, got {sorted(options)}")
        self.options.update(json.loads(json.dumps(dict(options))))

    @property
    def learner(self) -> Backbone:
        """What learns, with its own `spec`, a closer one perhaps: this network, unless parts of it never do."""
        return self

    @property
    def test_dim(self) -> int:
        """Numbers of what `test_features` gives."""
        return self.dim

    def set_checkpointing(self, *, wanted: bool) -> None:
        """Turn activation checkpointing on or off.

        Raises:
            InputError: the network cannot.
        """
        self.checkpoint_activations = wanted

    def stages(self) -> list[tuple[str, nn.Module]]:
        """The parts, input side first; together they hold every parameter exactly once."""
        raise NotImplementedError

    def test_features(self, pictures: Tensor) -> Tensor:
        """What to compare at test time, (B, test_dim): the embedding itself, unless the network's paper says more.

        Export writes this, so it must be traceable.
        """
        features: Tensor = self(pictures)
        return features

    @property
    def fitted(self) -> bool:
        """Whether everything that is fitted in closed form before training has been; so unless a network says no."""
        return True

    def fit_bytes(self, pictures: int, people: int) -> int:
        """About how much of the CPU's memory fitting to so many takes; 0 where nothing is fitted."""
        return 0

    def fit(self, shown: Iterable[tuple[Tensor, Tensor]], pictures: int, tell: Callable[[int], None]) -> None:
        """Fit what is fitted in closed form.

        Args:
            shown: uint8 pictures (B, size, size, C) as they are shown in training, and whose they are, int64 (B,).
            pictures: how many to take.
            tell: called with how many were seen.
        """

    @property
    def last_layer(self) -> nn.Module | None:
        """What is fitted to that which the network has learned, each time before it is measured or kept; or None."""
        return None

    def settled(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """What of pictures (B, 3, size, size) does not change while the network learns; kept for `fit_last`.

        Each tensor has B rows.
        """
        return (pictures,)

    def settled_bytes(self, pictures: int) -> int:
        """Memory that `settled` takes for so many; 0 where there is no last layer."""
        return 0

    def fit_last(self, settled: Iterable[tuple[Tensor, ...]], labels: Tensor) -> None:
        """Fit the last layer, in eval mode.

        Args:
            settled: of batches of pictures, in order.
            labels: whose they are, int64 (N,), all of them together.

        Raises:
            InputError: it cannot be fitted to these.
        """

    def load_weights(self, weights: str) -> None:
        """Load a released file, a folder or file of `save_network`, or weights that the network knows by name.

        Released files have no layers of ours on top (`fresh`): those keep their first values.

        Raises:
            NotFoundError: no such file.
            ModelFileError: a damaged file, or one of another network.
        """
        path = Path(weights) / WEIGHTS_FILE if Path(weights).is_dir() else Path(weights)
        state, own = read_state(path), self.state_dict()
        if any(key not in own for key in state) or not any(key.startswith(self.fresh) for key in state):
            kept = {key: value for key, value in own.items() if self.fresh and key.startswith(self.fresh)}
            state = {**kept, **self.published(state, weights)}
        fit_state(self, state, source=path)

    def published(self, state: State, source: str) -> State:
        """Rename a released checkpoint's tensors to this module's; the base class keeps the names."""
        return state

    def _run(self, part: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Run a stage, under activation checkpointing where that is wanted."""
        if not (self.checkpoint_activations and self.training and torch.is_grad_enabled()):
            return part(x)
        result: Tensor = checkpoint(part, x, use_reentrant=False, context_fn=self._contexts)
        return result

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), statistics_still(self)


@contextmanager
def statistics_still(network: nn.Module) -> Iterator[None]:
    """Keep running statistics as they are: a forward pass that is made a second time must not count again."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """No autocast, for the last layers: an embedding in bf16 would have three digits.

    Without autocast it is no context at all, so that exporters see plain layers.
    """
    kind = x.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)
