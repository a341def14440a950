"""Batches for sets that are smaller than one: for whatever counts, the samplers can fill them."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError
from mien.train.batch_size import fitted, shown
from mien.train.config import DataConfig, SamplerConfig
from mien.train.data import PK


class Labels:
    """A set of people with as many pictures each."""

    proportions = (None,)

    def __init__(self, people, each) -> None:
        self.labels = np.repeat(np.arange(people), each)
        self.origins = np.zeros(people * each, np.int16)

    def __len__(self) -> int:
        return len(self.labels)


def test_what_fits_stays_as_it_is() -> None:
    for data in (DataConfig(batch=128), DataConfig(batch=128, sampler=SamplerConfig(name="pk"))):
        assert fitted(data, people=40, pictures=128) == (data, "")


@pytest.mark.parametrize(("people", "each", "batch", "fits"), [
    (0, 3, 128, 126), (0, 5, 128, 125), (0, 7, 8, 14), (10, 4, 128, 120), (10, 4, 32, 40), (8, 4, 128, 128),
])  # fmt: skip
def test_a_batch_holds_whole_groups(people, each, batch, fits) -> None:
    """By hand: the most that is no more than asked for, but one group (of two people) at least."""
    asked = DataConfig(batch=batch, sampler=SamplerConfig(name="pk", people=people, each=each))
    data, told = fitted(asked, people=60, pictures=6000)
    assert data.batch == fits
    assert bool(told) == (fits != batch)
    sampler = PK(Labels(60, 100), people=people or fits // each, each=each)
    assert fits % sampler.group == 0


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_few_pictures_make_a_batch_that_an_epoch_fills_twice(processes) -> None:
    for pictures in range(6 * processes, 300, 7):
        data, told = fitted(DataConfig(batch=512), people=5, pictures=pictures, processes=processes)
        assert told
        assert data.batch % processes == 0
        assert 1 < data.batch <= pictures / 2 + processes
        assert pictures // data.batch <= 4


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("people", "each"), [(2, 9), (6, 12), (7, 3), (31, 8), (5, 1)])
def test_few_people_make_groups_of_them_all(people, each, processes) -> None:
    data, told = fitted(
        DataConfig(batch=128, sampler=SamplerConfig(name="pk", each=4)),
        people=people, pictures=people * each, processes=processes,
    )  # fmt: skip
    assert f"it takes {people} x 4" in told
    assert data.sampler.people == people
    sampler = PK(Labels(people, each), people=data.sampler.people, each=4)
    assert data.batch % math.lcm(sampler.group, processes) == 0
    assert data.batch <= len(sampler)


def test_people_with_too_few_pictures_count_for_nothing() -> None:
    few = Labels(9, 1)
    few.labels = np.concatenate([few.labels, np.repeat([9, 10, 11], [2, 3, 7])])
    few.origins = np.zeros(len(few.labels), np.int16)
    for least, counts in ((1, (12, 21)), (2, (3, 12)), (3, (2, 10))):
        asked = DataConfig(batch=128, sampler=SamplerConfig(name="pk", each=4, least=least))
        assert shown(asked, few.labels) == counts
        people, pictures = counts
        data, told = fitted(asked, people=people, pictures=pictures)
        assert f"{people} people are fewer" in told
        sampler = PK(few, people=data.sampler.people, each=4, least=data.sampler.least)
        assert data.batch <= len(sampler)
        dealt = few.labels[sampler.order(0, 0)]
        assert len(set(dealt.tolist())) == people


def test_people_that_were_asked_for_by_number_stay() -> None:
    asked = DataConfig(batch=128, sampler=SamplerConfig(name="pk", people=8, each=4))
    data, told = fitted(asked, people=6, pictures=72)
    assert data.sampler == asked.sampler
    with pytest.raises(InputError, match="8 people a group, but the set has 6"):
        PK(Labels(6, 12), people=data.sampler.people, each=4)
    data, told = fitted(asked, people=9, pictures=72)
    assert (data.batch, told) == (32, "data.batch: an epoch has 64 pictures, fewer than a batch of 128: it takes 32")
