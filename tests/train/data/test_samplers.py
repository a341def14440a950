"""Orders of pictures, against plain loops."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError
from mien.train.data import PK, Balanced, Mixed, Shuffle
from mien.train.data.samplers import occurrences


@dataclass
class Labels:
    labels: np.ndarray
    origins: np.ndarray
    proportions: tuple[float | None, ...] = (None,)

    def __len__(self):
        return len(self.labels)


def labelled(counts, origins=None, proportions=(None,)):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    labels = np.random.default_rng(5).permutation(labels)
    found = np.zeros(len(labels), np.int16) if origins is None else np.asarray(origins, np.int16)
    return Labels(labels, found, proportions)


SET = labelled([7, 1, 12, 4, 9, 30, 2])
SAMPLERS = {
    "shuffle": Shuffle(SET),
    "balanced": Balanced(SET),
    "pk": PK(SET, people=3, each=4),
    "mixed": Mixed(labelled([20, 30], [0] * 20 + [1] * 30, (1.0, 3.0))),
}


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_seed_and_epoch_decide_the_order(sampler):
    first = sampler.order(3, 11)
    assert first.dtype == np.int64
    assert len(first) == len(sampler)
    assert np.array_equal(first, sampler.order(3, 11))
    assert not np.array_equal(first, sampler.order(4, 11))
    assert not np.array_equal(first, sampler.order(3, 12))


def test_shuffle_shows_every_picture_once():
    assert np.array_equal(np.sort(Shuffle(SET).order(0, 1)), np.arange(len(SET)))


def test_balanced_shows_people_equally_often_and_their_pictures_in_turn():
    order = Balanced(SET).order(2, 1)
    people = Counter(SET.labels[order].tolist())
    assert max(people.values()) - min(people.values()) <= 1
    assert len(people) == 7
    for person, shown in people.items():
        times = Counter(order[SET.labels[order] == person].tolist())
        own = int((SET.labels == person).sum())
        assert len(times) == min(own, shown)
        assert max(times.values()) - min(times.values()) <= 1


@pytest.mark.parametrize(("people", "each", "least"), [(2, 2, 1), (3, 4, 1), (3, 4, 4), (7, 2, 1), (4, 5, 2)])
def test_pk_groups(people, each, least):
    sampler = PK(SET, people=people, each=each, least=least)
    assert sampler.group == people * each
    seen: Counter[int] = Counter()
    for epoch in range(40):
        order = sampler.order(epoch, 7)
        assert abs(len(order) - len(SET)) < 2 * len(SET)
        for group in order.reshape(-1, people, each):
            persons = [set(SET.labels[row].tolist()) for row in group]
            assert all(len(p) == 1 for p in persons)  # a row is of one person
            assert len(set.union(*persons)) == people  # rows are of different people
            for row in group:
                own = int((SET.labels == SET.labels[row[0]]).sum())
                times = Counter(row.tolist()).values()
                assert len(times) == min(own, each)  # no picture twice before every one came
                assert max(times) - min(times) <= 1
                assert own >= least
            seen.update(int(SET.labels[row[0]]) for row in group)
    shares = np.array([seen[person] for person in sorted(seen)]) / sum(seen.values())
    assert len(seen) == sum((SET.labels == i).sum() >= least for i in range(7))
    assert np.abs(shares * len(seen) - 1).max() < 0.35  # people come equally often


def test_pk_goes_through_a_persons_pictures_over_the_turns():
    data = labelled([24, 24])
    order = PK(data, people=2, each=4).order(0, 0)
    assert np.array_equal(np.sort(order), np.arange(48))  # 6 turns of 4 pictures each: every picture once


@pytest.mark.parametrize("balanced", [False, True])
def test_mixed_keeps_the_proportions_in_any_stretch(balanced):
    data = labelled([100, 300, 600], [0] * 100 + [1] * 300 + [2] * 600, (None,) * 3)
    order = Mixed(data, [5, 3, 2], balanced=balanced).order(1, 9)
    assert len(order) == 1000
    for start in range(0, 950, 37):
        found = np.bincount(data.origins[order[start : start + 50]], minlength=3)
        assert np.abs(found - [25, 15, 10]).max() <= 1
    times = Counter(order[data.origins[order] == 0].tolist())  # 500 of a source of 100
    if not balanced:
        assert set(times.values()) == {5}


def test_mixed_takes_the_sources_own_proportions_or_their_sizes():
    own = labelled([10, 30], [0] * 10 + [1] * 30, (3.0, 1.0))
    assert np.bincount(own.origins[Mixed(own).order(0, 0)]).tolist() == pytest.approx([30, 10], abs=1)
    sizes = labelled([10, 30], [0] * 10 + [1] * 30, (None, None))
    order = Mixed(sizes).order(0, 0)
    assert np.bincount(sizes.origins[order]).tolist() == pytest.approx([10, 30], abs=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PK(SET, people=8, each=2),
        lambda: PK(SET, people=6, each=2, least=3),
        lambda: PK(SET, people=1, each=2),
        lambda: Mixed(SET, [1, 2]),
        lambda: Mixed(SET, [0]),
        lambda: Mixed(SET, [float("nan")]),
        lambda: Mixed(labelled([4], [0] * 4, (1.0, 1.0))),
        lambda: Mixed(labelled([2, 2], [0, 0, 1, 1], (1.0, None))),
    ],
)
def test_what_cannot_be_sampled_is_refused(make):
    with pytest.raises(InputError, match=r"PK|Mixed"):
        make()


@given(st.lists(st.integers(0, 6), max_size=60))
@settings(max_examples=60, deadline=None)
def test_occurrences_against_a_loop(values):
    before: Counter[int] = Counter()
    expected = []
    for value in values:
        expected.append(before[value])
        before[value] += 1
    assert occurrences(np.array(values, np.int64)).tolist() == expected


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_any_set_can_be_sampled(counts, seed):
    data = labelled(counts)
    for sampler in (Shuffle(data), Balanced(data), PK(data, people=2, each=3), Mixed(data)):
        order = sampler.order(0, seed)
        assert len(order) == len(sampler)
        assert order.min() >= 0
        assert order.max() < len(data)


def test_a_million_pictures():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 50_000, 1_000_000)
    data = Labels(labels, np.zeros(1_000_000, np.int16))
    order = PK(data, people=32, each=4).order(0, 0)
    groups = labels[order].reshape(-1, 32, 4)
    assert (groups == groups[:, :, :1]).all()
    assert (np.diff(np.sort(groups[:, :, 0], axis=1), axis=1) > 0).all()
