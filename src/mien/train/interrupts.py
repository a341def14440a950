"""Ctrl-C and SIGTERM as a wish to stop after this step; the second one stops at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any, Final

__all__ = ["Interrupts"]

_SAME_S: Final = 1.0  # torchrun passes a terminal's Ctrl-C on a second time, as SIGTERM
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While entered, the first SIGINT or SIGTERM sets [asked][]; a later one ends the process with 128 + its number.

    Off the main thread, where signals do not arrive, it does nothing. Attributes:
        asked: the signal's number, or 0.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if not self.asked:
            self.asked, self._at = number, time.monotonic()
        elif time.monotonic() - self._at > _SAME_S and not (
            number == signal.SIGTERM and "TORCHELASTIC_RUN_ID" in os.environ
        ):
            os._exit(128 + number)
