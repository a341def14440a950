"""Threads and processes that enrol, identify and remove at once: no error, no answer that no serial order could give.

    python benchmarks/gallery_stress.py --seconds 60

Every worker (8 threads here, and one in each of 2 further processes) owns people whom nobody else touches, so it knows
exactly what it may be answered about them: after `add` has returned they are named, after `remove` or `rename` they are
not called so, after `reject` not even though they are enrolled. About the people of others it knows less, but not
nothing: a counter of each worker (its heartbeat, an enrolled face whose name holds a number that only grows) must never
be seen to go back, and the pair of faces that a worker enrols in one step must be seen together or not at all. One
person stays enrolled all the time and must always be named; a stranger never.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from mien.gallery import Gallery
from mien.types import ModelIdentity

IDENTITY = ModelIdentity("stress", "fast", "5" * 64, 128)
THRESHOLD = 0.9


def face(name: str) -> np.ndarray:
    """A face of its own for every name; any two are nearly orthogonal."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    row = np.random.default_rng(seed).standard_normal(128)
    return (row / np.linalg.norm(row)).astype(np.float32)


class Worker:
    """One thread's share of the work, and what it has found wrong."""

    def __init__(self, gallery: Gallery, me: str, workers: list[str], until: float) -> None:
        self.gallery, self.me, self.workers, self.until = gallery, me, workers, until
        self.rng = np.random.default_rng(int.from_bytes(me.encode(), "big") % 2**32)
        self.problems: list[str] = []
        self.mine: dict[str, bool] = {}  # name -> whether they are to be named (else: rejected)
        self.seen = dict.fromkeys(workers, -1)
        self.beat = 0
        self.counts = {"add": 0, "remove": 0, "rename": 0, "reject": 0, "identify": 0}

    def run(self) -> None:
        """Work until the time is over; whatever goes wrong is kept."""
        try:
            step = 0
            while time.time() < self.until:
                step += 1
                self._change(step)
                self._ask()
            for name in [name for name in self.mine if " person " in name]:  # pairs stay: they were enrolled as one
                self.gallery.remove(name)
        except Exception as error:  # noqa: BLE001 - it is what is looked for
            self.problems.append(f"{self.me}: {type(error).__name__}: {error}")

    def _change(self, step: int) -> None:
        kind = self.rng.choice(["add", "add", "pair", "remove", "rename", "reject", "beat", "nothing"])
        named = [name for name, known in self.mine.items() if known]
        if kind == "add" or not named:
            name = f"{self.me} person {step}"
            self.gallery.add(name, face(name))
            self.mine[name] = True
        elif kind == "pair":
            sides = [(f"{self.me} {side}", face(f"{self.me} {side}")) for side in ("left", "right")]
            there = f"{self.me} left" in self.mine
            if not there:
                self.gallery.add_many(sides)
                self.mine.update((name, True) for name, _ in sides)
        elif kind == "remove":
            name = str(self.rng.choice(named))
            if " left" not in name and " right" not in name:
                self.gallery.remove(name)
                del self.mine[name]
        elif kind == "rename":
            name = str(self.rng.choice(named))
            if " person " in name and "now" not in name:
                self.gallery.rename(name, f"{name} now")
                self.mine[f"{name} now"] = self.mine.pop(name)
        elif kind == "reject":
            name = str(self.rng.choice(named))
            if " person " in name:
                self.gallery.reject(name, face(name.removesuffix(" now")))
                self.mine[name] = False
        elif kind == "beat":
            old, self.beat = self.beat, self.beat + 1
            if old:
                self.gallery.rename(f"{self.me} beat {old}", f"{self.me} beat {self.beat}")
            else:
                self.gallery.add(f"{self.me} beat {self.beat}", face(f"{self.me} beat"))
        self.counts[{"pair": "add", "beat": "rename", "nothing": "identify"}.get(kind, kind)] += 1

    def _ask(self) -> None:
        names = list(self.mine)[-6:]
        other = str(self.rng.choice(self.workers))
        keys = [name.removesuffix(" now") for name in names]
        probes = [*keys, f"{other} beat", f"{other} left", f"{other} right", "always there", "a stranger"]
        answers = [
            m.name for m in self.gallery.identify_embeddings(np.stack([face(p) for p in probes]), threshold=THRESHOLD)
        ]
        self.counts["identify"] += 1
        for name, answer in zip(names, answers, strict=False):
            expected = name if self.mine[name] else None
            if answer != expected:
                self.problems.append(f"{self.me}: {name} was called {answer}, expected {expected}")
        beat, left, right, always, stranger = answers[len(names) :]
        number = -1 if beat is None else int(beat.rsplit(" ", 1)[1])
        if number < self.seen[other]:
            self.problems.append(f"{self.me}: the number of {other} went back from {self.seen[other]} to {number}")
        self.seen[other] = number
        if (left is None) != (right is None):
            self.problems.append(f"{self.me}: saw half a pair of {other}: {left}, {right}")
        if (always, stranger) != ("always there", None):
            self.problems.append(f"{self.me}: the fixed people were called {always} and {stranger}")


def work(path: str, names: list[str], everybody: list[str], seconds: float) -> list[Worker]:
    """Run workers in threads on one gallery."""
    with Gallery.open(path, identity=IDENTITY) as gallery:
        until = time.time() + seconds
        workers = [Worker(gallery, name, everybody, until) for name in names]
        threads = [threading.Thread(target=worker.run) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return workers


def stress(path: Path, *, seconds: float, threads: int = 8, processes: int = 2) -> tuple[list[str], dict[str, int]]:
    """Everything at once; returns what went wrong and how much was done."""
    names = [f"thread {i}" for i in range(threads)]
    everybody = names + [f"process {i}" for i in range(processes)]
    with Gallery.open(path, identity=IDENTITY) as gallery:
        gallery.add("always there", face("always there"))
    children = [
        subprocess.Popen(
            [sys.executable, __file__, "--child", str(path), str(seconds), f"process {i}", *everybody],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(processes)
    ]
    workers = work(str(path), names, everybody, seconds)
    problems = [problem for worker in workers for problem in worker.problems]
    counts = {key: sum(worker.counts[key] for worker in workers) for key in workers[0].counts}
    for child in children:
        said, _ = child.communicate(timeout=seconds + 120)
        lines = said.splitlines()
        problems += [line for line in lines if not line.startswith("done ")]
        if child.returncode or not lines or not lines[-1].startswith("done "):
            problems.append(f"a process ended with {child.returncode}")
            continue
        for part in lines[-1].split()[1:]:
            key, _, value = part.partition("=")
            counts[key] += int(value)
    with Gallery.open(path) as gallery:
        problems += gallery.check().problems
        left = [s.name for s in gallery.subjects() if " person " in s.name]
        if left:
            problems.append(f"left over: {left[:5]}")
    return problems, counts


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        path, seconds, me, *everybody = sys.argv[2:]
        (worker,) = work(path, [me], everybody, float(seconds))
        print(*worker.problems, sep="\n", end="\n" if worker.problems else "")
        print("done", *(f"{key}={value}" for key, value in worker.counts.items()))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        problems, counts = stress(
            Path(folder, "people.db"), seconds=options.seconds, threads=options.threads, processes=options.processes
        )
    print(", ".join(f"{value} {key}" for key, value in counts.items()))
    print("\n".join(problems) if problems else "nothing went wrong")
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    main()
