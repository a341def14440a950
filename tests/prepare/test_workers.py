"""One function over many items, in one process or several."""

from __future__ import annotations

import os
import signal

import pytest

from mien.errors import MienError
from mien.prepare.workers import over


def doubled(items):
    return [2 * i for i in items]


def kill_self(items):
    if 130 in items:
        os.kill(os.getpid(), signal.SIGKILL)
    return list(items)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_whole(workers):
    found = [r for part in over(range(1000), doubled, workers=workers) for r in part]
    assert found == [2 * i for i in range(1000)]


def test_items_are_drawn_as_they_are_needed():
    drawn = []

    def items():
        for i in range(100_000):
            drawn.append(i)
            yield i

    results = over(items(), doubled, workers=2)
    next(results)
    assert len(drawn) <= 64 * 9
    results.close()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_killed_worker_is_a_clear_error():
    with pytest.raises(MienError, match="run the same command again"):
        list(over(range(1000), kill_self, workers=2))
