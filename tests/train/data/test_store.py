"""Stores of pixels: as if never stopped, whatever happened on the way."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError
from mien.images import list_images
from mien.train.backbones import InputSpec
from mien.train.data import Source, open_training_set

SPEC = InputSpec.plain(32)


def opened(folder, cache, **more):
    return open_training_set([Source(path=str(folder), aligned=True)], spec=SPEC, cache=cache, decode_once=True, **more)


def pictures(data):
    return np.stack([data.picture(i) for i in range(len(data))])


def files(cache):
    (store,) = cache.iterdir()
    return {p.name: p.read_bytes() for p in store.iterdir() if p.name != ".lock"}


@pytest.fixture(scope="module")
def many(tmp_path_factory, write_people):
    """700 pictures, two of them unreadable."""
    folder = write_people(tmp_path_factory.mktemp("many") / "people", {"Ada": 300, "Ben": 400}, 16)
    for name in ("Ada/0007.jpg", "Ben/0399.jpg"):
        (folder / name).write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def whole(many, tmp_path_factory):
    cache = tmp_path_factory.mktemp("whole") / "cache"
    return pictures(opened(many, cache)), files(cache)


def test_a_store_holds_what_decoding_gives(many, tmp_path, whole):
    told = []
    stored = opened(many, tmp_path / "c", progress=lambda *now: told.append(now), workers=2)
    assert told == [(256, 700), (512, 700), (700, 700)]
    assert len(stored) == 698
    assert [left.name.split("/")[-1] for left in stored.left_out] == ["0007.jpg", "0399.jpg"]
    assert all("expected a picture" in left.reason for left in stored.left_out)
    direct = open_training_set([Source(path=str(many), aligned=True)], spec=SPEC)
    readable = [i for i in range(700) if i not in (7, 699)]
    assert np.array_equal(pictures(stored), np.stack([direct.picture(i) for i in readable]))
    assert np.array_equal(stored.labels, direct.labels[readable])
    assert stored.name(7) == direct.name(8)
    again = opened(many, tmp_path / "c", progress=lambda *_: pytest.fail("made again"))
    assert np.array_equal(pictures(again), whole[0])
    assert again.left_out == stored.left_out


def test_a_run_that_was_killed_goes_on_where_it_was(many, tmp_path, whole):
    child = multiprocessing.get_context("fork").Process(
        target=opened, args=(many, tmp_path / "c"), kwargs={"progress": lambda *_: os.kill(os.getpid(), signal.SIGKILL)}
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    (store,) = (tmp_path / "c").iterdir()
    # As if it had died later, half way into the next piece of work.
    for name, rest in (("pictures.u8", b"half a picture"), ("rows.i64", b"xyz"), ("journal.jsonl", b'{"done": 51')):
        with (store / name).open("ab") as file:
            file.write(rest)
    told = []
    found = opened(many, tmp_path / "c", progress=lambda *now: told.append(now))
    assert told == [(512, 700), (700, 700)]
    assert np.array_equal(pictures(found), whole[0])
    assert files(tmp_path / "c") == whole[1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "pictures.u8").unlink(),
        lambda f: (f / "rows.i64").write_bytes(b""),
        lambda f: (f / "journal.jsonl").write_bytes(b"\xff\xfe no json\n"),
        lambda f: (f / "journal.jsonl").write_text('{"mien_store": 99}\n'),
        lambda f: (f / "journal.jsonl").unlink(),
        lambda f: (f / "journal.jsonl").write_text(
            (f / "journal.jsonl").read_text().splitlines()[0]
            + "\n"
            + json.dumps({"done": 700, "rows": 10**12, "left_out": []})
            + "\n"
        ),
        lambda f: (f / "journal.jsonl").write_text(
            (f / "journal.jsonl").read_text().splitlines()[0] + '\n{"done": -4, "rows": "x", "left_out": 3}\n'
        ),
    ],
)
def test_a_damaged_store_is_made_anew(many, tmp_path, whole, damage):
    opened(many, tmp_path / "c")
    (store,) = (tmp_path / "c").iterdir()
    damage(store)
    assert np.array_equal(pictures(opened(many, tmp_path / "c")), whole[0])
    assert files(tmp_path / "c") == whole[1]


def test_other_pictures_or_another_network_are_another_store(tmp_path, write_people):
    folder = write_people(tmp_path / "people", {"Ada": 3})
    first = opened(folder, tmp_path / "c")
    assert len(first) == 3
    (folder / "Ada" / "0003.jpg").write_bytes((folder / "Ada" / "0001.jpg").read_bytes())
    assert len(opened(folder, tmp_path / "c")) == 4
    grey = open_training_set(
        [Source(path=str(folder), aligned=True)],
        spec=InputSpec.plain(24, "grey"),
        cache=tmp_path / "c",
        decode_once=True,
    )
    assert grey.picture(0).shape == (24, 24, 1)
    assert len(list((tmp_path / "c").iterdir())) == 3


def test_a_cache_is_needed_and_must_be_a_folder(many, tmp_path):
    with pytest.raises(InputError, match="expected a cache folder"):
        opened(many, None)
    with pytest.raises(InputError, match="expected a cache folder"):
        open_training_set([Source(path=str(many))], spec=SPEC)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be used"):
        opened(many, tmp_path / "file")


def test_a_source_of_unreadable_pictures_is_refused(tmp_path, write_people):
    folder = write_people(tmp_path / "people", {"Ada": 2})
    for path in list_images(folder):
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"no picture of it can be used.*0000\.jpg"):
        opened(folder, tmp_path / "c")


def test_pictures_of_a_store_cannot_be_written_to(many, tmp_path):
    data = opened(many, tmp_path / "c")
    with pytest.raises(ValueError, match="read-only"):
        data.picture(0)[:] = 0
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 5
