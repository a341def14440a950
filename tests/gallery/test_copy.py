"""Copying a gallery between homes: everything that the destination keeps, once, also after kill -9."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mien.errors import GalleryError, GalleryModelError
from mien.gallery import copying
from mien.gallery.copying import copy
from mien.gallery.home import Counts, Sighting
from mien.gallery.homes import open_home
from mien.gallery.recall import recall_of
from mien.gallery.records import FaceRecord
from mien.types import Face, ModelIdentity

HOMES = ("sqlite", "postgresql", "milvus")


@pytest.fixture
def new_home(request, tmp_path):
    """Opens new galleries by the home's name."""
    homes, count = [], itertools.count()

    def new(kind):
        if kind == "sqlite":
            url = str(tmp_path / f"{next(count)}.db")
        else:
            url = request.getfixturevalue("postgres_url" if kind == "postgresql" else "milvus_url")()
        homes.append(open_home(url))
        return homes[-1]

    yield new
    for home in homes:
        home.close()


def fill(home, fakes, people=12, crops=True):
    """A gallery with something of everything."""
    for start in range(0, people, 200):
        home.add(
            [
                (
                    f"p{i} 面",
                    [
                        FaceRecord(
                            fakes.embedding(str(i), str(j)),
                            f"{i}/{j}.jpg",
                            sha256=f"{i:032x}{j:032x}",
                            face=Face((1.0, 2.0, 3.5, 4.0), 0.5, ()),
                            quality=0.25,
                            crop=bytes([i % 256, j]) if crops and j == 0 else None,
                        )
                        for j in range(3)
                    ],
                )
                for i in range(start, min(people, start + 200))
            ],
            fakes.IDENTITY,
        )
    home.add([("poster", [FaceRecord(fakes.embedding("poster"), "poster.jpg")])], fakes.IDENTITY, told="ignored")
    home.add([("nobody yet", [])], fakes.IDENTITY)
    home.reject("p1 面", FaceRecord(fakes.embedding("twin"), "twin.jpg"))
    home.describe("p2 面", external_id="two", groups=("a", "b"), metadata={"k": [1, "x"]}, expires=9.5, consent="yes")
    home.remove("p3 面")
    home.keep_calibration("points = 1\n")
    if home.capabilities.sightings:
        home.log([Sighting(1.0, home.subject("p1 面").id, 0.5, "cam"), Sighting(2.0, None, 0.25, "cam")])


@pytest.mark.parametrize("there", HOMES)
@pytest.mark.parametrize("here", HOMES)
def test_from_every_home_to_every_home(here, there, new_home, fakes):
    source, destination = new_home(here), new_home(there)
    fill(source, fakes)
    calls = []
    report = copy(source, destination, progress=lambda *seen: calls.append(seen))
    assert destination.identity == fakes.IDENTITY
    assert destination.subjects() == source.subjects()
    assert report.counts == destination.counts() == Counts(12, 1, 34, 1)
    assert (report.copied, report.found, report.crops, calls[-1]) == (35, 0, 11, (35, 35))
    for subject in source.subjects():
        faces = source.faces(subject.name)
        assert destination.faces(subject.name) == faces
        ids = [face.id for face in faces]
        np.testing.assert_array_equal(destination.embeddings(ids), source.embeddings(ids))
        assert [destination.crop(i) for i in ids] == [source.crop(i) for i in ids]
    assert (destination.calibration(), report.calibration) == ("points = 1\n", True)
    assert (report.recall.at_1, report.recall.at_10, report.recall.own) == (1.0, 1.0, 1.0)
    logs = {"sightings": list(source.sightings()), "audit": list(source.audit())} if here != "milvus" else {}
    if there == "milvus":
        assert len(report.left_behind) == 2 * bool(logs) + (here == "sqlite")
        assert (report.audit, report.sightings) == (0, 0)
    elif logs:
        assert list(destination.audit())[: len(logs["audit"])] == logs["audit"]
        assert list(destination.sightings()) == logs["sightings"]
        assert (report.audit, report.sightings) == (len(logs["audit"]), 2)
        assert (report.left_behind == ()) == (there == "sqlite" or here == "postgresql")
    again = copy(source, destination)
    assert (again.copied, again.found, again.counts) == (0, 35, report.counts)
    assert destination.subjects() == source.subjects()
    if there != "milvus" and logs:
        assert list(destination.sightings()) == logs["sightings"]


