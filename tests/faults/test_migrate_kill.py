"""kill -9 while a gallery changes its model and back, plain and encrypted: it is whole, with the old model or the new.

Killed at random calls that touch the disk (before or after each) and at random times. MIEN_KILLS asks for more.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mien.gallery.homes.sqlite import SqliteHome
from mien.gallery.migration import forget_old, rollback, stage
from mien.gallery.privacy.master import MasterKey
from mien.gallery.privacy.sealer import EncryptedSealer
from mien.gallery.records import FaceRecord
from mien.gallery.sealing import PLAIN
from mien.types import Face

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

KILLS = int(os.environ.get("MIEN_KILLS", "16"))

# Both models, and the work, for this process and for the one that is killed.
SHARED = """
import hashlib
import numpy as np
from mien.types import Analysis, Faces, ModelIdentity

OLD, NEW = (ModelIdentity(name, "fast", hashlib.sha256(name.encode()).hexdigest(), 32) for name in ("old", "new"))

def vector(model, text):
    row = np.random.default_rng(list(f"{model.name} {text}".encode())).standard_normal(32)
    return (row / np.linalg.norm(row)).astype(np.float32)

class Analyzer:
    def __init__(self, identity):
        self.identity = identity

    def analyze(self, images):
        for image in images:
            face = Faces([[0, 0, 100, 100]], [1], np.zeros((1, 5, 2)))
            yield Analysis("crop", (100, 100), face, vector(self.identity, bytes(image).decode())[None])
"""

NURSERY = (
    SHARED
    + """
import os, signal, sys, time
from mien.gallery import migration
from mien.gallery.homes.sqlite import SqliteHome
from mien.gallery.privacy.master import MasterKey
from mien.gallery.privacy.sealer import EncryptedSealer
from mien.gallery.sealing import PLAIN

migration._AT_ONCE = 5
DISK = {"execute", "executemany", "fsync", "write", "ftruncate", "unlink", "rename", "replace", "link"}
steps = 0

def die_at(last):
    def watch(frame, event, what):
        global steps
        if event in ("c_call", "c_return") and what.__name__ in DISK:
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(watch)

def work(path, encrypted, tell, last):
    key = MasterKey("m", bytes(range(32)))
    home = SqliteHome(path, sealer=EncryptedSealer(path + ".keys", key) if encrypted else PLAIN)
    die_at(last)
    migration.stage(home, Analyzer(NEW))
    tell("staged")
    migration.confirm(home, no_threshold=True)
    tell("confirmed")
    migration.rollback(home)
    tell("rolled back")
    migration.confirm(home, no_threshold=True)
    tell("confirmed again")
    migration.forget_old(home)
    tell("forgotten")

