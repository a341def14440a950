"""What is freed stays with the process for the next step."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

PROGRAM = """
import resource, sys, torch
from mien.train.memory import reuse_freed_memory
kept = reuse_freed_memory() if sys.argv[1] == "kept" else None

def faults(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        for size in (9 << 20, 40 << 20):  # on either side of glibc's own highest threshold
            torch.ones(size, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(3)
print(kept, faults(5))
"""


def run(how: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, how]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_a_step_takes_no_new_pages_for_what_the_one_before_freed() -> None:
    kept, faults = run("kept")
    if kept == "False":
        pytest.skip("this C library has no such setting")
    pages = 5 * (49 << 20) // resource.getpagesize()
    assert int(faults) < pages / 3  # where blocks come to lie is up to the C library: one may be new
    assert int(run("default")[1]) > pages / 2  # the reason for all this; if this fails, it may go