def test_what_cannot_be_copied_is_refused(new_home, fakes):
    source = new_home("sqlite")
    with pytest.raises(GalleryError, match="nothing to copy"):
        copy(source, new_home("sqlite"))
    fill(source, fakes)
    strangers = new_home("sqlite")
    strangers.add([("Mallory", [FaceRecord(fakes.embedding("m"), "m")])], fakes.IDENTITY)
    with pytest.raises(GalleryError, match="Mallory"):
        copy(source, strangers)
    assert strangers.counts().people == 1
    other = new_home("sqlite")
    other.pin(ModelIdentity("other", "fast", "f" * 64, 32))
    with pytest.raises(GalleryModelError, match="other"):
        copy(source, other)
    done = new_home("sqlite")
    copy(source, done)
    with pytest.raises(GalleryError, match="already"):
        copy(source, done, resume=False)
    source.rename("p4 面", "another")
    with pytest.raises(GalleryError, match="p4"):
        copy(source, done)


def test_a_source_that_changes_meanwhile_is_noticed(new_home, fakes):
    source, destination = new_home("sqlite"), new_home("sqlite")
    fill(source, fakes)
    with pytest.raises(GalleryError, match="changed"):
        copy(source, destination, progress=lambda *_: source.describe("p5 面", consent="changed my mind"))


class Lossy:
    """A home that finds only subjects with even numbers."""

    def __init__(self, home):
        self._home = home

    def search(self, probes, *, k):
        return [[c for c in found if c.subject_id % 2 == 0] for found in self._home.search(probes, k=k)]


def test_recall_is_less_than_one_where_search_misses(new_home, fakes):
    home = new_home("sqlite")
    fill(home, fakes, people=40)
    assert recall_of(home, home, probes=30).at_10 == 1.0
    lossy = recall_of(home, Lossy(home), probes=10_000)
    assert lossy.probes == 118
    assert 0.3 < lossy.at_1 < 0.7
    assert 0.3 < lossy.at_10 < 0.7
    assert 0.3 < lossy.own < 0.7
    alone = new_home("sqlite")
    alone.add([("Ada", [FaceRecord(fakes.embedding("Ada"), "x")])], fakes.IDENTITY)
    assert recall_of(alone, alone) is None


COPIER = """
import sys
import mien.gallery.copying as copying
from mien.gallery.homes import open_home

copying._BATCH = 64
source, destination = sys.argv[1:]
with_progress = lambda *seen: print(*seen, flush=True)
try:
    a, b = open_home(source, readonly=True), open_home(destination)
    copying.copy(a, b, progress=with_progress, probes=0)
finally:
    print("end", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("there", ["sqlite", "postgresql"])
def test_killed_in_the_middle_it_goes_on(there, new_home, fakes, request, tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "_BATCH", 64)
    source = new_home("sqlite")
    fill(source, fakes, people=500)
    url = request.getfixturevalue("postgres_url")() if there == "postgresql" else str(tmp_path / "there.db")
    rng = random.Random(4)
    cut = 0
    for _ in range(4):
        command = [sys.executable, "-c", COPIER, source.source, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            line = ""
            for _ in range(rng.randrange(1, 12)):
                line = child.stdout.readline()  # one a batch
            time.sleep(rng.uniform(0, 0.01))
            os.kill(child.pid, signal.SIGKILL)
            cut += not line.startswith("end")
    assert cut >= 2
    destination = open_home(url)
    try:
        report = copy(source, destination)
        assert report.copied + report.found == 1500 - 3 + 2
        assert report.found >= 64
        assert destination.subjects() == source.subjects()
        assert list(destination.sightings()) == list(source.sightings())
        assert report.recall.at_10 == 1.0
    finally:
        destination.close()
    if there == "sqlite":
        db = sqlite3.connect(Path(url))
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        db.close()
