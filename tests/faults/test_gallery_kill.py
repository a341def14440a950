"""kill -9 while people are enrolled: nothing acknowledged is lost, and nobody is half there."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mien.gallery import Gallery
from mien.gallery.homes.sqlite import schema

GALLERY_TESTS = Path(__file__).parents[1] / "gallery"
_spec = importlib.util.spec_from_file_location("fakes", GALLERY_TESTS / "fakes.py")
fakes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fakes)

_operations = importlib.util.spec_from_file_location("operations", Path(__file__).with_name("gallery_operations.py"))
operations = importlib.util.module_from_spec(_operations)
_operations.loader.exec_module(operations)
_version_1 = importlib.util.spec_from_file_location("version_1", GALLERY_TESTS / "version_1.py")
version_1 = importlib.util.module_from_spec(_version_1)
_version_1.loader.exec_module(version_1)

KILLS, HISTORIES, UPGRADES = 40, 120, 40  # 200 in all
PEOPLE = {f"person {i:02}": 2 + i % 4 for i in range(40)}

NURSERY = """
import json, os, signal, sys, time
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
import gallery_operations
from fakes import FakeAnalyzer, IDENTITY, embedding
from mien.gallery import Gallery

def work(what, database, argument, tell):
    if what == "folder":
        with Gallery.open(database, recognizer=FakeAnalyzer(eager=7)) as gallery:
            gallery.enrol_folder(argument, progress=lambda report, *counts: tell(report.name))
    elif what == "history":
        with Gallery.open(database, identity=IDENTITY) as gallery:
            for operation in gallery_operations.history(int(argument))[0]:
                gallery_operations.apply(gallery, operation, Path(database).parent, embedding)
                tell(operation[0])
    else:
        Gallery.open(database).close()
        tell("upgraded")

while line := sys.stdin.readline():
    what, database, argument, acknowledged, kill_after = line.rstrip("\\n").split("\\t")
    began = time.perf_counter()
    child = os.fork()
    if not child:
        out = os.open(acknowledged, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            work(what, database, argument, lambda text: os.write(out, text.encode() + b"\\n"))
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if kill_after:
        lines, _, delay = kill_after.partition("+")  # so many acknowledged, and then so many seconds
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        while not ended and int(lines) and Path(acknowledged).read_bytes().count(10) < int(lines):
            time.sleep(0.0002)
            ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        time.sleep(float(delay))
        os.kill(child, signal.SIGKILL)  # a finished child keeps its id until it is waited for
    _, status = os.waitpid(child, 0)
    print(status, time.perf_counter() - began, flush=True)
"""


@pytest.fixture
def folder_path(tmp_path):
    """A folder in memory where there is one: a killed process loses as little there, and it is fast."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as made:
        yield Path(made)


@contextlib.contextmanager
def nursery():
    """An interpreter that has everything loaded and has a child do each enrolment: 50 starts would take a minute."""
    command = [sys.executable, "-c", NURSERY, GALLERY_TESTS, Path(__file__).parent]
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a process with threads had better not fork
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread) as process:
        yield process
        process.stdin.close()


def run(process, what, database, argument, *, kill_after=""):
    """Have a child work; returns what it acknowledged, how it ended, and the seconds it took."""
    told = database.with_suffix(".acknowledged")
    told.write_text("")
    process.stdin.write(f"{what}\t{database}\t{argument}\t{told}\t{kill_after}\n")
    process.stdin.flush()
    status, seconds = process.stdout.readline().split()
    return told.read_text().splitlines(), int(status), float(seconds)


def moment(rng, steps):
    """A random moment of work in so many steps: behind one of them, and a little later."""
    return f"{rng.randrange(steps)}+{rng.uniform(0, 0.01)}"


