"""How many threads to use."""

from __future__ import annotations

import os

__all__ = ["default_threads"]


def default_threads() -> int:
    """One a processor that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return max(1, len(usable(0)) if usable else os.cpu_count() or 1)
