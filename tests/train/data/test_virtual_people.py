"""Virtual people: each always made alike, of one person and at most one other, and classes of their own."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import ImageError, InputError  # noqa: E402
from mien.train.backbones.spec import arcface_template  # noqa: E402
from mien.train.data import PK, Batches, Shuffle, Source, VirtualPeople, open_training_set  # noqa: E402
from mien.train.data.training_set import Pictures  # noqa: E402
from mien.train.data.virtual_people import REAL, virtual_each  # noqa: E402

SIDE = 64
TEMPLATE = np.array(arcface_template(SIDE))
LABELS = np.repeat(np.arange(4), 3)
ORIGINS = np.repeat(np.array([0, 0, 0, 1], np.int16), 3)


class Flat:
    """A shelf of plain pictures: person p's have the brightness 100 + 20 p, and a dark eye band."""

    def __init__(self, channels=3):
        self.channels = channels

    def __len__(self):
        return len(LABELS)

    def name(self, i):
        return f"picture {i}"

    def picture(self, i):
        shown = np.full((SIDE, SIDE, self.channels), 100 + 20 * LABELS[i], np.uint8)
        shown[24:32] //= 2
        return shown


class Rough(Flat):
    """Another pattern for every picture."""

    def picture(self, i):
        return np.random.default_rng(i).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def made(each=20, seed=3, labels=LABELS, origins=ORIGINS):
    return VirtualPeople(labels, origins, TEMPLATE, SIDE, each=each, seed=seed)


def test_someone_is_always_made_alike_and_each_differently():
    virtual, pictures = made(), Pictures([Rough()])
    assert virtual.count == 80
    shown = pictures.picture(0)
    again = pickle.loads(pickle.dumps(virtual))  # as it comes to a worker
    seen = []
    for number in range(20):
        one = virtual.picture(number, shown, pictures, np.random.default_rng(1))
        assert np.array_equal(one, again.picture(number, shown, pictures, np.random.default_rng(1)))
        assert one.dtype == np.uint8
        assert one.shape == shown.shape
        seen.append(one.tobytes())
    assert len(set(seen)) == 20
    assert shown.tobytes() == pictures.picture(0).tobytes()  # the person's own picture is left alone
    assert made(seed=4).picture(3, shown, pictures, np.random.default_rng(1)).tobytes() != seen[3]


def test_parts_are_lent_within_a_source_and_never_by_the_person_itself():
    virtual = made(each=200)
    for person, allowed in ((0, {0, 1, 2}), (1, {0, 1, 2}), (2, {0, 1, 2})):
        lenders = [virtual._recipe(person * 200 + k).other for k in range(200)]
        assert set(lenders) == allowed
        assert 0.35 < np.mean([lender == person for lender in lenders]) < 0.65  # half have no part of another
    assert {virtual._recipe(600 + k).other for k in range(200)} == {3}  # nobody else in its source


def test_a_part_comes_into_the_light_of_the_picture_that_takes_it():
    virtual, pictures = made(), Pictures([Flat()])
    shown = pictures.picture(0)
    for lender in (1, 2):  # brighter by 20 and 40, of the same pattern
        lent = virtual._lent(lender, shown, pictures, np.random.default_rng(0))
        assert np.abs(lent.astype(int) - shown).max() <= 3
        assert np.abs(pictures.picture(3 * lender).astype(int) - shown).max() >= 20


def test_of_a_lenders_pictures_the_one_that_is_turned_and_lit_alike_is_taken():
    class Turned(Flat):
        """Each person looks left, ahead and right."""

        def picture(self, i):
            shown = np.full((SIDE, SIDE, 3), 60, np.uint8)
            shown[20:50, 20 + 6 * (i % 3) : 34 + 6 * (i % 3)] = 150 + 30 * LABELS[i] % 60
            return shown

    virtual, pictures = made(), Pictures([Turned()])
    for i in range(3):
        lent = [virtual._lent(1, pictures.picture(i), pictures, np.random.default_rng(k)) for k in range(30)]
        middles = [np.average(np.arange(SIDE), weights=each[35, :, 0].astype(float) - 55) for each in lent]
        nearest = [
            abs(m - np.average(np.arange(SIDE), weights=pictures.picture(i)[35, :, 0] - 55.0)) < 2 for m in middles
        ]
        assert np.mean(nearest) > 0.6  # of four draws from three pictures it is there in 80 %


