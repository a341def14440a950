"""Chance and threads held still, so that an experiment gives the same numbers again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from mien.train.losses.inputs import check_number

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["repeatable"]


@contextmanager
def repeatable(seed: int, *, threads: int = 1) -> Iterator[torch.Generator]:
    """Seed PyTorch, take so many threads, and put both back afterwards.

    Sums come out the same only with the same number of threads; the settings are the process's, so one experiment at
    a time.

    Args:
        seed: 0 or more.
        threads: of this process's calculations.

    Yields:
        A generator of its own with the same seed, for the order of samples.

    Raises:
        InputError: a number below 0, or no thread.
    """
    check_number(seed, "seed", 0, 2**63 - 1)
    check_number(threads, "threads", 1, 1024)
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield torch.Generator().manual_seed(seed)
        finally:
            torch.set_num_threads(before)
