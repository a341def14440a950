"""The exact index answers as a plain loop over every row does, whatever the rows, in each of its ways."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import InputError
from mien.gallery.search import ExactIndex
from mien.gallery.search.compiled import available
from mien.gallery.search.ranking import exact_scores

COMPILED = [pytest.param(True, marks=pytest.mark.skipif(not available(), reason="needs numba"), id="numba"), False]


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make(kind, rng, n, d):
    if kind == "random":
        return unit(rng.standard_normal((n, d)))
    if kind == "clusters":
        return unit(
            rng.standard_normal((max(1, n // 5), d))[np.arange(n) % max(1, n // 5)] + 0.1 * rng.standard_normal((n, d))
        )
    if kind == "duplicates":
        return unit(rng.standard_normal((max(1, n // 50), d)))[rng.integers(0, max(1, n // 50), n)]
    if kind == "near ties":
        return unit(np.ones((1, d)) + 3e-7 * rng.standard_normal((n, d)))
    return unit(3 + rng.standard_normal((n, d)) * (np.arange(d) < max(1, d // 3)))  # "narrow", as real embeddings are


def oracle(rows, owners, probe, k, *, by_owner, live):
    """Plain loop: sort every live row, keep each owner's first. Sums in their own order, in float64."""
    scores = exact_scores(rows, probe)
    np.testing.assert_allclose(scores, rows.astype(np.float64) @ probe.astype(np.float64), atol=1e-14)
    found, seen = [], set()
    for row in sorted(np.flatnonzero(live).tolist(), key=lambda r: (-scores[r], r)):
        key = owners[row] if by_owner else row
        if key not in seen:
            seen.add(key)
            found.append(row)
    return found[:k], scores[found[:k]].astype(np.float32)


def check(index, rows, owners, probes, k, *, live, allowed=None, threads=None):
    for by_owner in (True, False):
        hits = index.search(probes, k=k, by_owner=by_owner, allowed=allowed, threads=threads)
        for q, probe in enumerate(probes):
            seen = live if allowed is None else live & allowed
            expected, scores = oracle(rows, owners, probe, k, by_owner=by_owner, live=seen)
            n = len(expected)
            assert hits.rows[q, :n].tolist() == expected
            assert hits.owners[q, :n].tolist() == owners[expected].tolist()
            assert hits.scores[q, :n].tolist() == scores.tolist()
            assert (hits.rows[q, n:] == -1).all()
            assert np.isneginf(hits.scores[q, n:]).all()


