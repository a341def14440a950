"""What a person sees while a run goes on: a live table on a terminal, plain lines elsewhere, nothing if not wanted."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import IO, Any, Final

from mien.train.measuring import Accuracy

__all__ = ["Display", "LiveDisplay", "PlainDisplay", "StepSeen"]

_LINE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class StepSeen:
    """A step, for a display.

    Attributes:
        epoch: from 1.
        epochs: of the run.
        step: done so far.
        steps: in all.
        loss: of this step.
        rate: the highest.
        speed: pictures a second.
        left: seconds to go, about; None where unknown.
        memory: bytes in use.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    rate: float
    speed: float
    left: float | None
    memory: int


def clock(seconds: float | None) -> str:
    """Hours, minutes and seconds.

    >>> clock(3725), clock(None)
    ('1:02:05', '-')
    """
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Display:
    """Shows nothing; the base of the others. Belongs to one thread."""

    def say(self, text: str) -> None:
        """A message."""

    def progress(self, label: str, done: int, total: int) -> None:
        """How far something before the training is."""

    def step(self, seen: StepSeen) -> None:
        """A step was taken."""

    def measured(self, found: Accuracy, *, best: bool) -> None:
        """Pairs were measured."""

    def close(self) -> None:
        """The run is over."""


class PlainDisplay(Display):
    """A line every ten seconds, and for every measuring.

    Args:
        stream: where to; stderr by default.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream, self._next = stream or sys.stderr, 0.0

    def say(self, text: str) -> None:  # noqa: D102
        print(text, file=self._stream, flush=True)

    def progress(self, label: str, done: int, total: int) -> None:  # noqa: D102
        if time.monotonic() >= self._next or done >= total:
            self._next = time.monotonic() + _LINE_S
            self.say(f"{label}: {done:,} of {total:,}")

    def step(self, seen: StepSeen) -> None:  # noqa: D102
        if time.monotonic() < self._next and seen.step < seen.steps:
            return
        self._next = time.monotonic() + _LINE_S
        self.say(
            f"epoch {seen.epoch}/{seen.epochs}  step {seen.step}/{seen.steps}  loss {seen.loss:.4f}  "
            f"lr {seen.rate:.3g}  {seen.speed:.0f} img/s  left {clock(seen.left)}  {seen.memory >> 20} MiB"
        )

    def measured(self, found: Accuracy, *, best: bool) -> None:  # noqa: D102
        mark = "  (best so far)" if best else ""
        self.say(f"{found.name}: accuracy {found.accuracy:.4f}, TAR {found.tar:.4f} at FAR {found.far:g}{mark}")


class LiveDisplay(Display):
    """A table that renews itself, on a terminal (rich)."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._seen: StepSeen | None = None
        self._found: dict[str, tuple[Accuracy, float]] = {}
        self._doing = ""
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._table, transient=False)
        self._live.start()

    def say(self, text: str) -> None:  # noqa: D102
        self._console.print(text, markup=False, soft_wrap=True)

    def progress(self, label: str, done: int, total: int) -> None:  # noqa: D102
        self._doing = "" if done >= total else f"{label}: {done:,} of {total:,}"

    def step(self, seen: StepSeen) -> None:  # noqa: D102
        self._seen, self._doing = seen, ""

    def measured(self, found: Accuracy, *, best: bool) -> None:  # noqa: D102
        top = max(found.accuracy, self._found.get(found.name, (found, 0.0))[1])
        self._found[found.name] = found, top

    def close(self) -> None:  # noqa: D102
        self._live.stop()

    def _table(self) -> Any:  # noqa: ANN401
        from rich.table import Table

        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="dim")
        table.add_column()
        if self._doing:
            table.add_row("now", self._doing)
        if (seen := self._seen) is not None:
            table.add_row("epoch", f"{seen.epoch} of {seen.epochs}, step {seen.step:,} of {seen.steps:,}")
            table.add_row("loss", f"{seen.loss:.4f} at rate {seen.rate:.3g}")
            table.add_row("speed", f"{seen.speed:,.0f} img/s, {clock(seen.left)} left")
            table.add_row("memory", f"{seen.memory >> 20:,} MiB")
        for name, (found, top) in self._found.items():
            tar = f"TAR {found.tar:.4f} at FAR {found.far:g}"
            table.add_row(name, f"{found.accuracy:.4f} (best {top:.4f}), {tar}")
        return table
