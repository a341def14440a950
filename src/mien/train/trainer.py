"""A run from its config to a measured network in a folder; stopped anywhere, it goes on where it was."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from mien.errors import InputError
from mien.train.checks import check_second, check_settings
from mien.train.code_record import CodeRecord
from mien.train.config import TrainConfig
from mien.train.data import Batch, Batches, TrainingSet
from mien.train.display import Display, StepSeen
from mien.train.fitting import LastLayer, fit_network
from mien.train.forgetting import Forgetting, KeptScores
from mien.train.guard import check_finite
from mien.train.interrupts import Interrupts
from mien.train.keeping import Keeper
from mien.train.measuring import Accuracy, PairMeasure, measured
from mien.train.memory import peak_memory, reuse_freed_memory
from mien.train.objective import Objective, idle_told
from mien.train.parts import (
    classes,
    fitted_config,
    in_order,
    made_batches,
    made_measures,
    made_network,
    old_network,
    opened_data,
    start_told,
)
from mien.train.position import Position, Stopped, TrainResult
from mien.train.processes import Processes, joined
from mien.train.records import Records
from mien.train.run_folder import RunFolder, without_idle
from mien.train.schedules import rate_factor, side_at
from mien.train.state import seed_everything
from mien.train.step import Stepper, autocast_of, network_input

__all__ = ["TrainResult", "train"]

_LEFT_S: Final = 5.0  # the time left is told once so much has passed


def train(
    config: TrainConfig, folder: str | os.PathLike[str], *, resume: bool = True, display: Display | None = None
) -> TrainResult:
    """Train a network, in this process or, under ``torchrun``, in several.

    Where the folder holds an unfinished run of the same config, it goes on from its newest whole checkpoint, on any
    number of processes; at the same number the losses are those of a run that was never stopped.

    Args:
        config: everything that decides the result; its batch is over all processes.
        folder: of this run; made if need be.
        resume: False starts anew, in place of a run that is there.
        display: shows how it goes; None for nothing.

    Raises:
        InputError: a setting, the data or a list of pairs cannot be used, or the folder holds another run.
        TrainingError: NaN or infinity came up, another run is in the folder, or a checkpoint does not fit.
    """
    display, folder = display or Display(), Path(folder)
    with joined(config.loop.device) as processes:
        shown = display if processes.first else Display()
        if (before := config.stage_before()) is not None:
            check_second(config, before, RunFolder(folder), processes, resume=resume)
            shown.say(f"first {before.recipe}, in {folder / 'before'}")
            first = _run(before, folder / "before", processes, resume=resume, display=shown)
            if first.stopped == "interrupted":
                return first
            weights = str(first.folder / "best")
            config = replace(config, network=replace(config.network, weights=weights))
        return _run(config, folder, processes, resume=resume, display=shown)


def _run(config: TrainConfig, folder: Path, processes: Processes, *, resume: bool, display: Display) -> TrainResult:
    if config.loop.threads is not None:
        torch.set_num_threads(config.loop.threads)
    if processes.device.type == "cpu":
        reuse_freed_memory()
    run, given = RunFolder(folder), config
    with ExitStack() as stack:
        if processes.first:
            stack.enter_context(run.held())
            config = run.begin(config, resume=resume)
            if config.loss != given.loss:
                display.say(f"{idle_told(given.loss, config.loss)}: did nothing for {given.loss.name}; left out")
        config = without_idle(config) if processes.shared(config != given) else config  # paths may be each one's own
        trainer = _Trainer(config, run, processes, display, stack)
        with Interrupts() as interrupts:
            return trainer.go(interrupts)


class _Trainer:
    """The loop, its parts and its position. Belongs to one thread."""

    def __init__(
        self, config: TrainConfig, run: RunFolder, processes: Processes, display: Display, stack: ExitStack
    ) -> None:
        self.config, self.run, self.processes, self.display = config, run, processes, display
        seed, code = config.loop.seed, CodeRecord()
        seed_everything(seed, processes.rank)
        network = made_network(config.network, seed, config.data.evening)
        check_settings(config, network, processes.world)  # before the pictures are aligned, which takes long
        self.data: TrainingSet = opened_data(config.data, network.spec, display.progress)
        stack.callback(self.data.close)
        if len(self.data.people) < 2:
            raise InputError(
                f"data.sources: expected two people or more, to be told apart; got {len(self.data.people)}"
            )
        self.config = config = fitted_config(config, self.data, processes, display)
        self.measures: list[PairMeasure] = made_measures(config, network.spec, display, self.data.people)
        shown = self.data.cut_to(network.learner.spec)
        self.batches: Batches = stack.enter_context(made_batches(config, shown, processes))
        objective = Objective(
            config.loss, network.dim, classes(config.data, self.data), group=processes.group, seed=seed
        )
        old = old_network(config.loss, network, config.network, seed) if objective.needs_old else None
        device = processes.device
        known = None if old is None else old.learner.to(device)
        learner = network.learner
        self.stepper = Stepper(network.to(device), objective.to(device), config, processes, old=known, learner=learner)
        self.stepper.finish = LastLayer(config, self.data, processes, display)
        self.total = config.schedule.epochs * self.batches.steps()
        self.warm = round(config.schedule.warm_up * self.batches.steps())
        self.keeper = Keeper(run, config, self.stepper, self.data, display, code)
        display.say(
            start_told(
                config, network, self.data, steps=self.total, precision=self.stepper.precision, processes=processes
            )
        )
        found = self.keeper.newest()
        if found is None:
            fit_network(self.stepper, config, self.data, processes, display)
            self._class_means()
        self.at = at = found or Position()
        self.records = (
            stack.enter_context(Records(run.path, at.lines, at.step, tensorboard=config.loop.tensorboard))
            if processes.first
            else None
        )
        self._fine_tuned = config.measure.first and config.network.weights is not None
        self._kept, self._forgot = KeptScores(run.path), tuple[Forgetting, ...]()
        self._loss: float | None = None
        self._began = time.monotonic()
        self._seconds_before = at.seconds
        self._window = (at.step, self._began)

    @torch.no_grad()
    def _class_means(self) -> None:
        head = self.stepper.objective.head
        if self.config.loss.centres != "class-means" or head is None:
            return
        network, device, precision = self.stepper.network.eval(), self.processes.device, self.stepper.precision

        def embedded(pictures: torch.Tensor) -> torch.Tensor:
            with autocast_of(precision, device):
                rows: torch.Tensor = network(network_input(pictures.to(device), network.spec))
            return rows.float()

        shown = in_order(self.config, self.data, self.processes)
        met = head.initialise((embedded(pictures), labels.to(device)) for pictures, labels in shown)
        self.display.say(f"class centres start at the means of {met:,} people")

    # Forward.

    def go(self, interrupts: Interrupts) -> TrainResult:
        at, config = self.at, self.config
        if not at.stopped:
            if config.measure.first and at.step == 0 and at.measured_epoch < 0:
                self._measure()
            while at.epoch < config.schedule.epochs and not at.stopped and (at.progress < 1.0 or at.epoch_step):
                if at.progress < 1.0 and not self._epoch(interrupts):
                    return self._result("interrupted", interrupts.asked or int(signal.SIGTERM))
                self._end_of_epoch()
            at.stopped = at.stopped or "finished"
            self.keeper.keep_last(at)
            self._compare(record=True)
            self._save()
        else:
            self._compare(record=False)
        return self._result("early stop" if at.stopped == "early stop" else "finished")

    def _epoch(self, interrupts: Interrupts) -> bool:
        """The rest of an epoch; False where a signal ended it."""
        for batch in self.batches.epoch(self.at.epoch, self.at.epoch_step):
            try:
                asked, save = self._step(batch, interrupts)
            except InputError:
                if not interrupts.asked or self.processes.group is not None:
                    raise
                self.stepper.take_back()  # Ctrl-C in the middle of compiling stops the compiler, too
                asked = True
            if asked:
                if self.at.step:
                    self._save()
                return False
            if self.at.progress >= 1.0:
                break
            if save:
                self._save()
        return True

    def _step(self, batch: Batch, interrupts: Interrupts) -> tuple[bool, bool]:
        """One batch. Returns whether a signal asks to stop, and whether a checkpoint is due."""
        at, config, stepper = self.at, self.config, self.stepper
        schedule = config.schedule
        stepper.objective.at(at.step, at.progress)
        found = stepper.gradients(batch, side_at(schedule.sizes, at.progress, stepper.learner.spec.size))
        loss, bad, network, head, *values = torch.stack(
            [
                x.double()
                for x in (found.loss, found.bad_rows, found.network_square, found.head_square, *found.terms.values())
            ]
        ).tolist()
        terms = dict(zip(found.terms, values, strict=True))
        first = float(self.processes.first)
        every = config.loop.checkpoint_steps
        due = time.monotonic() - self.keeper.saved > 60 * config.loop.checkpoint_minutes
        due = due or (every is not None and (at.step + 1) % every == 0)
        head, network, bad, asked, save, seconds = self.processes.total(
            [
                head if stepper.objective.head is not None else first * head,
                first * network,
                bad,
                float(bool(interrupts.asked)),
                first * due,
                first * self._elapsed(),
            ]
        )
        norm = (
            max(head + network, 0.0) ** 0.5 / stepper.scale.scale if head + network == head + network else float("nan")
        )
        overflow = stepper.scale.dynamic and not bad and not stepper.scale.exhausted
        numbers = {"embeddings": round(bad), "loss": loss, "norm": 0.0 if overflow else norm, "terms": terms}
        with self.keeper.kept_if_broken(at, self._save):
            check_finite(epoch=at.epoch + 1, step=at.step + 1, batch=batch, name=self.data.name, **numbers)
        warm = (at.step + 1) / self.warm if self.warm else 1.0
        rate = config.optimizer.lr * rate_factor(schedule, at.progress, warm)
        if stepper.scale.goes_on(norm):
            stepper.apply(norm, rate)
        at.step, at.epoch_step, at.seconds = at.step + 1, at.epoch_step + 1, seconds
        at.progress = at.step / self.total
        if schedule.minutes is not None:
            at.progress = max(at.progress, seconds / (60 * schedule.minutes))
        self._loss = loss
        self._record(rate, norm, terms)
        return asked > 0, save > 0

    def _save(self) -> None:
        self.at.lines = self.processes.shared(self.records.lines if self.records else 0)
        self.keeper.save(self.at)

    def _elapsed(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    def _record(self, rate: float, norm: float, terms: dict[str, float]) -> None:
        at, loop = self.at, self.config.loop
        if self.records is None or (at.step % loop.log_steps and at.step != 1 and at.step < self.total):
            return
        now = time.monotonic()
        speed = (at.step - self._window[0]) * self.config.data.batch / max(now - self._window[1], 1e-9)
        self._window = (at.step, now)
        left = at.seconds * (1 - at.progress) / at.progress if at.seconds > _LEFT_S else None
        memory = peak_memory(self.processes.device)
        loss = self._loss if self._loss is not None else float("nan")
        values = {"loss": loss, "lr": rate, "norm": norm, "speed": round(speed, 2), **terms}
        self.records.write("step", at.step, {"epoch": at.epoch, **values, "memory": memory, "seconds": at.seconds})
        epochs = self.config.schedule.epochs
        self.display.step(StepSeen(at.epoch + 1, epochs, at.step, self.total, loss, rate, speed, left, memory))

    # Between epochs.

    def _end_of_epoch(self) -> None:
        at, measure = self.at, self.config.measure
        at.epoch, at.epoch_step = at.epoch + 1, 0
        self.batches.tell_skipped(self.processes.all_of, self.display.say)
        last = at.epoch >= self.config.schedule.epochs or at.progress >= 1.0
        if self.measures and at.measured_epoch < at.epoch and (last or at.epoch % measure.epochs == 0):
            self._measure()
            if measure.patience is not None and at.stale >= measure.patience and not last:
                at.stopped = "early stop"
                self.display.say(f"no better for {at.stale} measurings: stops here")
        if not last and not at.stopped and at.measured_epoch == at.epoch:
            self._save()
        self._window = (at.step, time.monotonic())

    def _measure(self) -> None:
        at, measure = self.at, self.config.measure
        with self.stepper.measured_network() as network:
            found = measured(self.measures, network, measure, self.processes, precision=self.stepper.precision)
            at.measured = [dataclasses.asdict(one) for one in found]
            at.measured_epoch, at.seconds = at.epoch, self.processes.shared(self._elapsed())
            better = bool(found) and (at.best is None or found[0].accuracy > at.best["accuracy"])
            at.stale = 0 if better else at.stale + 1
            if self._fine_tuned and self.processes.first:
                scores = [one.scores for one in self.measures if one.scores is not None]
                parts = {"first": at.step == 0, "best": better, "last": True}
                self._kept.keep([part for part, asked in parts.items() if asked], scores)
            if better:
                at.best = {**at.measured[0], "epoch": at.epoch, "step": at.step, "further": at.measured[1:]}
                self.keeper.keep_best(network, at)
        for one in found:
            better_now = better and one is found[0]
            self.display.measured(one, best=better_now)
            if self.records is not None:
                told = {"epoch": at.epoch, **dataclasses.asdict(one), "best": better_now, "seconds": at.seconds}
                self.records.write("measure", at.step, told)
        self.processes.wait()

    def _compare(self, *, record: bool) -> None:
        """Say what was forgotten since the first measuring, where the run started from weights."""
        if not (self._fine_tuned and self.measures):
            return
        if self.records is not None:
            found = self._kept.lost([(one.name, one.pairs) for one in self.measures])
            for one in found:
                self.display.say(f"warning: {one.warning}")
                if record:
                    self.records.write("forgot", self.at.step, dataclasses.asdict(one))
            self._forgot = tuple(found)
        self._forgot = self.processes.shared(self._forgot)

    def _result(self, stopped: Stopped, asked: int = 0) -> TrainResult:
        at = self.at
        measured = tuple(Accuracy(**one) for one in at.measured)
        return TrainResult(
            self.run.path, stopped, at.step, at.epoch, at.seconds, self._loss, at.best, measured,
            len(self.data.people), len(self.data), self._forgot, asked,
        )  # fmt: skip