def test_proportions_change_rows_and_keep_the_border():
    virtual = made()
    stripes = np.zeros((SIDE, SIDE, 3), np.uint8)
    stripes[:, ::4] = 255
    wider = np.full(5, 0.12, np.float32)
    warped = virtual._warped(stripes, wider, np.zeros(5, np.float32))
    eyes = round(float(TEMPLATE[:2, 1].mean()))
    changed = np.abs(warped.astype(int) - stripes).mean((1, 2))
    assert changed[eyes] > 40 > 10 > changed[0]
    same = virtual._warped(stripes, np.zeros(5, np.float32), np.zeros(5, np.float32))
    assert np.array_equal(same, stripes)
    level = np.repeat(np.arange(SIDE, dtype=np.uint8)[:, None] * 4, SIDE, 1)[:, :, None]
    lower = virtual._warped(level, np.zeros(5, np.float32), np.full(5, 3.0, np.float32))
    assert abs(int(lower[eyes, 30, 0]) - int(level[eyes + 3, 30, 0])) <= 4
    assert lower.shape == level.shape


def test_a_batchs_pictures_of_one_person_become_one_person():
    virtual = made(each=5)
    labels = np.array([0, 1, 1, 2, 2, 2, 3])
    counts = np.zeros(2)
    for seed in range(300):
        drawn = virtual.draw(labels, 0.3, np.random.default_rng(seed))
        for person in range(4):
            own = set(drawn[labels == person].tolist())
            assert len(own) == 1
            assert own == {REAL} or person * 5 <= next(iter(own)) < person * 5 + 5
            counts += [next(iter(own)) == REAL, 1]
    assert abs(counts[0] / counts[1] - 0.7) < 0.05


def test_where_there_are_many_people_there_are_fewer_virtual_ones():
    assert [virtual_each(24, people) for people in (1, 146, 1000, 10_000, 10_001)] == [24, 24, 10, 1, 0]


def test_grey_pictures_and_a_single_person():
    grey = Pictures([Flat(channels=1)])
    assert made().picture(1, grey.picture(0), grey, np.random.default_rng(0)).shape == (SIDE, SIDE, 1)
    one = made(labels=np.zeros(3, np.int64), origins=np.zeros(3, np.int16))
    assert one.picture(0, grey.picture(0), grey, np.random.default_rng(0)).shape == (SIDE, SIDE, 1)
    with pytest.raises(InputError, match="1 or more"):
        made(each=0)


@pytest.fixture(scope="module")
def data(people):
    from mien.train.backbones import InputSpec

    return open_training_set([Source(path=str(people), aligned=True)], spec=InputSpec.plain(32))


def of(data, each=3):
    return VirtualPeople(data.labels, data.origins, np.array(data.spec.template), 32, each=each, seed=1)


def listed(batches):
    return [(b.pictures.numpy().copy(), b.labels.numpy(), b.indices.numpy()) for b in batches.epoch(1)]


def test_batches_show_some_and_label_them_after_the_sets_people(data):
    virtual = of(data)
    whole = listed(Batches(data, Shuffle(data), batch=12, seed=2, virtual=virtual))
    kinds = set()
    for pictures, labels, indices in whole:
        for shown, label, index in zip(pictures, labels, indices, strict=True):
            real = label < len(data.people)
            kinds.add(real)
            assert real == np.array_equal(shown, data.picture(index))
            assert data.labels[index] == (label if real else (label - len(data.people)) // 3)
    assert kinds == {True, False}


def test_workers_and_processes_show_the_same(data):
    sampler = PK(data, people=3, each=4)
    whole = listed(Batches(data, sampler, batch=12, seed=2, virtual=of(data)))
    with Batches(data, sampler, batch=12, seed=2, virtual=of(data), workers=2) as two:
        again = listed(two)
    shares = [listed(Batches(data, sampler, batch=12, seed=2, virtual=of(data), rank=r, world=2)) for r in (0, 1)]
    joined = [tuple(np.concatenate(parts) for parts in zip(*both, strict=True)) for both in zip(*shares, strict=True)]
    for other in (again, joined):
        for mine, theirs in zip(whole, other, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_an_unreadable_lender_leaves_the_person_as_it_is(data):
    class Broken(VirtualPeople):
        def picture(self, number, pixels, pictures, rng):
            raise ImageError("lender.jpg", "damaged")

    broken = Broken(data.labels, data.origins, np.array(data.spec.template), 32, each=3, seed=1)
    batches = Batches(data, Shuffle(data), batch=12, seed=2, virtual=broken, skip_unreadable=True)
    for _, labels, indices in listed(batches):
        assert np.array_equal(labels, data.labels[indices])
    assert list(batches.skipped) == ["lender.jpg: damaged"]
    with pytest.raises(ImageError, match="lender"):
        listed(Batches(data, Shuffle(data), batch=12, seed=2, virtual=broken))
