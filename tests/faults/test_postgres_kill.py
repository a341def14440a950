"""kill -9 of a client while it enrols, moves, merges, removes: nothing acknowledged is lost, nothing is half done."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mien.gallery.audit import verify_chain

GALLERY_TESTS = Path(__file__).parents[1] / "gallery"
_spec = importlib.util.spec_from_file_location("fakes", GALLERY_TESTS / "fakes.py")
fakes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fakes)

KILLS = 50
FACES = 4

# One process that has everything loaded forks a worker for each trial, before it has any connection of its own.
WORKER = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from fakes import IDENTITY, embedding
from mien.gallery.homes.postgres import PostgresHome
from mien.gallery.records import FaceRecord
import psycopg, psycopg_pool

def work(url, trial, out):
    home = PostgresHome(url)
    say = lambda *words: os.write(out, (" ".join(map(str, words)) + "\\n").encode())
    say("ready")
    for i in range(100000):
        one, two = f"{trial}-{i}-a", f"{trial}-{i}-b"
        records = lambda name: [FaceRecord(embedding(name, str(j)), f"{j}", crop=b"crop") for j in range(4)]
        home.add([(one, records(one)), (two, records(two))], IDENTITY)
        say("pair", trial, i)
        ids = [face.id for face in home.faces(two)]
        home.move_faces(ids[:2], one)
        say("moved", trial, i)
        home.merge(two, one)
        say("merged", trial, i)
        if i % 2:
            home.remove(one)
            say("removed", trial, i)

while line := sys.stdin.readline():
    url, trial, told = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if not child:
        out = os.open(told, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            work(url, trial, out)
        finally:
            os._exit(1)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(status, flush=True)
"""

# What a pair may look like once a step was acknowledged: that step's outcome, or the next one's.
BOTH, MOVED, MERGED, GONE = (FACES, FACES), (FACES + 2, FACES - 2), (2 * FACES, None), (None, None)
AFTER = {None: (GONE, BOTH), "pair": (BOTH, MOVED), "moved": (MOVED, MERGED), "merged": (MERGED,), "removed": (GONE,)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_kill_during_changes(postgres_url, tmp_path):
    from mien.gallery.homes.postgres import PostgresHome

    url = postgres_url()
    home = PostgresHome(url)
    home.pin(fakes.IDENTITY)
    rng = random.Random(20260202)
    last = {}
    hits = 0
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER, GALLERY_TESTS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread) as nursery:
        for trial in range(KILLS):
            told = tmp_path / f"{trial}.told"
            nursery.stdin.write(f"{url}\t{trial}\t{told}\n")
            nursery.stdin.flush()
            child = int(nursery.stdout.readline())
            deadline = time.monotonic() + 30
            while not (told.exists() and told.read_text().startswith("ready")):
                assert time.monotonic() < deadline
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.12))
            os.kill(child, signal.SIGKILL)
            assert os.WTERMSIG(int(nursery.stdout.readline())) == signal.SIGKILL
            lines = [line.split() for line in told.read_text().splitlines()[1:]]
            hits += len(lines) > 1
            for step, _, i in lines:
                last[trial, int(i)] = step
        nursery.stdin.close()
    # The server may still be undoing what the last one left: the next change waits for it.
    home.keep_calibration("x = 1")
    check(home, last)
    assert hits >= KILLS // 2
    home.close()


def check(home, last):
    faces = {subject.name: subject.faces for subject in home.subjects()}
    for (trial, i), step in last.items():
        allowed = AFTER[step]
        if step == "merged" and i % 2:
            allowed = (MERGED, GONE)
        found = (faces.pop(f"{trial}-{i}-a", None), faces.pop(f"{trial}-{i}-b", None))
        assert found in allowed, (trial, i, step, found)
    # At most one pair a worker was stored without its being told: the one it died over.
    rest = {name.rpartition("-")[0] for name in faces}
    assert len({pair.partition("-")[0] for pair in rest}) == len(rest)
    for pair in rest:
        assert (faces[f"{pair}-a"], faces[f"{pair}-b"]) == BOTH
    chain = verify_chain(home.audit())
    assert chain.whole, chain.reason
    stored = home.counts().faces
    batches = list(home.batches())
    assert sum(len(batch.faces) for batch in batches) == stored == sum(len(batch.crops) for batch in batches)
    for subject in home.subjects()[::17]:
        person = subject.name
        (found,) = home.search(fakes.embedding(person, "0")[None], k=1)
        # Of a pair that was cut off between "moved" and "merged", this face lies with the other one by now.
        assert found[0].name in (person, f"{person.rpartition('-')[0]}-a")
        assert round(found[0].score, 5) == 1.0
