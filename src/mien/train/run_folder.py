"""A run's folder: whose it is, what lies where, and what of it a new start would replace."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mien.errors import InputError, TrainingError
from mien.file_lock import file_lock
from mien.train.config import TrainConfig
from mien.train.records import METRICS
from mien.train.settings import difference, read_settings

__all__ = ["RunFolder", "read_config"]

_FREE: Final = (
    "recipe", "data.workers", "data.cache", "measure.batch", "loop.compile", "loop.device", "loop.threads",
    "loop.checkpoint_minutes", "loop.checkpoint_steps", "loop.keep", "loop.log_steps", "loop.tensorboard",
)  # fmt: skip
"""What may differ when a run goes on: how the machine runs it, not what it learns."""


def read_config(folder: Path) -> TrainConfig:
    """The config of a run.

    Raises:
        NotFoundError: there is no run.
        InputError: its config is damaged.
    """
    return TrainConfig.from_dict(read_settings(folder / "config.json"))


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run's things are. Not safe for two runs at once: see [held][]."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The network that measured best."""
        return self.path / "best"

    @property
    def last(self) -> Path:
        """The network after the last step."""
        return self.path / "last"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out.

        Raises:
            TrainingError: another run is in it.
            InputError: the folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be made ({error})") from error
        busy = TrainingError(f"{self.path}: another run is writing here; wait for it, or take another folder")
        with file_lock(self.path / ".lock", wait_s=0.0, busy=busy):
            yield

    def begin(self, config: TrainConfig, *, resume: bool) -> None:
        """Write the config, after a look at the one that is there.

        Raises:
            InputError: a run of another config is there; says what differs.
        """
        path = self.path / "config.json"
        if path.exists() and resume:
            old, new = read_config(self.path).to_dict(), config.to_dict()
            lines = [line for line in difference(old, new) if not _free(line)]
            if lines:
                raise InputError(
                    f"{self.path}: holds a run of another config; it differs in (there -> here):\n  "
                    + "\n  ".join(lines)
                    + "\nTake another folder, the same config, or start anew in its place (--no-resume)"
                )
        if not resume:
            self._clear()
        text = json.dumps(config.to_dict(), indent=2, ensure_ascii=False) + "\n"
        draft = path.with_name(".config.json.draft")
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def _clear(self) -> None:
        """Remove what a run wrote, and nothing else."""
        for name in ("checkpoints", "best", "last", "events", "before"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in (METRICS, "config.json"):
            (self.path / name).unlink(missing_ok=True)


def _free(line: str) -> bool:
    path = line.partition(":")[0]
    return path.removeprefix("before.") in _FREE
