"""A student network that learns what another model says of the same pictures; nobody's name is needed.

The parts are those of `mien.train.trainer`: the same data, steps, schedules, measuring, checkpoints and run folder.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, cast

import torch
from torch import Tensor

from mien.errors import InputError, TrainingError
from mien.interfaces import Embedder
from mien.recognizer import open_embedder
from mien.train.broken import kept_if_broken
from mien.train.checkpoint import newest_checkpoint, whence, write_checkpoint
from mien.train.checks import check_settings
from mien.train.code_record import CodeRecord
from mien.train.config import LossConfig, TrainConfig
from mien.train.data import Batch
from mien.train.display import Display, StepSeen
from mien.train.distil_losses import Distillation
from mien.train.distil_settings import DistilResult, DistilSettings
from mien.train.distil_teacher import TeacherRows, teacher_embeddings
from mien.train.fitting import LastLayer
from mien.train.guard import check_finite
from mien.train.interrupts import Interrupts
from mien.train.keeping import write_networks
from mien.train.measuring import measured
from mien.train.memory import peak_memory, reuse_freed_memory
from mien.train.objective import Objective
from mien.train.parts import fitted_config, made_batches, made_measures, made_network, opened_data
from mien.train.processes import Processes, joined
from mien.train.records import Records
from mien.train.run_folder import RunFolder
from mien.train.schedules import rate_factor
from mien.train.state import collect, restore, restore_random, seed_everything
from mien.train.step import Gradients, Stepper

__all__ = ["DistilResult", "DistilSettings", "distil"]

_NAME: Final = "distil"


class _Student(Stepper):
    """Steps whose old network is the teacher: from its file, or asked about the very batch."""

    rows: TeacherRows
    live: bool
    teacher: Embedder
    _given: Iterator[Tensor]

    def gradients(self, batch: Batch, side: int | None = None) -> Gradients:
        """Forward and backward; weights stay."""
        parts = self.config.optimizer.accumulate
        if not self.live:
            wanted = torch.from_numpy(self.rows.rows(batch.indices.numpy())).to(self.processes.device)
            self._given = iter(wanted.tensor_split(parts))
        return super().gradients(batch, side)

    def _old(self, pictures: Tensor) -> Tensor | None:
        if not self.live:
            return next(self._given)
        found = teacher_embeddings(self.teacher, pictures.cpu().numpy(), self.network.spec)
        return torch.from_numpy(found).to(self.processes.device)


@dataclass(slots=True)
class _At:
    step: int = 0
    epoch: int = 0
    epoch_step: int = 0
    lines: int = 0
    best: dict[str, Any] | None = None
    measured: list[dict[str, Any]] = field(default_factory=list)


def distil(
    config: TrainConfig,
    folder: Path | str,
    settings: DistilSettings,
    *,
    resume: bool = True,
    display: Display | None = None,
) -> DistilResult:
    """Teach a network what another model says; the result is a run folder as of `mien train`.

    Stopped at any time, the same call goes on from the last checkpoint. Under ``torchrun`` the batch is shared out.

    Args:
        config: the student (network), its data, optimizer, schedule and measuring; `loss` is not looked at.
        folder: the run's.
        settings: the teacher, and what counts.
        resume: False starts anew.
        display: shows how it goes.

    Raises:
        InputError: a setting, the data or a list cannot be used, or the folder holds another run.
        ModelError: the teacher cannot be used.
        TrainingError: NaN came up, or a checkpoint does not fit.
    """
    for name, given in {
        "before": config.before is not None,
        "schedule.sizes": config.schedule.sizes,
        "schedule.minutes": config.schedule.minutes is not None,
        "measure.first": config.measure.first,
        "measure.patience": config.measure.patience is not None,
        "loss": config.loss != LossConfig(),
    }.items():
        if given:
            raise InputError(f"{name}: is for mien train; a distillation does without it")
    if config.data.virtual_people and not settings.live:
        raise InputError(
            "data.virtual_people: the teacher is asked about each picture once, and has not seen those of people who "
            "do not exist; ask it live (--live), or leave them out"
        )
    run, display = RunFolder(Path(folder)), display or Display()
    if config.loop.threads is not None:
        torch.set_num_threads(config.loop.threads)
    with ExitStack() as stack:
        processes = stack.enter_context(joined(config.loop.device))
        if processes.device.type == "cpu":
            reuse_freed_memory()
        if processes.first:
            stack.enter_context(run.held())
            run.begin(config, resume=resume)
        processes.wait()
        shown = display if processes.first else Display()
        distiller = _Distiller(config, run, settings, processes, shown, stack)
        with Interrupts() as interrupts:
            return distiller.go(interrupts)


class _Distiller:
    """The loop. Belongs to one thread."""

    def __init__(  # noqa: PLR0917
        self,
        config: TrainConfig,
        run: RunFolder,
        settings: DistilSettings,
        processes: Processes,
        display: Display,
        stack: ExitStack,
    ) -> None:
        self.config, self.run, self.settings, self.processes, self.display = config, run, settings, processes, display
        self.code = CodeRecord()
        seed = config.loop.seed
        seed_everything(seed, processes.rank)
        network = made_network(config.network, seed, config.data.evening)
        if not network.fitted:
            raise InputError(
                f"network: {network.name} is fitted to people before it learns, which only a training does"
            )
        if settings.live and network.spec.evening:
            raise InputError(
                "data.evening: a teacher that is asked live would see the student's evened pictures, which it was not "
                "made for; leave --live out: it is then asked about each picture as it was taken"
            )
        check_settings(config, network, processes.world)
        self.teacher = open_embedder(settings.teacher, settings.preset, threads=config.loop.threads)
        loss = Distillation(
            network.dim,
            self.teacher.identity.dimension,
            feature=settings.feature,
            relation=settings.relation,
            group=processes.group,
            seed=seed,
        )
        self.data = opened_data(config.data, network.spec, display.progress)
        stack.callback(self.data.close)
        self.config = config = fitted_config(config, self.data, processes, display)
        rows = TeacherRows(run.path, self.teacher, self.data, network.spec)
        if not settings.live:
            if processes.first:
                rows.fill(lambda done, total: display.progress("Asking the teacher", done, total))
            processes.wait()
        self.measures = made_measures(config, network.spec, display, self.data.people)
        self.batches = stack.enter_context(made_batches(config, self.data, processes))
        device = processes.device
        self.stepper = _Student(network.to(device), cast("Objective", loss.to(device)), config, processes)
        self.stepper.rows, self.stepper.live, self.stepper.teacher = rows, settings.live, self.teacher
        if len(self.data.people) > 1:
            self.stepper.finish = LastLayer(config, self.data, processes, display)
        self.at = _At()
        self.loss: float | None = None
        self._resume()
        self.records = (
            stack.enter_context(Records(run.path, self.at.lines, self.at.step, tensorboard=config.loop.tensorboard))
            if processes.first
            else None
        )
        self._saved = time.monotonic()

    def _taught(self) -> dict[str, Any]:
        """What was taught: a checkpoint of something else does not fit."""
        return {**asdict(self.settings), "teacher": str(self.teacher.identity), "pictures": len(self.data)}

    def _resume(self) -> None:
        found = newest_checkpoint(self.run.checkpoints, self.display.say)
        if found is None:
            return
        path, state = found
        if state.get("taught") != self._taught():
            raise TrainingError(
                f"{path}: of another teacher, other weights or other pictures; start anew with --no-resume, or in "
                "another folder"
            )
        restore(self.stepper, state)
        self.at = _At(**state["position"])
        restore_random(self.processes, state["random"], self.config.loop.seed, self.at.step)
        self.code.go_on(state.get("code", []), self.at.step)
        done = self.at.epoch >= self.config.schedule.epochs
        self.display.say(whence(self.at.step, self.at.epoch, done=done))

    def _save(self, spare: int = 0) -> None:
        self.at.lines = self.records.lines if self.records else 0
        parts = {"position": asdict(self.at), "taught": self._taught(), "code": self.code.at(self.at.step)}
        state = {**collect(self.stepper), **parts}
        keep = self.config.loop.keep + spare
        self.processes.by_first(lambda: write_checkpoint(self.run.checkpoints, self.at.step, state, keep=keep))
        self._saved = time.monotonic()

    def go(self, interrupts: Interrupts) -> DistilResult:
        at = self.at
        while at.epoch < self.config.schedule.epochs:
            for batch in self.batches.epoch(at.epoch, at.epoch_step):
                try:
                    self._step(batch)
                except InputError:
                    if not interrupts.asked or self.processes.group is not None:
                        raise
                    self.stepper.take_back()  # Ctrl-C in the middle of compiling stops the compiler, too
                asked, due = self.processes.total([float(bool(interrupts.asked)), float(self._due())])
                if at.step and (asked or due):
                    self._save()
                if asked:
                    return self._result("interrupted", interrupts.asked or int(signal.SIGTERM))
            at.epoch, at.epoch_step = at.epoch + 1, 0
            self.batches.tell_skipped(self.processes.all_of, self.display.say)
            self._measure()
            self._save()
        return self._result("finished")

    def _due(self) -> bool:
        loop = self.config.loop
        due = loop.checkpoint_steps is not None and self.at.step % loop.checkpoint_steps == 0
        return self.processes.first and (due or time.monotonic() - self._saved > 60 * loop.checkpoint_minutes)

    def _step(self, batch: Batch) -> None:
        at, config, stepper = self.at, self.config, self.stepper
        steps = self.batches.steps()
        total, warm = config.schedule.epochs * steps, config.schedule.warm_up * steps
        start = time.monotonic()
        found = stepper.gradients(batch)
        terms = {name: float(value) for name, value in found.terms.items()}
        square = float(found.network_square) + float(found.head_square)
        norm = math.nan if math.isnan(square) else square**0.5 / stepper.scale.scale
        bad = round(self.processes.total([float(found.bad_rows)])[0])
        self.loss = float(found.loss)
        overflow = stepper.scale.dynamic and not bad and not stepper.scale.exhausted
        numbers: dict[str, Any] = {
            "embeddings": bad,
            "loss": self.loss,
            "norm": 0.0 if overflow else norm,
            "terms": terms,
        }
        save = partial(self._save, spare=1)
        with kept_if_broken(stepper, at.step, save=save, keep=self._keep_last, run=self.run):
            check_finite(epoch=at.epoch + 1, step=at.step + 1, batch=batch, name=self.data.name, **numbers)
        rate = config.optimizer.lr * rate_factor(
            config.schedule, at.step / total, (at.step + 1) / warm if warm else 1.0
        )
        if stepper.scale.goes_on(norm):
            stepper.apply(norm, rate)
        at.step, at.epoch_step = at.step + 1, at.epoch_step + 1
        if self.records is not None and (at.step % config.loop.log_steps == 0 or at.step in (1, total)):
            speed, memory = config.data.batch / max(time.monotonic() - start, 1e-9), peak_memory(self.processes.device)
            values = {"loss": self.loss, "lr": rate, "norm": norm, "speed": round(speed, 2), **terms, "memory": memory}
            self.records.write("step", at.step, {"epoch": at.epoch, **values})
            left = (total - at.step) * config.data.batch / speed
            epochs = config.schedule.epochs
            self.display.step(StepSeen(at.epoch + 1, epochs, at.step, total, self.loss, rate, speed, left, memory))

    def _measure(self) -> None:
        """Measure, and keep the network: as the last one, and as the best where it is."""
        at, measure = self.at, self.config.measure
        last = at.epoch >= self.config.schedule.epochs
        if not last and at.epoch % measure.epochs:
            return
        with self.stepper.measured_network() as network:
            found = measured(self.measures, network, measure, self.processes, precision=self.stepper.precision)
            at.measured = [asdict(one) for one in found]
            better = not found or at.best is None or found[0].accuracy > at.best["accuracy"]
            if better and found:
                at.best = {**at.measured[0], "epoch": at.epoch, "step": at.step, "further": at.measured[1:]}
            write_networks(self.processes, network, [self.run.last, self.run.best][: 1 + better], self._facts())
        for i, one in enumerate(found):
            self.display.measured(one, best=better and not i)
            if self.records is not None:
                self.records.write("measure", at.step, {"epoch": at.epoch, **asdict(one), "best": better and not i})
        self.processes.wait()

    def _keep_last(self) -> None:
        """Keep the network as it is, unmeasured."""
        with self.stepper.measured_network() as network:
            write_networks(self.processes, network, [self.run.last], {**self._facts(), "measured": []})

    def _facts(self) -> dict[str, Any]:
        import mien

        return {
            "mien": mien.__version__,
            "torch": str(torch.__version__),
            "code": self.code.at(self.at.step),
            "recipe": _NAME,
            "distil": self._taught(),
            "config": self.config.to_dict(),
            "epoch": self.at.epoch,
            "step": self.at.step,
            "measured": self.at.measured,
        }

    def _result(self, stopped: Literal["finished", "interrupted"], asked: int = 0) -> DistilResult:
        at, teacher = self.at, str(self.teacher.identity)
        return DistilResult(self.run.path, stopped, at.step, at.epoch, self.loss, at.best, teacher, asked)
