"""What the machine does to a gallery: no room, no rights, locks and damage. Clear errors, and nothing lost."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mien.errors import GalleryError, GalleryFileError
from mien.gallery import Gallery

GALLERY_TESTS = Path(__file__).parents[1] / "gallery"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fakes = load(GALLERY_TESTS / "fakes.py")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "people.db"
    with Gallery.open(path, identity=fakes.IDENTITY) as gallery:
        gallery.add_many([(f"p{i}", np.stack([fakes.embedding(f"p{i}", str(j)) for j in range(4)])) for i in range(40)])
    return path


def whole(path):
    with Gallery.open(path) as gallery:
        assert gallery.check().problems == ()
        assert len(gallery) == 40
        assert gallery.identify_embeddings(fakes.embedding("p7", "x"), threshold=0.6)[0].name == "p7"


def test_a_file_that_may_not_grow(file):
    """The system's own limit (RLIMIT_FSIZE): as a quota or a full disk, the write fails in the middle."""
    script = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from fakes import embedding, IDENTITY
from mien.errors import GalleryFileError
from mien.gallery import Gallery
with Gallery.open(sys.argv[1], identity=IDENTITY) as gallery:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    rows = [(f"big{i}", embedding(f"big{i}")) for i in range(3000)]
    for act in (lambda: gallery.add_many(rows), lambda: gallery.backup(sys.argv[1] + ".copy"), gallery.home.vacuum):
        try:
            act()
        except GalleryFileError as error:
            print(error)
        else:
            print("no error")
    assert gallery.identify_embeddings(embedding("p7", "x"), threshold=0.6)[0].name == "p7"
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    gallery.add("after", embedding("after"))
    gallery.remove("after")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, file, GALLERY_TESTS], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all("disk" in line and str(file) in line for line in lines), lines
    assert not list(file.parent.glob("*copy*"))
    assert not list(file.parent.glob(".*part*"))
    whole(file)


@pytest.mark.parametrize("act", ["merge", "remove", "describe", "reject", "rename", "keep_calibration", "log"])
def test_no_room_for_any_change(file, act):
    from mien.gallery import Sighting

    with Gallery.open(file, identity=fakes.IDENTITY) as gallery:
        pages = gallery.home._writer.db.execute("PRAGMA page_count").fetchone()[0]
        gallery.home._writer.db.execute(f"PRAGMA max_page_count = {pages}")
        acts = {
            "merge": lambda i: gallery.merge(f"p{i}", "p39"),
            "remove": lambda i: gallery.remove(f"p{i}"),
            "describe": lambda i: gallery.describe(f"p{i}", consent="y" * 5000),
            "reject": lambda i: gallery.reject("p0", fakes.embedding(f"{i}")),
            "rename": lambda i: gallery.rename(f"p{i}", f"{i}" * 100),
            "keep_calibration": lambda _: gallery.home.keep_calibration("y" * 100_000),
            "log": lambda i: gallery.log([Sighting(float(i), 1, 0.5, "x" * 500)] * 20),
        }
        done, failed = 0, None
        for i in range(30):
            before = [(s.name, s.faces, s.consent) for s in gallery.subjects()]
            try:
                acts[act](i)
                done += 1
            except GalleryFileError as error:
                failed = error
                assert [(s.name, s.faces, s.consent) for s in gallery.subjects()] == before
                break
        assert failed is None or "full" in str(failed)
        assert failed is not None or act in ("merge", "remove", "rename", "keep_calibration")
        assert gallery.check().problems == ()


def test_a_read_only_file_system(file, monkeypatch):
    """As a read-only mount shows itself to SQLite: no right to write."""
    script = """
import sys
from mien.gallery import Gallery
with Gallery.open(sys.argv[1], readonly=True) as gallery:
    print(len(gallery))
"""
    os.chmod(file, 0o400)
    os.chmod(file.parent, 0o500)
    try:
        command = [sys.executable, "-c", script, str(file)]
        if os.geteuid() == 0:  # the superuser may write anywhere: become somebody else
            os.chown(file, 65534, 65534)
            os.chown(file.parent, 65534, 65534)
            pytest.skip("the superuser may write anywhere")
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout == "40\n", done.stderr
        with pytest.raises(GalleryFileError, match="permissions"):
            Gallery.open(file)
    finally:
        os.chmod(file.parent, 0o700)
        os.chmod(file, 0o600)


def test_every_write_of_a_readonly_gallery_is_refused(file):
    with Gallery.open(file, readonly=True, identity=fakes.IDENTITY) as gallery:
        for act in (
            lambda: gallery.describe("p1", consent="x"),
            lambda: gallery.merge("p1", "p2"),
            lambda: gallery.reject("p1", fakes.embedding("x")),
            lambda: gallery.ignore("x", fakes.embedding("x")),
            lambda: gallery.move_faces([1], "p2"),
            lambda: gallery.remove_faces([1]),
            lambda: gallery.home.keep_calibration("x"),
            lambda: gallery.log([]),
            gallery.home.vacuum,
        ):
            with pytest.raises(GalleryError, match="readonly"):
                act()
        assert gallery.backup(file.with_name("copy.db")).exists()  # copying changes nothing
        assert gallery.check().ok


def test_a_damaged_page_is_told_when_it_is_met(file):
    """A page of embeddings in the middle goes bad while the gallery is open: errors that say so, no wrong answers."""
    with Gallery.open(file) as gallery:
        gallery.home._writer.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = file.stat().st_size
    data = bytearray(file.read_bytes())
    rng = np.random.default_rng(0)
    outcomes, messages = set(), []
    for page in range(1, size // 4096):
        hurt = bytearray(data)
        hurt[page * 4096 : (page + 1) * 4096] = rng.bytes(4096)
        copy = file.with_name(f"hurt{page}.db")
        copy.write_bytes(hurt)
        try:
            gallery = Gallery.open(copy)
        except GalleryFileError as error:
            outcomes.add("refused")
            messages.append(str(error))
            continue
        with gallery:
            assert gallery.check().problems
            outcomes.add("found by check")
            try:
                assert gallery.identify_embeddings(fakes.embedding("p7", "x"), threshold=0.6)[0].name == "p7"
            except GalleryFileError as error:  # a name is read when it is needed
                outcomes.add("told")
                messages.append(str(error))
    assert outcomes == {"refused", "found by check", "told"}
    assert all("damaged" in message and str(file.parent) in message for message in messages)


def test_threads_and_processes_at_once(tmp_path):
    """Five seconds of `benchmarks/gallery_stress.py`."""
    stress = load(BENCHMARKS / "gallery_stress.py")
    problems, counts = stress.stress(tmp_path / "people.db", seconds=5)
    assert problems == []
    assert all(counts.values()), counts
