"""kill -9 while people are enrolled: nothing acknowledged is lost, and nobody is half there."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mien.gallery import Gallery

GALLERY_TESTS = Path(__file__).parents[1] / "gallery"
_spec = importlib.util.spec_from_file_location("fakes", GALLERY_TESTS / "fakes.py")
fakes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fakes)

KILLS = 50
PEOPLE = {f"person {i:02}": 2 + i % 4 for i in range(40)}

NURSERY = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from fakes import FakeAnalyzer
from mien.gallery import Gallery

while line := sys.stdin.readline():
    database, folder, acknowledged, kill_after = line.rstrip("\\n").split("\\t")
    began = time.perf_counter()
    child = os.fork()
    if not child:
        out = os.open(acknowledged, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        with Gallery.open(database, recognizer=FakeAnalyzer(eager=7)) as gallery:
            gallery.enrol_folder(folder, progress=lambda report, *counts: os.write(out, report.name.encode() + b"\\n"))
        os._exit(0)
    if kill_after:
        time.sleep(float(kill_after))
        os.kill(child, signal.SIGKILL)  # a finished child keeps its id until it is waited for
    _, status = os.waitpid(child, 0)
    print(status, time.perf_counter() - began, flush=True)
"""


@contextlib.contextmanager
def nursery():
    """An interpreter that has everything loaded and has a child do each enrolment: 50 starts would take a minute."""
    command = [sys.executable, "-c", NURSERY, GALLERY_TESTS]
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a process with threads had better not fork
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread) as process:
        yield process
        process.stdin.close()


def enrol(process, database, folder, *, kill_after=""):
    """Have a child enrol the folder; returns whom it acknowledged, how it ended, and the seconds it took."""
    told = database.with_suffix(".acknowledged")
    told.write_text("")
    process.stdin.write(f"{database}\t{folder}\t{told}\t{kill_after}\n")
    process.stdin.flush()
    status, seconds = process.stdout.readline().split()
    return set(told.read_text().splitlines()), int(status), float(seconds)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_kill_during_enrol_folder(tmp_path):
    folder = fakes.people_folder(tmp_path / "people", PEOPLE)
    rng = random.Random(20260101)
    hits = 0
    with nursery() as process:
        done, status, seconds = enrol(process, tmp_path / "undisturbed.db", folder)
        assert (done, status) == (PEOPLE.keys(), 0)
        check(tmp_path / "undisturbed.db", done, folder)
        database, acknowledged = tmp_path / "0.db", set()
        kills = trial = 0
        while kills < KILLS:
            done, status, _ = enrol(process, database, folder, kill_after=rng.uniform(0, seconds))
            if status:
                assert os.WTERMSIG(status) == signal.SIGKILL
                kills += 1
                hits += 0 < len(done) < len(PEOPLE)
            acknowledged |= done
            check(database, acknowledged, folder)
            if len(acknowledged) == len(PEOPLE) or rng.random() < 0.5:  # else the next goes on where this one died
                trial += 1
                database, acknowledged = tmp_path / f"{trial}.db", set()
    assert hits >= KILLS // 3  # the kills did hit the work


def check(database, acknowledged, folder):
    if not database.exists():
        assert not acknowledged
        return
    with Gallery.open(database) as gallery:
        enrolled = {s.name: s for s in gallery.subjects()}
        assert acknowledged <= enrolled.keys()
        for name, subject in enrolled.items():
            assert subject.pictures == tuple(str(folder / name / f"{i}.jpg") for i in range(PEOPLE[name]))
        for name in list(enrolled)[::13]:
            (match,) = gallery.identify_embeddings(fakes.embedding(name, "0"), threshold=0.99)
            assert match.name == name
    db = sqlite3.connect(database)
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    finally:
        db.close()
