"""The in-memory index follows the truth, and older snapshots never change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import GalleryFileError
from mien.gallery.index import Snapshot
from mien.gallery.records import Changes, Known, Position


def changes(rows=(), owners=(), names=None, removed=(), dimension=4, first=1, **more):
    return Changes(
        Position(face=first + len(owners) - 1),
        np.arange(first, first + len(owners)),
        np.asarray(rows, np.float32).reshape(len(owners), dimension),
        np.asarray(owners, np.int64),
        [f"face {i}" for i in owners],
        {i: Known(name) for i, name in (names or {}).items()},
        set(removed),
        **more,
    )


def unit_rows(rng, n):
    rows = rng.standard_normal((n, 4))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "add", "add", "remove", "rename"]), st.integers(0, 9)), max_size=60))
def test_any_history_gives_what_a_plain_list_gives(history):
    rng = np.random.default_rng(len(history))
    snapshot, faces, names, next_id = Snapshot(), [], {}, 1
    earlier = []
    probe = unit_rows(rng, 1)
    for action, number in history:
        if action == "add":
            rows = unit_rows(rng, number % 3 + 1)
            names[next_id] = f"n{next_id}"
            snapshot = snapshot.follow(changes(rows, [next_id] * len(rows), {next_id: names[next_id]}))
            faces += [(next_id, row) for row in rows]
            next_id += 1
        elif names:
            chosen = sorted(names)[number % len(names)]
            if action == "remove":
                snapshot = snapshot.follow(changes(removed=[chosen]))
                faces = [f for f in faces if f[0] != chosen]
                del names[chosen]
            else:
                names[chosen] += "x"
                snapshot = snapshot.follow(changes(names={chosen: names[chosen]}))
        earlier.append((snapshot, [(c.name, c.score) for c in snapshot.search(probe, k=5)[0]]))
        best = {}
        for owner, row in faces:
            best[owner] = max(best.get(owner, -2), float(row @ probe[0]))
        expected = sorted(best.items(), key=lambda item: -item[1])[:5]
        assert [c.name for c in snapshot.search(probe, k=5)[0]] == [names[owner] for owner, _ in expected]
        assert len(snapshot) == len(faces)
    for old, answer in earlier:
        assert [(c.name, c.score) for c in old.search(probe, k=5)[0]] == answer


def test_growth_is_amortised():
    rng = np.random.default_rng(0)
    snapshot, buffers = Snapshot(), set()
    for i in range(2000):
        snapshot = snapshot.follow(changes(unit_rows(rng, 1), [i + 1], {i + 1: str(i)}))
        buffers.add(id(snapshot.index.segments[0].buffer))
    assert len(buffers) <= 14  # doublings, not a copy per addition
    assert len(snapshot.index.segments[0].buffer) <= 4000


def test_removed_faces_leave_memory():
    rng = np.random.default_rng(0)
    snapshot = Snapshot().follow(changes(unit_rows(rng, 100), range(1, 101), {i: str(i) for i in range(1, 101)}))
    for i in range(1, 100):
        snapshot = snapshot.follow(changes(removed=[i]))
    assert (len(snapshot), snapshot.index.count, len(snapshot._pictures), list(snapshot.people)) == (1, 1, 1, [100])


def test_equal_scores_go_to_who_was_first():
    row = np.array([[1, 0, 0, 0]], np.float32)
    snapshot = Snapshot().follow(changes(np.repeat(row, 3, 0), [3, 1, 2], {1: "a", 2: "b", 3: "c"}))
    assert [c.name for c in snapshot.search(row, k=3)[0]] == ["c", "a", "b"]


def test_many_probes_are_answered_as_each_alone():
    rng = np.random.default_rng(0)
    snapshot = Snapshot().follow(changes(unit_rows(rng, 50), range(1, 51), {i: str(i) for i in range(1, 51)}))
    probes = unit_rows(rng, 7)
    assert snapshot.search(probes, k=2) == [snapshot.search(probe[None], k=2)[0] for probe in probes]


def test_damaged_embeddings_are_refused():
    for row in ([[np.nan, 0, 0, 0]], [[2, 0, 0, 0]]):
        with pytest.raises(GalleryFileError, match=r"people\.db: rows: expected unit norm"):
            Snapshot().follow(changes(row, [1], {1: "a"}), "people.db")