while line := sys.stdin.readline():
    path, encrypted, acknowledged, kill_after, at_step = line.rstrip("\\n").split("\\t")
    began = time.perf_counter()
    child = os.fork()
    if not child:
        told = os.open(acknowledged, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        work(path, encrypted == "True", lambda text: os.write(told, text.encode() + b"\\n"), int(at_step))
        sys.setprofile(None)
        os.write(told, f"steps {steps}\\n".encode())
        os._exit(0)
    if float(kill_after):
        time.sleep(float(kill_after))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print(status, time.perf_counter() - began, flush=True)
"""
)

shared: dict = {}
exec(SHARED, shared)
OLD, NEW, Analyzer, vector = shared["OLD"], shared["NEW"], shared["Analyzer"], shared["vector"]

PEOPLE = {f"person {i}": [f"person {i} face {j}" for j in range(1 + i % 4)] for i in range(12)}
# After how many acknowledged steps which model is in use, and what the second set is then ("part": still growing).
STATES = [(OLD, {None, "part"}), (OLD, {"new"}), (NEW, {"old"}), (OLD, {"new"}), (NEW, {"old"}), (NEW, {None})]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    """An interpreter that has everything loaded and has a child do each piece of work."""
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    told = tmp_path_factory.mktemp("told") / "acknowledged"
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread
    ) as process:

        def work(path, encrypted, kill_after=0.0, at_step=0):
            told.write_text("")
            process.stdin.write(f"{path}\t{encrypted}\t{told}\t{kill_after}\t{at_step}\n")
            process.stdin.flush()
            status, seconds = process.stdout.readline().split()
            return told.read_text().splitlines(), int(status), float(seconds)

        yield work
        process.stdin.close()


def opened(path, encrypted):
    sealer = EncryptedSealer(f"{path}.keys", MasterKey("m", bytes(range(32))), create=not Path(path).exists())
    return contextlib.closing(SqliteHome(path, sealer=sealer if encrypted else PLAIN))


def whole(path, encrypted, acknowledged):
    """Check a gallery after a kill: it is as after the acknowledged steps, or after one more."""
    with opened(path, encrypted) as home:
        assert home.check().problems == ()
        assert {s.name: list(s.pictures) for s in home.subjects()} == PEOPLE
        faces = [face for name in PEOPLE for face in home.faces(name)]
        rows, there, second = home.embeddings([f.id for f in faces]), home.staged(), {}
        if there is not None:
            second = home.staged_embeddings([f.id for f in faces])
        for face, row in zip(faces, rows, strict=True):
            np.testing.assert_array_equal(row, vector(home.identity, face.picture))
            assert home.crop(face.id) == face.picture.encode()
            if face.id in second:
                np.testing.assert_array_equal(second[face.id], vector(there.identity, face.picture))
        role = None if there is None else there.role
        if role == "new" and there.missing:
            role = "part"
        found = [STATES[step] for step in (acknowledged, acknowledged + 1) if step < len(STATES)]
        assert any(model == home.identity and role in roles for model, roles in found), (home.identity, role)
        # It goes on from here: nothing that was kept is lost.
        if home.identity == OLD:
            report = stage(home, Analyzer(NEW))
            assert (report.complete, report.there) == (True, len(second))
        elif there is not None:
            rollback(home)
    if role == "old":
        with opened(path, encrypted) as home:
            assert home.identity == OLD
            rows = home.embeddings([f.id for f in faces])
            np.testing.assert_array_equal(rows, [vector(OLD, f.picture) for f in faces])


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_killed_at_any_moment_of_a_change(nursery, tmp_path, encrypted):
    if encrypted:
        pytest.importorskip("cryptography", reason="needs cryptography: pip install 'mien[crypto]'")
    template = tmp_path / "template"
    template.mkdir()
    with opened(template / "people.db", encrypted) as home:
        for name, texts in PEOPLE.items():
            face = Face((0.0, 0.0, 100.0, 100.0), 1.0, ())
            home.add([(name, [FaceRecord(vector(OLD, t), t, None, face, crop=t.encode()) for t in texts])], OLD)
    shutil.copytree(template, tmp_path / "undisturbed")
    told, status, seconds = nursery(tmp_path / "undisturbed" / "people.db", encrypted)
    assert (status, len(told)) == (0, 6), told
    steps = int(told[-1].split()[1])
    rng, seen = random.Random(20261122 + encrypted), set()
    for trial in range(KILLS):
        folder = tmp_path / str(trial)
        shutil.copytree(template, folder)
        moment = {"kill_after": rng.uniform(0, seconds)} if trial % 4 == 3 else {"at_step": rng.randint(1, steps)}
        told, status, _ = nursery(folder / "people.db", encrypted, **moment)
        told = [line for line in told if not line.startswith("steps")]
        assert status in (0, signal.SIGKILL)
        seen.add(len(told))
        whole(folder / "people.db", encrypted, len(told))
        shutil.rmtree(folder)
    assert len(seen) >= 3  # the kills did hit many kinds of work


def test_the_last_step_leaves_one_model(nursery, tmp_path):
    with opened(tmp_path / "people.db", False) as home:
        face = Face((0.0, 0.0, 100.0, 100.0), 1.0, ())
        home.add(
            [(n, [FaceRecord(vector(OLD, t), t, None, face, crop=t.encode()) for t in f]) for n, f in PEOPLE.items()],
            OLD,
        )
    _, status, _ = nursery(tmp_path / "people.db", False)
    assert status == 0
    with opened(tmp_path / "people.db", False) as home:
        assert (home.identity, home.staged()) == (NEW, None)
        with pytest.raises(Exception, match="no second model"):
            forget_old(home)
