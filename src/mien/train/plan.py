"""What a run needs before it starts: bytes of one process by purpose, time by a short probe, and whether it fits."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.errors import InputError
from mien.train.backbones import Backbone
from mien.train.batch_size import check_people, check_shared, fitted, shown
from mien.train.checks import check_settings, check_weights_of_second
from mien.train.config import DataConfig, TrainConfig
from mien.train.data import Batch, virtual_each
from mien.train.data.opening import numbered, source_records
from mien.train.data.sources import Source
from mien.train.fitting import last_pictures, pictures_to_fit
from mien.train.heads import shard_bounds
from mien.train.memory import available_memory, memory_in_use
from mien.train.objective import Objective
from mien.train.parts import cache_folder, made_network, old_network, starting_evening
from mien.train.processes import Processes, local_device
from mien.train.settings import to_plain
from mien.train.step import Stepper

__all__ = ["Plan", "planned", "rows_of"]

_PROBE: Final = 32  # pictures of the probe, at most; a batch's time and activations are taken as linear
_CLASSES: Final = 2048  # classes of the probe's head, at most; its time is taken as linear, too
_FLOAT: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one process needs; bytes, unless said otherwise.

    Attributes:
        parameters: numbers of the network, and how many of them learn.
        trained: see parameters.
        people: in the data; the virtual ones count in what is needed, too.
        pictures: of an epoch.
        processes: how many share the batch and the classes.
        batch: pictures in a step, over all processes.
        at_once: pictures of one process between forward and backward.
        precision: resolved.
        device: cpu or cuda.
        network: weights and running statistics; with ``optimizer.ema`` their mean, and an old network.
        gradients: of the network.
        optimizer: what the optimizer keeps for the network.
        head: class centres of this process, their gradient and what the optimizer keeps for them.
        activations: what forward keeps for backward, from the probe.
        fitting: what fitting in closed form takes on the CPU before the first step, when gradients and activations take
            nothing; 0 on other devices, whose memory it does not need.
        last_layer: what the first process keeps in the CPU's memory to fit the last layer to; 0 on other devices.
        program: what the process held before.
        available: what is free here, for each process; None where that cannot be told.
        fits: whether the sum of it all is below ``available``; None as before.
        step_seconds: of one optimizer step, without waiting for pictures.
        epoch_seconds: of one epoch.
        seconds: of the whole schedule.
        before: of the run that is made first, where there is one; ``fits`` is of both.
    """

    parameters: int
    trained: int
    people: int
    pictures: int
    processes: int
    batch: int
    at_once: int
    precision: str
    device: str
    network: int
    gradients: int
    optimizer: int
    head: int
    activations: int
    fitting: int
    last_layer: int
    program: int
    available: int | None
    fits: bool | None
    step_seconds: float
    epoch_seconds: float
    seconds: float
    before: Plan | None = None

    @property
    def bytes(self) -> int:
        """What one process needs at a time."""
        steps = self.gradients + self.optimizer + self.activations + self.last_layer
        return self.network + self.head + max(steps, self.fitting) + self.program

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        first = self.before and self.before.to_dict()
        return {**dataclasses.asdict(self), "bytes": self.bytes, "before": first}


def planned(config: TrainConfig, *, processes: int = 1) -> Plan:
    """Count and probe a config; no picture is aligned and nothing is written.

    Args:
        config: its sources are listed.
        processes: over how many the batch and the classes will be shared, on this machine.

    Raises:
        InputError: as the run itself would.
    """
    check_weights_of_second(config)
    first = config.stage_before()
    found = _planned(config, processes)
    if first is None:
        return found
    before = _planned(first, processes)
    fits = False if before.fits is False else found.fits and before.fits
    return replace(found, before=before, fits=fits)


