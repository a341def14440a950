"""Batches: the same whatever the number of workers and processes, and wherever a run goes on."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import psutil
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter  # noqa: E402

from mien.errors import ImageError, InputError, MienError  # noqa: E402
from mien.images.augment import Augmentation, augmented, generator  # noqa: E402
from mien.train.backbones import InputSpec, normalise  # noqa: E402
from mien.train.data import PK, Balanced, Batches, Mixed, Shuffle, Source, open_training_set  # noqa: E402
from mien.train.data.telling import Unreadable  # noqa: E402
from mien.train.data.workers import _kill  # noqa: E402

AUGMENT = Augmentation(move=0.5, turn=0.3, light=0.5, greys=0.2, blurs=0.3, small=0.2, jpeg=0.3, noise=0.2, cover=0.3)


@pytest.fixture(scope="module")
def data(people):
    return open_training_set([Source(path=str(people), aligned=True)], spec=InputSpec.plain(32))


def listed(batches, epoch=0, start=0):
    found = []
    for batch in batches.epoch(epoch, start):
        assert batch.pictures.dtype == torch.uint8
        found.append((batch.pictures.numpy().copy(), batch.labels.tolist(), batch.indices.tolist()))
    return found


def joined(lists):
    return [each for some in lists for each in some]


def same(a, b):
    assert len(a) == len(b)
    for (pictures, labels, indices), (pictures_b, labels_b, indices_b) in zip(a, b, strict=True):
        assert np.array_equal(pictures, pictures_b)
        assert (labels, indices) == (labels_b, indices_b)


def test_a_batch_is_what_sampler_set_and_augmentation_say(data):
    sampler = Shuffle(data)
    batches = Batches(data, sampler, batch=8, augment=AUGMENT, seed=5)
    assert batches.steps() == 4
    order = sampler.order(2, 5)
    for step, (pictures, labels, indices) in enumerate(listed(batches, 2)):
        expected = order[step * 8 : step * 8 + 8]
        assert indices == expected.tolist()
        assert labels == data.labels[expected].tolist()
        for place, i in enumerate(indices):
            assert np.array_equal(pictures[place], augmented(data.picture(i), AUGMENT, generator(5, 2, i)))
    plain = Batches(data, sampler, batch=8, seed=5)
    pictures, _, indices = listed(plain)[0]
    assert np.array_equal(pictures[3], data.picture(indices[3]))
    assert normalise(torch.from_numpy(pictures), data.spec).shape == (8, 3, 32, 32)


SAMPLERS = {
    "shuffle": Shuffle,
    "balanced": Balanced,
    "pk": lambda data: PK(data, people=3, each=4),
    "mixed": lambda data: Mixed(data, [1.0]),
}


@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
def test_any_number_of_processes_makes_the_same_global_batches(data, make):
    whole = listed(Batches(data, make(data), batch=12, augment=AUGMENT, seed=3), 1)
    for world in (2, 3):
        parts = [
            listed(Batches(data, make(data), batch=12, augment=AUGMENT, seed=3, rank=r, world=world), 1)
            for r in range(world)
        ]
        together = [
            (np.concatenate([p[0] for p in step]), joined(p[1] for p in step), joined(p[2] for p in step))
            for step in zip(*parts, strict=True)
        ]
        same(whole, together)


def test_any_number_of_workers_makes_the_same_batches_and_keeps_the_programs_random_numbers(data):
    sampler = PK(data, people=3, each=4)
    one = Batches(data, sampler, batch=12, augment=AUGMENT, seed=3)
    expected = [listed(one, epoch) for epoch in (0, 1)]
    with Batches(data, sampler, batch=12, augment=AUGMENT, seed=3, workers=2) as two:
        torch.manual_seed(1)
        number = torch.rand(1)
        torch.manual_seed(1)
        same(expected[0], listed(two, 0))
        same(expected[1], listed(two, 1))
        assert torch.equal(torch.rand(1), number)
        half = two.epoch(0)
        next(half)
        same(expected[1][1:], listed(two, 1, start=1))  # a new epoch while another is under way
        with pytest.raises(ValueError, match="another epoch"):
            next(half)


def test_a_run_that_goes_on_at_a_step_sees_the_same(data):
    for make in (Shuffle, Balanced):
        batches = Batches(data, make(data), batch=5, augment=AUGMENT, seed=9)
        whole = listed(batches, 4)
        for start in range(batches.steps() + 1):
            same(whole[start:], listed(batches, 4, start))


def test_epochs_and_repeats_are_changed_differently(data):
    sampler = PK(data, people=5, each=8)  # Ben has one picture
    batches = Batches(data, sampler, batch=40, augment=AUGMENT, seed=1)
    pictures, labels, _ = listed(batches)[0]
    ben = pictures[np.array(labels) == 1]
    assert len(ben) == 8
    assert len({p.tobytes() for p in ben}) > 5
    other = listed(batches, 1)[0][0]
    assert not np.array_equal(pictures, other)


def test_views(data):
    one = listed(Batches(data, Shuffle(data), batch=8, augment=AUGMENT, seed=1))
    two = listed(Batches(data, Shuffle(data), batch=8, augment=AUGMENT, seed=1, views=2))
    for (pictures, labels, _), (both, labels_b, _) in zip(one, two, strict=True):
        assert both.shape == (8, 2, 32, 32, 3)
        assert np.array_equal(both[:, 0], pictures)
        assert not np.array_equal(both[:, 1], pictures)
        assert labels == labels_b


def test_grey_networks_get_one_channel(people):
    data = open_training_set([Source(path=str(people), aligned=True)], spec=InputSpec.plain(32, "grey"))
    pictures, _, indices = listed(Batches(data, Shuffle(data), batch=8, augment=AUGMENT, seed=1))[0]
    assert pictures.shape == (8, 32, 32, 1)
    changed = augmented(np.repeat(data.picture(indices[2]), 3, axis=2), AUGMENT, generator(1, 0, indices[2]))
    assert np.array_equal(pictures[2, :, :, 0], cv2.cvtColor(changed, cv2.COLOR_RGB2GRAY))


@pytest.mark.parametrize(
    "bad",
    [
        {"batch": 0},
        {"batch": 34},
        {"batch": 8, "world": 3},
        {"batch": 8, "seed": -1},
        {"batch": 8, "workers": -1},
        {"batch": 8, "views": 0},
    ],
)
def test_settings_that_do_not_fit_are_refused(data, bad):
    with pytest.raises(InputError, match="expected"):
        Batches(data, Shuffle(data), **bad)
    with pytest.raises(InputError, match="groups of 12"):
        Batches(data, PK(data, people=3, each=4), batch=8)


def test_steps_and_ranks_outside_are_programming_errors(data):
    batches = Batches(data, Shuffle(data), batch=8)
    for call in (
        lambda: batches.epoch(-1),
        lambda: batches.epoch(0, 5),
        lambda: Batches(data, Shuffle(data), batch=8, rank=1),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()
    batches.close()
    with pytest.raises(ValueError, match="closed"):
        next(batches.epoch(0))


@pytest.fixture
def spoilt(tmp_path, write_people):
    folder = write_people(tmp_path / "people", {"Ada": 6, "Ben": 6})
    for name in ("Ada/0003.jpg", "Ben/0005.jpg"):
        (folder / name).write_bytes(b"no picture")
    return open_training_set([Source(path=str(folder), aligned=True)], spec=InputSpec.plain(32))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_picture_ends_the_epoch_and_is_named(spoilt, workers):
    with Batches(spoilt, Shuffle(spoilt), batch=4, workers=workers) as batches:
        for _ in range(2):  # and the next epoch can begin
            with pytest.raises(ImageError, match=r"000[35]\.jpg") as caught:
                listed(batches)
            assert caught.value.reason
            assert "000" in caught.value.source


@pytest.mark.parametrize("workers", [0, 2])
def test_or_it_is_skipped_and_counted(spoilt, workers):
    with Batches(spoilt, Shuffle(spoilt), batch=4, workers=workers, augment=AUGMENT, skip_unreadable=True) as batches:
        shown = listed(batches)
        order = Shuffle(spoilt).order(0, 0).tolist()
        expected = [{3: 4, 11: 0}.get(i, i) for i in order]  # the next one in the set
        assert joined(indices for _, _, indices in shown) == expected
        assert joined(labels for _, labels, _ in shown) == [i // 6 for i in expected]
        assert sorted(name.split("/people/")[1][:12] for name in batches.skipped) == ["Ada/0003.jpg", "Ben/0005.jpg"]


def test_how_many_were_skipped_is_told_once_for_each_count(spoilt):
    said = []
    with Batches(spoilt, Shuffle(spoilt), batch=4, skip_unreadable=True) as batches:
        for epoch in range(3):
            listed(batches, epoch)
            batches.tell_skipped(lambda value: [value], said.append)
    (line,) = said
    assert line.startswith("warning: 2 pictures could not be read, and others were shown in their place: ")
    assert all(name in line for name in ("Ada/0003.jpg", "Ben/0005.jpg"))


def test_several_processes_count_a_picture_once():
    said, told = [], Unreadable()
    for here, elsewhere in ((["a"], ["b"]), (["a", "b"], []), (["a", "b"], ["c", "d"]), (["a", "b"], [])):
        told.tell(here, lambda value, elsewhere=elsewhere: [value, elsewhere], said.append)
    assert [line.partition(" picture")[0] for line in said] == ["warning: 2", "warning: 4"]
    assert said[1].endswith(": a; b; c; and 1 more")


def test_nothing_but_unreadable_pictures_ends_with_an_error(tmp_path, write_people):
    folder = write_people(tmp_path / "people", {"Ada": 3})
    for path in (folder / "Ada").iterdir():
        path.write_bytes(b"no picture")
    data = open_training_set([Source(path=str(folder), aligned=True)], spec=InputSpec.plain(32))
    with pytest.raises(InputError, match="in a row"):
        listed(Batches(data, Shuffle(data), batch=2, skip_unreadable=True))


def children():
    return {p.pid for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE}


# PyTorch's handler of SIGCHLD may raise inside a destructor as well.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_workers_end_with_the_batches_and_a_dead_one_is_told(data):
    before = children()
    cv2.setNumThreads(2)
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 5)  # OpenCV's threads are there before the fork
    batches = Batches(data, Shuffle(data), batch=4, augment=AUGMENT, workers=2)
    steps = batches.epoch(0)
    next(steps)
    assert cv2.getNumThreads() == 2
    assert len(children() - before) == 2
    for worker in children() - before:  # as a service manager does, to all processes: the main one decides
        os.kill(worker, signal.SIGTERM)
    assert len(list(steps)) == batches.steps() - 1
    batches.close()
    assert children() == before
    batches = Batches(data, Balanced(data), batch=4, augment=AUGMENT, workers=2)
    steps = batches.epoch(0)
    next(steps)
    # PyTorch notices either when the next batch is asked for, or at once, by a signal, wherever the program is.
    with pytest.raises((MienError, RuntimeError), match="DataLoader worker"):
        _kill_and_go_on(children() - before, steps)
    batches.close()
    assert children() == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its destructor is interrupted, too
def test_workers_end_where_pytorch_is_interrupted_while_it_ends_them(data, monkeypatch):
    before = children()
    batches = Batches(data, Shuffle(data), batch=4, augment=AUGMENT, workers=2)
    next(batches.epoch(0))
    assert len(children() - before) == 2

    def interrupted(_self):  # as by its handler of SIGCHLD, which raises wherever the program is
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    with monkeypatch.context() as patch:
        patch.setattr(_MultiProcessingDataLoaderIter, "_shutdown_workers", interrupted)
        batches.close()
        assert children() == before
    batches.close()


def test_workers_end_with_batches_that_nobody_closed(data, monkeypatch):
    before = children()
    untold: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", untold.append)
    for _ in range(4):  # PyTorch's handler of SIGCHLD would raise now and then
        batches = Batches(data, Shuffle(data), batch=4, augment=AUGMENT, workers=2)
        next(batches.epoch(0))
        assert len(children() - before) == 2
        del batches
        gc.collect()
        assert children() == before
    assert not untold


def test_workers_are_killed_though_pytorchs_handler_raises_meanwhile():
    class Worker:
        ended = 0

        def kill(self) -> None:
            self.ended += 1
            if self.ended == 1:
                raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

        def join(self) -> None:
            self.joined = True

    workers = [Worker(), Worker()]
    _kill(workers, os.getpid() + 1)  # as in a fork
    assert not any(worker.ended for worker in workers)
    _kill(workers, os.getpid())
    assert all(worker.joined for worker in workers)


def test_a_program_that_leaves_its_batches_open_ends(people):
    program = """
        import tempfile
        kept = tempfile.TemporaryDirectory()  # what it registers is called after what multiprocessing will register
        import sys
        from mien.train.backbones import InputSpec
        from mien.train.data import Batches, Shuffle, Source, open_training_set
        from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter as Running

        data = open_training_set([Source(path=sys.argv[1], aligned=True)], spec=InputSpec.plain(32))
        batches = Batches(data, Shuffle(data), batch=4, workers=2)
        next(batches.epoch(0))
        Running._clean_up_worker = staticmethod(lambda worker: None)
        Running._shutdown_workers = lambda self: None  # as where an error cut it short
        print("at its end")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(people)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "at its end\n"), done.stderr


def _kill_and_go_on(workers, steps):
    os.kill(min(workers), signal.SIGKILL)
    list(steps)
