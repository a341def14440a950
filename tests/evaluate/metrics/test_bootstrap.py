import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import InputError
from mien.evaluate.metrics.bootstrap import (
    all_subject_pairs,
    bootstrap_dir,
    bootstrap_eer,
    bootstrap_tar,
    listed_subject_pairs,
)
from mien.evaluate.metrics.identification import Search, dir_at_fpir
from mien.evaluate.metrics.pairs import all_pair_scores
from mien.evaluate.metrics.scores import score_set
from mien.evaluate.metrics.verification import eer, tar_at_far


def faces(seed, subjects=30, each=4, noise=0.5, d=12):
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(subjects), each)
    rows = rng.normal(size=(subjects, d))[who] + noise * rng.normal(size=(len(who), d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), who


def listed(rows, who):
    a, b = (np.array(side) for side in zip(*itertools.combinations(range(len(who)), 2), strict=True))
    scores = np.clip(rows @ rows.T, -1, 1)[a, b]
    return scores, who[a], who[b]


def copies(scores, first, second, subjects, seed, replicates):
    """Replicates by really repeating each pair as often as its weight says."""
    rng = np.random.default_rng(seed)
    for _ in range(replicates):
        counts = np.bincount(rng.integers(0, subjects, subjects), minlength=subjects)
        weight = np.where(first == second, counts[first], counts[first] * counts[second])
        genuine = np.repeat(scores, np.where(first == second, weight, 0))
        impostor = np.repeat(scores, np.where(first == second, 0, weight))
        if len(genuine) and len(impostor):
            yield score_set(genuine, impostor)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.sampled_from([1, 6]), st.sampled_from([0.01, 0.1, 0.4]))
def test_weights_equal_real_copies(seed, decimals, far):
    rows, who = faces(seed % 7, subjects=8, each=3, noise=0.9)
    scores, first, second = listed(rows, who)
    scores = scores.round(decimals)
    pairs = listed_subject_pairs(scores, first, second)
    sets = list(copies(scores, first, second, 8, seed, 20))
    for found, rates, value in (
        (bootstrap_tar(pairs, far, replicates=20, seed=seed), [tar_at_far(s, far).tar for s in sets], tar_at_far),
        (bootstrap_eer(pairs, replicates=20, seed=seed), [eer(s).rate for s in sets], None),
    ):
        np.testing.assert_allclose([found.low, found.high], np.quantile(rates, [0.025, 0.975]), atol=1e-12)
        assert found.replicates == len(rates)
        plain = score_set(scores[first == second], scores[first != second])
        assert abs(found.value - (value(plain, far).tar if value else eer(plain).rate)) < 1e-12