def _planned(config: TrainConfig, processes: int) -> Plan:
    """Of one run, without the one before it."""
    old = config.loss.old
    if config.before is not None and old is not None and "before" in Path(old).parts and not Path(old).exists():
        config = replace(config, loss=replace(config.loss, old=None))  # the first run makes it; one like it stands in
    people, pictures = len(np.unique(labels := _labels(config.data))), len(labels)
    seen = dict(zip(("people", "pictures"), shown(config.data, labels), strict=True))
    check_people(config.data, seen["people"])
    settings, _ = fitted(config.data, **seen, processes=processes)
    check_shared(settings.batch, processes)
    config = replace(config, data=settings)
    classes = people * (1 + virtual_each(settings.virtual_people, people))
    device = local_device(config.loop.device)
    at_once = max(config.data.batch // processes // config.optimizer.accumulate, 1)
    if config.loop.threads is not None:
        torch.set_num_threads(config.loop.threads)
    program, free = memory_in_use(), available_memory(device)  # before the probe takes any
    evening = config.data.evening or starting_evening(config)
    network = made_network(config.network, config.loop.seed, evening).to(device)
    check_settings(config, network, processes)
    probe = _Probe(config, network, device, classes)
    counts = [p.numel() for p in network.parameters()]
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    state = _bytes(network.state_dict().values())
    copies = 1 + (config.optimizer.ema is not None) + probe.stepper.objective.needs_old
    casts = trained * 2 if probe.stepper.precision != "fp32" else 0
    sgd = int(config.optimizer.momentum > 0)
    kept, head_kept = {"adamw": (2, 2), "sgd": (sgd, sgd), "muon": (1, sgd)}[config.optimizer.name]
    steps = max(seen["pictures"] // config.data.batch, 1)
    share = config.data.batch // processes
    step_seconds = share * (probe.seconds_a_picture + probe.head_seconds(classes / processes)) + probe.move_seconds
    available = None if free is None else free // (processes if device.type == "cpu" else 1)
    needs: dict[str, int] = {
        "network": state * copies + casts,
        "gradients": trained * _FLOAT,
        "optimizer": trained * kept * _FLOAT,
        "head": _head_bytes(config, probe.stepper.objective, classes, processes, head_kept),
        "activations": round(probe.activations * at_once),
    }
    held = program if device.type == "cpu" else 0
    plan = Plan(
        parameters=sum(counts),
        trained=trained,
        people=people,
        pictures=pictures,
        processes=processes,
        batch=config.data.batch,
        at_once=at_once,
        precision=probe.stepper.precision,
        device=device.type,
        program=held,
        available=available,
        fits=None,
        before=None,
        fitting=network.fit_bytes(pictures_to_fit(pictures), classes) if device.type == "cpu" else 0,
        last_layer=network.settled_bytes(last_pictures(pictures)) if device.type == "cpu" else 0,
        step_seconds=step_seconds,
        epoch_seconds=steps * step_seconds,
        seconds=config.schedule.epochs * steps * step_seconds,
        **needs,
    )
    return plan if available is None else replace(plan, fits=plan.bytes <= available)


def _labels(config: DataConfig) -> NDArray[np.int64]:
    """Whose each picture of all sources is."""
    if not config.sources:
        raise InputError("data.sources: expected a folder or file to learn from (--data DIR)")
    found = [source_records(Source(**to_plain(source)), cache_folder(config)) for source in config.sources]
    return numbered([(records.labels, records.people) for records in found], same_names=config.same_names)[0]


def _bytes(tensors: Any) -> int:  # noqa: ANN401
    return sum(t.numel() * t.element_size() for t in tensors)


def _head_bytes(config: TrainConfig, objective: Objective, people: int, processes: int, kept: int) -> int:
    """Centres of the largest shard, their gradient and `kept` times as much; sampled, a share's gradient."""
    if objective.head is None:
        many = people / max(min(people, _CLASSES), 1)  # the probe's objective is for fewer classes
        learned, kept_aside = _bytes(objective.parameters()), 2 * _bytes(objective.buffers())  # as before each step
        return round(many * (learned * (2 + kept) + kept_aside))
    low, high = shard_bounds(people, processes, 0)
    table = (high - low) * objective.head.sub_centres * objective.head.dim * _FLOAT
    return round(table * (1 + config.loss.sample_rate + kept))


class _Probe:
    """A few steps on made-up pictures: seconds and saved bytes of a picture, and the head's seconds of a class.

    Args:
        config: the run's.
        network: on the device.
        device: where.
        people: classes of the run.
    """

    def __init__(self, config: TrainConfig, network: Backbone, device: torch.device, people: int) -> None:
        alone = Processes(0, 1, device)
        share = max(config.data.batch // config.optimizer.accumulate, 1)
        rows = min(share, _PROBE)
        rows += rows % 2  # pairs need two
        self._classes = min(people, _CLASSES)
        config = replace(config, optimizer=replace(config.optimizer, accumulate=1))
        objective = Objective(config.loss, network.dim, max(self._classes, 2), seed=0).to(device)
        old = old_network(config.loss, network, config.network, 0).learner.to(device) if objective.needs_old else None
        self.stepper = Stepper(network, objective, config, alone, old=old, learner=network.learner)
        spec, draw = network.learner.spec, torch.Generator().manual_seed(0)
        shape = (rows, spec.size, spec.size, spec.channels)
        pictures = torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)
        labels = torch.arange(rows) // 2 % max(self._classes, 1)
        self._batch = Batch(pictures, labels, torch.arange(rows))
        sides = config.schedule.sizes or ((0.0, spec.size),)
        largest = max(side for _, side in sides)
        self.activations = self._saved(largest) / rows
        ends = [*(share for share, _ in sides[1:]), 1.0]
        self.seconds_a_picture = sum(
            (end - begin) * self._step_seconds(side) / rows for (begin, side), end in zip(sides, ends, strict=True)
        )
        self.move_seconds = min(self._timed(lambda: self.stepper.apply(1.0, 0.0)) for _ in range(2))
        self._head = self._head_seconds(rows)
        self.seconds_a_picture = max(self.seconds_a_picture - self._head, 0.0)

    def head_seconds(self, classes: float) -> float:
        """Seconds of one picture for so many classes."""
        return self._head * classes / max(self._classes, 1)

    def _saved(self, side: int) -> int:
        """Bytes that forward keeps for backward, weights aside."""
        own = {
            t.untyped_storage().data_ptr()
            for t in (*self.stepper.network.parameters(), *self.stepper.network.buffers())
        }
        own |= {p.untyped_storage().data_ptr() for p in self.stepper.objective.parameters()}
        seen: dict[int, int] = {}
        held: list[Tensor] = []  # so that no address comes twice

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                seen[storage.data_ptr()] = storage.nbytes()
                held.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            self.stepper.gradients(self._batch, side)
        return sum(seen.values())

    def _step_seconds(self, side: int) -> float:
        return min(self._timed(lambda: self.stepper.gradients(self._batch, side)) for _ in range(2))

    def _head_seconds(self, rows: int) -> float:
        """Of one picture, forward and backward of the loss alone."""
        dim, device = self.stepper.network.dim, self.stepper.processes.device
        embeddings = torch.randn(rows, dim, generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()
        labels = self._batch.labels.to(device)
        old = embeddings.detach() if self.stepper.objective.needs_old else None

        def both() -> None:
            loss, _ = self.stepper.objective(embeddings, labels, old)
            if loss.requires_grad:
                loss.backward()

        return min(self._timed(both) for _ in range(3)) / rows

    def _timed(self, work: Any) -> float:  # noqa: ANN401
        _wait(self.stepper.processes.device)
        began = time.perf_counter()
        work()
        _wait(self.stepper.processes.device)
        return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rows_of(plan: Plan) -> Sequence[tuple[str, str]]:
    """The plan as a table's rows: what, and how much."""
    parameters, trained = (f"{count / 1e6:.2f}" for count in (plan.parameters, plan.trained))
    learns = f", of which {trained} million learn" if trained != parameters else ""
    shared = "" if plan.processes == 1 else f" over {plan.processes} processes"
    rows = [
        ("people and pictures", f"{plan.people:,} and {plan.pictures:,}"),
        ("parameters", f"{parameters} million{learns}"),
        ("batch", f"{plan.batch}{shared}, {plan.at_once} at once; {plan.precision} on {plan.device}"),
    ]
    purposes = ("network", "gradients", "optimizer", "head", "activations", "program")
    rows += [(name, _mib(getattr(plan, name))) for name in purposes]
    if plan.last_layer:
        rows.append(("pictures for the last layer", _mib(plan.last_layer)))
    if plan.fitting:
        rows.append(("fitting, before the first step", _mib(plan.fitting)))
    rows.append(("together, each process", _mib(plan.bytes)))
    if plan.available is not None:
        rows.append(("available, each process", _mib(plan.available)))
        rows.append(("fits", "yes" if plan.fits else "no"))
    rows.append(("a step", f"{plan.step_seconds:.3f} s"))
    rows.append(("an epoch", _time(plan.epoch_seconds)))
    rows.append(("the whole schedule", _time(plan.seconds)))
    if (first := plan.before) is not None:
        rows.append(("the run before it, together", _mib(first.bytes)))
        rows.append(("the run before it, its whole schedule", _time(first.seconds)))
        rows.append(("both runs", _time(first.seconds + plan.seconds)))
    return rows


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
