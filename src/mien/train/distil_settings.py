"""What a distillation is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["DistilResult", "DistilSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilSettings:
    """What is taught.

    Attributes:
        teacher: a model's name, card or folder.
        preset: the teacher's; "fast" asks it once or twice a picture.
        feature: weight of the distance to the teacher's embedding.
        relation: weight of the differences of all cosines in a batch.
        live: ask the teacher about every picture as the student sees it, augmented; else once about each as it is.
    """

    teacher: str
    preset: Literal["fast", "accurate"] = "fast"
    feature: float = 1.0
    relation: float = 1.0
    live: bool = False


@dataclass(frozen=True, slots=True)
class DistilResult:
    """How a distillation ended.

    Attributes:
        folder: the run's.
        stopped: "finished" or "interrupted".
        step: optimizer steps taken.
        epoch: whole epochs.
        loss: of the last step; None where none was taken.
        best: what the first set of pairs said about ``best/``, and under ``further`` the others; None where nothing was
            measured.
        teacher: the teacher's identity.
        signal: that interrupted it, or 0.
    """

    folder: Path
    stopped: Literal["finished", "interrupted"]
    step: int
    epoch: int
    loss: float | None
    best: dict[str, Any] | None
    teacher: str
    signal: int = 0
