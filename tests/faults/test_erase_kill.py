"""kill -9 while somebody is erased or enrolled, or the master key changed, in plain and in encrypted galleries.

After the next opening the person is there, whole, or nowhere: no row, no byte, no key; everybody else is whole.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from mien.errors import GalleryFileError
from mien.gallery.audit import verify_chain
from mien.gallery.homes.sqlite import SqliteHome
from mien.gallery.privacy.key_file import key_states
from mien.gallery.privacy.master import MasterKey
from mien.gallery.privacy.proof import prove_erased
from mien.gallery.privacy.sealer import EncryptedSealer
from mien.gallery.records import FaceRecord
from mien.gallery.sealing import PLAIN
from mien.types import ModelIdentity

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

KILLS = int(os.environ.get("MIEN_KILLS", "16"))
MASTER, OTHER = MasterKey("a", bytes(range(32))), MasterKey("b", bytes(range(1, 33)))
IDENTITY = ModelIdentity("fake", "fast", "0" * 64, 128)
PEOPLE = [f"person number {i}" for i in range(8)]
VICTIM = PEOPLE[3]

NURSERY = """
import os, signal, sys, time
import numpy as np
from mien.gallery.homes.sqlite import SqliteHome
from mien.gallery.privacy.erasure import erase
from mien.gallery.privacy.master import MasterKey
from mien.gallery.privacy.sealer import EncryptedSealer
from mien.gallery.records import FaceRecord
from mien.gallery.sealing import PLAIN
from mien.types import ModelIdentity

A, B = MasterKey("a", bytes(range(32))), MasterKey("b", bytes(range(1, 33)))
IDENTITY = ModelIdentity("fake", "fast", "0" * 64, 128)

DISK = {"execute", "executemany", "fsync", "write", "ftruncate", "unlink", "rename", "replace", "link"}
steps = 0

def die_at(last):
    # Counts the calls that touch the disk, before and after each, and dies at one of them.
    def watch(frame, event, what):
        global steps
        if event in ("c_call", "c_return") and what.__name__ in DISK:
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(watch)

def work(verb, path, encrypted, told, last):
    die_at(last)
    sealer = EncryptedSealer(path + ".keys", A) if encrypted else PLAIN
    home = SqliteHome(path, sealer=sealer)
    if verb == "erase":
        erase(home, "person number 3", receipt=path + "_receipt.json")
        os.write(told, b"person number 3\\n")
    elif verb == "enrol":
        for i in range(40):
            v = np.zeros(128, np.float32); v[i] = 1
            home.add([(f"new {i}", [FaceRecord(v, "p")])], IDENTITY)
            os.write(told, f"new {i}\\n".encode())
    else:
        sealer.rekey(B)
        os.write(told, b"rekeyed\\n")