def test_a_tail_gives_the_same_interval_as_all_pairs_whatever_the_blocks():
    rows, who = faces(0)
    everything = all_subject_pairs(rows, who)
    assert everything.pictures is None
    plain = all_pair_scores(rows, who)
    np.testing.assert_allclose(everything.impostor, plain.impostor, atol=1e-6)
    np.testing.assert_allclose(everything.genuine, plain.genuine, atol=1e-6)
    for tail, block_bytes in ((4000, 4000), (1500, 1 << 20)):
        part = all_subject_pairs(rows, who, tail=tail, block_bytes=block_bytes)
        assert (len(part.impostor), len(everything.impostor)) == (tail, 120 * 119 // 2 - 30 * 6)
        for far in (0.01, 0.05):
            got, want = (bootstrap_tar(p, far, replicates=50, seed=1) for p in (part, everything))
            assert (got.low, got.value, got.high) == pytest.approx((want.low, want.value, want.high), abs=1e-12)
    got, want = (bootstrap_eer(p, replicates=50, seed=1) for p in (all_subject_pairs(rows, who, tail=4000), everything))
    assert got.low == pytest.approx(want.low, abs=1e-6)
    assert got.high == pytest.approx(want.high, abs=1e-6)


def test_a_tail_too_short_is_refused():
    rows, who = faces(0)
    part = all_subject_pairs(rows, who, tail=20)
    with pytest.raises(InputError, match="too few for FAR"):
        bootstrap_tar(part, 0.05)
    with pytest.raises(InputError, match="reach down to the EER"):
        bootstrap_eer(all_subject_pairs(*faces(0, noise=1.5), tail=20))


def test_a_seed_makes_it_repeatable_and_subjects_spread_more_than_pairs():
    rows, who = faces(1, subjects=20, each=12, noise=0.8)
    pairs = all_subject_pairs(rows, who)
    one, again, other = (bootstrap_tar(pairs, 0.01, replicates=200, seed=s) for s in (0, 0, 1))
    assert one == again != other
    assert one.low <= one.value <= one.high
    wilson = tar_at_far(all_pair_scores(rows, who), 0.01)
    assert one.high - one.low > 1.5 * (wilson.high - wilson.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    # One score a subject and fixed impostors: the truth is known, and subjects do not share anything.
    hits = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n = 80
        genuine = rng.random(n)  # accepted above 0.3: TAR 0.7
        impostor = np.full(n, 0.3)
        pairs = listed_subject_pairs(
            np.concatenate([genuine, impostor]), [*range(n), *range(n)], [*range(n), *np.roll(range(n), 1)]
        )
        found = bootstrap_tar(pairs, 0.01, replicates=200, seed=seed)
        hits += found.low <= 0.7 <= found.high
    assert 50 <= hits <= 60


def search(seed, n=60):
    rng = np.random.default_rng(seed)
    known = np.arange(n) % 3 > 0
    mate = np.where(known, rng.normal(0.5, 0.2, n), -np.inf).astype(np.float32)
    return Search(
        known, mate, np.where(known, rng.integers(1, 3, n), 0), rng.normal(0.3, 0.1, n).astype(np.float32), 9, 9
    )


@pytest.mark.parametrize("rank", [1, 2])
def test_dir_equals_real_copies(rank):
    found, who = search(0), np.arange(60) // 4
    rng, rates = np.random.default_rng(5), []
    for _ in range(40):
        counts = np.bincount(rng.integers(0, 15, 15), minlength=15)
        rows = np.repeat(np.arange(60), counts[who])
        part = Search(found.known[rows], found.mate_score[rows], found.mate_rank[rows], found.top_score[rows], 9, 9)
        rates.append(dir_at_fpir(part, 0.1, rank=rank).dir)
    got = bootstrap_dir(found, who, 0.1, rank=rank, replicates=40, seed=5)
    np.testing.assert_allclose([got.low, got.high], np.quantile(rates, [0.025, 0.975]), atol=1e-12)
    assert got.value == dir_at_fpir(found, 0.1, rank=rank).dir


def test_refuses():
    with pytest.raises(InputError, match="genuine and impostor"):
        listed_subject_pairs([0.5], ["a"], ["b"])
    with pytest.raises(InputError, match="finite"):
        listed_subject_pairs([0.5, np.nan], ["a", "a"], ["b", "a"])
    with pytest.raises(InputError, match="expected 4 names"):
        listed_subject_pairs([0.5, 0.6], ["a"], ["b"])
    with pytest.raises(InputError, match="genuine and impostor"):
        all_subject_pairs(np.eye(3, dtype=np.float32), [0, 1, 2])
    pairs = listed_subject_pairs([0.5, 0.6], ["a", "a"], ["b", "a"])
    with pytest.raises(InputError, match="replicate"):
        bootstrap_tar(pairs, 0.1, replicates=0)
    with pytest.raises(InputError, match="far"):
        bootstrap_tar(pairs, 2.0)
    with pytest.raises(InputError, match="confidence"):
        bootstrap_eer(pairs, confidence=0.0)
    with pytest.raises(InputError, match="expected 60"):
        bootstrap_dir(search(0), [1, 2], 0.1)


def test_replicates_without_both_classes_do_not_count():
    pairs = listed_subject_pairs([0.9, 0.1], ["a", "a"], ["a", "b"])
    found = bootstrap_tar(pairs, 0.5, replicates=100)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    assert 20 < found.replicates < 80  # a and b are both drawn half of the time
