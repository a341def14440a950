"""A stand-in for signals, used by tests here and by `loop_worker.py`."""

from __future__ import annotations


class StopAfter:
    """Stands in for `Interrupts`: asks to stop when looked at for the n-th time."""

    def __init__(self, steps: int | None) -> None:
        self._left = steps

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    @property
    def asked(self) -> int:
        if self._left is None:
            return 0
        self._left -= 1
        return 2 if self._left <= 0 else 0
