"""How much memory this process holds, and how much is free for it: by the system, the container, or the device."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Final

import torch

__all__ = ["available_memory", "memory_in_use", "peak_memory", "reuse_freed_memory"]

_GROUP: Final = Path("/sys/fs/cgroup")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of glibc's mallopt
_ALWAYS, _LARGE = 2**31 - 1, (1 << 30, 1 << 25)  # older versions take no more than the latter


def memory_in_use() -> int:
    """Bytes that this process holds now; where that cannot be told, the most it held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        pass
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def peak_memory(device: torch.device) -> int:
    """Bytes: the most on a CUDA device, or what this process holds."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else memory_in_use()


def available_memory(device: torch.device) -> int | None:
    """Bytes that are free: on the device, or in the system and within the container's limit; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [value for value in (_system(), _container()) if value is not None]
    return min(found) if found else None


def _system() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _container() -> int | None:
    try:
        limit = (_GROUP / "memory.max").read_text().strip()
        used = int((_GROUP / "memory.current").read_text())
        return None if limit == "max" else max(int(limit) - used, 0)
    except (OSError, ValueError):
        return None


def reuse_freed_memory() -> bool:
    """Keep what this process frees for what it needs next, from now on; returns whether the system can (glibc).

    Activations of a step are freed and needed again by the next. By default glibc hands such large blocks back to the
    system each time and gets fresh pages, which the system has to clear: a fifth of a small network's step on a CPU.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl, a static Python
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _ALWAYS)) and any(mallopt(_MMAP_THRESHOLD, size) for size in _LARGE)
