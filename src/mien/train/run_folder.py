"""A run's folder: whose it is, what lies where, and what of it a new start would replace."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mien.errors import InputError, TrainingError
from mien.file_lock import file_lock
from mien.train.config import TrainConfig
from mien.train.forgetting import SCORES
from mien.train.records import METRICS
from mien.train.settings import difference, read_settings

__all__ = ["RunFolder", "read_config", "read_config_file", "without_idle"]

_FREE: Final = (
    "recipe", "data.workers", "data.cache", "data.decode_once", "measure.batch", "loop.compile", "loop.device",
    "loop.threads", "loop.checkpoint_minutes", "loop.checkpoint_steps", "loop.keep", "loop.log_steps",
    "loop.tensorboard",
)  # fmt: skip
"""What may differ when a run goes on: how the machine runs it, not what it learns."""

_WORTH: Final = ("checkpoints/step-*.pt", "best/network.*", "last/network.*")
_WHERE: Final = "working-folder.json"
_REST: Final = (
    METRICS, "config.json", _WHERE, SCORES, "checkpoints/.draft-*", "events/events.out.tfevents.*",
)  # fmt: skip
"""Files of a run, by what lies where: what it has to show for itself, and the rest."""


def read_config(folder: Path) -> TrainConfig:
    """The config of a run.

    Raises:
        NotFoundError: there is no run.
        InputError: its config is damaged.
    """
    return read_config_file(folder / "config.json")


def read_config_file(path: Path) -> TrainConfig:
    """The config in a ``.json`` or ``.toml`` file.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is no config; names the file and what is wrong in it.
    """
    plain = read_settings(path)
    try:
        return TrainConfig.from_dict(plain)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


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

    @property
    def bound(self) -> bool:
        """Whether there is something that only a run of the same config may go on with."""
        return bool(self._kept())

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

    def begin(self, config: TrainConfig, *, resume: bool) -> TrainConfig:
        """Write the config, after a look at the one that is there; gives the one to go by.

        A run that came to no checkpoint (a mistyped setting, pictures that are not there) binds nobody.

        Raises:
            InputError: a run of another config is there (says what differs), or a config.json that is no run's.
        """
        path = self.path / "config.json"
        config, anew = self._start(config, resume=resume)
        if anew:
            _check_kept(self._removed(config), config)
            self._clear(config)
        if not (self.path / _WHERE).exists():  # a later start from elsewhere may find no pictures there
            with suppress(OSError):  # the folder one stands in may be gone
                _write(self.path / _WHERE, {"working_folder": str(Path.cwd())}, ascii_only=True)
        _write(path, config.to_dict())
        return config

    def check_two(self, first: TrainConfig, config: TrainConfig, *, resume: bool) -> None:
        """Before the first of two runs begins: neither removes what the other, or itself, starts from.

        Raises:
            InputError: one would, or the folder holds other runs.
        """
        inner = RunFolder(self.path / "before")
        config, anew = self._start(config, resume=resume)
        if anew:
            _check_kept(self._removed(config), first, config)
        first, anew = inner._start(first, resume=resume)
        if anew:
            _check_kept(inner._removed(first), first)  # what the second one looks for there is made anew

    def _start(self, config: TrainConfig, *, resume: bool) -> tuple[TrainConfig, bool]:
        """The config to go by, and whether what is there goes."""
        path = self.path / "config.json"
        if not path.exists():
            return config, not resume
        if not resume:
            if not _may_replace(path):
                raise InputError(f"{path}: is not the config of a run; take another folder")
            return config, True
        config, old = self.going_on(config, resume=resume), without_idle(read_config(self.path))
        derived = config.before is not None  # its first weights are the first run's, by whatever path
        lines = [line for line in difference(old.to_dict(), config.to_dict()) if not _free(line, derived=derived)]
        if lines and self._shown(config):
            raise InputError(
                f"{self.path}: holds a run of another config; there -> here: {'; '.join(lines)}. Take another "
                "folder, the same config, or start anew in its place (--no-resume)"
            )
        return config, bool(lines)

    def going_on(self, config: TrainConfig, *, resume: bool) -> TrainConfig:
        """What to go on by: a run of an earlier mien with settings that did nothing, refused now, is without them.

        Raises:
            InputError: the config that is there is no run's.
        """
        if not resume or not (self.path / "config.json").exists() or not self._kept():
            return config
        there = read_config(self.path)
        return config if without_idle(there) == there else without_idle(config)

    def given(self, path: str) -> tuple[Path, ...]:
        """Where a path of the config may lead: from the folder that the run was first started in, and from this one."""
        try:
            where = json.loads((self.path / _WHERE).read_text(encoding="utf-8"))["working_folder"]
            return Path(where) / path, Path(path)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return (Path(path),)

    def _kept(self) -> list[Path]:
        """What a run has to show: checkpoints and networks."""
        return [path for pattern in _WORTH for path in self.path.glob(pattern)]

    def _shown(self, config: TrainConfig) -> list[Path]:
        """What would go with it: also of a first run, where the config asks for none."""
        return [*self._kept(), *(RunFolder(self.path / "before")._kept() if config.before is None else ())]

    def _removed(self, config: TrainConfig) -> list[Path]:
        """The files that a new start removes: those that a run writes, for the folder may hold other things, too."""
        files = [*self._kept(), *(path for pattern in _REST for path in self.path.glob(pattern))]
        if config.before is None:  # else the first run has begun by itself, and this one starts from it
            inner = RunFolder(self.path / "before")
            files += [*inner._kept(), *(path for pattern in _REST for path in inner.path.glob(pattern))]
        return files

    def _clear(self, config: TrainConfig) -> None:
        files = self._removed(config)
        for path in files:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in files} - {self.path, self.path / "before"}:
            with suppress(OSError):  # other things in it
                folder.rmdir()


def _check_kept(removed: Iterable[Path], *configs: TrainConfig) -> None:
    """Nothing that is needed to start from is among what would be removed, by whatever way it is reached."""
    gone = [path.resolve() for path in removed]
    for config in configs:
        for name, given in (("network.weights", config.network.weights), ("loss.old", config.loss.old)):
            if given is None or not os.path.exists(given):  # noqa: PTH110 - no error, whatever the name
                continue
            lies = Path(given).resolve()
            if any(path.is_relative_to(lies) for path in gone):
                raise InputError(f"{name}: {given} lies in this run's folder, which starts anew; take another folder")


def without_idle(config: TrainConfig) -> TrainConfig:
    """The same without the settings that did nothing once, and are refused now."""
    from mien.train.objective import without_idle_settings  # brings all losses: only where a run begins

    first = config.before and without_idle(config.before)
    return replace(config, loss=without_idle_settings(config.loss), before=first)


def _write(path: Path, content: dict[str, Any], *, ascii_only: bool = False) -> None:
    """Whole or not at all; with `ascii_only`, names that are no text survive as well."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=ascii_only) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _may_replace(path: Path) -> bool:
    """Whether a config.json is a run's (of any version of mien), or too damaged to be anybody's."""
    try:
        return {"network", "loop"} <= set(read_settings(path))
    except InputError:
        return True


def _free(line: str, *, derived: bool) -> bool:
    path = line.partition(":")[0]
    return path.removeprefix("before.") in _FREE or (derived and path == "network.weights")
