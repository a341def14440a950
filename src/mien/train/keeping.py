"""What a run keeps of itself: checkpoints to go on from, and networks to be used."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from mien.errors import TrainingError
from mien.train.backbones import Backbone, save_network
from mien.train.broken import kept_if_broken
from mien.train.checkpoint import newest_checkpoint, read_checkpoint, whence, write_checkpoint
from mien.train.code_record import CodeRecord
from mien.train.config import TrainConfig
from mien.train.data import TrainingSet
from mien.train.display import Display
from mien.train.parts import data_digest
from mien.train.position import Position
from mien.train.processes import Processes
from mien.train.run_folder import RunFolder
from mien.train.state import collect, restore, restore_random
from mien.train.step import Stepper

__all__ = ["Keeper", "write_networks"]


class Keeper:
    """Writes and reads a run's states and networks; all processes call it together. Belongs to one thread.

    Args:
        run: the folder.
        config: the run's.
        stepper: whose state it is.
        data: the pictures.
        display: for what a person should know.
        code: what trains.

    Attributes:
        saved: when the last checkpoint was written, by ``time.monotonic``.
    """

    def __init__(  # noqa: PLR0917
        self,
        run: RunFolder,
        config: TrainConfig,
        stepper: Stepper,
        data: TrainingSet,
        display: Display,
        code: CodeRecord,
    ) -> None:
        self._code = code
        self._run, self._config, self._stepper, self._data, self._display = run, config, stepper, data, display
        self._digest = data_digest(data)
        self.saved = time.monotonic()
        self._spare = 0

    def newest(self) -> Position | None:
        """Set the stepper to the newest whole checkpoint and tell where that is; None where there is none.

        Raises:
            TrainingError: the checkpoint is of other data, or of another network, loss or optimizer.
        """
        processes = self._stepper.processes
        found = newest_checkpoint(self._run.checkpoints, self._display.say) if processes.first else None
        path = processes.shared(None if found is None else str(found[0]))
        if path is None:
            return None
        state = found[1] if found is not None else read_checkpoint(Path(path))
        if state["data"] != self._digest:
            raise TrainingError(
                f"{self._run.path}: its data has changed since: other pictures or people than then. Give it the same "
                "data, or start anew in another folder"
            )
        restore(self._stepper, state)
        at = Position(**state["position"])
        restore_random(processes, state["random"], self._config.loop.seed, at.step)
        self._code.go_on(state.get("code", []), at.step)
        self._display.say(whence(at.step, at.epoch, done=bool(at.stopped), path=Path(path)))
        return at

    def save(self, at: Position) -> None:
        """Write a checkpoint."""
        processes = self._stepper.processes
        parts = {"position": dataclasses.asdict(at), "data": self._digest, "code": self._code.at(at.step)}
        state = {**collect(self._stepper), **parts}
        keep = self._config.loop.keep + self._spare
        processes.by_first(lambda: write_checkpoint(self._run.checkpoints, at.step, state, keep=keep))
        self.saved = time.monotonic()

    def keep_best(self, network: Backbone, at: Position) -> None:
        """Keep the network that measured best so far."""
        write_networks(self._stepper.processes, network, [self._run.best], self._facts(at))

    def keep_last(self, at: Position) -> None:
        """Keep the network as it is; where nothing was measured it is the best one, too."""
        best = [] if at.best is not None else [self._run.best]
        self._keep([self._run.last, *best], self._facts(at))

    def _keep(self, folders: Sequence[Path], facts: Mapping[str, Any]) -> None:
        with self._stepper.measured_network() as network:
            write_networks(self._stepper.processes, network, folders, facts)

    def kept_if_broken(self, at: Position, save: Callable[[], None]) -> AbstractContextManager[None]:
        """Keep what was before this step where it breaks, see [mien.train.broken][].

        Args:
            at: where that is.
            save: writes the checkpoint.
        """

        def beside() -> None:
            self._spare = 1
            save()

        def keep() -> None:
            self._keep([self._run.last], {**self._facts(at), "measured": []})

        return kept_if_broken(self._stepper, at.step, save=beside, keep=keep, run=self._run)

    def _facts(self, at: Position) -> dict[str, Any]:
        """What is known about a network that is kept; its model card is written from it."""
        import mien

        return {
            "mien": mien.__version__,
            "torch": str(torch.__version__),
            "code": self._code.at(at.step),
            "config": self._config.to_dict(),
            "people": len(self._data.people),
            "pictures": len(self._data),
            "data": self._digest,
            "precision": self._stepper.precision,
            "processes": self._stepper.processes.world,
            "epoch": at.epoch,
            "step": at.step,
            "seconds": round(at.seconds, 1),
            "measured": at.measured,
        }


def write_networks(processes: Processes, network: Backbone, folders: Sequence[Path], facts: Mapping[str, Any]) -> None:
    """Write a network to folders, by the first process; all call it together, and end alike where that fails."""

    def write() -> None:
        for folder in folders:
            save_network(network, folder, facts=facts)

    processes.by_first(write)