def enrol(process, database, folder, *, kill_after=""):
    done, status, seconds = run(process, "folder", database, folder, kill_after=kill_after)
    return set(done), status, seconds


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_kill_during_enrol_folder(folder_path):
    folder = fakes.people_folder(folder_path / "people", PEOPLE)
    rng = random.Random(20260101)
    hits = 0
    with nursery() as process:
        done, status, _ = enrol(process, folder_path / "undisturbed.db", folder)
        assert (done, status) == (PEOPLE.keys(), 0)
        check(folder_path / "undisturbed.db", done, folder)
        database, acknowledged = folder_path / "0.db", set()
        kills = trial = 0
        while kills < KILLS:
            done, status, _ = enrol(process, database, folder, kill_after=moment(rng, len(PEOPLE)))
            if status:
                assert os.WTERMSIG(status) == signal.SIGKILL
                kills += 1
                hits += 0 < len(done) < len(PEOPLE)
            acknowledged |= done
            check(database, acknowledged, folder)
            if len(acknowledged) == len(PEOPLE) or rng.random() < 0.5:  # else the next goes on where this one died
                trial += 1
                database, acknowledged = folder_path / f"{trial}.db", set()
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
            (match,) = gallery.identify_embeddings(fakes.embedding(name, "0"), threshold=0.99, rule="max")
            assert match.name == name
    db = sqlite3.connect(database)
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    finally:
        db.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_kill_during_any_operation(folder_path):
    """What is found afterwards is the state after the acknowledged operations, or after one more: never between."""
    rng = random.Random(20260102)
    hits = set()
    with nursery() as process:
        for trial in range(HISTORIES):
            folder = folder_path / str(trial)
            folder.mkdir()
            planned, states = operations.history(trial)
            kill_after = "" if trial < 3 else moment(rng, len(planned))
            done, status, _ = run(process, "history", folder / "people.db", trial, kill_after=kill_after)
            assert kill_after or status == 0
            assert status in (0, signal.SIGKILL)
            if status and len(done) < len(planned):
                hits.add(planned[len(done)][0])
            if not (folder / "people.db").exists():
                assert not done
                continue
            with Gallery.open(folder / "people.db") as gallery:
                allowed = [operations.without_numbers(state) for state in states[len(done) : len(done) + 2]]
                assert operations.found(gallery) in allowed
                assert gallery.check().problems == ()
            for step, operation in enumerate(planned):
                copy = folder / f"copy {step}.db"
                if operation[0] != "backup":
                    continue
                assert copy.exists() or step >= len(done)
                if copy.exists():
                    with Gallery.open(copy, readonly=True) as gallery:
                        assert operations.found(gallery) == operations.without_numbers(states[step])
    assert len(hits) >= 6  # the kills did hit many kinds of work


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_kill_while_an_old_file_is_brought_up_to_date(folder_path):
    people = {
        f"p{i}": [(f"{i}-{j}", f"{j:064x}", None, None, fakes.embedding(f"p{i}", str(j))) for j in range(20)]
        for i in range(50)
    }
    old = version_1.write(folder_path / "old.db", fakes.IDENTITY, people)
    rng = random.Random(20260103)
    versions = set()
    with nursery() as process:
        shutil.copy(old, folder_path / "undisturbed.db")
        done, status, seconds = run(process, "upgrade", folder_path / "undisturbed.db", "")
        assert (done, status) == (["upgraded"], 0)
        for trial in range(UPGRADES):
            database = folder_path / f"{trial}.db"
            shutil.copy(old, database)
            done, status, _ = run(process, "upgrade", database, "", kill_after=f"0+{rng.uniform(0, seconds)}")
            db = sqlite3.connect(database)
            (version,) = db.execute("PRAGMA user_version").fetchone()
            assert db.execute("SELECT count(*) FROM faces").fetchone() == (1000,)
            db.close()
            versions.add(version)
            assert version == schema.VERSION or not done
            with Gallery.open(database) as gallery:
                assert gallery.check().problems == ()
                assert len(gallery) == 50
                assert [f.picture for f in gallery.faces("p7")] == [f"7-{j}" for j in range(20)]
    assert versions == {1, schema.VERSION}