while line := sys.stdin.readline():
    verb, path, encrypted, acknowledged, kill_after, at_step = line.rstrip("\\n").split("\\t")
    began = time.perf_counter()
    child = os.fork()
    if not child:
        told = os.open(acknowledged, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        work(verb, path, encrypted == "True", told, int(at_step))
        os.write(told, f"steps {steps}\\n".encode())
        os._exit(0)
    if float(kill_after):
        time.sleep(float(kill_after))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print(status, time.perf_counter() - began, flush=True)
"""


@dataclass
class Run:
    status: int
    seconds: float
    steps: int

    def moments(self, rng):
        """Half of the kills at a random time, half at a random call that touches the disk."""
        for i in range(KILLS):
            yield {"kill_after": rng.uniform(0, self.seconds)} if i % 2 else {"at_step": rng.randint(1, self.steps)}


@pytest.fixture(scope="module")
def nursery():
    """An interpreter that has everything loaded and has a child do each piece of work."""
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread) as process:

        def work(verb, path, encrypted, kill_after=0.0, at_step=0):
            told = path.parent.with_suffix(".told")
            told.write_text("")
            process.stdin.write(f"{verb}\t{path}\t{encrypted}\t{told}\t{kill_after}\t{at_step}\n")
            process.stdin.flush()
            status, seconds = process.stdout.readline().split()
            assert int(status) in (0, signal.SIGKILL)
            lines = told.read_text().splitlines()
            steps = next((int(line.split()[1]) for line in lines if line.startswith("steps")), 0)
            return {line for line in lines if not line.startswith("steps")}, Run(int(status), float(seconds), steps)

        yield work
        process.stdin.close()


class Template:
    """A gallery to copy from, with what is to be searched of the one to be erased."""

    def __init__(self, folder, encrypted):
        folder.mkdir()
        self.folder, self.encrypted = folder, encrypted
        rng = np.random.default_rng(5)
        self.needles = [VICTIM.encode(), b"/photos/secret/"]
        with self.opened(folder / "people.db", create=True) as home:
            for name in PEOPLE:
                records = []
                for i in range(6):
                    vector = rng.standard_normal(128).astype(np.float32)
                    vector /= np.linalg.norm(vector)
                    crop = rng.bytes(6000)
                    where = "secret" if name == VICTIM else "open"
                    records.append(FaceRecord(vector, f"/photos/{where}/{i}.jpg", rng.bytes(32).hex(), crop=crop))
                    if name == VICTIM:
                        self.needles += [vector.tobytes()[:200], vector.tobytes()[300:], crop[100:400], crop[5000:5300]]
                home.add([(name, records)], IDENTITY)
            self.victim = home.pseudonym_of(VICTIM)
            self.backup = home.backup(folder.parent / f"backup-{encrypted}.db")

    @contextlib.contextmanager
    def opened(self, path, *, master=MASTER, create=False):
        sealer = EncryptedSealer(f"{path}.keys", master, create=create) if self.encrypted else PLAIN
        with contextlib.closing(SqliteHome(path, sealer=sealer)) as home:
            yield home

    def copy(self, to):
        shutil.copytree(self.folder, to)
        return to / "people.db"

    def left(self, folder):
        contents = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        return {name for name, content in contents.items() for needle in self.needles if needle in content}

    def check(self, home, expected):
        found = {s.name: s for s in home.subjects()}
        assert found.keys() == set(expected)
        for name in set(found) & set(PEOPLE):
            faces = home.faces(name)
            assert len(faces) == 6
            assert np.allclose(np.linalg.norm(home.embeddings([f.id for f in faces]), axis=1), 1, atol=1e-5)
            assert all(len(home.crop(f.id)) == 6000 for f in faces)
        assert verify_chain(home.audit()).whole
        assert not home.check().problems


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def template(request, tmp_path):
    return Template(tmp_path / "template", request.param)


def test_kill_during_erase(template, nursery, tmp_path):
    rng = random.Random(20260202)
    path = template.copy(tmp_path / "undisturbed")
    done, run = nursery("erase", path, template.encrypted)
    assert (done, run.status) == ({VICTIM}, 0)
    assert not template.left(path.parent)
    gone = hits = 0
    for trial, moment in enumerate(run.moments(rng)):
        path = template.copy(tmp_path / str(trial))
        done, _ = nursery("erase", path, template.encrypted, **moment)
        with template.opened(path) as home:
            erased = VICTIM not in {s.name for s in home.subjects()}
            assert erased or not done
            template.check(home, set(PEOPLE) - ({VICTIM} if erased else set()))
            if template.encrypted:
                assert key_states(f"{path}.keys")[template.victim] != erased
            if erased:
                assert not template.left(path.parent)  # while it is open
        gone += erased
        hits += bool(erased and not done)
        if erased:
            assert not template.left(path.parent)
            assert prove_erased(f"{path}_receipt.json", path).proven
            if template.encrypted:
                nobody_can_read(template.backup, f"{path}.keys", template.victim)
        shutil.rmtree(path.parent)
    assert gone < KILLS
    assert hits  # some were killed behind the point of no return


def nobody_can_read(backup, keys, pseudonym):
    with contextlib.closing(sqlite3.connect(backup)) as db:
        rows = db.execute(
            "SELECT f.id, embedding FROM faces f JOIN subjects s ON s.id = subject_id WHERE pseudonym = ?", (pseudonym,)
        ).fetchall()
    assert len(rows) == 6
    sealer = EncryptedSealer(keys, MASTER)
    for i, blob in rows:
        with pytest.raises(GalleryFileError, match="destroyed"):
            sealer.open(pseudonym, blob, f"faces.embedding/{i}")
    sealer.close()


def test_kill_during_encrypted_enrolment(nursery, tmp_path):
    template = Template(tmp_path / "template", encrypted=True)
    rng = random.Random(3)
    path = template.copy(tmp_path / "undisturbed")
    everybody, run = nursery("enrol", path, encrypted=True)
    assert len(everybody) == 40
    for trial, moment in enumerate(run.moments(rng)):
        path = template.copy(tmp_path / str(trial))
        done, _ = nursery("enrol", path, True, **moment)
        with template.opened(path) as home:
            new = {s.name for s in home.subjects()} - set(PEOPLE)
            assert done <= new <= everybody
            assert len(new) <= len(done) + 1
            template.check(home, set(PEOPLE) | new)


def test_kill_while_the_master_key_is_changed(nursery, tmp_path):
    template = Template(tmp_path / "template", encrypted=True)
    rng = random.Random(4)
    path = template.copy(tmp_path / "undisturbed")
    _, run = nursery("rekey", path, encrypted=True)
    with template.opened(path, master=OTHER) as home:  # left alone, it is changed
        template.check(home, PEOPLE)
    for trial, moment in enumerate(run.moments(rng)):
        path = template.copy(tmp_path / str(trial))
        done, _ = nursery("rekey", path, True, **moment)
        try:
            with template.opened(path, master=OTHER) as home:
                template.check(home, PEOPLE)
        except GalleryFileError:
            assert not done
            with template.opened(path) as home:
                template.check(home, PEOPLE)
        assert sorted(p.name for p in path.parent.iterdir()) == ["people.db", "people.db.keys"]
