"""One optimizer step: pictures to embeddings to a loss to gradients to weights, exact over parts and processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mien.errors import InputError
from mien.train.averaging import WeightAverage, mixed
from mien.train.backbones import Backbone, InputSpec, normalise
from mien.train.backbones.base import statistics_still
from mien.train.batch_size import check_parts
from mien.train.compiling import compile_errors, compiled
from mien.train.config import TrainConfig
from mien.train.data import Batch
from mien.train.loss_scaling import LossScale
from mien.train.objective import Objective
from mien.train.optimizers import freeze, head_optimizer, network_optimizer, set_rate
from mien.train.processes import Processes

__all__ = [
    "Gradients",
    "Stepper",
    "autocast_of",
    "check_start",
    "network_input",
    "resolved_precision",
]

_TYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolved_precision(precision: str, device: torch.device) -> str:
    """What ``auto`` means here: bf16 where the hardware multiplies in it, else fp32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    has = torch.cpu.get_capabilities()
    return "bf16" if any(has.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else "fp32"


def autocast_of(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The autocast of a resolved precision; none for fp32."""
    kind = _TYPES.get(precision)
    return contextlib.nullcontext() if kind is None else torch.autocast(device.type, kind)


def network_input(pictures: Tensor, spec: InputSpec, side: int | None = None, *, channels_last: bool = True) -> Tensor:
    """Pixels uint8 (B, H, W, C) as a network's input (B, C, side, side), made smaller or larger where need be."""
    side = side or spec.size
    if pictures.shape[1] != side:
        planes = pictures.permute(0, 3, 1, 2)
        if pictures.is_cuda:
            planes = planes.float()
        planes = F.interpolate(planes, (side, side), mode="bilinear", antialias=True, align_corners=False)
        pictures = planes.round().to(torch.uint8).permute(0, 2, 3, 1)
    if side != spec.size:
        spec = replace(spec, size=side, template=())
    x = normalise(pictures, spec)
    return x if channels_last else x.contiguous()


def check_start(config: TrainConfig) -> None:
    """Raise InputError where a share of starting weights is asked for, and there are none."""
    if config.optimizer.start_share and not config.starts_from_weights:
        raise InputError("optimizer.start_share: expected starting weights (network.weights); got none")


@dataclass(frozen=True, slots=True)
class Gradients:
    """What a batch gave, before any weight has moved; 0-d tensors on the device.

    Attributes:
        loss: over all processes' rows.
        terms: parts of the loss by name.
        network_square: squared norm of the network's gradient, which is the same on every process.
        head_square: squared norm of this process's share of the loss's own weights' gradient.
        bad_rows: how many of this process's embeddings are not finite.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    network_square: Tensor
    head_square: Tensor
    bad_rows: Tensor


class Stepper:
    """A network, its loss and their optimizers, one step at a time. Not thread-safe.

    Args:
        network: on the device already.
        objective: likewise.
        config: the run's.
        processes: who takes part.
        old: the old network, where the objective needs one.
        learner: the part of the network that batches are cut for; None for the whole.

    Attributes:
        finish: called with the network, whose weights are those to be measured and kept, and the precision.
        moved: whether the weights have been changed by a step, in this start or before.
    """

    def __init__(
        self,
        network: Backbone,
        objective: Objective,
        config: TrainConfig,
        processes: Processes,
        *,
        old: Backbone | None = None,
        learner: Backbone | None = None,
    ) -> None:
        self.learner = learner or network
        self.network, self.objective, self.config, self.processes, self.old = (
            network, objective, config, processes, old,
        )  # fmt: skip
        self.precision = resolved_precision(config.loop.precision, processes.device)
        self.held = freeze(network, config.network.frozen)
        if config.loop.channels_last:
            network.to(memory_format=torch.channels_last)
        products = torch.bfloat16 if self.precision == "bf16" else torch.float32
        decay = config.network.layer_decay
        self.network_optimizer = network_optimizer(network, config.optimizer, decay, precision=products)
        self.head_optimizer = head_optimizer(objective, config.optimizer, sparse=objective.sparse)
        self.average = WeightAverage(network, config.optimizer.ema) if config.optimizer.ema else None
        self._start: dict[str, Tensor] = {}
        if config.optimizer.start_share:
            check_start(config)
            fixed = {name for name, weight in network.named_parameters() if not weight.requires_grad}  # or fitted later
            start = network.state_dict().items()
            self._start = {name: value.detach().clone() for name, value in start if name not in fixed}
        self.finish: Callable[[Backbone, str], None] | None = None
        self.moved = False
        self.scale = LossScale(dynamic=self.precision == "fp16")
        self.parallel: nn.Module = self.learner
        if processes.group is not None:
            devices = [processes.device] if processes.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(self.learner, device_ids=devices, gradient_as_bucket_view=True)
        if config.loop.compile:
            self.parallel = compiled(self.parallel)
        self._before = [buffer.clone() for buffer in self._buffers()]
        self._random: list[Tensor] = []
        self._network_weights = [p for p in network.parameters() if p.requires_grad]
        self._head_weights = [p for p in objective.parameters() if p.requires_grad]

    def restart_average(self) -> None:
        """Begin the mean of the weights at those that the network has now."""
        if self.average is not None:
            self.average = WeightAverage(self.network, self.average.decay)

    def train(self) -> None:
        """Training mode, save for frozen stages."""
        self.network.train()
        self.objective.train()
        for stage in self.held:
            stage.eval()

    def gradients(self, batch: Batch, side: int | None = None) -> Gradients:
        """Forward and backward; weights stay.

        Raises:
            InputError: the batch has fewer pictures than parts, or ``loop.compile`` is asked for and fails.
        """
        _copy(self._before, self._buffers())
        self._random = _random_state(self.processes.device)
        with compile_errors() if self.config.loop.compile else contextlib.nullcontext():
            return self._gradients(batch, side)

    def take_back(self) -> None:
        """Running statistics and random numbers as before the last [gradients][]: its pictures are not in them."""
        _copy(self._buffers(), self._before)
        _set_random_state(self._random, self.processes.device)

    def _buffers(self) -> list[Tensor]:
        return [*self.learner.buffers(), *self.objective.buffers()]

    def _gradients(self, batch: Batch, side: int | None) -> Gradients:
        self.train()
        self.network_optimizer.zero_grad(set_to_none=True)
        if self.head_optimizer is not None:
            self.head_optimizer.zero_grad(set_to_none=True)
        device, parts = self.processes.device, self.config.optimizer.accumulate
        check_parts(batch.labels.shape[0], parts, self.learner, self.held)
        pictures = batch.pictures.to(device, non_blocking=True).tensor_split(parts)
        labels = batch.labels.to(device, non_blocking=True).tensor_split(parts)
        if parts > 1 and self.objective.coupled:
            loss, terms, bad = self._together(pictures, labels, side)
        else:
            loss, terms, bad = self._apart(pictures, labels, side)
        if self.objective.dense is not None:
            self.processes.average([p.grad for p in self._head_weights if p.grad is not None])
        network, head = _square(self._network_weights, device), _square(self._head_weights, device)
        return Gradients(loss, terms, network, head, bad)

    def _apart(self, pictures: tuple[Tensor, ...], labels: tuple[Tensor, ...], side: int | None) -> tuple[Any, ...]:
        """Part by part, each weighed by its share: the sum is the whole batch's where rows do not know each other."""
        rows = sum(part.shape[0] for part in labels)
        loss: Tensor = torch.zeros((), device=self.processes.device)
        bad, terms = torch.zeros_like(loss), dict[str, Tensor]()
        for number, (shown, people) in enumerate(zip(pictures, labels, strict=True)):
            share = people.shape[0] / rows
            with self._synchronised(number == len(labels) - 1):
                embeddings = self._embed(self.parallel, shown, side)
                value, found = self.objective(embeddings, people, self._old(shown))
                (value * (share * self.scale.scale)).backward()
            bad += (~embeddings.detach().isfinite()).any(1).sum()
            loss = loss + value.detach() * share
            for name, term in found.items():
                terms[name] = terms.get(name, 0.0) + term * share
        return loss, terms, bad

    def _together(self, pictures: tuple[Tensor, ...], labels: tuple[Tensor, ...], side: int | None) -> tuple[Any, ...]:
        """For losses whose rows know each other: all embeddings first, then the loss once, then each part's gradient.

        Source:
            Gao et al.: Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021.
        """
        draws, parts, before = [], [], []
        with torch.no_grad(), statistics_still(self.network):
            for shown in pictures:
                draws.append(_random_state(self.processes.device))
                parts.append(self._embed(self.learner, shown, side))
                before.append(self._old(shown))
        rows = torch.cat(parts).requires_grad_()
        old = None if before[0] is None else torch.cat([part for part in before if part is not None])
        loss, terms = self.objective(rows, torch.cat(labels), old)
        (loss * self.scale.scale).backward()
        assert rows.grad is not None
        pulls = rows.grad.tensor_split(len(parts))
        after = _random_state(self.processes.device)
        for number, shown in enumerate(pictures):
            _set_random_state(draws[number], self.processes.device)  # the same dropout as the first time
            with self._synchronised(number == len(parts) - 1):
                torch.autograd.backward(self._embed(self.parallel, shown, side), pulls[number])
        _set_random_state(after, self.processes.device)
        bad = (~rows.detach().isfinite()).any(1).sum()
        return loss.detach(), terms, bad.to(loss.dtype)

    def _embed(self, network: nn.Module, pictures: Tensor, side: int | None) -> Tensor:
        x = network_input(pictures, self.learner.spec, side, channels_last=self.config.loop.channels_last)
        with autocast_of(self.precision, self.processes.device):
            embeddings: Tensor = network(x)
        return embeddings.float()

    def _old(self, pictures: Tensor) -> Tensor | None:
        if self.old is None:
            return None
        with torch.no_grad(), autocast_of(self.precision, self.processes.device):
            embeddings: Tensor = self.old(network_input(pictures, self.old.spec))
        return embeddings.float()

    @contextlib.contextmanager
    def _synchronised(self, last: bool) -> Iterator[None]:
        """Exchange gradients with the other processes after the last part only."""
        if not last and self.processes.group is not None:
            with self.parallel.no_sync():  # type: ignore[operator]
                yield
        else:
            yield

    def apply(self, norm: float, rate: float) -> None:
        """Move the weights by the gradients, whose norm over everything is known; ``rate`` is the highest group's."""
        clip = self.config.optimizer.clip
        factor = (1.0 if clip is None or norm <= clip else clip / norm) / self.scale.scale
        if factor != 1.0:
            _multiply([p.grad for p in (*self._network_weights, *self._head_weights) if p.grad is not None], factor)
        for optimizer in (self.network_optimizer, self.head_optimizer):
            if optimizer is not None:
                set_rate(optimizer, rate)
                optimizer.step()
        self.moved = True
        if self.average is not None:
            self.average.update(self.network)

    @contextlib.contextmanager
    def measured_network(self) -> Iterator[Backbone]:
        """The network as it is measured and kept: in eval mode, mean weights and a share of the first ones."""
        self.network.eval()
        with contextlib.ExitStack() as stack:
            if self.average is not None:
                stack.enter_context(self.average.applied(self.network))
            if self._start:
                start = {**self.network.state_dict(), **self._start}
                stack.enter_context(mixed(self.network, start, self.config.optimizer.start_share))
            if self.finish is not None and self.moved:  # until then it is measured as it was given
                self.finish(self.network, self.precision)
            yield self.network
        self.train()


def _square(weights: list[nn.Parameter], device: torch.device) -> Tensor:
    """Squared norm of the gradients, float64."""
    grads = [p.grad.coalesce().values() if p.grad.is_sparse else p.grad for p in weights if p.grad is not None]
    if not grads:
        return torch.zeros((), dtype=torch.float64, device=device)
    return torch.stack([norm.double() for norm in torch._foreach_norm(grads)]).square().sum()


def _multiply(grads: list[Tensor], factor: float) -> None:
    torch._foreach_mul_([grad for grad in grads if not grad.is_sparse], factor)
    for grad in grads:
        if grad.is_sparse:
            grad._values().mul_(factor)  # linear, so parts that are not summed yet may be multiplied alone


def _copy(to: list[Tensor], values: list[Tensor]) -> None:
    if to:
        torch._foreach_copy_(to, values)


def _random_state(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _set_random_state(state: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
