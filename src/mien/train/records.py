"""What a run leaves behind while it goes on: ``metrics.jsonl``, a line each time, and events for TensorBoard."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Records", "read_records"]

METRICS = "metrics.jsonl"


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl``; one that was cut off by a crash is left out."""
    path = folder / METRICS
    if not path.exists():
        return []
    found = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            found.append(record)
    return found


class Records:
    """Writes a run's records. A run that goes on drops those that will be made again. Not thread-safe.

    Args:
        folder: the run's.
        lines: how many records stay; later ones are dropped.
        step: of the last one that stays.
        tensorboard: whether to write events, too, where tensorboard is installed.

    Attributes:
        lines: how many there are.
    """

    def __init__(self, folder: Path, lines: int, step: int, *, tensorboard: bool) -> None:
        path = folder / METRICS
        kept = read_records(folder)[:lines]
        self.lines = len(kept)
        draft = path.with_name(f".{METRICS}.draft")
        with draft.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in kept)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        self._file = path.open("a", encoding="utf-8")
        self._events: Any = None
        if tensorboard and find_spec("tensorboard") is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # its protobuf's
                from torch.utils.tensorboard import SummaryWriter

                self._events = SummaryWriter(str(folder / "events"), purge_step=step + 1 if step else None)

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Add a line ``{"kind", "step", ...}``; numbers that are not finite become null.

        In events, a "name" among the values is part of their tags.
        """
        plain = {key: _finite(value) for key, value in values.items()}
        self._file.write(json.dumps({"kind": kind, "step": step, **plain}) + "\n")
        self._file.flush()
        self.lines += 1
        if self._events is not None:
            group = f"{kind}/{plain['name']}" if "name" in plain else kind
            for key, value in plain.items():
                if isinstance(value, float):
                    self._events.add_scalar(f"{group}/{key}", value, step)

    def __enter__(self) -> Records:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()


def _finite(value: Any) -> Any:  # noqa: ANN401
    return None if isinstance(value, float) and not math.isfinite(value) else value
