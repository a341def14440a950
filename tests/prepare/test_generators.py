"""Pictures made of pictures: decided by seed and name, resumable, and the clean one beside."""

from __future__ import annotations

import os

import numpy as np
import pytest

from mien.errors import InputError
from mien.images import decode, save
from mien.prepare.generators import KINDS, GeneratorOptions, generate
from mien.prepare.manifest import read_manifest
from mien.types import Image


@pytest.fixture
def folder(tmp_path, astronaut):
    pixels = np.ascontiguousarray(decode(astronaut).pixels[0:260, 100:360])
    for name in ("Ada/1.jpg", "张伟/图 1.png", "张伟/2.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save(Image(pixels), path)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"nothing")
    return tmp_path / "in"


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_makes_pairs(folder, tmp_path, kind):
    report = generate(folder, tmp_path / "out", GeneratorOptions(kind=kind, copies=2))
    assert (report.made, report.errors, report.skipped, report.before) == (3, 1, 0, 0)
    entries = {e["source"]: e for e in read_manifest(tmp_path / "out")}
    assert entries["broken.jpg"]["decision"] == "error"
    entry = entries["张伟/图 1.png"]
    clean = decode(tmp_path / "out" / entry["clean"]).pixels
    assert np.array_equal(clean, decode(folder / "张伟/图 1.png").pixels)
    assert entry["outputs"] == [f"{kind}/张伟/图 1.png~1.png", f"{kind}/张伟/图 1.png~2.png"]
    first, second = (decode(tmp_path / "out" / o).pixels for o in entry["outputs"])
    assert not np.array_equal(first, clean)
    assert np.array_equal(first, second) == (kind == "grey")


def test_workers_and_order_do_not_matter(folder, tmp_path):
    generate(folder, tmp_path / "one", GeneratorOptions(seed=5))
    generate(folder, tmp_path / "two", GeneratorOptions(seed=5), workers=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    generate(folder, tmp_path / "other", GeneratorOptions(seed=6))
    assert files(tmp_path / "one") != files(tmp_path / "other")


def test_a_second_run_makes_only_what_is_new(folder, tmp_path, astronaut):
    generate(folder, tmp_path / "out")
    save(decode(astronaut), folder / "new.png")
    report = generate(folder, tmp_path / "out")
    assert (report.made, report.before) == (1, 4)
    with pytest.raises(InputError, match="other settings"):
        generate(folder, tmp_path / "out", GeneratorOptions(seed=9))
    assert generate(folder, tmp_path / "x", dry_run=True).made == 5
    assert not (tmp_path / "x").exists()


def test_folders_that_cannot_be_used(folder, tmp_path):
    with pytest.raises(InputError, match="lies in the folder"):
        generate(folder, folder / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        generate(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="kind"):
        GeneratorOptions(kind="snow")


@pytest.mark.parametrize("kind", ["mask", "hat", "glasses"])
def test_what_is_worn_needs_a_face(tmp_path, hopper, kind):
    (tmp_path / "in").mkdir()
    save(Image(np.full((120, 120, 3), 90, np.uint8)), tmp_path / "in" / "wall.png")
    save(Image(decode(hopper).pixels[::2, ::2]), tmp_path / "in" / "grace.png")
    report = generate(tmp_path / "in", tmp_path / "out", GeneratorOptions(kind=kind))
    assert (report.made, report.skipped) == (1, 1)
    clean, made = (decode(next((tmp_path / "out" / name).rglob("*.png"))).pixels for name in ("clean", kind))
    assert 0.01 < (clean != made).any(2).mean() < 0.9


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_link_to_itself_is_refused_as_a_target(folder, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="loop"):
        generate(folder, tmp_path / "loop")