@pytest.mark.parametrize("compiled", COMPILED)
@pytest.mark.parametrize("kind", ["random", "clusters", "duplicates", "near ties", "narrow"])
@pytest.mark.parametrize("d", [1, 2, 7, 127, 128, 512])
def test_equals_a_plain_loop(compiled, kind, d):
    rng = np.random.default_rng(d)
    for n in (1, 2, 3, 7, 16, 33, 700) if d < 512 else (3, 17, 300):
        rows, owners = make(kind, rng, n, d), rng.integers(0, max(1, n // 3), n)
        index = ExactIndex(coded_from=20, compiled=compiled)
        cut = n * 2 // 3
        index = index.append(rows[:cut], owners[:cut]).append(rows[cut:], owners[cut:])
        gone = np.unique(rng.integers(0, n, n // 4))
        index, live = index.remove(gone), ~np.isin(np.arange(n), gone)
        assert len(index) == live.sum()
        probes = np.concatenate([make(kind, rng, 1, d), rows[:1], -rows[:1]])
        for k in (1, 5, n + 3):
            check(index, rows, owners, probes, k, live=live)
        check(index, rows, owners, probes, 5, live=live, allowed=rng.random(n) < 0.5)


@pytest.mark.parametrize("compiled", COMPILED)
def test_equals_a_plain_loop_in_several_parts_at_once(compiled):
    rng = np.random.default_rng(0)
    rows, owners = make("narrow", rng, 140_000, 24), np.arange(140_000) // 5
    index = ExactIndex(compiled=compiled).append(rows, owners)
    assert index.segments[0].coded >= 139_984
    for probe in (rows[77_777], make("random", rng, 1, 24)[0]):
        scores = exact_scores(rows, probe)
        expected = np.lexsort((np.arange(len(rows)), -scores))[:7].tolist()
        for threads in (1, 3):
            assert index.search(probe[None], k=7, by_owner=False, threads=threads).rows[0].tolist() == expected


@pytest.mark.parametrize("compiled", COMPILED)
def test_rows_unlike_those_it_was_trained_on_are_found(compiled):
    rng = np.random.default_rng(0)
    first, later = make("narrow", rng, 400, 32), make("random", rng, 400, 32)
    index = ExactIndex(coded_from=300, compiled=compiled)
    rows, owners = np.concatenate([first, later[:10], later[10:]]), np.arange(800)
    # The buffer doubles on the second call, so that the third is coded with the second's codebook.
    for part in np.split(np.arange(800), [400, 410]):
        index = index.append(rows[part], owners[part])
    check(index, rows, owners, np.concatenate([later[-3:], -later[-2:], first[:1]]), 5, live=np.ones(800, bool))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["add", "add", "remove", "compact"]), st.integers(0, 60)), max_size=25),
    st.booleans(),
)
def test_any_history_equals_a_plain_loop(history, compiled):
    rng = np.random.default_rng(len(history))
    index = ExactIndex(coded_from=64, compiled=compiled and available())
    rows, owners, live = np.zeros((0, 8), np.float32), np.zeros(0, np.int64), np.zeros(0, bool)
    earlier = []
    for action, number in history:
        if action == "add":
            more = make("clusters", rng, number, 8) if number else np.zeros((0, 8), np.float32)
            whose = rng.integers(0, 20, number)
            index = index.append(more, whose)
            rows, owners, live = (
                np.concatenate([rows, more]),
                np.concatenate([owners, whose]),
                np.append(live, np.ones(number, bool)),
            )
        elif action == "remove" and len(live):
            gone = rng.integers(0, len(live), number // 6)
            index = index.remove(gone)
            live = live.copy()
            live[gone] = False
        elif action == "compact":
            index, kept = index.compacted()
            assert kept.tolist() == np.flatnonzero(live).tolist()
            rows, owners, live = rows[live], owners[live], live[live]
        earlier.append((index, rows, owners, live))
    probes = make("random", rng, 2, 8)
    for index, rows, owners, live in earlier[-8:]:  # older ones still answer as they did
        assert len(index) == live.sum()
        check(index, rows, owners, probes, 4, live=live)


@pytest.mark.parametrize("compiled", COMPILED)
def test_many_readers_while_one_writes(compiled):
    rng = np.random.default_rng(0)
    rows, owners = make("clusters", rng, 6000, 16), np.arange(6000) // 3
    probe = rows[:1]
    newest = [ExactIndex(coded_from=500, compiled=compiled).append(rows[:600], owners[:600])]
    wrong, done = [], threading.Event()

    def read():
        while not done.is_set():
            index = newest[0]
            hits = index.search(probe, k=5)
            count = index.count
            expected = oracle(rows[:count], owners[:count], probe[0], 5, by_owner=True, live=np.ones(count, bool))[0]
            if hits.rows[0].tolist() != expected:
                wrong.append((count, hits.rows[0].tolist(), expected))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for start in range(600, 6000, 45):
        newest[0] = newest[0].append(rows[start : start + 45], owners[start : start + 45])
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong


def test_growth_is_amortised():
    rng = np.random.default_rng(0)
    index, buffers = ExactIndex(coded_from=100), set()
    for i, row in enumerate(make("random", rng, 2000, 4)):
        index = index.append(row[None], np.array([i]))
        buffers.add(id(index.segments[0].buffer))
    assert len(buffers) <= 14
    assert len(index.segments[0].buffer) <= 4000


@pytest.mark.parametrize("compiled", COMPILED)
@pytest.mark.parametrize("d", [128, 512])
def test_memory(compiled, d):
    rows = make("random", np.random.default_rng(0), 17_000, d)
    index = ExactIndex(compiled=compiled).append(rows, np.arange(len(rows)))
    index = index.remove(np.arange(100))
    assert index.resident_bytes / len(rows) <= 1.15 * d + 20  # 200 at 128


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.full((2, 3), np.nan, np.float32), "unit norm, got nan in row 0"),
        (np.array([[1, 0, 0], [np.inf, 0, 0]], np.float32), "unit norm, got inf in row 1"),
        (np.ones((2, 3), np.float32), "unit norm, got 1.732"),
        (np.eye(3), r"float32 \(N, 3\), got float64"),
        (np.eye(4, dtype=np.float32), r"float32 \(N, 3\), got float32\(4, 4\)"),
        (np.zeros(3, np.float32), r"float32\(3,\)"),
    ],
)
def test_refuses_what_its_bounds_do_not_hold_for(rows, message):
    index = ExactIndex().append(np.eye(3, dtype=np.float32), np.arange(3))
    with pytest.raises(InputError, match=message):
        index.append(rows, np.zeros(len(rows), np.int64))
    with pytest.raises(InputError, match=message):
        index.search(rows, k=1)


def test_refuses_other_nonsense():
    index = ExactIndex().append(np.eye(3, dtype=np.float32), np.arange(3))
    one = np.eye(3, dtype=np.float32)[:1]
    for call in (
        lambda: index.search(one, k=0),
        lambda: index.search(one, k=1, allowed=np.ones(2, bool)),
        lambda: index.search(one, k=1, allowed=np.ones(3, np.int8)),
        lambda: index.append(one, np.array([-1])),
        lambda: index.append(one, np.array([1, 2])),
        lambda: index.remove(np.array([3])),
        lambda: index.remove(np.array([-1])),
    ):
        with pytest.raises(InputError):
            call()


def test_an_empty_index_finds_nothing():
    hits = ExactIndex().search(np.eye(3, dtype=np.float32), k=2)
    assert hits.rows.tolist() == [[-1, -1]] * 3
    assert ExactIndex().search(np.zeros((0, 3), np.float32), k=2).rows.shape == (0, 2)
