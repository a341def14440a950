"""How far a run is, and how it ended: plain values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mien.train.forgetting import Forgetting
from mien.train.measuring import Accuracy

__all__ = ["Position", "Stopped", "TrainResult"]

Stopped = Literal["finished", "early stop", "interrupted"]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended.

    Attributes:
        folder: the run's; ``best/`` and ``last/`` hold its networks.
        stopped: finished, early stop (measure.patience) or interrupted (a signal; start again to go on).
        step: optimizer steps taken.
        epoch: whole epochs.
        seconds: of training and measuring, over all starts.
        loss: of the last step of this start; None where none was taken.
        best: what the first set of pairs said about ``best/``, and under ``further`` the others; None where nothing was
            measured.
        measured: the last measuring.
        people: classes.
        pictures: of an epoch.
        forgot: what was lost beside the weights it started from, where ``measure.first`` measured them.
        signal: that interrupted it, or 0.
    """

    folder: Path
    stopped: Stopped
    step: int
    epoch: int
    seconds: float
    loss: float | None
    best: dict[str, Any] | None
    measured: tuple[Accuracy, ...]
    people: int
    pictures: int
    forgot: tuple[Forgetting, ...] = ()
    signal: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**dataclasses.asdict(self), "folder": str(self.folder), "seconds": round(self.seconds, 2)}


@dataclass(slots=True)
class Position:
    """How far a run is; plain values that a checkpoint keeps."""

    step: int = 0
    epoch: int = 0
    epoch_step: int = 0
    seconds: float = 0.0
    progress: float = 0.0
    best: dict[str, Any] | None = None
    stale: int = 0
    measured: list[dict[str, Any]] = field(default_factory=list)
    measured_epoch: int = -1
    lines: int = 0
    stopped: str = ""
