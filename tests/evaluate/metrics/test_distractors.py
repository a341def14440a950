import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import InputError
from mien.evaluate.metrics.distractors import distractor_cmc, probe_pairs, scan_distractors
from mien.evaluate.metrics.scores import score_set
from mien.evaluate.metrics.verification import tar_at_far, tar_at_far_of_tail


def unit(rng, n, d=8):
    rows = rng.normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(0, 60),
    st.integers(1, 500),
)
def test_a_scan_equals_the_whole_matrix(seed, n_probes, n_distractors, ranks, tail, block_bytes):
    rng = np.random.default_rng(seed)
    probes, distractors = unit(rng, n_probes), unit(rng, n_distractors)
    keep = rng.random(n_distractors) < 0.8
    keep[0] = True
    found = scan_distractors(probes, distractors, keep=keep, ranks=ranks, tail=tail, block_bytes=block_bytes)
    scores = probes @ distractors[keep].T
    best = np.full((n_probes, ranks), -np.inf)
    ordered = -np.sort(-scores, axis=1)[:, :ranks]
    best[:, : ordered.shape[1]] = ordered
    np.testing.assert_allclose(found.best, best, atol=1e-6)
    np.testing.assert_allclose(
        found.tail.scores, np.sort(scores, axis=None)[scores.size - min(tail, scores.size) :], atol=1e-6
    )
    assert (found.tail.total, found.distractors) == (scores.size, int(keep.sum()))


def test_megaface_numbers_equal_a_plain_loop(tmp_path):
    rng = np.random.default_rng(0)
    subjects = np.repeat(["ann", "bo", "cy", "dee"], [3, 5, 1, 4])
    probes = unit(rng, 4, 16)[np.unique(subjects, return_inverse=True)[1]] + rng.normal(scale=0.25, size=(13, 16))
    probes = (probes / np.linalg.norm(probes, axis=1, keepdims=True)).astype(np.float32)
    unit(rng, 500, 16).astype(np.float16).tofile(tmp_path / "distractors")
    distractors = np.memmap(tmp_path / "distractors", np.float16, "r", shape=(500, 16))

    pairs = probe_pairs(probes, subjects)
    scan = scan_distractors(probes, distractors, ranks=10, tail=700, block_bytes=4 * 13 * 64)
    curve = distractor_cmc(pairs, scan)

    strangers = probes @ distractors.astype(np.float32).T
    hits, genuine = np.zeros(10, int), []
    for i in range(13):
        for j in range(13):
            if i != j and subjects[i] == subjects[j]:
                genuine.append(float(probes[i] @ probes[j]))
                rank = 1 + np.count_nonzero(strangers[i] >= genuine[-1])
                hits += np.arange(1, 11) >= rank
    assert curve.hits.tolist() == hits.tolist()
    assert 0 < hits[0] < hits[9] <= curve.probes == len(genuine) == 6 + 20 + 12
    assert curve.gallery_size == 501
    np.testing.assert_allclose(np.sort(pairs.scores), np.sort(genuine), atol=1e-6)

    want = tar_at_far(score_set(pairs.scores, strangers), 0.1)
    assert tar_at_far_of_tail(pairs.scores, scan.tail, 0.1).tar == want.tar
    with pytest.raises(InputError, match="highest are needed"):
        tar_at_far_of_tail(pairs.scores, scan.tail, 0.2)


def test_more_distractors_never_raise_the_rank_rate():
    rng = np.random.default_rng(1)
    probes, distractors = unit(rng, 20), unit(rng, 300)
    pairs = probe_pairs(probes, np.arange(20) // 4)
    rates = [distractor_cmc(pairs, scan_distractors(probes, distractors[:n])).rate(1).value for n in (1, 10, 100, 300)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1]


def test_ties_with_a_distractor_are_lost():
    rows = np.float32([[1, 0], [0.6, 0.8]])
    pairs = probe_pairs(rows, ["a", "a"])
    assert distractor_cmc(pairs, scan_distractors(rows, rows[1:])).rate(1).count == 0


def test_refuses():
    rng = np.random.default_rng(0)
    probes, others = unit(rng, 3), unit(rng, 5)
    broken = others.copy()
    broken[3, 0] = np.nan
    for arguments, options, message in (
        ((probes, broken), {"block_bytes": 24}, "distractors from row 2: .* in row 1"),
        ((probes, others[:, :4]), {}, "float16"),
        ((probes, others.astype(np.float64)), {}, "float64"),
        ((probes, others), {"keep": np.zeros(5, bool)}, "none are left"),
        ((probes, others), {"keep": [1, 0, 1, 1, 1]}, "5 booleans"),
        ((probes, others), {"ranks": 0}, "one rank"),
        ((probes[:0], others), {}, "one probe"),
        ((probes, others), {"tail": -1}, "tail"),
    ):
        with pytest.raises(InputError, match=message):
            scan_distractors(*arguments, **options)
    with pytest.raises(InputError, match="two pictures"):
        probe_pairs(probes, [0, 1, 2])
