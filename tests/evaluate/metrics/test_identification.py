import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import InputError
from mien.evaluate.metrics.identification import (
    cmc,
    dir_at_fpir,
    fnir_at,
    fpir_at,
    open_set_curve,
    search_gallery,
)


def unit(rng, n, d=6):
    rows = rng.normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def grid(rng, n):
    """Rows whose cosines take few values, so that ties are everywhere."""
    return np.eye(4, dtype=np.float32)[rng.integers(0, 4, n)]


def loop(probes, probe_subjects, gallery, gallery_subjects, skip):
    found = []
    for p, subject, own in zip(probes, probe_subjects, skip, strict=True):
        scores = dict.fromkeys(gallery_subjects, -math.inf)
        for row, (g, s) in enumerate(zip(gallery, gallery_subjects, strict=True)):
            if row != own:
                scores[s] = max(scores[s], float(p @ g))
        mate = scores.get(subject, -math.inf)
        rank = 1 + sum(v >= mate for s, v in scores.items() if s != subject)
        found.append((mate > -math.inf, mate, rank if mate > -math.inf else 0, max(scores.values())))
    return found


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 15), st.integers(1, 400), st.booleans(), st.booleans()
)
def test_search_equals_a_plain_loop(seed, n_probes, n_gallery, block_bytes, ties, names):
    rng = np.random.default_rng(seed)
    make = grid if ties else unit
    probes, gallery = make(rng, n_probes), make(rng, n_gallery)
    who, enrolled = rng.integers(0, 8, n_probes), rng.integers(0, 6, n_gallery)
    if names:
        who, enrolled = who.astype(str), enrolled.astype(str)
    skip = rng.integers(-1, n_gallery, n_probes)
    found = search_gallery(probes, who, gallery, enrolled, skip=skip, block_bytes=block_bytes)
    want = loop(probes, who.tolist(), gallery, enrolled.tolist(), skip)
    assert found.known.tolist() == [w[0] for w in want]
    np.testing.assert_allclose(found.mate_score, [w[1] for w in want], atol=1e-6)
    assert found.mate_rank.tolist() == [w[2] for w in want]
    np.testing.assert_allclose(found.top_score, [w[3] for w in want], atol=1e-6)
    assert (found.subjects, found.templates) == (len(set(enrolled.tolist())), n_gallery)


@pytest.fixture
def search():
    rng = np.random.default_rng(3)
    faces = unit(rng, 60)
    gallery = faces[:40]
    noisy = faces + rng.normal(scale=0.35, size=faces.shape)
    noisy = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    return search_gallery(np.concatenate([noisy, noisy[::-1]]), [*range(60), *range(59, -1, -1)], gallery, range(40))


def test_cmc_rises_to_one_and_counts_known_probes_only(search):
    curve = cmc(search, 100)
    assert (curve.probes, curve.gallery_size, len(curve.hits)) == (80, 40, 40)
    for k in (1, 5, 40):
        assert curve.rate(k).count == sum(r <= k for r in search.mate_rank[search.known])
    assert np.all(np.diff(curve.hits) >= 0)
    assert curve.rate(40).value == 1
    for k in (0, 41):
        with pytest.raises(InputError, match="rank: expected 1 to 40"):
            curve.rate(k)


@pytest.mark.parametrize("fpir", [0.01, 0.05, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("rank", [1, 3])
def test_dir_at_fpir_equals_a_search_through_all_thresholds(search, fpir, rank):
    found = dir_at_fpir(search, fpir, rank=rank)
    tops, mates = search.top_score[~search.known], search.mate_score[search.known]
    near = search.mate_rank[search.known] <= rank
    candidates = np.nextafter(np.concatenate([tops, np.float32([-2])]), np.float32(9))
    allowed = [t for t in candidates if np.mean(tops >= t) <= fpir]
    assert found.dir == max(np.mean((mates >= t) & near) for t in allowed)
    assert found.fpir == np.mean(tops >= np.float32(found.threshold)) <= fpir
    assert (found.known, found.unknown, found.gallery_size) == (80, 40, 40)
    assert found.sufficient == (fpir * 40 >= 1)
    assert fnir_at(search, found.threshold, rank=rank).value == pytest.approx(1 - found.dir, abs=1e-15)
    assert fpir_at(search, found.threshold).value == found.fpir


@pytest.mark.parametrize("rank", [1, 2])
def test_the_open_set_curve_passes_through_every_rate(search, rank):
    curve = open_set_curve(search, rank=rank)
    for t, fpir, dir_ in zip(curve.thresholds, curve.fmr, curve.tar, strict=True):
        assert fpir == fpir_at(search, float(t)).value
        assert 1 - dir_ == pytest.approx(fnir_at(search, float(t), rank=rank).value, abs=1e-15)
    assert (curve.genuine, curve.impostors) == (80, 40)


def test_a_larger_gallery_does_not_lower_fpir_at_a_threshold():
    rng = np.random.default_rng(0)
    probes, gallery = unit(rng, 50), unit(rng, 200)
    rates = [
        fpir_at(search_gallery(probes, np.full(50, -1), gallery[:n], np.arange(n)), 0.8).value for n in (5, 50, 200)
    ]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]


def test_a_system_that_gives_everyone_the_same_score_finds_nobody():
    one = np.tile(np.float32([1, 0]), (5, 1))
    found = search_gallery(one, range(5), one, range(5))
    assert cmc(found, 5).hits.tolist() == [0, 0, 0, 0, 5]


def test_a_probe_whose_only_template_is_itself_is_unknown():
    rows = unit(np.random.default_rng(0), 3)
    found = search_gallery(rows, ["a", "a", "b"], rows, ["a", "a", "b"], skip=range(3))
    assert found.known.tolist() == [True, True, False]


def test_refuses():
    rows = unit(np.random.default_rng(0), 3)
    good = (rows, [0, 1, 2], rows, [0, 1, 2])
    for change, message in (
        ({1: [0, 1]}, "3 probe and 3 gallery subjects"),
        ({1: [0.5, 1, 2]}, "whole numbers"),
        ({1: ["a", "b", "c"]}, "probes are named by"),
        ({0: rows * 2}, "probes: expected rows of unit length"),
        ({0: rows[:, :2]}, "probes: expected shape"),
        ({2: rows[:0], 3: []}, "at least 1"),
    ):
        arguments = [change.get(i, a) for i, a in enumerate(good)]
        with pytest.raises(InputError, match=message):
            search_gallery(*arguments)
    for skip in ([0, 1], [0, 1, 3], [0, 1, -2], [0.0, 1.0, 2.0]):
        with pytest.raises(InputError, match="skip: expected 3"):
            search_gallery(*good, skip=skip)
    closed = search_gallery(*good)
    for call in (lambda: dir_at_fpir(closed, 0.1), lambda: open_set_curve(closed)):
        with pytest.raises(InputError, match="an open set needs both"):
            call()
    with pytest.raises(InputError, match="known probe"):
        cmc(search_gallery(rows, [7, 8, 9], rows, [0, 1, 2]))
    with pytest.raises(InputError, match="fpir"):
        dir_at_fpir(closed, 0.0)
